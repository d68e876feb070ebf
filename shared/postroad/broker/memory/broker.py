"""An in-memory broker for unit tests, held to RabbitMQ by the conformance tests.

It interprets the topology's own definitions. Everything happens in a later turn of the event loop
than what caused it, as with a real broker.
"""

import asyncio
from collections.abc import Callable, Iterable

from pika import BasicProperties

from postroad.broker.exclusive_queue import ExclusiveQueue
from postroad.broker.interfaces import (
    ConnectionState,
    NotOpen,
    OnDelivery,
    OnOutcome,
    Outcome,
    QueueCount,
    TooLarge,
)
from postroad.broker.memory.connection import MemoryLink, nothing
from postroad.broker.memory.node import MemoryNode
from postroad.broker.memory.queue import Stored, Subscription
from postroad.ids import new_id
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.topology.definitions import Definitions
from postroad.topology.rules import ChannelClosed


class MemoryBroker:
    """A broker in this process; ``as_user`` gives it as a service user sees it."""

    def __init__(self, definitions: Definitions) -> None:
        self.node = MemoryNode(definitions)
        self.links: list[MemoryLink] = []  # the open ones
        self.is_away = False

    def as_user(self, user: str) -> "MemoryUser":
        """See the broker as one service user does."""
        return MemoryUser(self, user)

    def messages(self, queue: str) -> list[Stored]:
        """Return what waits in a queue, in order, and leave it there."""
        return list(self.node.queues[queue].ready())

    def may_consume(self, user: str, queue: str) -> bool:
        """Return whether there is a queue, and a user may read it."""
        return queue in self.node.queues and self.node.rules.allows(user, "read", queue)

    def takes(self, queue: str, exchange: str, routing_key: str) -> bool:
        """Return whether what is published with a routing key comes into a queue."""
        return queue in self.node.rules.route(exchange, routing_key, {})

    def cut(self, user: str) -> None:
        """Cut a user's connections, which then come back."""
        for link in list(self.links):
            if link.user == user:
                link.fail()

    def go_away(self) -> None:
        """Cut all connections, and take none until ``come_back``."""
        self.is_away = True
        for link in list(self.links):
            link.fail()

    def come_back(self) -> None:
        """Take connections again."""
        self.is_away = False


class MemoryUser:
    """The broker as one service user sees it; see ``postroad.broker.interfaces.Broker``."""

    def __init__(self, broker: MemoryBroker, user: str) -> None:
        self._broker = broker
        self._user = user

    def publisher(self) -> "MemoryPublisher":
        return MemoryPublisher(MemoryLink(self._broker, self._user))

    def consumer(self, queue: str, *, prefetch: int, on_delivery: OnDelivery) -> "MemoryConsumer":
        link = MemoryLink(self._broker, self._user)
        return MemoryConsumer(link, queue, prefetch=prefetch, on_delivery=on_delivery)

    def reply_consumer(
        self, service: str, *, on_delivery: OnDelivery, on_lost: Callable[[], None]
    ) -> "MemoryOwnQueue":
        return MemoryOwnQueue(
            MemoryLink(self._broker, self._user),
            ExclusiveQueue.of_replies(service),
            on_delivery=on_delivery,
            on_lost=on_lost,
        )

    def event_consumer(
        self,
        events: Iterable[str],
        *,
        on_delivery: OnDelivery,
        on_open: Callable[[], None],
    ) -> "MemoryOwnQueue":
        return MemoryOwnQueue(
            MemoryLink(self._broker, self._user),
            ExclusiveQueue.of_events(events),
            on_delivery=on_delivery,
            on_open=on_open,
        )


