"""Looks at a queue, its processes and the autoscaler while they are under load."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from benchmarks.scaling.series import Change, Poll, Sample
from benchmarks.scaling.system import System
from ops.scaling.autoscaler import Autoscaler
from ops.scaling.management_api import DepthUnknown
from ops.scaling.policy import Policy


class Recorder:
    """Takes samples of one program and its queue each second, until it is cancelled.

    The autoscaler works through it: it is told and does the same as without, and that is noted.
    """

    def __init__(self, system: System, *, program: str, queue: str) -> None:
        self._system = system
        self._program = program
        self._queue = queue
        self._began = time.monotonic()
        self.began_at_s = time.time()  # since 1970
        self.samples: list[Sample] = []
        self.polls: list[Poll] = []
        self.changes: list[Change] = []

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> None:
        while True:
            try:
                self.samples.append(await self._sample())
            except DepthUnknown as error:
                print(f"    {error}", flush=True)
            await asyncio.sleep(1 - self.elapsed_s % 1)

    async def depth(self, queue: str) -> int:
        """Tell the autoscaler how deep a queue is; raises DepthUnknown."""
        at_s = round(self.elapsed_s, 2)
        depth = await self._system.management.depth(queue)
        self.polls.append(Poll(at_s, depth))
        return depth

    def replicas(self, name: str) -> int:
        return self._system.supervisor.replicas(name)

    def scale(self, name: str, replicas: int) -> None:
        before = self.replicas(name)
        self._system.supervisor.scale(name, replicas)
        self.changes.append(Change(round(self.elapsed_s, 2), before, replicas))

    async def _sample(self) -> Sample:
        depths = await asyncio.to_thread(self._system.management.depths)
        counted = await asyncio.to_thread(self._system.traffic.read)
        queue = depths[self._queue]
        supervisor = self._system.supervisor
        return Sample(
            at_s=round(self.elapsed_s, 2),
            ready=queue.ready,
            unacked=queue.unacked,
            wanted=supervisor.replicas(self._program),
            running=len(supervisor.pids(self._program)) + supervisor.draining(self._program),
            consuming=counted.consumers().get(self._queue, 0),
        )


@asynccontextmanager
async def scaled(recorder: Recorder, policy: Policy) -> AsyncIterator[None]:
    """Have the autoscaler follow the queue for as long as the context lasts."""
    autoscaler = Autoscaler([policy], depths=recorder, processes=recorder)
    async with meanwhile(autoscaler.run()):
        yield


@asynccontextmanager
async def recording(system: System, *, program: str, queue: str) -> AsyncIterator[Recorder]:
    """Take samples for as long as the context lasts."""
    recorder = Recorder(system, program=program, queue=queue)
    async with meanwhile(recorder.run()):
        yield recorder


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
