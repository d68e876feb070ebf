"""Publishing and consuming by hand, through the seam."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from pika import BasicProperties

from postroad.broker.interfaces import (
    ConnectionState,
    Consumer,
    Delivery,
    EventConsumer,
    Outcome,
    Publisher,
    ReplyConsumer,
)
from postroad.testing import Reachable, eventually
from tests.support.brokers import BrokerUnderTest, Seen

TIMEOUT_S = 10.0


class Inbox:
    """Takes deliveries, and gives them to a test one by one."""

    consumer: Consumer

    def __init__(self) -> None:
        self._deliveries: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self._deliveries.put_nowait(delivery)

    async def next(self) -> Delivery:
        return await asyncio.wait_for(self._deliveries.get(), TIMEOUT_S)

    async def take(self, count: int) -> list[Delivery]:
        return [await self.next() for _ in range(count)]

    def __len__(self) -> int:
        return self._deliveries.qsize()


class ReplyInbox(Inbox):
    """Takes replies."""

    replies: ReplyConsumer

    def __init__(self) -> None:
        super().__init__()
        self.times_lost = 0

    @property
    def address(self) -> str:
        return self.replies.address or ""

    def lost(self) -> None:
        self.times_lost += 1


@asynccontextmanager
async def publishing(broker: Reachable, user: str) -> AsyncIterator[Publisher]:
    """Give an open publisher."""
    publisher = broker.as_user(user).publisher()
    await publisher.start()
    assert await publisher.opened(TIMEOUT_S)
    yield publisher
    await publisher.close()


async def send(
    publisher: Publisher,
    exchange: str,
    routing_key: str,
    body: bytes = b"{}",
    *,
    timeout_s: float = TIMEOUT_S,
    **properties: Any,
) -> Outcome:
    """Publish one message, and await its fate."""
    outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
    publisher.publish(
        exchange, routing_key, body, BasicProperties(**properties), outcome.set_result
    )
    return await asyncio.wait_for(outcome, timeout_s)


async def publish(
    broker: BrokerUnderTest,
    user: str,
    exchange: str,
    routing_key: str,
    body: bytes = b"{}",
    **properties: Any,
) -> Outcome:
    """Publish one message on a connection of its own, and give its fate."""
    async with publishing(broker, user) as publisher:
        return await send(publisher, exchange, routing_key, body, **properties)


@asynccontextmanager
async def consuming(
    broker: BrokerUnderTest, user: str, queue: str, *, prefetch: int = 10
) -> AsyncIterator[Inbox]:
    """Consume a queue into an inbox."""
    inbox = Inbox()
    consumer = broker.as_user(user).consumer(queue, prefetch=prefetch, on_delivery=inbox)
    inbox.consumer = consumer
    await consumer.start()
    await eventually(lambda: consumer.state is ConnectionState.OPEN)
    yield inbox
    await consumer.close()


@asynccontextmanager
async def replies_to(broker: BrokerUnderTest, service: str) -> AsyncIterator[ReplyInbox]:
    """Consume a reply queue into an inbox."""
    inbox = ReplyInbox()
    inbox.replies = broker.as_user(service).reply_consumer(
        service, on_delivery=inbox, on_lost=inbox.lost
    )
    await inbox.replies.start()
    await eventually(lambda: inbox.address)
    yield inbox
    await inbox.replies.close()


class EventInbox(Inbox):
    """Takes events."""

    events: EventConsumer

    def __init__(self) -> None:
        super().__init__()
        self.times_opened = 0

    def opened(self) -> None:
        self.times_opened += 1


@asynccontextmanager
async def listening(
    broker: BrokerUnderTest, service: str, *events: str
) -> AsyncIterator[EventInbox]:
    """Listen to events with an inbox."""
    inbox = EventInbox()
    inbox.events = broker.as_user(service).event_consumer(
        iter(events), on_delivery=inbox, on_open=inbox.opened
    )
    await inbox.events.start()
    await eventually(lambda: inbox.events.state is ConnectionState.OPEN)
    yield inbox
    await inbox.events.close()


async def waiting_in(broker: BrokerUnderTest, queue: str, count: int = 1) -> list[Seen]:
    """Wait until this many messages wait in a queue, and give them."""
    seen: list[Seen] = []

    async def are_there() -> bool:
        seen[:] = await broker.look(queue)
        return len(seen) == count

    await eventually(are_there)
    return seen
