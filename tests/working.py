"""Events and jobs for the catalogue, and a worker that does them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from shared.contracts.base import Event, Job
from shared.contracts.catalog import FetchPage
from shared.contracts.errors import UpstreamFailed
from shared.contracts.events import SyncRequested
from shared.messaging.background import BackgroundHandlers, BackgroundWorker
from shared.messaging.broker import State
from shared.messaging.ids import new_id
from shared.messaging.keyring import KeyRing
from shared.messaging.names import dead_queue, work_queue
from shared.messaging.posting import MessagePublisher
from shared.tracing.context import current_trace
from tests.brokers import BrokerUnderTest
from tests.traffic import publishing
from tests.waiting import eventually

Keys = dict[str, KeyRing]

QUEUE = work_queue("catalog", "sync")
DEAD_QUEUE = dead_queue(QUEUE)
JOB = FetchPage(sync_id="s", skip=0, limit=10)
REQUESTED = SyncRequested(sync_id="s")
BODY = JOB.model_dump_json().encode()
WAIT_TTLS_MS = (20, 40, 80, 160)


@asynccontextmanager
async def working(
    broker: BrokerUnderTest, keys: KeyRing, handlers: BackgroundHandlers, *, prefetch: int = 4
) -> AsyncIterator[BackgroundWorker]:
    """Work the catalogue's sync queue off."""
    user = await broker.as_user(keys.service)
    publisher = user.publisher()
    worker = BackgroundWorker(
        "sync", handlers, broker=user, publisher=publisher, keys=keys, prefetch=prefetch
    )
    await publisher.start()
    await worker.start()
    await eventually(lambda: worker._consumer.state is publisher.state is State.OPEN)
    yield worker
    await worker.drain(2.0)
    await publisher.close()


async def give(broker: BrokerUnderTest, keys: KeyRing, message: Job | Event) -> str:
    """Publish a job or an event as its sender does, and give its id."""
    message_id = new_id()
    async with publishing(broker, keys.service) as publisher:
        await MessagePublisher(publisher, keys).publish(
            "job" if isinstance(message, Job) else "event",
            message.name,
            message.model_dump_json().encode(),
            message_id=message_id,
            correlation_id="request-1",
            trace=current_trace.get(),
        )
    return message_id


def failing(times: int, done: list[Any]) -> Callable[[Any], None]:
    """Make a handler that fails that often, and then succeeds."""
    failures = iter(range(times))

    def handle(message: Any) -> None:
        if next(failures, None) is not None:
            raise UpstreamFailed
        done.append(message)

    return handle
