"""A worker process: everything that speaks to the broker, started and stopped in order."""

import asyncio
import inspect
import signal
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack, closing, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import structlog
from pydantic_settings import BaseSettings

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
from postroad.runtime.resources import HandlersT, Resources, Wiring
from postroad.runtime.revocation_feed import RevocationFeed
from postroad.security.key_watch import watch_key_files
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations
from postroad.settings import (
    EnvironmentSettings,
    LogSettings,
    MessagingSettings,
    MetricsSettings,
    TracingSettings,
    read_settings,
)

if TYPE_CHECKING:
    from postroad.storage.opening import OpenStore, Store

with needs("worker"):
    import uvloop

log = structlog.get_logger()

SettingsT = TypeVar("SettingsT", bound=BaseSettings)
Build = Callable[[Resources[SettingsT]], HandlersT | Wiring[HandlersT]]


class NoSettings(BaseSettings):
    """The settings of a service that has none of its own."""


def serve(
    handlers: Handlers | Build[SettingsT, Handlers],
    *,
    settings: type[SettingsT] | type[NoSettings] = NoSettings,
    store: "Store | None" = None,
    messaging: type[MessagingSettings] = MessagingSettings,
    follows_revocations: bool = True,
) -> None:
    """Answer a service's requests until SIGTERM or SIGINT, then drain and return.

    ``handlers`` pairs each contract with its handler, or is a function that does so with the
    program's ``Resources``; a ``Wiring`` that it returns names what else the program does.

    ``settings`` and ``messaging`` are types of settings, read from the environment. ``store`` is
    the service's database: its outbox is sent and its inbox cleaned meanwhile. A service follows
    which sessions have ended, to refuse their tokens, unless it is the one that ends them.

    Settings that are missing or wrong end the process with one sentence.
    """

    async def make(program: _Program, started: AsyncExitStack) -> _Built:
        revocations, client = Revocations(), program.client
        wiring, needs_client = program.wire(handlers)
        if follows_revocations or needs_client:
            await client.start()
            started.push_async_callback(client.close)
        if follows_revocations:
            feed = RevocationFeed(
                revocations, broker=program.broker, keys=program.keys, client=client
            )
            await feed.start()
            started.push_async_callback(feed.close)
        if needs_client:  # else a request that waits already would be told "unavailable"
            await client.opened(program.messaging.broker_connect_timeout_s)
        worker = Worker(
            program.keys.service,
            wiring.handlers,
            broker=program.broker,
            publisher=program.publisher,
            keys=program.keys,
            revocations=revocations,
            prefetch=program.messaging.prefetch,
        )
        fields = {"methods": [contract.method for contract in wiring.handlers]}
        return _Built(worker, fields, [*worker_metrics(worker), *client_metrics(client)], wiring)

    _run(make, settings=settings, store=store, messaging=messaging)


def consume(
    queue: str,
    handlers: BackgroundHandlers | Build[SettingsT, BackgroundHandlers],
    *,
    settings: type[SettingsT] | type[NoSettings] = NoSettings,
    store: "Store | None" = None,
    messaging: type[MessagingSettings] = MessagingSettings,
) -> None:
    """Work off the events and jobs in one of a service's work queues, as ``serve`` does requests.

    ``queue`` is a key of the service's ``works`` in service.toml. While the database of ``store``
    is away, plain handlers hold their messages, and none of their attempts is used up.
    """

    async def make(program: _Program, started: AsyncExitStack) -> _Built:
        wiring, needs_client = program.wire(handlers)
        if needs_client:
            await program.client.start()
            started.push_async_callback(program.client.close)
            await program.client.opened(program.messaging.broker_connect_timeout_s)
        worker = BackgroundWorker(
            queue,
            held_during_outage(wiring.handlers, program.store),
            broker=program.broker,
            publisher=program.publisher,
            keys=program.keys,
            prefetch=program.messaging.prefetch,
        )
        fields = {"queue": queue, "takes": [contract.name for contract in wiring.handlers]}
        return _Built(worker, fields, background_metrics(worker), wiring)

    _run(make, settings=settings, store=store, messaging=messaging)


