"""A walk from one release to the other under load, service by service, then the reckoning."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from ops.terminal.progress import say
from postroad.topology.names import VHOST, dead_queue, wait_queue, work_queue
from tests.faults.campaign import reckon
from tests.faults.crowd import people, services
from tests.faults.effects import Effects
from tests.faults.load import read_token
from tests.faults.records import Accepted, Records
from tests.faults.usage import left_over
from tests.upgrades.plan import AFTER, BEFORE, BRIDGE, Move, Stage
from tests.upgrades.releases import CommandFailed, Release
from tests.upgrades.system import QUEUES, WAITS_MS, MixedSystem, mixed_system, seen
from tests.upgrades.traps import HOLD, REFUSE, Traps

VISITORS, CALLERS = 3, 2
SYNC_PAUSE_S = 2.0
BESIDE_S = 2.0  # for which both releases of a service are there
SOON_S = 30.0  # until a message is where a trap puts it
WAITS = [wait_queue(step) for step in range(1, len(WAITS_MS) + 1)]
AUDIT = work_queue("auth", "audit")


@dataclass(slots=True)
class Leg:
    """A part of the walk: when, and how much one release left for the other."""

    name: str
    began: float
    ended: float = 0.0
    replaced: int = 0
    left: Counter[str] = field(default_factory=Counter)  # outbox, queue, waiting, dead


@dataclass(slots=True)
class Walk:
    """All that is known of a walk."""

    records: Records
    legs: list[Leg]
    broker: str = ""
    crashes: dict[str, int] = field(default_factory=dict)
    dead: dict[str, int] = field(default_factory=dict)  # at the end, by queue
    stopped_by: str = ""  # why it could not go on


async def walk(
    folder: Path, before: Release, after: Release, stages: list[Stage], seed: int
) -> Walk:
    """Go through the stages, and return what is to be checked.

    First the broker's definitions and the databases are those of the release before; the newer
    ones are brought in while all services are still the older ones, under load.
    """
    found = Walk(Records(), [])
    async with AsyncExitStack() as context:
        system = await context.enter_async_context(mixed_system(folder, before, after))
        await system.migrate(BEFORE)
        traps = {
            service: context.enter_context(closing(Traps(url, table)))
            for service, url, table in (
                ("auth", system.auth_url, "audit"),
                ("catalog", system.catalog_url, "products"),
            )
        }
        effects = context.enter_context(closing(Effects(system.auth_url, system.catalog_url)))
        await system.start(system.log)
        found.broker = f"RabbitMQ {system.broker.version}"
        walker = _Walker(system, traps, found)
        async with people(
            system, found.records, seed, count=VISITORS, sync_pause_s=SYNC_PAUSE_S
        ) as visitors:
            try:
                await walker.prepare(leaves_one=any(stage.redrives for stage in stages))
                async with services(system, found.records, seed, visitors, count=CALLERS):
                    for stage in stages:
                        await walker.go(stage)
            except (AssertionError, CommandFailed) as error:
                found.stopped_by = f"{walker.doing}: {error}"
        await reckon(effects, found.records)
        found.crashes = system.crashes()
        found.dead = await _dead(system)
    found.records.left_over = left_over(folder)
    return found


async def _dead(system: MixedSystem) -> dict[str, int]:
    """Count what lies in queues of dead letters and of refused messages."""
    listed = await system.broker.ctl("list_queues", "-p", VHOST, "name", "messages")
    depths = dict(line.split("\t") for line in listed.splitlines()[1:])
    return {
        name: int(depth) for name, depth in depths.items() if name.startswith("dead") and int(depth)
    }


class _Walker:
    """Replaces one service after the other."""

    def __init__(self, system: MixedSystem, traps: dict[str, Traps], found: Walk) -> None:
        self._system = system
        self._traps = traps
        self._found = found
        self._poisoned = ""  # a session of which no row can be written
        self.doing = ""

    async def prepare(self, *, leaves_one: bool) -> None:
        """Bring in the newer definitions and schemas, all services being the older ones."""
        leg = self._begin("definitions, then migrations")
        if leaves_one:
            await self._leave_a_dead_letter(leg)
        self.doing = "the newer definitions"
        await self._system.define(AFTER)
        self.doing = "the newer migrations"
        await self._system.migrate(AFTER)
        await asyncio.sleep(BESIDE_S)
        leg.ended = time.monotonic()

    async def go(self, stage: Stage) -> None:
        """Go through one stage."""
        leg = self._begin(stage.name)
        for move in stage.moves:
            self.doing = f"{move.program} to the release {move.to}"
            began = time.monotonic()
            await self._replace(move, leg)
            leg.replaced += 1
            say(f"  {self.doing}: {time.monotonic() - began:.1f} s")
        if stage.redrives:
            await self._redrive(stage.redrives)
        if stage.leaves_one:
            await self._leave_a_dead_letter(leg)
        leg.ended = time.monotonic()

    def _begin(self, name: str) -> Leg:
        say(f"{name}:")
        leg = Leg(name, time.monotonic())
        self._found.legs.append(leg)
        return leg

    async def _replace(self, move: Move, leg: Leg) -> None:
        old = AFTER if move.to == BEFORE else BEFORE
        if move.program == BRIDGE:
            await self._beside(move.program, old, move.to)
        elif move.program in ("auth_audit", "catalog_sync"):
            await self._after_a_backlog(move.program, old, move.to, leg)
        else:
            await self._with_an_outbox(move.program, old, move.to, leg)

    async def _beside(self, program: str, old: str, new: str) -> None:
        """Start the new one before the old one stops; for a while both work."""
        await self._system.add(program, new)
        await asyncio.sleep(BESIDE_S)
        await self._system.remove(program, old)

    async def _with_an_outbox(self, program: str, old: str, new: str, leg: Leg) -> None:
        """Let the new one send what the old one has written to the outbox."""
        traps = self._traps[program.partition("_")[0]]
        traps.set(HOLD)

        async def is_held() -> bool:
            return traps.held() > 0

        await seen(is_held, timeout_s=SOON_S)
        traps.lift(HOLD)
        await self._beside(program, old, new)
        leg.left["outbox"] += traps.release()

    async def _after_a_backlog(self, program: str, old: str, new: str, leg: Leg) -> None:
        """Stop the old one first, so that it leaves work that waits, and work that has failed."""
        traps, queue = self._traps[program.partition("_")[0]], QUEUES[program]
        waited = await self._waiting()
        traps.set(REFUSE)

        async def has_failed() -> bool:
            return await self._waiting() > waited

        await seen(has_failed, timeout_s=SOON_S)
        traps.lift(REFUSE)
        await self._system.remove(program, old)

        async def has_backlog() -> bool:
            return (await self._system.depths([queue]))[queue] > 0

        await seen(has_backlog, timeout_s=SOON_S)
        leg.left["queue"] += (await self._system.depths([queue]))[queue]
        leg.left["waiting"] += await self._waiting()
        await self._system.add(program, new)

    async def _waiting(self) -> int:
        return sum((await self._system.depths(WAITS)).values())

    async def _leave_a_dead_letter(self, leg: Leg) -> None:
        """Sign in, and have the event of it refused until it is given up."""
        self.doing = "a dead letter"
        traps = self._traps["auth"]
        traps.set(HOLD)
        async with self._system.browser() as browser:
            answer = await browser.post("/auth", json=self._system.operator)
        assert answer.status_code == 200, f"the operator cannot sign in: {answer.text}"
        session = read_token(answer.json()["access_token"]).session_id
        self._poisoned = f"{REFUSE} {session}"
        traps.set(self._poisoned)
        traps.lift(HOLD)
        traps.release()
        self._found.records.accepted.append(
            Accepted("auth.login.succeeded", session, time.monotonic())
        )
        await seen(self._are_dead(1), timeout_s=sum(WAITS_MS) / 1000 + SOON_S)
        leg.left["dead"] += 1

    async def _redrive(self, release: str) -> None:
        """Move the dead letter back by a release's command, and see it worked off."""
        self.doing = f"postroad dead-letters redrive of the release {release}"
        self._traps["auth"].lift(self._poisoned)
        await self._system.command_of(release, "dead-letters", "redrive", "--queue", AUDIT, "--yes")
        await seen(self._are_dead(0), timeout_s=SOON_S)

    def _are_dead(self, count: int) -> Callable[[], Awaitable[bool]]:
        queue = dead_queue(AUDIT)

        async def are_dead() -> bool:
            return (await self._system.depths([queue]))[queue] == count

        return are_dead
