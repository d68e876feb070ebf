"""Answering requests: admit, run the handler, reply, settle."""

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
    NotOpen,
    Outcome,
    Publisher,
    TooLarge,
)
from postroad.context import RequestContext
from postroad.contracts.base import Message, Request
from postroad.contracts.errors import InternalError, InvalidRequest, ServiceError, explain
from postroad.contracts.message import Dated
from postroad.ids import new_id
from postroad.limits import MESSAGE_MAX_BYTES, PROBLEM
from postroad.messaging.admission import Admission, Late
from postroad.messaging.handlers import no_reply
from postroad.messaging.worker_core import Work, WorkerCore
from postroad.observability.message_spans import processing, sending
from postroad.observability.spans import Span
from postroad.observability.timing import Stopwatch, current_stopwatch, milliseconds
from postroad.observability.trace_context import TraceContext, read_trace, trace_ids
from postroad.observability.worker_metrics import WorkerMetrics
from postroad.security.claims import Claims
from postroad.security.keyring import KeyRing
from postroad.security.keys import UnknownKey
from postroad.security.signatures import Signer
from postroad.security.token_verifier import Revocations
from postroad.topology.names import REPLIES_EXCHANGE, RPC_EXCHANGE, rpc_queue

log = structlog.get_logger()

Result = Message | Dated[Message]
Handler = Callable[..., Awaitable[Result] | Result]
Handlers = Mapping[type[Request[Message]], Handler]


@dataclass(slots=True)
class _Answer:
    """What is to be replied to a request, then settled and logged once the broker has it."""

    delivery: Delivery
    claims: Claims
    stopwatch: Stopwatch
    trace: TraceContext
    span: Span | None  # of the whole, where traces are recorded
    body: bytes = b""
    dated: Dated[Message] | None = None  # the result, where its handler knows how old it is
    code: str | None = None  # of the error it is, if it is one
    is_bug: bool = False


