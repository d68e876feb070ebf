"""What a fault has at hand, and what is known of it."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from postroad.testing import eventually
from tests.faults.records import Records
from tests.faults.system import System

GONE_S = 10.0  # at most, until a process is there again, or there no more


@dataclass(slots=True)
class Scene:
    """What a fault has at hand; ``chance`` is seeded."""

    system: System
    records: Records
    chance: random.Random

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
