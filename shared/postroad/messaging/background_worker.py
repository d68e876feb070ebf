"""Doing the work that waits in a queue: events and jobs, each until it is done or given up.

What fails is put into a wait queue, and comes back later and later; after the last attempt it is
dead-lettered. A message may come more than once, so a handler sees to it that the second time
changes nothing (``postroad.storage.inbox``).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any

import structlog
from pydantic import ValidationError

from postroad.broker.interfaces import (
    BasicProperties,
    Broker,
    ConnectionState,
    Delivery,
    Outcome,
    Publisher,
)
from postroad.context import RequestContext, current_context
from postroad.contracts.base import Event, Job
from postroad.contracts.errors import InternalError, InvalidRequest, ServiceError, explain
from postroad.messaging.in_flight import InFlight
from postroad.messaging.publishing import PERSISTENT, NotPublished, publish
from postroad.observability.message_spans import processing
from postroad.observability.metrics import Histograms
from postroad.observability.spans import Span
from postroad.observability.timing import milliseconds
from postroad.observability.trace_context import (
    TraceContext,
    current_trace,
    new_trace,
    read_trace,
    trace_ids,
)
from postroad.security import checks
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Claims, Reason, Refused, Verifier
from postroad.topology.definitions import WAIT_TTLS_MS
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
    wait_key,
    work_queue,
)

log = structlog.get_logger()

BackgroundHandler = Callable[[Any], Awaitable[None] | None]
BackgroundHandlers = Mapping[type[Event] | type[Job], BackgroundHandler]

LAST_ATTEMPT = len(WAIT_TTLS_MS) + 1
EVENT_TIMEOUT_S = 30.0  # for one attempt; a job's contract names its own
ATTEMPT = "attempt"  # the header in which we note which attempt the next one is
OK, INVALID = "ok", InvalidRequest.code
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Work:
    """A message that passed every check but its body's."""

    delivery: Delivery
    claims: Claims
    attempt: int
    cause: TraceContext | None  # where its message was sent