class _Consuming(Protocol):
    """A worker of either kind."""

    async def start(self) -> None: ...
    async def drain(self, timeout_s: float) -> None: ...


class _Built(NamedTuple):
    """A worker, what the log says of it, what it counts, and what runs beside it."""

    worker: _Consuming
    log_fields: Mapping[str, object]
    metrics: list[Metric]
    wiring: Wiring[Any]


class _Program:
    """What a process has before its handlers are built."""

    def __init__(
        self,
        settings: BaseSettings,
        messaging: MessagingSettings,
        keys: KeyRing,
        store: "OpenStore | None",
    ) -> None:
        self.messaging = messaging
        self.keys = keys
        self.store = store
        self.broker = RabbitBroker(messaging, keys.service)
        self.publisher = self.broker.publisher()
        self.client = Client(self.broker, keys, publisher=self.publisher)
        self.messages = MessagePublisher(self.publisher, keys)
        self._settings = settings

    def wire(self, handlers: Any) -> tuple[Wiring[Any], bool]:  # noqa: ANN401  # of either kind
        """Build the handlers; return whether they need the client, too."""
        if not callable(handlers):
            return Wiring(handlers), False
        resources = Resources(
            self.keys,
            self._settings,
            client=self.client,
            messages=self.messages,
            store=self.store,
            is_development=read_settings(EnvironmentSettings).is_development,
        )
        built = handlers(resources)
        return built if isinstance(built, Wiring) else Wiring(built), resources.needs_client


def held_during_outage(
    handlers: BackgroundHandlers, store: "OpenStore | None"
) -> BackgroundHandlers:
    """Return handlers of which the plain ones wait for the end of an outage of the database.

    An ``async def`` handler may not block the loop; it fails, and is tried again later.
    """
    if store is None:
        return handlers
    return {
        contract: handler if _is_async(handler) else store.held_during_outage(handler)
        for contract, handler in handlers.items()
    }


def _is_async(handler: Callable[..., object]) -> bool:
    while isinstance(handler, partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler)


_Make = Callable[[_Program, AsyncExitStack], Coroutine[Any, Any, _Built]]


def _run(
    make: _Make,
    *,
    settings: type[BaseSettings],
    store: "Store | None",
    messaging: type[MessagingSettings],
) -> None:
    """Read all settings first, so that a mistake is told before anything waits."""
    own, ours = read_settings(settings), read_settings(messaging)
    is_development = read_settings(EnvironmentSettings).is_development
    keys = KeyRing.load(ours.identity_file, ours.trust_file)
    if not structlog.is_configured():
        configure_logging(keys.service, read_settings(LogSettings))
    opened = store.open(is_development=is_development) if store is not None else None
    with closing(opened) if opened is not None else nullcontext():
        program = _Program(own, ours, keys, opened)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_live(make, program))


async def _live(make: _Make, program: _Program) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    keys, messaging, store = program.keys, program.messaging, program.store
    async with AsyncExitStack() as started:  # what is started first is stopped last
        tracing = read_settings(TracingSettings)
        await started.enter_async_context(exporting_spans(keys.service, tracing))
        await program.publisher.start()
        started.push_async_callback(program.publisher.close)
        made = await make(program, started)
        measured = [*made.metrics, *traffic_metrics(program.broker.traffic), *made.wiring.metrics]
        if store is not None:
            measured += store.metrics()
        await started.enter_async_context(serving_metrics(read_settings(MetricsSettings), measured))
        background = [watch_key_files(keys, messaging.identity_file, messaging.trust_file)]
        if store is not None and store.outbox is not None:
            background.append(store.relay(program.messages))
        if store is not None and store.inbox is not None:
            background.append(store.clean())
        tasks = [asyncio.ensure_future(each) for each in background]
        tasks += [asyncio.ensure_future(each()) for each in made.wiring.background]
        started.push_async_callback(_cancel, tasks)
        await made.worker.start()
        started.push_async_callback(made.worker.drain, messaging.drain_timeout_s)
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