class MemoryPublisher:
    """Publishes; see ``postroad.broker.interfaces.Publisher``."""

    def __init__(self, link: MemoryLink) -> None:
        self._link = link
        self._unconfirmed: dict[Stored, OnOutcome] = {}

    @property
    def state(self) -> ConnectionState:
        return self._link.state

    async def start(self) -> None:
        self._link.start(set_up=nothing, on_lost=self._on_lost)

    async def opened(self, timeout_s: float) -> bool:
        return await self._link.opened(timeout_s)

    async def close(self) -> None:
        await self._link.close()

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        properties: BasicProperties,
        on_outcome: OnOutcome,
    ) -> None:
        if self.state is not ConnectionState.OPEN:
            raise NotOpen(self.state)
        if len(body) > MESSAGE_MAX_BYTES:
            raise TooLarge(body)
        message = Stored(exchange, routing_key, body, properties).copy()
        self._unconfirmed[message] = on_outcome
        asyncio.get_running_loop().call_soon(self._arrive, message)

    def _arrive(self, message: Stored) -> None:
        if message not in self._unconfirmed:
            return  # the connection went first
        try:
            outcome = self._link.broker.node.accept(self._link.user, message)
        except ChannelClosed as refusal:
            self._link.fail(str(refusal))
        else:
            self._unconfirmed.pop(message)(outcome)

    def _on_lost(self) -> None:
        lost, self._unconfirmed = self._unconfirmed, {}
        for on_outcome in lost.values():
            asyncio.get_running_loop().call_soon(on_outcome, Outcome.LOST)


class MemoryConsumer:
    """Consumes one queue; see ``postroad.broker.interfaces.Consumer``."""

    def __init__(
        self, link: MemoryLink, queue: str, *, prefetch: int, on_delivery: OnDelivery
    ) -> None:
        self._link = link
        self._queue = queue
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._subscription: Subscription | None = None
        self._is_stopping = False

    @property
    def state(self) -> ConnectionState:
        is_draining = self._is_stopping and self._link.state is not ConnectionState.CLOSED
        return ConnectionState.DRAINING if is_draining else self._link.state

    async def start(self) -> None:
        self._link.start(set_up=self._set_up, on_lost=self._on_lost)

    async def stop_deliveries(self) -> None:
        self._is_stopping = True
        if self._subscription is not None:
            self._subscription.cancel()
        await asyncio.sleep(0)  # what was handed out just now still arrives

    async def close(self) -> None:
        await self._link.close()

    def _set_up(self) -> None:
        if self._is_stopping:
            return
        self._link.check("read", self._queue)
        queue = self._link.broker.node.queues.get(self._queue)
        if queue is None or queue.owner is not None:
            raise ChannelClosed(f"404 or 405: no queue {self._queue} for us")
        self._subscription = Subscription(queue, self._on_delivery, self._prefetch)
        self._subscription.start()

    def _on_lost(self) -> None:
        if self._subscription is not None:
            self._subscription.lose()
            self._subscription = None


class MemoryOwnQueue:
    """An exclusive queue, bound and consumed; see ``postroad.broker.exclusive_queue``."""

    def __init__(
        self,
        link: MemoryLink,
        queue: ExclusiveQueue,
        *,
        on_delivery: OnDelivery,
        on_open: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._link = link
        self._queue = queue
        self._on_delivery = on_delivery
        self._on_open = on_open
        self._on_lost = on_lost
        self._subscription: Subscription | None = None
        self._keys: list[str] = []

    @property
    def state(self) -> ConnectionState:
        return self._link.state

    @property
    def address(self) -> str | None:
        return self._keys[0] if self._subscription else None

    async def start(self) -> None:
        self._link.start(set_up=self._set_up, on_lost=self._gone)

    async def stop_deliveries(self) -> None:
        """Do nothing: a reply that comes is still wanted."""

    async def close(self) -> None:
        await self._link.close()

    async def consumers(self, queue: str) -> int | None:
        count = await self.look(queue)
        return None if count is None else count.consumers

    async def look(self, queue: str) -> QueueCount | None:
        await asyncio.sleep(0)
        found = (
            self._link.broker.node.queues.get(queue) if self.state is ConnectionState.OPEN else None
        )
        return None if found is None else QueueCount(len(found.ready()), len(found.subscriptions))

    def _set_up(self) -> None:
        node, name = self._link.broker.node, f"amq.gen-{new_id()}"
        self._link.check("configure", name)
        self._link.check("write", name)
        self._link.check("read", self._queue.exchange)
        keys = self._keys = self._queue.routing_keys()
        for key in keys:
            node.rules.check_topic(self._link.user, "read", self._queue.exchange, key)
        self._link.check("read", name)
        for key in keys:
            node.rules.bind(self._queue.exchange, name, key)
        self._subscription = Subscription(node.declare(name, owner=self), self._on_delivery)
        self._subscription.start()
        self._on_open()

    def _gone(self) -> None:
        if self._subscription is not None:
            self._subscription.lose()
            self._link.broker.node.delete(self._subscription.queue.name)
            self._subscription = None
        self._on_lost()
