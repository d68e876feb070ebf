"""What is kept of a message that is given up: a copy, cut where all of it would be too much.

Whoever reads a queue publishes the copy, and acks the message. The broker is not asked to: it
bounds the bytes of bodies in a queue, not those of headers, and a large message pushes many small
ones out. Before RabbitMQ 4 it also trusts the header ``x-death`` of a sender, and the queue's
process dies of one that is malformed.
"""

import asyncio
import re
from collections.abc import Mapping
from time import time
from typing import Any

from postroad.broker.interfaces import BasicProperties, Delivery, NotOpen, Outcome, Publisher
from postroad.security.claims import Reason
from postroad.topology.names import REFUSED_EXCHANGE

KEPT = "dead-letter"  # the header of a copied dead letter: all that the copying would have changed
KEPT_BODY_BYTES = 4096  # of what nobody has signed
KEPT_HEADERS_BYTES = 8192
_NEVER_SIGNED = (Reason.UNSIGNED, Reason.MALFORMED, Reason.UNKNOWN_KEY, Reason.BAD_SIGNATURE)
_FIRST_KEPT = ("signature", "authorization", "traceparent")
_SEALED = re.compile(rb'("sealed_\w+"\s*:\s*)"[^"]*"?')  # a field that nobody is to keep
_PERSISTENT = 2
_PAUSE_S = 1.0


class DeadLetters:
    """Takes what a service gives up of one of its queues; copies go out by ``publisher``."""

    def __init__(self, publisher: Publisher, queue: str, service: str) -> None:
        self.queue = queue
        self._publisher = publisher
        self._service = service

    def take(self, delivery: Delivery, reason: str) -> None:
        """Keep a copy of a delivery, without what was sealed in it, and settle the delivery.

        ``reason`` says why: a refusal's, or "rejected". Where the copy is not confirmed, the
        delivery is given back after a moment.
        """
        kept = delivery.body[:KEPT_BODY_BYTES] if reason in _NEVER_SIGNED else delivery.body
        kept = _SEALED.sub(rb'\1""', kept)
        copy = self._properties(delivery.properties, reason, is_whole=kept == delivery.body)

        def settle(outcome: Outcome) -> None:
            if outcome is Outcome.CONFIRMED:
                delivery.ack()
            else:
                asyncio.get_running_loop().call_later(_PAUSE_S, delivery.requeue)

        try:
            self._publisher.publish(REFUSED_EXCHANGE, self.queue, kept, copy, settle)
        except NotOpen:
            settle(Outcome.LOST)

    def _properties(self, had: BasicProperties, reason: str, *, is_whole: bool) -> BasicProperties:
        kept = {
            "queue": self.queue,
            "reason": reason,
            "since": int(time()),
            "user_id": had.user_id,
            "reply_to": had.reply_to,
            "headers": _cut(had.headers or {}),
            "is_whole": is_whole,
        }
        return BasicProperties(
            content_type=had.content_type,
            headers={KEPT: kept},
            delivery_mode=_PERSISTENT,
            correlation_id=had.correlation_id,
            message_id=had.message_id,
            timestamp=had.timestamp,
            type=had.type,
            user_id=self._service,
        )


def _cut(headers: Mapping[str | bytes, Any]) -> dict[str, str | bool | None]:
    """Keep as many headers as there is room for, what a diagnosis needs first; tables as text.

    A name that is no UTF-8 comes as bytes, which written out might be too long for a name.
    """
    kept: dict[str, str | bool | None] = {}
    left = KEPT_HEADERS_BYTES
    names = [name for name in headers if isinstance(name, str)]
    for name in sorted(names, key=lambda name: name not in _FIRST_KEPT):
        value = headers[name]
        text = value if isinstance(value, str | bool | None) else str(value)
        taken = len(name) + len(str(text))
        if taken <= left:
            kept[name] = text
            left -= taken
    return kept