class BackgroundWorker:
    """Works one queue off with its handlers, ``prefetch`` messages at a time.

    ``async def`` handlers run on the loop, plain ones in threads.
    """

    def __init__(
        self,
        queue: str,
        handlers: BackgroundHandlers,
        *,
        broker: Broker,
        publisher: Publisher,
        keys: KeyRing,
        prefetch: int = 8,
    ) -> None:
        """``queue`` is the last word of ``work.<service>.<queue>``.

        What failed is put aside by ``publisher``, which is the caller's to start and close.
        """
        self._queue = work_queue(keys.service, queue)
        self._handlers = handlers
        self._contracts = {contract.name: contract for contract in handlers}
        self._publisher = publisher
        self._keys = keys
        self._verifier = Verifier(keys)
        self._consumer = broker.consumer(
            self._queue, prefetch=prefetch, on_delivery=self._on_delivery
        )
        self._in_flight = InFlight(threads=prefetch)
        self.counts: Counter[str] = Counter()
        self.attempted: Counter[tuple[str, ...]] = Counter()  # by name and code
        self.settled: Counter[tuple[str, ...]] = Counter()  # by name and fate
        self.durations, self.queue_waits = Histograms(), Histograms()

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        await self._consumer.start()

    async def drain(self, timeout_s: float) -> None:
        """Take no more messages, finish those under way, and leave the rest to others."""
        await self._in_flight.drain(self._consumer, timeout_s)

    @property
    def is_ready(self) -> bool:
        """Return whether messages are taken and can be put aside: both connections are open."""
        return self._consumer.state is self._publisher.state is ConnectionState.OPEN

    @property
    def in_flight(self) -> int:
        """Count the messages that were taken and are not settled."""
        return self._in_flight.unsettled

    def _on_delivery(self, delivery: Delivery) -> None:
        try:
            work = self._admit(delivery)
        except Refused as refusal:
            self.counts[f"refused.{refusal.reason}"] += 1
            log.warning(
                "work refused",
                reason=refusal.reason,
                detail=str(refusal),
                user_id=delivery.properties.user_id,
                message_id=delivery.properties.message_id,
            )
            delivery.dead_letter()
        else:
            self._in_flight.begin(self._do(work))

    def _admit(self, delivery: Delivery) -> _Work:
        """Check who it is from, and that it is for us.

        Raises:
            Refused: it is not an honest message to us, with the reason.
        """
        properties = delivery.properties
        headers = properties.headers or {}
        contract = self._contracts.get(properties.type or "")
        typ = "job" if contract is not None and issubclass(contract, Job) else "event"
        claims = self._verifier.verify(
            headers.get("signature"), delivery.body, typ=typ, is_work=True
        )
        checks.run(checks.checks_of_work(claims), claims, properties, self._keys, time())
        if claims.op not in self._contracts:
            raise Refused(Reason.WRONG_TYPE, f"nobody here works on {claims.op}")
        return _Work(delivery, claims, self._attempt(properties, headers), read_trace(headers))

    def _attempt(self, properties: BasicProperties, headers: Mapping[str, Any]) -> int:
        """Read which attempt this is, where nobody but us can have written it."""
        noted = headers.get(ATTEMPT)
        is_ours = properties.user_id == self._keys.service and isinstance(noted, int)
        return int(noted) if is_ours and noted is not None else 1

    async def _do(self, work: _Work) -> None:
        """Make one attempt, then settle: ack what is done or put aside, dead-letter the rest."""
        began = perf_counter()
        queue_s = max(0.0, time() - work.claims.iat)
        if work.attempt == 1:
            self.queue_waits[work.claims.op].add(queue_s)
        span = self._begin_trace(work)
        outcome = await self._outcome(work)
        duration_s = perf_counter() - began
        if outcome == OK:
            fate = "done"
        elif outcome != INVALID and work.attempt < LAST_ATTEMPT:
            await self._schedule_retry(work)
            fate = "put_aside"
        else:
            fate = "dead"
        if fate == "dead":
            work.delivery.dead_letter()
        else:
            work.delivery.ack()
        self._in_flight.end()
        if span is not None:
            span.end(error=None if outcome == OK else outcome)
        self.counts[outcome] += 1
        self.counts[fate] += 1
        self.attempted[work.claims.op, outcome] += 1
        self.settled[work.claims.op, fate] += 1
        self.durations[work.claims.op].add(duration_s)
        log.info(
            "work",
            name=work.claims.op,
            outcome=outcome,
            fate=fate,
            attempt=work.attempt,
            **milliseconds(duration=duration_s, queue=queue_s if work.attempt == 1 else None),
            caller=work.claims.origin,
            redrives=work.claims.nth,
            request_id=work.claims.cid,
            **trace_ids(cause_trace=work.cause),
        )

    def _begin_trace(self, work: _Work) -> Span | None:
        """Begin a trace for each attempt, linked to what caused it: that may be days ago."""
        claims = work.claims
        span = processing(
            WORK_EXCHANGE if issubclass(self._contracts[claims.op], Job) else EVENTS_EXCHANGE,
            claims.op,
            self._queue,
            message_id=claims.jti,
            correlation_id=claims.cid,
            link=work.cause,
        )
        current_trace.set(span.context if span else new_trace())
        return span

    async def _outcome(self, work: _Work) -> str:
        """Make one attempt, and name how it ended: ``ok``, or the code of an error."""
        claims = work.claims
        contract = self._contracts[claims.op]
        try:
            message = contract.model_validate_json(work.delivery.body)
        except ValidationError as error:
            log.error("work breaks its contract", name=claims.op, reason=explain(error))
            return INVALID
        timeout_s = contract.timeout_s if issubclass(contract, Job) else EVENT_TIMEOUT_S
        call = RequestContext(claims.origin, claims.jti, claims.cid, time() + timeout_s)
        current_context.set(call)
        try:
            await self._in_flight.run(self._handlers[contract], message)
        except ServiceError as error:
            return error.code
        except Exception:
            log.exception("handler failed", name=claims.op, request_id=claims.cid)
            return InternalError.code
        finally:
            call.is_over = True
        return OK

    async def _schedule_retry(self, work: _Work) -> None:
        """Put what failed into a wait queue; until the broker has it, we hold on to it."""
        properties = work.delivery.properties
        headers = {
            "signature": (properties.headers or {}).get("signature"),
            ATTEMPT: work.attempt + 1,
        }
        if work.cause is not None:
            work.cause.write(headers)
        again = BasicProperties(
            content_type=properties.content_type,
            headers=headers,
            delivery_mode=PERSISTENT,
            correlation_id=properties.correlation_id,
            message_id=properties.message_id,
            timestamp=properties.timestamp,
            type=properties.type,
            user_id=self._keys.service,
        )
        key = wait_key(work.attempt, self._queue)
        while True:
            try:
                outcome = await publish(
                    self._publisher, WAIT_EXCHANGE, key, work.delivery.body, again
                )
            except NotPublished:
                await self._publisher.opened(_PAUSE_S)
                continue
            if outcome is Outcome.CONFIRMED:
                return
            self.counts["not_put_aside"] += 1
            log.warning("not put aside yet", queue=self._queue, outcome=outcome)
            await asyncio.sleep(_PAUSE_S)
