"""A worker process: everything that speaks to the broker, started and stopped in order."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, NamedTuple, Protocol

import structlog

from postroad.broker.interfaces import Broker, Publisher
from postroad.broker.rabbitmq import RabbitBroker
from postroad.extras import needs
from postroad.messaging.background_worker import BackgroundHandlers, BackgroundWorker
from postroad.messaging.client import Client
from postroad.messaging.publishing import MessagePublisher
from postroad.messaging.rpc_worker import Handlers, Worker
from postroad.observability.exporting import exporting_spans
from postroad.observability.logging import configure_logging
from postroad.observability.metrics import Metric
from postroad.observability.metrics_server import serving_metrics
from postroad.runtime.metrics import (
    background_metrics,
    client_metrics,
    traffic_metrics,
    worker_metrics,
)
from postroad.runtime.revocation_feed import RevocationFeed
from postroad.security.key_watch import watch_key_files
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations
from postroad.settings import (
    LogSettings,
    MessagingSettings,
    MetricsSettings,
    TracingSettings,
    read_settings,
)

with needs("worker"):
    import uvloop

log = structlog.get_logger()

Background = Callable[[MessagePublisher], Awaitable[None]]
BuildHandlers = Callable[[Client], Handlers]


def serve(
    handlers: Handlers | BuildHandlers,
    *,
    keys: KeyRing | None = None,
    settings: MessagingSettings | None = None,
    background: Iterable[Background] = (),
    follows_revocations: bool = True,
    metrics: Iterable[Metric] = (),
) -> None:
    """Answer a service's requests until SIGTERM or SIGINT, then drain and return.

    Handlers that call other services are given as a function of the client to call with. Settings,
    keys and logging are what the environment says, unless the caller has seen to them.
    ``background`` runs beside the handlers, and may publish events and jobs. Unless it is the one
    that ends sessions, a service follows which have been ended, to refuse their tokens.
    ``measures`` are shown to Prometheus beside those of the messages.
    """
    settings = settings or read_settings(MessagingSettings)
    keys = keys or KeyRing.load(settings.identity_file, settings.trust_file)
    if not structlog.is_configured():
        configure_logging(keys.service, read_settings(LogSettings))

    async def make(broker: Broker, publisher: Publisher, started: AsyncExitStack) -> _Built:
        revocations = Revocations()
        client = Client(broker, keys, publisher=publisher)
        if follows_revocations or callable(handlers):
            await client.start()
            started.push_async_callback(client.close)
        if follows_revocations:
            feed = RevocationFeed(revocations, broker=broker, keys=keys, client=client)
            await feed.start()
            started.push_async_callback(feed.close)
        if callable(handlers):  # else a request that waits already would be told "unavailable"
            await client.opened(settings.broker_connect_timeout_s)
        answering = handlers(client) if callable(handlers) else handlers
        worker = Worker(
            keys.service,
            answering,
            broker=broker,
            publisher=publisher,
            keys=keys,
            revocations=revocations,
            prefetch=settings.prefetch,
        )
        fields = {"methods": [contract.method for contract in answering]}
        return _Built(worker, fields, [*worker_metrics(worker), *client_metrics(client)])

    _run(_live(make, keys, settings, background, metrics))


def consume(
    queue: str,
    handlers: BackgroundHandlers,
    *,
    keys: KeyRing,
    settings: MessagingSettings,
    background: Iterable[Background] = (),
    metrics: Iterable[Metric] = (),
) -> None:
    """Work off the events and jobs in one of a service's work queues, as ``serve`` does requests.

    ``queue`` is a key of the service's ``works`` in service.toml.
    """

    async def make(broker: Broker, publisher: Publisher, _: AsyncExitStack) -> _Built:
        worker = BackgroundWorker(
            queue,
            handlers,
            broker=broker,
            publisher=publisher,
            keys=keys,
            prefetch=settings.prefetch,
        )
        fields = {"queue": queue, "takes": [contract.name for contract in handlers]}
        return _Built(worker, fields, background_metrics(worker))

    _run(_live(make, keys, settings, background, metrics))


class _Consuming(Protocol):
    """A worker of either kind."""

    async def start(self) -> None: ...
    async def drain(self, timeout_s: float) -> None: ...


class _Built(NamedTuple):
    """A worker, what the log says of it, and what it counts."""

    worker: _Consuming
    log_fields: Mapping[str, object]
    metrics: list[Metric]


_Make = Callable[[Broker, Publisher, AsyncExitStack], Awaitable[_Built]]


def _run(life: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(life)


async def _live(
    make: _Make,
    keys: KeyRing,
    settings: MessagingSettings,
    background: Iterable[Background],
    metrics: Iterable[Metric],
) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    broker = RabbitBroker(settings, keys.service)
    async with AsyncExitStack() as started:  # what is started first is stopped last
        tracing = read_settings(TracingSettings)
        await started.enter_async_context(exporting_spans(keys.service, tracing))
        publisher = broker.publisher()
        await publisher.start()
        started.push_async_callback(publisher.close)
        made = await make(broker, publisher, started)
        measured = (*made.metrics, *traffic_metrics(broker.traffic), *metrics)
        await started.enter_async_context(serving_metrics(read_settings(MetricsSettings), measured))
        messages = MessagePublisher(publisher, keys)
        tasks = [
            asyncio.create_task(watch_key_files(keys, settings.identity_file, settings.trust_file)),
            *(asyncio.ensure_future(task(messages)) for task in background),
        ]
        started.push_async_callback(_cancel, tasks)
        await made.worker.start()
        started.push_async_callback(made.worker.drain, settings.drain_timeout_s)
        log.info("started", **made.log_fields)
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
