"""Hearing events, in each process that listens, while it runs.

Events that must be heard go into a work queue (``postroad.messaging.background_worker``).
"""

from collections import Counter
from collections.abc import Callable, Mapping
from time import perf_counter, time
from typing import Any

import structlog

from postroad.broker.interfaces import Broker, ConnectionState, Delivery, QueueCount
from postroad.contracts.base import Event
from postroad.observability.timing import milliseconds
from postroad.observability.trace_context import read_trace, trace_ids
from postroad.security import checks
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Claims, Reason, Refused, Verifier

log = structlog.get_logger()

Listeners = Mapping[type[Event], Callable[[Any], None]]


class EventListener:
    """Hears events in every process that wants to; a process that is away does not hear them.

    ``on_open`` is called each time it begins to hear: the moment to catch up with what was missed.
    ``wants`` is asked of each event that comes; one that is not wanted is not looked at.
    ``on_heard`` is told of each that its listener has heard, with what its envelope says.
    """

    def __init__(
        self,
        listeners: Listeners,
        *,
        broker: Broker,
        keys: KeyRing,
        on_open: Callable[[], None] = lambda: None,
        wants: Callable[[], bool] = lambda: True,
        on_heard: Callable[[Claims, Event], None] = lambda *_: None,
    ) -> None:
        self._events = {event.name: event for event in listeners}
        self._listeners = listeners
        self._keys = keys
        self._verifier = Verifier(keys)
        self._wants = wants
        self._on_heard = on_heard
        self._consumer = broker.event_consumer(
            keys.service, list(self._events), on_delivery=self._on_delivery, on_open=on_open
        )
        self.counts: Counter[str] = Counter()

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        await self._consumer.start()

    async def close(self) -> None:
        """Hear no more."""
        await self._consumer.close()

    @property
    def is_open(self) -> bool:
        """Whether it hears events now."""
        return self._consumer.state is ConnectionState.OPEN

    async def look(self, queue: str) -> QueueCount | None:
        """Count what a queue holds; none when that cannot be known now."""
        return await self._consumer.look(queue)

    def _on_delivery(self, delivery: Delivery) -> None:
        if not self._wants():
            self.counts["unwanted"] += 1
            return
        try:
            claims = self._verify(delivery)
            event_type = self._events[claims.op]
            event = event_type.model_validate_json(delivery.body)
        except Refused as refusal:
            self.counts[f"refused.{refusal.reason}"] += 1
            log.warning("event refused", reason=refusal.reason, detail=str(refusal))
        except ValueError as error:
            self.counts["invalid"] += 1
            log.warning("event does not keep its contract", reason=str(error))
        else:
            self.counts[claims.op] += 1
            began = perf_counter()
            self._listeners[event_type](event)
            self._on_heard(claims, event)
            trace = read_trace(delivery.properties.headers or {})
            log.info(
                "event",
                name=claims.op,
                outcome="ok",
                **milliseconds(duration=perf_counter() - began),
                caller=claims.iss,
                request_id=claims.cid,
                **trace_ids(trace=trace),
            )

    def _verify(self, delivery: Delivery) -> Claims:
        headers = delivery.properties.headers or {}
        claims = self._verifier.verify(headers.get("signature"), delivery.body, typ="event")
        checks.run(checks.HEARD_CHECKS, claims, delivery.properties, self._keys, time())
        if claims.op not in self._events:
            raise Refused(Reason.WRONG_TYPE, f"nobody here listens to {claims.op}")
        return claims
