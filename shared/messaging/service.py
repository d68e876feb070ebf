"""A worker process: everything that speaks to the broker, started and stopped in order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import structlog
import uvloop

from shared.messaging.client import Client
from shared.messaging.events import EventPublisher
from shared.messaging.keyring import KeyRing, watch_key_files
from shared.messaging.rabbitmq import RabbitBroker
from shared.messaging.worker import Handlers, Worker
from shared.revocation_feed import RevocationFeed
from shared.revocations import Revocations
from shared.settings import MessagingSettings

log = structlog.get_logger()

Background = Callable[[EventPublisher], Awaitable[None]]


def serve(
    handlers: Handlers,
    *,
    keys: KeyRing,
    settings: MessagingSettings,
    background: Iterable[Background] = (),
    follows_revocations: bool = True,
) -> None:
    """Answer a service's requests until SIGTERM or SIGINT, then drain and return.

    ``background`` runs beside the handlers, and may publish events. Unless it is the one that
    ends sessions, a service follows which have been ended, to refuse their tokens.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(handlers, keys, settings, background, follows_revocations))


async def _serve(
    handlers: Handlers,
    keys: KeyRing,
    settings: MessagingSettings,
    background: Iterable[Background],
    follows_revocations: bool,
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = RabbitBroker(settings, keys.service)
    revocations = Revocations()
    async with AsyncExitStack() as started:  # what is started first is stopped last
        publisher = broker.publisher()
        await publisher.start()
        started.push_async_callback(publisher.close)
        if follows_revocations:
            client = Client(broker, keys, publisher=publisher)
            await client.start()
            started.push_async_callback(client.close)
            feed = RevocationFeed(revocations, broker=broker, keys=keys, client=client)
            await feed.start()
            started.push_async_callback(feed.close)
        tasks = [
            asyncio.create_task(watch_key_files(keys, settings.identity_file, settings.trust_file)),
            *(asyncio.ensure_future(task(EventPublisher(publisher, keys))) for task in background),
        ]
        started.push_async_callback(_cancel, tasks)
        worker = Worker(
            keys.service,
            handlers,
            broker=broker,
            publisher=publisher,
            keys=keys,
            revocations=revocations,
            prefetch=settings.prefetch,
        )
        await worker.start()
        started.push_async_callback(worker.drain, settings.drain_timeout_s)
        log.info("started", methods=[contract.method for contract in handlers])
        await _first_of(stop, tasks)
    log.info("stopped")


async def _first_of(stop: asyncio.Event, tasks: Sequence[asyncio.Future[None]]) -> None:
    """Wait for the end that is asked for; a background task that ends by itself is a bug."""
    stopped = asyncio.create_task(stop.wait())
    ends: list[asyncio.Future[Any]] = [stopped, *tasks]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    for task in tasks:
        if task.done():
            task.result()
            raise RuntimeError("a background task ended")


async def _cancel(tasks: Sequence[asyncio.Future[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