class Worker:
    """Answers one service's requests with its handlers, ``prefetch`` at a time.

    ``async def`` handlers run on the loop, plain ones in threads. Each delivery is settled last,
    once the broker has the reply: a crash before that redelivers the request.
    """

    def __init__(
        self,
        service: str,
        handlers: Handlers,
        *,
        broker: Broker,
        publisher: Publisher,
        keys: KeyRing,
        revocations: Revocations,
        prefetch: int = 64,
    ) -> None:
        """Replies go out by ``publisher``, which is the caller's to start and close."""
        self._dead = DeadLetters(publisher, rpc_queue(service), service)
        self._core = WorkerCore(
            broker, self._dead, prefetch=prefetch, admit=self._admit, refused="request refused"
        )
        contracts = {contract.method: contract for contract in handlers}
        self._handlers: dict[type[Request[Message]], Callable[..., Awaitable[Result]]] = {
            each: self._core.threads.awaitable(handler) for each, handler in handlers.items()
        }
        self._given = handlers
        self._admission = Admission(keys, contracts, revocations)
        self._signer = Signer(keys)
        self._service = service
        self._publisher = publisher
        self.counts = self._core.counts
        self.metrics = WorkerMetrics(contracts)

    async def start(self) -> None:
        """Begin to connect; does not wait for the broker."""
        await self._core.consumer.start()

    async def drain(self, timeout_s: float) -> None:
        """Take no more requests, finish those under way, and leave the rest to others."""
        await self._core.drain(timeout_s)

    @property
    def is_ready(self) -> bool:
        """Return whether requests are taken and can be answered: both connections are open."""
        return self._core.consumer.state is self._publisher.state is ConnectionState.OPEN

    @property
    def in_flight(self) -> int:
        """Count the requests that were taken and are not settled."""
        return self._core.unsettled

    def _admit(self, delivery: Delivery, stopwatch: Stopwatch) -> Work | None:
        try:
            claims = self._admission.verify(delivery)
        except Late:
            self.counts["late"] += 1
            log.info(
                "late request",
                method=delivery.properties.type,
                outcome="late",
                **milliseconds(duration=stopwatch.elapsed_s),
                request_id=delivery.properties.correlation_id,
                **trace_ids(trace=read_trace(delivery.properties.headers or {})),
            )
            delivery.ack()
            return None
        stopwatch.sent(claims.iat)
        return self._answer(delivery, claims, stopwatch)

    async def _answer(self, delivery: Delivery, claims: Claims, stopwatch: Stopwatch) -> None:
        """Answer one request; a bug in a handler is answered too, and dead-letters the request."""
        current_stopwatch.set(stopwatch)
        span, trace = processing(
            RPC_EXCHANGE,
            claims.op,
            self._core.queue,
            message_id=claims.jti,
            correlation_id=claims.cid,
            parent=read_trace(delivery.properties.headers or {}),
        )
        answer = _Answer(delivery, claims, stopwatch, trace, span)
        error = await self._core.attempt(
            self._handle(answer), method=claims.op, request_id=claims.cid
        )
        if error is not None:
            answer.is_bug = not isinstance(error, ServiceError)
            told = error if isinstance(error, ServiceError) else InternalError()
            answer.body, answer.code = told.to_problem().as_json, told.code
        await self._reply(answer)

    async def _handle(self, answer: _Answer) -> None:
        """Authorise, parse and run the handler."""
        claims, delivery = answer.claims, answer.delivery
        token = (delivery.properties.headers or {}).get("authorization")
        contract, user = self._admission.authorise(claims, token)
        try:
            request = contract.model_validate_json(delivery.body)
        except ValidationError as error:
            raise InvalidRequest(explain(error)) from error
        context = RequestContext(claims.iss, claims.jti, claims.cid, claims.exp, user)
        result = await self._core.run(self._handlers[contract], request, context)
        if isinstance(result, Dated):
            answer.dated, result = result, result.value
        if not isinstance(result, contract.reply):
            raise no_reply(self._given[contract], result, contract)
        answer.body = result.as_json
        if len(answer.body) > MESSAGE_MAX_BYTES:
            raise TooLarge(answer.body)

    async def _reply(self, answer: _Answer) -> None:
        """Publish the reply, when needed after the connection has come back."""
        claims = answer.claims
        message_id = new_id()
        sent = sending(
            REPLIES_EXCHANGE,
            claims.rto or "",
            message_id=message_id,
            correlation_id=claims.cid,
            body_bytes=len(answer.body),
            is_reply=True,
        )
        while (time_left_s := claims.exp - time()) > 0:
            try:
                self._publisher.publish(
                    REPLIES_EXCHANGE,
                    claims.rto or "",
                    answer.body,
                    self._reply_properties(answer, message_id, time_left_s),
                    lambda outcome: self._settle(answer, outcome, sent),
                )
            except NotOpen:
                await self._publisher.opened(time_left_s)
            except UnknownKey:
                log.warning("caller has been revoked", caller=claims.iss, request_id=claims.cid)
                break
            else:
                return
        self._settle(answer, None, sent)

    def _reply_properties(
        self, answer: _Answer, message_id: str, time_left_s: float
    ) -> BasicProperties:
        claims, dated = answer.claims, answer.dated
        signature = self._signer.reply(
            claims,
            body=answer.body,
            message_id=message_id,
            is_error=answer.code is not None,
            as_of=None if dated is None else dated.as_of,
            is_stale=dated is not None and dated.is_stale,
            times_us=answer.stopwatch.times_us(),
        )
        return BasicProperties(
            content_type=f"application/{PROBLEM if answer.code else 'json'}",
            headers={"signature": signature},
            correlation_id=claims.cid,
            expiration=str(max(1, int(time_left_s * 1000))),
            message_id=message_id,
            timestamp=int(time()),
            type=claims.op,
            user_id=self._service,
        )

    def _settle(self, answer: _Answer, outcome: Outcome | None, sent: Span | None) -> None:
        """Settle a request whose reply has left, or could not leave in time (no outcome)."""
        if sent is not None:
            sent.end(error=None if outcome is Outcome.CONFIRMED else outcome or "late")
        if answer.span is not None:
            answer.span.end(error=answer.code)
        if outcome is Outcome.LOST:  # the reply may be gone: somebody answers again
            answer.delivery.requeue()
        elif answer.is_bug:
            self._dead.take(answer.delivery, "rejected")
        else:
            answer.delivery.ack()
        self._core.end()
        result, stopwatch = answer.code or "ok", answer.stopwatch
        duration_s = stopwatch.elapsed_s
        self.counts[result] += 1
        if outcome is not Outcome.CONFIRMED:
            self.counts[f"reply.{outcome or 'late'}"] += 1
        self.metrics.waited(answer.claims.op, stopwatch.queue_s)
        self.metrics.done(answer.claims.op, result, duration_s, stopwatch.upstream_s)
        log.info(
            "request",
            method=answer.claims.op,
            outcome=result,
            reply=outcome or "late",
            **milliseconds(
                duration=duration_s, queue=stopwatch.queue_s, upstream=stopwatch.upstream_s
            ),
            caller=answer.claims.iss,
            request_id=answer.claims.cid,
            trace_id=answer.trace.trace_id,
        )
