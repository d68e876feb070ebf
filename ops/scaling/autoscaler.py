"""Runs as many processes as their queues deserve: asks, decides, and has it done."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Protocol

import structlog

from ops.scaling.management_api import DepthUnknown
from ops.scaling.policy import Policy
from ops.scaling.report import Change
from ops.scaling.rule import Memory, decide

log = structlog.get_logger()

_CHANGES_KEPT = 50
_LOOK_S = 1.0  # for programs that are new


class Depths(Protocol):
    """Who knows how deep queues are."""

    async def depth(self, queue: str) -> int:
        """Count what waits and what consumers hold; raises DepthUnknown."""


class Scalable(Protocol):
    """Who runs the processes."""

    def replicas(self, name: str) -> int: ...

    def scale(self, name: str, replicas: int) -> None: ...


class Autoscaler:
    """Applies each policy at its own interval."""

    def __init__(self, policies: Iterable[Policy], *, depths: Depths, processes: Scalable) -> None:
        """Follow these policies, and those that are added to them later."""
        self._policies = policies
        self._depths = depths
        self._processes = processes
        self._changes: deque[Change] = deque(maxlen=_CHANGES_KEPT)

    @property
    def changes(self) -> Sequence[Change]:
        """Give the last changes, the newest last."""
        return tuple(self._changes)

    async def run(self) -> None:
        """Follow all queues until cancelled."""
        followed: set[str] = set()
        async with asyncio.TaskGroup() as tasks:
            while True:
                for policy in self._policies:
                    if policy.program not in followed:
                        followed.add(policy.program)
                        tasks.create_task(self._follow(policy))
                await asyncio.sleep(_LOOK_S)

    async def _follow(self, policy: Policy) -> None:
        memory = Memory()
        while True:
            memory = await self.step(policy, memory)
            await asyncio.sleep(policy.polling_s)

    async def step(self, policy: Policy, memory: Memory) -> Memory:
        """Ask once, and do what follows; give what to remember."""
        depth = await self._depth(policy.queue, known_before=memory.failures == 0)
        before = self._processes.replicas(policy.program)
        decision = decide(policy, depth, replicas=before, memory=memory, now_s=time.monotonic())
        if decision.replicas != before:
            self._change(policy.program, before, decision.replicas, decision.reason)
        return decision.memory

    async def _depth(self, queue: str, *, known_before: bool) -> int | None:
        try:
            return await self._depths.depth(queue)
        except DepthUnknown as error:
            if known_before:  # once, not every few seconds
                log.warning("queue depth unknown", queue=queue, error=str(error))
            return None

    def _change(self, program: str, before: int, after: int, reason: str) -> None:
        self._processes.scale(program, after)
        log.info("scaled", program=program, before=before, after=after, reason=reason)
        self._changes.append(
            Change(at=datetime.now(UTC), program=program, before=before, after=after, reason=reason)
        )
