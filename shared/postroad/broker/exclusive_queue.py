"""Consuming from a queue of one process's own, made anew with each connection.

Replies, and events that every process must hear. They are consumed without acks: when the process
or the connection goes, so does whoever would care.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Self

from pika.channel import Channel

from postroad.broker.connection import Connection, ConnectionLost, Login
from postroad.broker.deliveries import hand_to
from postroad.broker.interfaces import ConnectionState, OnDelivery, QueueCount
from postroad.broker.isolation import IsolationWatch
from postroad.ids import new_id
from postroad.topology.names import EVENTS_EXCHANGE, REPLIES_EXCHANGE


@dataclass(frozen=True, slots=True)
class ExclusiveQueue:
    """What is bound to such a queue, on any broker; the broker chooses the queue's name."""

    purpose: str
    exchange: str
    routing_keys: Callable[[], list[str]]  # of one connection; by the first of them it is reached

    @classmethod
    def of_replies(cls, service: str) -> Self:
        """Return that of the replies to one client."""
        return cls("reply", REPLIES_EXCHANGE, lambda: [f"reply.{service}.{new_id()}"])

    @classmethod
    def of_events(cls, events: Iterable[str]) -> Self:
        """Return that of the named events, for one process."""
        names = list(events)
        return cls("listen", EVENTS_EXCHANGE, lambda: names)


class ExclusiveQueueConsumer:
    """An exclusive queue, bound to its exchange and consumed.

    ``on_open`` hears of each new queue, ``on_lost`` that one has gone with all that was in it.
    """

    def __init__(
        self,
        login: Login,
        queue: ExclusiveQueue,
        *,
        on_delivery: OnDelivery,
        on_open: Callable[[], None] = lambda: None,
        on_lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._connection = Connection(login, queue.purpose, set_up=self._set_up, on_lost=self._gone)
        self._queue = queue
        self._on_delivery = on_delivery
        self._on_open = on_open
        self._on_lost = on_lost
        self._watching: Channel | None = None
        self._isolation = IsolationWatch()
        self.address: str | None = None

    @property
    def state(self) -> ConnectionState:
        return self._connection.state

    async def start(self) -> None:
        await self._connection.start()

    async def stop_deliveries(self) -> None:
        """Do nothing: what comes is still wanted."""

    async def close(self) -> None:
        await self._connection.close()

    async def consumers(self, queue: str) -> int | None:
        count = await self.look(queue)
        return None if count is None else count.consumers

    async def look(self, queue: str) -> QueueCount | None:
        try:
            if self._watching is None or not self._watching.is_open:
                self._watching = await self._connection.open_channel()
            declared = await self._connection.ask(
                self._watching.queue_declare, queue=queue, passive=True
            )
        except ConnectionLost:
            return None
        return QueueCount(declared.method.message_count, declared.method.consumer_count)

    async def _set_up(self, connection: Connection, channel: Channel) -> None:
        channel.add_on_cancel_callback(lambda _: connection.fail("the broker ended the consumer"))
        declared = await connection.ask(
            channel.queue_declare,
            queue="",
            exclusive=True,
            auto_delete=True,
            arguments={"x-queue-type": "classic"},
        )
        queue, keys = declared.method.queue, self._queue.routing_keys()
        for key in keys:
            await connection.ask(
                channel.queue_bind, queue=queue, exchange=self._queue.exchange, routing_key=key
            )
        await connection.ask(
            channel.basic_consume,
            queue=queue,
            on_message_callback=hand_to(self._on_delivery),
            auto_ack=True,
        )
        self._isolation.start(connection)
        self.address = keys[0]
        self._on_open()

    def _gone(self) -> None:
        self.address = None
        self._watching = None
        self._isolation.stop()
        self._on_lost()
