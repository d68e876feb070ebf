"""All who use the system, for as long as a campaign lasts."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from postroad.broker.rabbitmq import RabbitBroker
from postroad.contracts.events import LoginSucceeded
from postroad.messaging.client import Client
from postroad.messaging.event_listener import EventListener, ReceivedEvent
from postroad.runtime.blocking import BlockingClient
from postroad.runtime.connect import connect
from postroad.security.key_watch import watch_key_files
from tests.faults.load import PASSWORD, Caller, Visitor
from tests.faults.records import Records, Stall
from tests.faults.system import System
from tests.faults.work import SYNC_PAUSE_S, Door, Operator

VISITORS = 6
CALLERS = 3
_BEAT_S, _STALL_S = 0.05, 0.1


@asynccontextmanager
async def crowd(system: System, records: Records, seed: int) -> AsyncIterator[Client]:
    """Put load on a system; give a client with which to see whether callers are answered."""
    async with (
        people(system, records, seed) as visitors,
        services(system, records, seed, visitors) as client,
    ):
        yield client


@asynccontextmanager
async def people(
    system: System,
    records: Records,
    seed: int,
    *,
    count: int = VISITORS,
    sync_pause_s: float = SYNC_PAUSE_S,
) -> AsyncIterator[list[Visitor]]:
    """Let people use the bridge, and one of them renew the catalogue."""
    names = [f"visitor{number}" for number in range(count)]
    system.add_users(dict.fromkeys(names, PASSWORD))
    async with AsyncExitStack() as context:
        visitors = [
            Visitor(
                name,
                await context.enter_async_context(system.browser()),
                records,
                seed,
                stays=number % 2 == 0,
                timeout_s=system.timeout_s,
            )
            for number, name in enumerate(names)
        ]
        browser = await context.enter_async_context(system.browser())
        async with running(
            *(visitor.run() for visitor in visitors),
            Operator(browser, records, credentials=system.operator, pause_s=sync_pause_s).run(),
            _note_stalls(records),
        ):
            yield visitors


@asynccontextmanager
async def services(
    system: System, records: Records, seed: int, visitors: list[Visitor], *, count: int = CALLERS
) -> AsyncIterator[Client]:
    """Let services call, listen and publish without the bridge; give the client of one."""
    async with AsyncExitStack() as context:
        client = await context.enter_async_context(connect(system.settings_of("shop")))
        blocking = context.enter_context(BlockingClient(system.settings_of("till")))
        await context.enter_async_context(_listening(system, records))

        def caller(name: str, acts_for: list[Visitor]) -> Caller:
            return Caller(name, records, acts_for, seed, timeout_s=system.timeout_s)

        async with running(
            *(caller(f"caller{number}", visitors).run(client) for number in range(count)),
            _in_thread(caller("till", []), blocking),
            Door(system, records).run(),
        ):
            yield client


@asynccontextmanager
async def _listening(system: System, records: Records) -> AsyncIterator[None]:
    """Hear of sign-ins as they happen."""
    settings, keys = system.settings_of("shop"), system.keys("shop")

    def hear(received: ReceivedEvent[LoginSucceeded]) -> None:
        records.heard[received.event.session_id] += 1

    listener = EventListener(
        {LoginSucceeded: hear}, broker=RabbitBroker(settings, "shop"), keys=keys
    )
    await listener.start()
    try:
        async with running(watch_key_files(keys, settings.identity_file, settings.trust_file)):
            yield
    finally:
        await listener.close()


async def _note_stalls(records: Records) -> None:
    """Note when we do not get to run: an answer that waits for us is not late."""
    while True:
        due = time.monotonic() + _BEAT_S
        await asyncio.sleep(_BEAT_S)
        now = time.monotonic()
        if now - due > _STALL_S:
            records.stalls.append(Stall(due, now))


async def _in_thread(caller: Caller, client: BlockingClient) -> None:
    over = asyncio.Event()
    thread = asyncio.create_task(
        asyncio.to_thread(partial(caller.run_blocking, client, over.is_set))
    )
    try:
        await asyncio.shield(thread)
    finally:
        over.set()
        await thread


@asynccontextmanager
async def running(*work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run coroutines that never end for as long as the context lasts.

    Raises:
        Exception: what one of them raised: it was a bug of the campaign's, or of a client's.
    """
    tasks = [asyncio.create_task(each) for each in work]
    try:
        yield
    finally:
        failed = [task for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in failed:
            task.result()
