"""Consuming a service's queue of requests from RabbitMQ."""

import asyncio
import math
from contextlib import suppress
from dataclasses import dataclass

import pika
from pika import BasicProperties
from pika.channel import Channel

from postroad.broker.connection import Connection, ConnectionLost, Login
from postroad.broker.interfaces import ConnectionState, OnDelivery
from postroad.ids import new_id


@dataclass(slots=True)
class RabbitDelivery:
    """One hand-over of a message; see ``postroad.broker.interfaces.Delivery``."""

    body: bytes
    properties: BasicProperties
    redelivered: bool
    _tag: int
    _settlement: "Settlement | None"  # none where nothing is to be settled

    def ack(self) -> None:
        if self._settlement is not None:
            self._settlement.ack(self._tag)

    def dead_letter(self) -> None:
        if self._settlement is not None:
            self._settlement.dead_letter(self._tag)

    def requeue(self) -> None:
        if self._settlement is not None:
            self._settlement.requeue(self._tag)


class Settlement:
    """Settles the deliveries of one channel, acks of one loop turn together.

    A delivery tag means nothing on another channel, so each channel has its own settlement and a
    late settling on a lost channel does nothing. Acking one by one, not joined (``multiple``),
    takes some 17 us of CPU more a request (docs/performance.md).
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._unsettled: dict[int, None] = {}  # delivery tags, in order
        self._to_ack: list[int] = []

    def add(self, tag: int) -> None:
        """Note a delivery that is to be settled."""
        self._unsettled[tag] = None

    def ack(self, tag: int) -> None:
        self._settle(tag)
        if not self._to_ack:
            asyncio.get_running_loop().call_soon(self.flush)
        self._to_ack.append(tag)

    def dead_letter(self, tag: int) -> None:
        self._settle(tag)
        if self._channel.is_open:
            self._channel.basic_reject(tag, requeue=False)

    def requeue(self, tag: int) -> None:
        self._settle(tag)
        if self._channel.is_open:
            self._channel.basic_nack(tag, requeue=True)

    def flush(self) -> None:
        """Ack all that is below the oldest unsettled delivery at once, the others singly."""
        tags, self._to_ack = self._to_ack, []
        if not tags or not self._channel.is_open:
            return
        oldest_unsettled = next(iter(self._unsettled), math.inf)
        together = [tag for tag in tags if tag < oldest_unsettled]
        if together:
            self._channel.basic_ack(max(together), multiple=True)
        for tag in tags:
            if tag > oldest_unsettled:
                self._channel.basic_ack(tag)

    def _settle(self, tag: int) -> None:
        del self._unsettled[tag]  # a KeyError here is a delivery settled twice: a bug


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
        settlement = Settlement(channel)

        def on_message(
            _channel: Channel,
            method: pika.spec.Basic.Deliver,
            properties: BasicProperties,
            body: bytes,
        ) -> None:
            tag = method.delivery_tag
            settlement.add(tag)
            self._on_delivery(RabbitDelivery(body, properties, method.redelivered, tag, settlement))

        channel.add_on_cancel_callback(lambda _: connection.fail("the broker ended the consumer"))
        await connection.ask(channel.basic_qos, prefetch_count=self._prefetch)
        self._consumer_tag = f"{self._queue}.{new_id()}"
        self._channel = channel
        await connection.ask(
            channel.basic_consume,
            queue=self._queue,
            on_message_callback=on_message,
            consumer_tag=self._consumer_tag,
        )

    def _on_lost(self) -> None:
        self._channel = None
