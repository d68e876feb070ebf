"""Deliveries from RabbitMQ: each is handed on as it comes, and settled on its channel."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass

import pika
from pika import BasicProperties
from pika.channel import Channel

from postroad.broker.interfaces import OnDelivery

OnMessage = Callable[[Channel, pika.spec.Basic.Deliver, BasicProperties, bytes], None]


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


def hand_to(on_delivery: OnDelivery, settlement: Settlement | None = None) -> OnMessage:
    """Make pika's callback for a consumer; without a ``settlement`` it consumes without acks."""

    def on_message(
        _channel: Channel,
        method: pika.spec.Basic.Deliver,
        properties: BasicProperties,
        body: bytes,
    ) -> None:
        tag = method.delivery_tag
        if settlement is not None:
            settlement.add(tag)
        on_delivery(RabbitDelivery(body, properties, method.redelivered, tag, settlement))

    return on_message
