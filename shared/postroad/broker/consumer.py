"""Consuming a service's queue of requests from RabbitMQ."""

from contextlib import suppress

from pika.channel import Channel

from postroad.broker.connection import Connection, ConnectionLost, Login
from postroad.broker.deliveries import ChannelSettlement, hand_to
from postroad.broker.interfaces import ConnectionState, OnDelivery
from postroad.broker.isolation import IsolationWatch
from postroad.ids import new_id


class RabbitConsumer:
    """Consumes one queue; see ``postroad.broker.interfaces.Consumer``."""

    def __init__(self, login: Login, queue: str, *, prefetch: int, on_delivery: OnDelivery) -> None:
        self._connection = Connection(login, "consumer", set_up=self._set_up, on_lost=self._on_lost)
        self._queue = queue
        self._prefetch = prefetch
        self._on_delivery = on_delivery
        self._channel: Channel | None = None
        self._consumer_tag = ""
        self._is_stopping = False
        self._isolation = IsolationWatch()

    @property
    def state(self) -> ConnectionState:
        is_draining = self._is_stopping and self._connection.state is not ConnectionState.CLOSED
        return ConnectionState.DRAINING if is_draining else self._connection.state

    async def start(self) -> None:
        await self._connection.start()

    async def stop_deliveries(self) -> None:
        self._is_stopping = True
        channel = self._channel
        if channel is not None and channel.is_open:
            with suppress(ConnectionLost):  # then nothing is delivered either
                await self._connection.ask(channel.basic_cancel, consumer_tag=self._consumer_tag)

    async def close(self) -> None:
        await self._connection.close()

    async def _set_up(self, connection: Connection, channel: Channel) -> None:
        if self._is_stopping:
            return
        channel.add_on_cancel_callback(lambda _: connection.fail("the broker ended the consumer"))
        await connection.ask(channel.basic_qos, prefetch_count=self._prefetch)
        self._consumer_tag = f"{self._queue}.{new_id()}"
        self._channel = channel
        await connection.ask(
            channel.basic_consume,
            queue=self._queue,
            on_message_callback=hand_to(self._on_delivery, ChannelSettlement(channel)),
            consumer_tag=self._consumer_tag,
        )
        self._isolation.start(connection)

    def _on_lost(self) -> None:
        self._channel = None
        self._isolation.stop()
