"""Doing the work that waits in a queue: events and jobs, each until it is done or given up.

What fails is put into a wait queue, and comes back later and later; after the last attempt it is
dead-lettered. A message may come more than once, so a handler sees to it that the second time
changes nothing (``postroad.storage.inbox``).
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from time import time

import structlog
from pydantic import ValidationError

from postroad.broker.dead_lettering import DeadLetters
from postroad.broker.interfaces import (
    BasicProperties,
    Broker,
    ConnectionState,
    Delivery,
    Outcome,
    Publisher,
)
from postroad.context import RequestContext
from postroad.contracts.base import Event, Job
from postroad.contracts.errors import InternalError, InvalidRequest, ServiceError, explain
from postroad.limits import RETRY_DELAYS_S
from postroad.messaging.admission import run_checks
from postroad.messaging.publishing import PERSISTENT, NotPublished, publish
from postroad.messaging.work_checks import checks_of_work
from postroad.messaging.worker_core import Work, WorkerCore
from postroad.observability.message_spans import processing
from postroad.observability.timing import Stopwatch, milliseconds
from postroad.observability.trace_context import (
    TraceContext,
    read_trace,
    trace_ids,
)
from postroad.observability.worker_metrics import WorkerMetrics
from postroad.security.claims import Claims, Reason, Refused
from postroad.security.keyring import KeyRing
from postroad.security.signatures import Verifier
from postroad.topology.names import (
    EVENTS_EXCHANGE,
    WAIT_EXCHANGE,
    WORK_EXCHANGE,
    wait_key,
    work_queue,
)

log = structlog.get_logger()

BackgroundHandler = Callable[..., Awaitable[None] | None]
BackgroundHandlers = Mapping[type[Event] | type[Job], BackgroundHandler]

EVENT_TIMEOUT_S = 30.0  # for one attempt; a job's contract names its own
ATTEMPT = "attempt"  # the header in which we note which attempt the next one is
OK, INVALID = "ok", InvalidRequest.code
_PAUSE_S = 1.0


@dataclass(frozen=True, slots=True)
class _Delivered:
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
        dead_letters = DeadLetters(publisher, work_queue(keys.service, queue), keys.service)
        self._core = WorkerCore(
            broker, dead_letters, prefetch=prefetch, admit=self._admit, refused="work refused"
        )
        self._handlers = {
            each: self._core.threads.awaitable(handler) for each, handler in handlers.items()
        }
        self._contracts = {contract.name: contract for contract in handlers}
        self._publisher = publisher
        self._keys = keys
        self._verifier = Verifier(keys)
        self.counts = self._core.counts
        self.metrics = WorkerMetrics(self._contracts)
        self.settled: Counter[tuple[str, ...]] = Counter()  # by name and fate

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        await self._core.consumer.start()

    async def drain(self, timeout_s: float) -> None:
        """Take no more messages, finish those under way, and leave the rest to others."""
        await self._core.drain(timeout_s)

    @property
    def is_ready(self) -> bool:
        """Return whether messages are taken and can be put aside: both connections are open."""
        return self._core.consumer.state is self._publisher.state is ConnectionState.OPEN

    @property
    def in_flight(self) -> int:
        """Count the messages that were taken and are not settled."""
        return self._core.unsettled

    def _admit(self, delivery: Delivery, stopwatch: Stopwatch) -> Work:
        return self._do(self._check(delivery), stopwatch)

    def _check(self, delivery: Delivery) -> _Delivered:
        """Check who it is from, and that it is for us.

        Raises:
            Refused: it is not an honest message to us, with the reason.
        """
        properties = delivery.properties
        headers = properties.headers or {}
        claims = self._verifier.verify(headers.get("signature"), delivery.body, typ=None)
        contract = self._contracts.get(claims.op)
        if contract is None:
            raise Refused(Reason.WRONG_TYPE, f"nobody here works on {claims.op}")
        kind = "job" if issubclass(contract, Job) else "event"
        if claims.typ != "redrive":
            self._verifier.check_type(claims, kind)
        run_checks(checks_of_work(claims, kind), claims, properties, self._keys, time())
        attempt = self._attempt(properties, headers)
        return _Delivered(delivery, claims, attempt, read_trace(headers))

    def _attempt(self, properties: BasicProperties, headers: Mapping[str, object]) -> int:
        """Read which attempt this is, where nobody but us can have written it."""
        noted = headers.get(ATTEMPT)
        is_ours = properties.user_id == self._keys.service
        return noted if is_ours and isinstance(noted, int) else 1

    async def _do(self, work: _Delivered, stopwatch: Stopwatch) -> None:
        """Make one attempt, then settle: ack what is done or put aside, dead-letter the rest."""
        claims, is_first = work.claims, work.attempt == 1
        contract = self._contracts[claims.op]
        if is_first:
            stopwatch.sent(claims.iat)
            self.metrics.waited(claims.op, stopwatch.queue_s)
        span, _ = processing(  # a trace for each attempt, linked to its cause: that may be days ago
            WORK_EXCHANGE if issubclass(contract, Job) else EVENTS_EXCHANGE,
            claims.op,
            self._core.queue,
            message_id=claims.jti,
            correlation_id=claims.cid,
            link=work.cause,
        )
        outcome = await self._outcome(work)
        duration_s = stopwatch.elapsed_s
        if outcome == OK:
            fate = "done"
        elif (delay_s := _retry_delay_s(contract, outcome, work.attempt)) is not None:
            await self._schedule_retry(work, delay_s)
            fate = "put_aside"
        else:
            fate = "dead"
        if fate == "dead":
            work.delivery.dead_letter()
        else:
            work.delivery.ack()
        self._core.end()
        if span is not None:
            span.end(error=None if outcome == OK else outcome)
        self.counts[outcome] += 1
        self.counts[fate] += 1
        self.metrics.done(claims.op, outcome, duration_s)
        self.settled[claims.op, fate] += 1
        log.info(
            "work",
            name=claims.op,
            outcome=outcome,
            fate=fate,
            attempt=work.attempt,
            **milliseconds(duration=duration_s, queue=stopwatch.queue_s if is_first else None),
            caller=claims.origin,
            redrives=claims.nth,
            request_id=claims.cid,
            **trace_ids(cause_trace=work.cause),
        )

    async def _outcome(self, work: _Delivered) -> str:
        """Make one attempt, and name how it ended: ``ok``, or the code of an error."""
        claims = work.claims
        contract = self._contracts[claims.op]
        try:
            message = contract.model_validate_json(work.delivery.body)
        except ValidationError as invalid:
            log.error("work breaks its contract", name=claims.op, reason=explain(invalid))
            return INVALID
        timeout_s = contract.timeout_s if issubclass(contract, Job) else EVENT_TIMEOUT_S
        context = RequestContext(claims.origin, claims.jti, claims.cid, time() + timeout_s)
        handling = self._core.run(self._handlers[contract], message, context)
        error = await self._core.attempt(handling, name=claims.op, request_id=claims.cid)
        if error is None:
            return OK
        return error.code if isinstance(error, ServiceError) else InternalError.code

    async def _schedule_retry(self, work: _Delivered, delay_s: int) -> None:
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
        key = wait_key(RETRY_DELAYS_S.index(delay_s) + 1, self._core.queue)
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
            log.warning("not put aside yet", queue=self._core.queue, outcome=outcome)
            await asyncio.sleep(_PAUSE_S)


def _retry_delay_s(contract: type[Event] | type[Job], outcome: str, attempt: int) -> int | None:
    """Return how long failed work waits for its next attempt; none if there is no other."""
    if outcome == INVALID:
        return None
    delays_s: tuple[int, ...] = RETRY_DELAYS_S
    if issubclass(contract, Job):
        delays_s = contract.retry_delays_s
        if outcome in {error.code for error in contract.not_retried}:
            return None
    return delays_s[attempt - 1] if attempt <= len(delays_s) else None
