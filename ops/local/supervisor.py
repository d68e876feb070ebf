"""Keeps worker processes running: as many as wanted, no longer than we live.

Why this is ours and not a library's: docs/decisions/0001-own-supervisor.md.
"""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import structlog

from ops.local import ports, processes
from ops.local.output import open_pipe

log = structlog.get_logger()

_DRAIN_GRACE_S = 30.0
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0
_LAST_WORDS_S = 1.0  # for what a process wrote before it ended to be read
_STEADY_S = 10.0  # a worker that lived this long is not in a crash loop


@dataclass(frozen=True, slots=True)
class Program:
    """What a group of workers runs."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    has_metrics: bool = False  # each process gets a port of its own for them


@dataclass(eq=False, slots=True)
class _Worker:
    """One place in a group; the process in it changes when it crashes."""

    label: str
    retired: asyncio.Event = field(default_factory=asyncio.Event)
    pid: int | None = None
    metrics_port: int | None = None
    keeper: asyncio.Task[None] | None = None


@dataclass(slots=True)
class _Group:
    program: Program
    active: list[_Worker] = field(default_factory=list)
    draining: set[_Worker] = field(default_factory=set)
    crashes: int = 0
    started: int = 0


def _keepers(group: _Group) -> list[asyncio.Task[None]]:
    return [worker.keeper for worker in (*group.active, *group.draining) if worker.keeper]


def _release_port(worker: _Worker) -> None:
    if worker.metrics_port is not None:
        ports.release(worker.metrics_port)
        worker.metrics_port = None


class Supervisor:
    """Groups of worker processes, each scaled while the others run.

    Scaling never waits and is never refused: a worker that is let go leaves its group at once and
    drains on its own, while new ones may start already.
    """

    def __init__(
        self,
        *,
        drain_grace_s: float = _DRAIN_GRACE_S,
        first_delay_s: float = _FIRST_DELAY_S,
        take: Callable[[str, bytes], None] | None = None,
    ) -> None:
        """``take`` is given what each program writes, line by line; without it they write to our
        standard output.
        """
        self._groups: dict[str, _Group] = {}
        self._drain_grace_s = drain_grace_s
        self._first_delay_s = first_delay_s
        self._take = take

    def start(self, program: Program, *, replicas: int = 1) -> None:
        """Add a group and its workers."""
        if program.name in self._groups:
            raise ValueError(f"there is a group {program.name} already")
        self._groups[program.name] = _Group(program)
        self.scale(program.name, replicas)

    def scale(self, name: str, replicas: int) -> None:
        """Make a group this large; the newest workers are the first to go."""
        group = self._groups[name]
        while len(group.active) < replicas:
            group.started += 1
            worker = _Worker(f"{name}.{group.started}")
            group.active.append(worker)
            worker.keeper = asyncio.create_task(self._keep(worker, group), name=worker.label)
        while len(group.active) > max(replicas, 0):
            worker = group.active.pop()
            group.draining.add(worker)
            worker.retired.set()

    @property
    def names(self) -> list[str]:
        """Name the groups, in the order in which they were started."""
        return list(self._groups)

    def pids(self, name: str) -> list[int]:
        """Give the processes of a group that run now, without those that drain."""
        return [worker.pid for worker in self._groups[name].active if worker.pid]

    def metrics_ports(self, name: str) -> list[int]:
        """Give where the processes of a group, those that drain too, tell their metrics."""
        group = self._groups[name]
        workers = (*group.active, *group.draining)
        return [worker.metrics_port for worker in workers if worker.pid and worker.metrics_port]

    def replicas(self, name: str) -> int:
        """Give how many workers a group is to have, alive or about to be started again."""
        return len(self._groups[name].active)

    def draining(self, name: str) -> int:
        """Give how many workers that were let go have not ended yet."""
        return len(self._groups[name].draining)

    def crashes(self, name: str) -> int:
        """Give how often workers of a group ended unasked."""
        return self._groups[name].crashes

    async def stop(self) -> None:
        """Stop everything, the group started last first; when cancelled, at once."""
        try:
            for name, group in reversed(self._groups.items()):
                self.scale(name, 0)
                await asyncio.gather(*_keepers(group))
        finally:
            rest = [keeper for group in self._groups.values() for keeper in _keepers(group)]
            for keeper in rest:
                keeper.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    async def _keep(self, worker: _Worker, group: _Group) -> None:
        """Run a worker's process, again and again, until the worker is retired."""
        delay_s = self._first_delay_s
        try:
            while not worker.retired.is_set():
                began = time.monotonic()
                try:
                    status = await self._run(worker, group.program)
                finally:
                    _release_port(worker)
                if worker.retired.is_set():
                    break
                group.crashes += 1
                if time.monotonic() - began > _STEADY_S:
                    delay_s = self._first_delay_s
                log.warning("worker ended", worker=worker.label, status=status, again_in_s=delay_s)
                with suppress(TimeoutError):
                    await asyncio.wait_for(worker.retired.wait(), delay_s)
                delay_s = min(delay_s * 2, _LONGEST_DELAY_S)
        finally:
            group.draining.discard(worker)

    async def _run(self, worker: _Worker, program: Program) -> int | str:
        """Run one process until it ends or is no longer wanted; give how it ended."""
        env = dict(program.env)
        try:
            if program.has_metrics:
                (worker.metrics_port,) = ports.free_ports(1)
                env |= {"METRICS_HOST": ports.LOOPBACK, "METRICS_PORT": str(worker.metrics_port)}
            child, written = await self._spawn(program, env)
        except (OSError, ports.PortUnavailable) as error:
            return str(error)
        worker.pid = child.pid
        ended = asyncio.ensure_future(processes.ended(child))
        retired = asyncio.ensure_future(worker.retired.wait())
        try:
            await asyncio.wait((ended, retired), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await processes.stop(child, grace_s=self._drain_grace_s)
        finally:  # when we are cancelled too: nothing may be left
            worker.pid = None
            ended.cancel()
            retired.cancel()
            processes.kill(child)
        with suppress(TimeoutError):
            await asyncio.wait_for(written, _LAST_WORDS_S)
        return child.returncode

    async def _spawn(
        self, program: Program, env: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], "asyncio.Future[None]"]:
        """Start a process; give it, and when all that it wrote has been read."""
        if self._take is None:
            nothing = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return processes.spawn(program.argv, env=env), nothing
        output, written = await open_pipe(partial(self._take, program.name))
        try:
            return processes.spawn(program.argv, env=env, output=output), written
        finally:
            os.close(output)
