"""One move there and one back, with traffic on: what was promised, and what has come of it."""

import asyncio
import os
import time
from collections.abc import Awaitable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path

from ops.terminal.progress import say
from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.events import LoginSucceeded
from postroad.ids import new_id
from postroad.messaging.publishing import MessagePublisher, NotPublished
from postroad.testing import eventually
from postroad.topology.names import dead_queue, work_queue
from tests.broker_move.system import MovingSystem
from tests.faults.crowd import crowd
from tests.faults.effects import Effects
from tests.faults.records import Accepted, Records
from tests.faults.system import SETTINGS
from tests.support.nodes import Node

AUDIT, SYNC = work_queue("auth", "audit"), work_queue("catalog", "sync")
AROUND_S = 10.0  # of traffic, before and after a switch
CARRY_TIMEOUT_S = SETTLE_S = 1_200.0
_SAY_EVERY_S, _PAUSE_S = 15.0, 0.2
_SOMEWHERE_ELSE = 1_000_000  # a user id that none of our users has
_AT_ONCE = 100


@dataclass(slots=True)
class Move:
    """One move, by the campaign's monotonic clock; in seconds."""

    way: str
    waiting: int
    began: float = 0.0  # with the first of the three commands
    switched: float = 0.0  # with the last
    carried: float = 0.0
    kills: int = 0
    load: float = 0.0  # of the machine, in the minute before


@dataclass(slots=True)
class Result:
    """All that is known in the end."""

    old: str
    new: str
    records: Records = field(default_factory=Records)
    moves: list[Move] = field(default_factory=list)
    jobs: int = 0  # that were published before a switch
    left: dict[str, int] = field(default_factory=dict)  # in work queues, of either broker


async def run(folder: Path, new: Node, *, jobs: int, back: int, seed: int) -> Result:
    """Move with ``jobs`` waiting, the carrier killed once; then back with ``back`` more."""
    system = MovingSystem(folder, new)
    async with AsyncExitStack() as context:
        context.push_async_callback(system.stop)
        await system.start(system.log, **SETTINGS)
        effects = context.enter_context(closing(Effects(system.auth_url, system.catalog_url)))
        await system.prepare()
        result = Result(system.broker.version, await asyncio.to_thread(system.new_version))
        records = result.records
        await _fill(system, records, jobs)
        async with crowd(system, records, seed):
            await asyncio.sleep(AROUND_S)
            there = Move("there", await system.depth(AUDIT))
            say(f"{there.waiting} jobs wait at RabbitMQ {result.old}")
            system.start_audit()
            await _switch(there, system.go())
            await _carry(system, there, folder, is_killed=True)
            await asyncio.sleep(AROUND_S)
            await _fill(system, records, back)
            again = Move("back", await system.depth(AUDIT, at_new=True))
            say(f"{again.waiting} jobs wait at RabbitMQ {result.new}")
            await _switch(again, system.go_back())
            await _carry(system, again, folder)
            await asyncio.sleep(AROUND_S)
        result.moves, result.jobs = [there, again], jobs + back
        say("no more traffic; waiting until all that was accepted is done")
        await _reckon(system, effects, result)
    return result


async def _switch(move: Move, switching: Awaitable[None]) -> None:
    move.load, _, _ = os.getloadavg()
    move.began = time.monotonic()
    await switching
    move.switched = time.monotonic()
    say(f"switched, within {move.switched - move.began:.1f} s")


async def _carry(
    system: MovingSystem, move: Move, folder: Path, *, is_killed: bool = False
) -> None:
    """Have the command carry what is left, and kill it once when a third has been carried."""
    is_back = move.way == "back"
    log = folder / "carry.log"
    if is_killed:

        async def is_under_way() -> bool:
            return await system.depth(AUDIT, at_new=is_back) < move.waiting * 2 // 3

        with system.carrying(log, is_back=is_back):
            await eventually(is_under_way, timeout_s=CARRY_TIMEOUT_S)
        move.kills += 1
        say("killed the carrier; it is started again")
    with system.carrying(log, is_back=is_back) as process:
        status = await asyncio.wait_for(asyncio.to_thread(process.wait), CARRY_TIMEOUT_S)
    if status:
        raise RuntimeError(f"carry ended with {status}: {log.read_text()}")
    move.carried = time.monotonic()
    say(f"all is carried, {move.carried - move.switched:.0f} s after the switch")


async def _fill(system: MovingSystem, records: Records, count: int) -> None:
    """Publish so many events that the audit notes, each under a session of its own."""
    publisher = RabbitBroker(system.settings_of("gate"), "gate").publisher()
    await publisher.start()
    messages = MessagePublisher(publisher, system.keys("gate"))
    left = iter(range(count))

    async def publish() -> None:
        for _ in left:
            records.accepted.append(await _tell(messages))

    try:
        await asyncio.gather(*(publish() for _ in range(_AT_ONCE)))
    finally:
        await publisher.close()


async def _tell(messages: MessagePublisher) -> Accepted:
    session, event_id = new_id(), new_id()
    event = LoginSucceeded(
        user_id=_SOMEWHERE_ELSE, session_id=session, at=time.time(), client_network=None
    )
    body = event.model_dump_json().encode()
    while True:
        try:
            await messages.publish(
                "event", event.name, body, message_id=event_id, correlation_id=event_id
            )
        except NotPublished:
            await asyncio.sleep(_PAUSE_S)
        else:
            return Accepted(event.name, session, time.monotonic())


async def _reckon(system: MovingSystem, effects: Effects, result: Result) -> None:
    """Wait until all that was accepted has had its effect, and read what there is."""
    records = result.records
    wanted = {(each.name, each.key) for each in records.accepted}
    give_up_at, say_at = time.monotonic() + SETTLE_S, 0.0
    while time.monotonic() < give_up_at:
        records.effects = await asyncio.to_thread(effects.noted)
        records.syncs = await asyncio.to_thread(effects.syncs)
        under_way = any(sync.status in ("requested", "running") for sync in records.syncs)
        missing = len(wanted - records.effects.keys())
        if not missing and not under_way:
            break
        if time.monotonic() > say_at:
            say(f"  {missing} are not noted yet")
            say_at = time.monotonic() + _SAY_EVERY_S
        await asyncio.sleep(1)
    for queue in (AUDIT, SYNC):
        for at_new in (False, True):
            dead = await system.depth(dead_queue(queue), at_new=at_new)
            records.given_up[queue] = records.given_up.get(queue, 0) + dead
            place = f"{queue} of the {'new' if at_new else 'old'} broker"
            result.left[place] = await system.depth(queue, at_new=at_new)
