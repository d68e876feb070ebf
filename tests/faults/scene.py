"""What a fault has at hand, and what is known of it."""

import asyncio
import math
import random
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from postroad.testing import eventually
from tests.faults.brokers.container import ContainerNode
from tests.faults.brokers.interface import Node
from tests.faults.records import Records
from tests.faults.system import System

GONE_S = 10.0  # at most, until a process is there again, or there no more


@dataclass(slots=True)
class Scene:
    """What a fault has at hand; ``chance`` is seeded."""

    system: System
    records: Records
    chance: random.Random
    restored: Callable[
        [], Coroutine[Any, Any, str]
    ]  # waits until all is well; else names what is not
    well_meanwhile_s: float | None = None  # after which all was well, the harm being there still

    def node(self) -> Node:
        """Choose a node."""
        return self.chance.choice(self.system.brokers.nodes)

    def container(self) -> ContainerNode:
        """Choose a node of a cluster."""
        return self.chance.choice(self.system.nodes)

    async def well_meanwhile(self, shortest_s: float = 0.0, longest_s: float = 0.0) -> None:
        """Wait until all is well though the harm has not been taken back, and so long at least.

        What says nothing is missed only after a while: before, all seems well.
        """
        began = time.monotonic()
        await self.hold(shortest_s, longest_s)
        problem = await self.restored()
        self.well_meanwhile_s = math.inf if problem else time.monotonic() - began

    def begin(self) -> None:
        """Forget what was of the fault before."""
        self.well_meanwhile_s = None

    async def hold(self, shortest_s: float = 0.3, longest_s: float = 3.0) -> None:
        """Leave the harm as it is for a while."""
        await asyncio.sleep(self.chance.uniform(shortest_s, longest_s))

    async def victim(self, *programs: str) -> tuple[str, int]:
        """Choose a process; one that has just been killed is waited for."""
        name = self.chance.choice(programs)
        supervisor = self.system.supervisor
        await eventually(lambda: supervisor.pids(name), timeout_s=GONE_S)
        return name, self.chance.choice(supervisor.pids(name))


Inject = Callable[[Scene], Coroutine[Any, Any, str]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault, and what it keeps the system from."""

    inject: Inject
    hides_bridge: bool = False
    moves_clock: bool = False
