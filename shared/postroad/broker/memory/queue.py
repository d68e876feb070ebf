"""Queues of the in-memory broker: order, time to live, length, and who holds what."""

import asyncio
import itertools
import math
from bisect import insort
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

from pika import BasicProperties

from postroad.broker.interfaces import Delivery, OnDelivery


@dataclass(slots=True, eq=False)
class Stored:
    """A message, and where it stands in its queue."""

    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties
    position: int = 0
    expires_at: float = math.inf
    redelivered: bool = False
    times_lost: int = 0  # with the connection of whoever held it

    def copy(self) -> "Stored":
        """Copy it as the wire does: what AMQP cannot carry fails here too."""
        properties = BasicProperties()
        properties.decode(b"".join(self.properties.encode()))
        return replace(self, properties=properties)


OnDead = Callable[["MemoryQueue", Stored, str], None]


class MemoryQueue:
    """One queue, as its policy has it; ``on_dead`` hears of each message that dies, and why."""

    def __init__(
        self, name: str, policy: Mapping[str, Any], on_dead: OnDead, *, owner: object = None
    ) -> None:
        self.name = name
        self.policy = policy
        self.owner = owner  # whose exclusive queue it is
        self.subscriptions: list[Subscription] = []
        self._on_dead = on_dead
        self._ready: list[Stored] = []
        self._positions = itertools.count()

    def put(self, message: Stored) -> bool:
        """Add a message at the end; false when the queue is full."""
        if self._is_full():
            if self.policy.get("overflow") == "reject-publish":
                return False
            self._on_dead(self, self._ready.pop(0), "maxlen")
        times_to_live_ms = [
            int(given)
            for given in (message.properties.expiration, self.policy.get("message-ttl"))
            if given is not None
        ]
        message.expires_at = monotonic() + min(times_to_live_ms, default=math.inf) / 1000
        message.position = next(self._positions)
        self._ready.append(message)
        self.hand_out()
        if times_to_live_ms:  # it expires though nobody looks
            delay_s = max(0.0, message.expires_at - monotonic())
            asyncio.get_running_loop().call_later(delay_s, self.hand_out)
        return True

    def _is_full(self) -> bool:
        ready = self.ready()
        most: float = self.policy.get("max-length", math.inf)
        most_bytes: float = self.policy.get("max-length-bytes", math.inf)
        return len(ready) >= most or sum(len(each.body) for each in ready) >= most_bytes

    def put_back(self, message: Stored) -> None:
        """Take a message back to the place where it was."""
        message.redelivered = True
        insort(self._ready, message, key=lambda stored: stored.position)
        self.hand_out()

    def take_back(self, message: Stored) -> None:
        """Take a message back whose holder has gone; too often, and it is at fault itself."""
        message.times_lost += 1
        if message.times_lost > self.policy.get("delivery-limit", math.inf):
            self._on_dead(self, message, "delivery_limit")
        else:
            self.put_back(message)

    def bury(self, message: Stored) -> None:
        """Take a rejected message away."""
        self._on_dead(self, message, "rejected")

    def ready(self) -> list[Stored]:
        """Give what waits, in order; the expired go, but only from the head."""
        while self._ready and self._ready[0].expires_at <= monotonic():
            self._on_dead(self, self._ready.pop(0), "expired")
        return self._ready

    def hand_out(self) -> None:
        """Give what waits to those who have room, in turn."""
        while self.ready():
            free = next((each for each in self.subscriptions if each.has_room), None)
            if free is None:
                return
            self.subscriptions.remove(free)
            self.subscriptions.append(free)
            free.take(self._ready.pop(0))


@dataclass(eq=False)
class Subscription:
    """A consumer of a queue; without a ``prefetch`` what it gets is settled at once."""

    queue: MemoryQueue
    on_delivery: OnDelivery
    prefetch: int | None = None
    _tags: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))
    _held: dict[int, Stored] = field(default_factory=dict)
    _unsettled: set[int] = field(default_factory=set)
    _is_lost: bool = False

    def start(self) -> None:
        """Take what waits, and whatever comes."""
        self.queue.subscriptions.append(self)
        self.queue.hand_out()

    def cancel(self) -> None:
        """Take no more; what is held can still be settled."""
        if self in self.queue.subscriptions:
            self.queue.subscriptions.remove(self)

    def lose(self) -> None:
        """Go with the connection; what was held goes back."""
        self.cancel()
        self._is_lost = True
        held, self._held = self._held, {}
        for message in held.values():
            self.queue.take_back(message)

    @property
    def has_room(self) -> bool:
        return self.prefetch is None or len(self._held) < self.prefetch

    def take(self, message: Stored) -> None:
        tag, copy = next(self._tags), message.copy()
        settlement = None if self.prefetch is None else self
        if settlement is not None:
            self._held[tag] = message
            self._unsettled.add(tag)
        delivery = Delivery(copy.body, copy.properties, copy.redelivered, tag, settlement)
        asyncio.get_running_loop().call_soon(self._deliver, delivery)

    def ack(self, tag: int) -> None:
        self._settle(tag, None)

    def reject(self, tag: int, *, requeue: bool) -> None:
        self._settle(tag, self.queue.put_back if requeue else self.queue.bury)

    def _settle(self, tag: int, act: Callable[[Stored], None] | None) -> None:
        self._unsettled.remove(tag)  # a KeyError here is a delivery settled twice: a bug
        asyncio.get_running_loop().call_soon(self._let_go, tag, act)

    def _let_go(self, tag: int, act: Callable[[Stored], None] | None) -> None:
        """Do with a message as its holder wishes, unless it has been taken back."""
        if message := self._held.pop(tag, None):
            if act is not None:
                act(message)
            self.queue.hand_out()

    def _deliver(self, delivery: Delivery) -> None:
        if not self._is_lost:
            self.on_delivery(delivery)
