"""Events and jobs for the catalogue, and a worker that does them."""

from collections.abc import Callable
from typing import Any

from postroad.contracts.base import Event, Job
from postroad.contracts.errors import UpstreamFailed
from postroad.contracts.events import SyncRequested
from postroad.contracts.syncs import FetchPage
from postroad.ids import new_id
from postroad.messaging.publishing import MessagePublisher
from postroad.observability.trace_context import current_trace
from postroad.security.keyring import KeyRing
from postroad.topology.names import dead_queue, work_queue
from tests.support.brokers import BrokerUnderTest
from tests.support.traffic import publishing

Keys = dict[str, KeyRing]

QUEUE = work_queue("catalog", "sync")
DEAD_QUEUE = dead_queue(QUEUE)
JOB = FetchPage(sync_id="s", skip=0, limit=10)
REQUESTED = SyncRequested(sync_id="s")
BODY = JOB.model_dump_json().encode()
WAIT_TTLS_MS = (20, 40, 80, 160)


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
