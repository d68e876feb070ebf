"""Clients and workers, running for as long as a test needs them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import NoReturn, Protocol

from postroad.broker.interfaces import Broker, Publisher
from postroad.broker.memory.broker import MemoryBroker
from postroad.contracts.base import Job
from postroad.contracts.errors import NotAuthorised
from postroad.messaging.background_worker import BackgroundHandlers, BackgroundWorker
from postroad.messaging.client import Client
from postroad.messaging.rpc_worker import Handlers, Worker
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations
from postroad.testing.waiting import eventually
from postroad.topology.names import EVENTS_EXCHANGE, WORK_EXCHANGE, rpc_queue, work_queue

START_TIMEOUT_S = 10.0


class Reachable(Protocol):
    """A broker, such as ``MemoryBroker``."""

    def as_user(self, user: str) -> Broker:
        """Return the broker as a service's user sees it."""


@asynccontextmanager
async def serving(
    broker: Reachable,
    keys: KeyRing,
    handlers: Handlers,
    *,
    prefetch: int = 10,
    drain_timeout_s: float = 2.0,
) -> AsyncIterator[Worker]:
    """Run a worker of the service whose keys these are; drain it at the end.

    Raises:
        NotAuthorised: service.toml does not let the service answer.
        ValueError: a handler is for a request to another service.
    """
    for contract in handlers:
        if contract.service != keys.service:
            raise ValueError(f"{contract.method} is for {contract.service}, not {keys.service}")
    _check_may_consume(broker, keys.service, rpc_queue(keys.service), "answers = true")
    user = broker.as_user(keys.service)
    async with _publishing(user) as publisher:
        worker = Worker(
            keys.service,
            handlers,
            broker=user,
            publisher=publisher,
            keys=keys,
            revocations=Revocations(),
            prefetch=prefetch,
        )
        async with _consuming(worker, drain_timeout_s):
            yield worker


@asynccontextmanager
async def working(
    broker: Reachable,
    keys: KeyRing,
    queue: str,
    handlers: BackgroundHandlers,
    *,
    prefetch: int = 4,
    drain_timeout_s: float = 2.0,
) -> AsyncIterator[BackgroundWorker]:
    """Work off one of a service's queues of events and jobs; drain it at the end.

    ``queue`` is a key of the service's ``works`` in service.toml.

    Raises:
        NotAuthorised: service.toml has no such queue, or does not let it take what is handled.
    """
    whole_name = work_queue(keys.service, queue)
    _check_may_consume(broker, keys.service, whole_name, f"works.{queue}")
    for contract in handlers:
        exchange = WORK_EXCHANGE if issubclass(contract, Job) else EVENTS_EXCHANGE
        if isinstance(broker, MemoryBroker) and not broker.takes(
            whole_name, exchange, contract.name
        ):
            _lacks(keys.service, f"works.{queue} with {contract.name!r}")
    user = broker.as_user(keys.service)
    async with _publishing(user) as publisher:
        worker = BackgroundWorker(
            queue, handlers, broker=user, publisher=publisher, keys=keys, prefetch=prefetch
        )
        async with _consuming(worker, drain_timeout_s):
            yield worker


@asynccontextmanager
async def calling(
    broker: Reachable, keys: KeyRing, *, watches: Sequence[str] = ()
) -> AsyncIterator[Client]:
    """Run a client of the service whose keys these are.

    Raises:
        NotAuthorised: service.toml does not let the service call.
    """
    if not keys.trust.services[keys.service].calls:
        _lacks(keys.service, "calls")
    client = Client(broker.as_user(keys.service), keys, watches=watches)
    await client.start()
    try:
        await eventually(
            lambda: client.is_connected and not client.silent_services(),
            timeout_s=START_TIMEOUT_S,
        )
        yield client
    finally:
        await client.close()


def _check_may_consume(broker: Reachable, service: str, queue: str, right: str) -> None:
    """Refuse at once what the broker in memory would refuse again and again, as RabbitMQ does."""
    if isinstance(broker, MemoryBroker) and not broker.may_consume(service, queue):
        _lacks(service, right)


def _lacks(service: str, right: str) -> NoReturn:
    raise NotAuthorised(f"{service} lacks a right in service.toml: {right}")


@asynccontextmanager
async def _publishing(user: Broker) -> AsyncIterator[Publisher]:
    publisher = user.publisher()
    await publisher.start()
    try:
        yield publisher
    finally:
        await publisher.close()


@asynccontextmanager
async def _consuming(
    worker: Worker | BackgroundWorker, drain_timeout_s: float
) -> AsyncIterator[None]:
    await worker.start()
    try:
        await eventually(lambda: worker.is_ready, timeout_s=START_TIMEOUT_S)
        yield
    finally:
        await worker.drain(drain_timeout_s)
