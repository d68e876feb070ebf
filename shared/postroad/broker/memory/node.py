"""What is inside the in-memory broker: exchanges, queues, and the way of a message through them."""

from datetime import UTC, datetime
from typing import Any

from postroad.broker.interfaces import Outcome
from postroad.broker.memory.queue import MemoryQueue, Stored
from postroad.topology.definitions import Definitions
from postroad.topology.rules import ChannelClosed, Rules


class MemoryNode:
    """Exchanges and queues, as the topology's definitions have them."""

    def __init__(self, definitions: Definitions) -> None:
        self.rules = Rules(definitions)
        self.queues: dict[str, MemoryQueue] = {}
        for queue in definitions["queues"]:
            self.declare(queue["name"])

    def declare(self, name: str, *, owner: object = None) -> MemoryQueue:
        """Make a queue; with an ``owner`` it is exclusive."""
        queue = MemoryQueue(name, self.rules.policy(name), self._dead_letter, owner=owner)
        self.queues[name] = queue
        return queue

    def delete(self, name: str) -> None:
        """Delete a queue, its bindings and what is in it."""
        del self.queues[name]
        self.rules.unbind(name)

    def accept(self, user: str, message: Stored) -> Outcome:
        """Take a published message in.

        Raises:
            ChannelClosed: the user may not publish it.
        """
        self.rules.check(user, "write", message.exchange)
        queues = self._route(message)
        self.rules.check_topic(user, "write", message.exchange, message.routing_key)
        properties = message.properties
        if properties.user_id not in (None, user):
            raise ChannelClosed(f"406 user_id {properties.user_id} is not {user}")
        if properties.expiration is not None and not properties.expiration.isdecimal():
            raise ChannelClosed(f"406 invalid expiration {properties.expiration}")
        if not queues:
            return Outcome.RETURNED
        taken = [queue.put(message.copy()) for queue in queues]
        return Outcome.CONFIRMED if all(taken) else Outcome.REFUSED

    def _route(self, message: Stored) -> list[MemoryQueue]:
        headers = message.properties.headers or {}
        names = self.rules.route(message.exchange, message.routing_key, headers)
        return [self.queues[name] for name in names if name in self.queues]

    def _dead_letter(self, queue: MemoryQueue, message: Stored, reason: str) -> None:
        """Move a dead message on, as the queue's policy says; without a policy it is gone."""
        exchange = queue.policy.get("dead-letter-exchange")
        if exchange is None:
            return
        dead = message.copy()
        dead.properties.headers = _with_death(dead, queue.name, reason)
        dead.properties.expiration = None
        dead.exchange, dead.redelivered, dead.times_lost = exchange, False, 0
        dead.routing_key = queue.policy.get("dead-letter-routing-key", message.routing_key)
        for target in self._route(dead):
            target.put(dead.copy())


def _with_death(message: Stored, queue: str, reason: str) -> dict[str, Any]:
    """Add a death to a message's headers, as RabbitMQ writes it; the latest stands first."""
    headers = dict(message.properties.headers or {})
    deaths = list(headers.get("x-death", ()))
    same = [each for each in deaths if (each["queue"], each["reason"]) == (queue, reason)]
    death = {
        "count": sum(each["count"] for each in same) + 1,
        "exchange": message.exchange,
        "queue": queue,
        "reason": reason,
        "routing-keys": [message.routing_key],
        "time": datetime.now(UTC),
    }
    if message.properties.expiration is not None:
        death["original-expiration"] = message.properties.expiration
    headers["x-death"] = [death, *(each for each in deaths if each not in same)]
    headers.setdefault("x-first-death-exchange", message.exchange)
    headers.setdefault("x-first-death-queue", queue)
    headers.setdefault("x-first-death-reason", reason)
    return headers
