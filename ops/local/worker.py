"""One worker process, kept running: started again when it crashes, drained when it is let go."""

import asyncio
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import structlog

from ops.local import ports, processes
from ops.local.output import open_pipe
from ops.local.readiness import is_ready

log = structlog.get_logger()

_LONGEST_DELAY_S = 30.0
_LAST_WORDS_S = 1.0  # for what a process wrote before it ended to be read
_STEADY_S = 10.0  # a worker that lived this long is not in a crash loop
_READY_POLL_S = 0.02

Take = Callable[[str, bytes], None]


class NotStarted(Exception):
    """A new process cannot take over from an old one; the message says why."""


@dataclass(frozen=True, slots=True)
class Program:
    """What a group of workers runs."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    has_metrics: bool = False  # each process gets a port of its own for them
    descriptors: Sequence[int] = ()  # open files that each process inherits


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a worker is waited for."""

    drain_grace_s: float
    first_delay_s: float  # before it is started again
    ready_timeout_s: float


class Worker:
    """One place in a group; the process in it changes when it crashes.

    A worker on trial has not taken its place yet: if it ends, it is not started again, and what it
    writes is held back until it is known which, so that the tracebacks of two do not mix.
    """

    def __init__(
        self,
        program: Program,
        label: str,
        *,
        patience: Patience,
        take: Take | None,
        on_crash: Callable[[], None],
        is_trial: bool = False,
        after: "Worker | None" = None,
    ) -> None:
        """Start the process, once the one of ``after`` has ended."""
        self.label = label
        self.pid: int | None = None
        self.metrics_port: int | None = None
        self._program = program
        self._patience = patience
        self._take = take
        self._on_crash = on_crash
        self._is_trial = is_trial
        self._held: list[bytes] = []
        self._ending = ""
        self._retired = asyncio.Event()
        self.keeper = asyncio.create_task(self._keep(after), name=label)

    def retire(self) -> None:
        """Let the process drain, and start it no more."""
        self._retired.set()

    async def ready(self) -> None:
        """Wait until a worker on trial is ready.

        Raises:
            NotStarted: it ended, or did not get ready in time.
        """
        deadline = time.monotonic() + self._patience.ready_timeout_s
        while True:
            has_opened = self.metrics_port is not None and await is_ready(self.metrics_port)
            if self.keeper.done():
                raise NotStarted(self._ending)
            if has_opened:
                return
            if time.monotonic() > deadline:
                raise NotStarted(f"not ready after {self._patience.ready_timeout_s:g} s")
            await asyncio.wait([self.keeper], timeout=_READY_POLL_S)

    def take_place(self) -> None:
        """Be on trial no more."""
        self._is_trial = False
        self._pass_on()

    async def _keep(self, after: "Worker | None") -> None:
        """Run the process, again and again, until the worker is retired."""
        delay_s = self._patience.first_delay_s
        if after is not None:
            await asyncio.wait([after.keeper])
        while not self._retired.is_set():
            began = time.monotonic()
            try:
                status = await self._run()
            finally:
                self._release_port()
            if self._retired.is_set() or self._is_trial:
                self._note_end(status)
                break
            self._on_crash()
            if time.monotonic() - began > _STEADY_S:
                delay_s = self._patience.first_delay_s
            log.warning("worker ended", worker=self.label, status=status, again_in_s=delay_s)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._retired.wait(), delay_s)
            delay_s = min(delay_s * 2, _LONGEST_DELAY_S)

    async def _run(self) -> int | str:
        """Run one process until it ends or is no longer wanted; return how it ended."""
        env = dict(self._program.env)
        try:
            if self._program.has_metrics:
                (self.metrics_port,) = ports.free_ports(1)
                env |= {"METRICS_HOST": ports.LOOPBACK, "METRICS_PORT": str(self.metrics_port)}
            child, written = await self._spawn(env)
        except (OSError, ports.PortUnavailable) as error:
            return str(error)
        self.pid = child.pid
        ended = asyncio.ensure_future(processes.ended(child))
        retired = asyncio.ensure_future(self._retired.wait())
        try:
            await asyncio.wait((ended, retired), return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await processes.stop(child, grace_s=self._patience.drain_grace_s)
        finally:  # when we are cancelled too: nothing may be left
            self.pid = None
            ended.cancel()
            retired.cancel()
            processes.kill(child)
        with suppress(TimeoutError):
            await asyncio.wait_for(written, _LAST_WORDS_S)
        return child.returncode

    async def _spawn(
        self, env: Mapping[str, str]
    ) -> tuple[subprocess.Popen[bytes], "asyncio.Future[None]"]:
        """Start a process; return it, and when all that it wrote has been read."""
        argv, descriptors = self._program.argv, self._program.descriptors
        spawn = partial(processes.spawn, argv, env=env, descriptors=descriptors)
        if self._take is None:
            nothing = asyncio.get_running_loop().create_future()
            nothing.set_result(None)
            return spawn(), nothing
        output, written = await open_pipe(self._written)
        try:
            return spawn(output=output), written
        finally:
            os.close(output)

    def _release_port(self) -> None:
        if self.metrics_port is not None:
            ports.release(self.metrics_port)
            self.metrics_port = None

    def _written(self, lines: bytes) -> None:
        self._held.append(lines)
        if not self._is_trial:
            self._pass_on()

    def _pass_on(self) -> None:
        if self._take and self._held:
            self._take(self._program.name, b"".join(self._held))
            self._held.clear()

    def _note_end(self, status: int | str) -> None:
        """Note how it ended; its last line says why, unless it is one of the log."""
        self._ending = f"exit status {status}" if isinstance(status, int) else status
        *_, last = b"".join(self._held).decode(errors="replace").splitlines() or [""]
        if last and not last.startswith("{"):
            self._ending += f": {last}"
        self._pass_on()
