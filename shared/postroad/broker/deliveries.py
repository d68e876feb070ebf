"""Deliveries: each is handed on as it comes, and settled by its tag."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pika import BasicProperties
from pika.channel import Channel
from pika.spec import Basic


class Settlement(Protocol):
    """Settles what one consumer was delivered."""

    def ack(self, tag: int) -> None: ...
    def reject(self, tag: int, *, requeue: bool) -> None: ...


@dataclass(slots=True)
class Delivery:
    """One hand-over of a message; settled once, by one of its methods.

    Settling does nothing where messages are consumed without acks, nor when the connection it came
    by is gone: the broker has taken the message back by then.
    """

    body: bytes
    properties: BasicProperties
    redelivered: bool = False
    _tag: int = 0
    _settlement: Settlement | None = None  # none where messages are consumed without acks

    def ack(self) -> None:
        """Say that it is done."""
        if self._settlement is not None:
            self._settlement.ack(self._tag)

    def dead_letter(self) -> None:
        """Reject it for good; the queue's policy moves it to its dead-letter queue."""
        if self._settlement is not None:
            self._settlement.reject(self._tag, requeue=False)

    def requeue(self) -> None:
        """Give it back untouched, for another worker."""
        if self._settlement is not None:
            self._settlement.reject(self._tag, requeue=True)


OnDelivery = Callable[[Delivery], None]


class ChannelSettlement:
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
        del self._unsettled[tag]  # a KeyError here is a delivery settled twice: a bug
        if not self._to_ack:
            asyncio.get_running_loop().call_soon(self.flush)
        self._to_ack.append(tag)

    def reject(self, tag: int, *, requeue: bool) -> None:
        del self._unsettled[tag]
        if self._channel.is_open:
            self._channel.basic_nack(tag, requeue=requeue)

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


OnMessage = Callable[[Channel, Basic.Deliver, BasicProperties, bytes], None]


def hand_to(on_delivery: OnDelivery, settlement: ChannelSettlement | None = None) -> OnMessage:
    """Make pika's callback for a consumer; without a ``settlement`` it consumes without acks."""

    def take(_: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        tag = method.delivery_tag
        if settlement is not None:
            settlement.add(tag)
        on_delivery(Delivery(body, properties, method.redelivered, tag, settlement))

    return take
