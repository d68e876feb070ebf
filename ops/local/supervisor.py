"""Keeps worker processes running: as many as wanted, no longer than we live.

Why this is ours and not a library's: docs/decisions/0001-own-supervisor.md.
"""

import asyncio
from dataclasses import dataclass, field

from ops.local.worker import Patience, Program, Take, Worker

_DRAINED_S = 1.0  # who has nothing under way has ended by then, and answers no more


@dataclass(slots=True)
class _Group:
    program: Program
    active: list[Worker] = field(default_factory=list)
    draining: set[Worker] = field(default_factory=set)
    trials: set[Worker] = field(default_factory=set)
    replacing: asyncio.Lock = field(default_factory=asyncio.Lock)
    crashes: int = 0
    started: int = 0

    def count_crash(self) -> None:
        self.crashes += 1

    def keepers(self) -> list[asyncio.Task[None]]:
        return [worker.keeper for worker in (*self.active, *self.draining, *self.trials)]

    def retire(self, worker: Worker) -> None:
        """Let a worker go that is in its place no more."""
        worker.retire()
        if not worker.keeper.done():
            self.draining.add(worker)
            worker.keeper.add_done_callback(lambda _: self.draining.discard(worker))


class Supervisor:
    """Groups of worker processes, each scaled while the others run.

    Scaling never waits and is never refused: a worker that is let go leaves its group at once and
    drains on its own, while new ones may start already.
    """

    def __init__(
        self,
        *,
        drain_grace_s: float = 30.0,
        first_delay_s: float = 0.5,
        ready_timeout_s: float = 30.0,
        take: Take | None = None,
    ) -> None:
        """``take`` is given what each program writes, line by line; without it they write to our
        standard output.
        """
        self._groups: dict[str, _Group] = {}
        self._patience = Patience(drain_grace_s, first_delay_s, ready_timeout_s)
        self._take = take

    def start(self, program: Program, *, replicas: int = 1) -> None:
        """Add a group and its workers."""
        if program.name in self._groups:
            raise ValueError(f"there is a group {program.name} already")
        self._groups[program.name] = _Group(program)
        self.scale(program.name, replicas)

    def redefine(self, program: Program) -> None:
        """Have a group run a program as it is now, from the next process on."""
        self._groups[program.name].program = program

    def scale(self, name: str, replicas: int) -> None:
        """Make a group this large; the newest workers are the first to go."""
        group = self._groups[name]
        while len(group.active) < replicas:
            group.active.append(self._begin(group))
        while len(group.active) > max(replicas, 0):
            group.retire(group.active.pop())

    async def replace(self, name: str) -> int:
        """Start a group's processes anew, and return how many there are.

        An old one goes on until a new one is ready, then drains. It is waited for, but no longer
        than one takes that has nothing under way: then only the new code answers. A program without
        metrics cannot say when it is ready: its new process starts when the old one has ended.

        Raises:
            NotStarted: a new process ended, or did not get ready; the old one goes on.
        """
        group = self._groups[name]
        async with group.replacing:
            workers = list(group.active)
            for worker in workers[:1]:  # alone: if it cannot start, nor can the others
                await self._succeed(group, worker)
            others = (self._succeed(group, worker) for worker in workers[1:])
            for error in await asyncio.gather(*others, return_exceptions=True):
                if error is not None:
                    raise error
            return len(workers)

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
                for worker in group.trials:
                    worker.retire()
                await asyncio.gather(*group.keepers())
        finally:
            rest = [keeper for group in self._groups.values() for keeper in group.keepers()]
            for keeper in rest:
                keeper.cancel()
            await asyncio.gather(*rest, return_exceptions=True)

    def _begin(
        self, group: _Group, *, is_trial: bool = False, after: Worker | None = None
    ) -> Worker:
        group.started += 1
        return Worker(
            group.program,
            f"{group.program.name}.{group.started}",
            patience=self._patience,
            take=self._take,
            on_crash=group.count_crash,
            is_trial=is_trial,
            after=after,
        )

    async def _succeed(self, group: _Group, old: Worker) -> None:
        """Have a new worker take the place of an old one, unless that is let go meanwhile."""
        if old not in group.active:
            return
        if not group.program.has_metrics:
            group.active[group.active.index(old)] = self._begin(group, after=old)
            group.retire(old)
            return
        new = self._begin(group, is_trial=True)
        group.trials.add(new)
        try:
            await new.ready()
        except BaseException:
            group.retire(new)
            raise
        finally:
            group.trials.discard(new)
        if old in group.active:
            group.active[group.active.index(old)] = new
            new.take_place()
            group.retire(old)
            await asyncio.wait([old.keeper], timeout=_DRAINED_S)
        else:
            group.retire(new)
