"""Hearing events, in each process that listens, while it runs.

Events that must be heard go into a work queue (``postroad.messaging.background_worker``).
"""

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any, Generic, TypeVar

from postroad.broker.interfaces import Broker, ConnectionState, Delivery, QueueCount
from postroad.contracts.base import Event
from postroad.logger import get_logger
from postroad.messaging.admission import run_checks
from postroad.messaging.work_checks import HEARD_CHECKS
from postroad.observability.timing import milliseconds
from postroad.observability.trace_context import read_trace, trace_ids
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Verifier

log = get_logger(__name__)

EventT_co = TypeVar("EventT_co", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class ReceivedEvent(Generic[EventT_co]):
    """An event with what its verified envelope says.

    ``message_id`` is the same when an event comes twice; ``correlation_id`` is that of what caused
    it, in every service's log. ``sent_at`` is in seconds since 1970.
    """

    event: EventT_co
    message_id: str
    correlation_id: str
    sender: str
    sent_at: float


Listeners = Mapping[type[Event], Callable[[ReceivedEvent[Any]], None]]


class EventListener:
    """Hears events in every process that wants to; a process that is away does not hear them.

    ``on_open`` is called each time it begins to hear: the moment to catch up with what was missed.
    ``on_refused`` is called after each event that could not be taken: it may have mattered.
    ``wants`` is asked of each event that comes; one that is not wanted is not looked at.
    Each one that a listener has heard is a line in the log, at ``log_level``.
    """

    def __init__(
        self,
        listeners: Listeners,
        *,
        broker: Broker,
        keys: KeyRing,
        on_open: Callable[[], None] = lambda: None,
        on_refused: Callable[[], None] = lambda: None,
        wants: Callable[[], bool] = lambda: True,
        log_level: int = logging.INFO,
    ) -> None:
        self._events = {event.name: event for event in listeners}
        self._listeners = listeners
        self._keys = keys
        self._verifier = Verifier(keys)
        self._on_refused = on_refused
        self._wants = wants
        self._log_level = log_level
        self._consumer = broker.event_consumer(
            list(self._events), on_delivery=self._on_delivery, on_open=on_open
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
            received = ReceivedEvent(
                event=event_type.model_validate_json(delivery.body),
                message_id=claims.jti,
                correlation_id=claims.cid,
                sender=claims.iss,
                sent_at=claims.iat,
            )
        except Refused as refusal:
            self.counts[f"refused.{refusal.reason}"] += 1
            log.warning("event refused", reason=refusal.reason, detail=str(refusal))
            self._on_refused()
        except ValueError as error:
            self.counts["invalid"] += 1
            log.warning("event does not keep its contract", reason=str(error))
            self._on_refused()
        else:
            self.counts[claims.op] += 1
            began = perf_counter()
            self._listeners[event_type](received)
            trace = read_trace(delivery.properties.headers or {})
            log.log(
                self._log_level,
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
        run_checks(HEARD_CHECKS, claims, delivery.properties, self._keys, time())
        if claims.op not in self._events:
            raise Refused(Reason.WRONG_TYPE, f"nobody here listens to {claims.op}")
        return claims
