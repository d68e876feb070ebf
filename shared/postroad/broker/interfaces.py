"""What clients and workers need of a broker; RabbitMQ and the in-memory broker both give it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from pika import BasicProperties as BasicProperties  # noqa: PLC0414 — for those who do not import pika

from postroad.broker.deliveries import Delivery as Delivery  # noqa: PLC0414 — as above
from postroad.broker.deliveries import OnDelivery as OnDelivery  # noqa: PLC0414
from postroad.limits import MESSAGE_MAX_BYTES


class ConnectionState(StrEnum):
    """Where a connection stands."""

    CONNECTING = "connecting"
    OPEN = "open"
    BLOCKED = "blocked"  # the broker is short of memory or disk, and reads no publishes
    RECOVERING = "recovering"
    DRAINING = "draining"
    CLOSED = "closed"


class Outcome(StrEnum):
    """What became of a published message."""

    CONFIRMED = "confirmed"  # the broker has it, in a queue
    RETURNED = "returned"  # no queue is bound to its routing key
    REFUSED = "refused"  # the queue is full
    LOST = "lost"  # the connection went first: it may have arrived or not


class NotOpen(Exception):
    """The connection is not open; nothing was sent."""


class TooLarge(Exception):
    """The body is over its limit; nothing was sent."""

    def __init__(self, body: bytes, most: int = MESSAGE_MAX_BYTES) -> None:
        super().__init__(f"a body of {len(body)} bytes; at most {most} are taken")


OnOutcome = Callable[[Outcome], None]


class Publisher(Protocol):
    """Publishes on a connection of its own, each message confirmed and mandatory."""

    @property
    def state(self) -> ConnectionState: ...

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
        on_outcome: OnOutcome,
    ) -> None:
        """Send a message; ``on_outcome`` is called once, when its fate is known.

        Raises:
            NotOpen: there is no connection.
            TooLarge: the broker would end the connection's channel rather than take it.
        """

    async def opened(self, timeout_s: float) -> bool:
        """Wait until publishing is possible; false when it is not within the time."""

    async def close(self) -> None:
        """Close; whatever is unconfirmed ends as LOST."""


class Consumer(Protocol):
    """Consumes one queue on a connection of its own, and keeps doing so."""

    @property
    def state(self) -> ConnectionState: ...

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""

    async def stop_deliveries(self) -> None:
        """Ask the broker for no more; what was delivered can still be settled."""

    async def close(self) -> None:
        """Close; the broker takes back what is unsettled."""


@dataclass(frozen=True, slots=True)
class QueueCount:
    """What a queue holds that nobody has taken yet, and how many consume it."""

    waiting: int
    consumers: int


class EventConsumer(Consumer, Protocol):
    """Consumes events from a queue of its own, made anew with each connection."""

    async def look(self, queue: str) -> QueueCount | None:
        """Count what a queue holds; none when that cannot be known now."""


class ReplyConsumer(Consumer, Protocol):
    """Consumes a reply queue of its own, made anew with each connection."""

    @property
    def address(self) -> str | None:
        """The queue's routing key, to be given as ``reply_to``; none while there is no queue."""

    async def consumers(self, queue: str) -> int | None:
        """Count the consumers of a queue; none when that cannot be known now."""


class Broker(Protocol):
    """A broker as one service user sees it."""

    def publisher(self) -> Publisher:
        """Make a publisher, not yet started."""

    def consumer(self, queue: str, *, prefetch: int, on_delivery: OnDelivery) -> Consumer:
        """Make a consumer, not yet started; at most ``prefetch`` deliveries are unsettled."""

    def reply_consumer(
        self, service: str, *, on_delivery: OnDelivery, on_lost: Callable[[], None]
    ) -> ReplyConsumer:
        """Make a consumer of replies; ``on_lost`` says that the queue went with what was in it."""

    def event_consumer(
        self,
        events: Iterable[str],
        *,
        on_delivery: OnDelivery,
        on_open: Callable[[], None],
    ) -> EventConsumer:
        """Make a consumer of the named events, on a queue of this process's own.

        ``on_open`` says that the queue is new: what happened before is not in it.
        """
