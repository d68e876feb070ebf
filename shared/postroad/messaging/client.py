"""Calling other services: a typed request in, its reply or its error out, never a hang."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter, time
from typing import Any, cast

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
from postroad.context import current_context
from postroad.contracts.base import Message, ReplyT, Request
from postroad.contracts.errors import (
    InvalidRequest,
    NotAuthorised,
    OutcomeUnknown,
    ReplyTimeout,
    ServiceError,
    Unavailable,
)
from postroad.ids import is_plain_id, new_id
from postroad.limits import LONGEST_DEADLINE_S, PROBLEM, REQUEST_MAX_BYTES
from postroad.logger import get_logger
from postroad.messaging.failures import failure_of, read_problem
from postroad.messaging.reply import Reply
from postroad.messaging.service_watch import ServiceWatch
from postroad.observability.message_spans import sending
from postroad.observability.metrics import Histograms
from postroad.observability.timing import call_timing
from postroad.observability.trace_context import ongoing_trace
from postroad.security.access_tokens import AccessToken
from postroad.security.claims import Refused
from postroad.security.keyring import KeyRing
from postroad.security.sealing import SealedAsSent
from postroad.security.signatures import Signer, Verifier, token_hash
from postroad.topology.names import RPC_EXCHANGE

log = get_logger(__name__)

_OPENED_POLL_S = 0.01
OK, GIVEN_UP = "ok", "given_up"  # how calls end, besides the codes of errors


@dataclass(slots=True)
class _Waiting:
    """A call under way: what was asked, and who waits for the reply."""

    request: Request[Message]
    reply: asyncio.Future[Reply[Message]]
    began: float

    def time_out(self) -> None:
        self.fail(ReplyTimeout())

    def fail(self, error: ServiceError) -> None:
        if not self.reply.done():
            self.reply.set_exception(error)


class Client:
    """Calls other services with one service's identity.

    Safe to share by all tasks of an event loop; not by threads.
    """

    def __init__(
        self,
        broker: Broker,
        keys: KeyRing,
        *,
        publisher: Publisher | None = None,
        watches: Iterable[str] = (),
    ) -> None:
        """Make a client, not yet started.

        ``watches`` names services: while no worker of theirs listens, a call fails at once.
        A ``publisher`` that is given is the giver's to start and close.
        """
        self._service = keys.service
        self._keys = keys
        self._signer = Signer(keys)
        self._verifier = Verifier(keys)
        self._publisher = publisher or broker.publisher()
        self._owns_publisher = publisher is None
        self._replies = broker.reply_consumer(
            keys.service, on_delivery=self._on_reply, on_lost=self._on_lost
        )
        self._waiting: dict[str, _Waiting] = {}  # by message id
        self._watch = ServiceWatch(watches, self._replies)
        self.counts: Counter[str] = Counter()
        self.ended: Counter[tuple[str, ...]] = Counter()  # calls, by method and code
        self.durations = Histograms()  # of calls, by method

    async def start(self) -> None:
        """Begin to connect; calls fail with ``Unavailable`` until it is done."""
        if self._owns_publisher:
            await self._publisher.start()
        await self._replies.start()
        self._watch.start()

    async def close(self) -> None:
        """Close; calls under way end as ``OutcomeUnknown``."""
        await self._watch.close()
        closing = [self._replies.close()]
        if self._owns_publisher:
            closing.append(self._publisher.close())
        await asyncio.gather(*closing)

    @property
    def is_connected(self) -> bool:
        """Whether a call would be sent."""
        return self._publisher.state is ConnectionState.OPEN and self._replies.address is not None

    async def opened(self, timeout_s: float) -> bool:
        """Wait until a call would be sent; false when that is not within the time."""
        deadline = time() + timeout_s
        while not self.is_connected and time() < deadline:  # noqa: ASYNC110  # two, that come and go
            await asyncio.sleep(_OPENED_POLL_S)
        return self.is_connected

    @property
    def in_flight(self) -> int:
        """Count the calls that wait for their reply."""
        return len(self._waiting)

    def silent_services(self) -> list[str]:
        """Name the watched services of which no worker is known to listen."""
        return self._watch.silent_services()

    async def call(
        self,
        request: Request[ReplyT],
        *,
        timeout_s: float | None = None,
        user: AccessToken | str | None = None,
        correlation_id: str | None = None,
    ) -> ReplyT:
        """Send a request and await its reply.

        Within a handler, it takes no longer than the request being answered has left, and bears
        that one's correlation id. To act for its user, too, pass ``current_context.get().user``;
        a ``user`` may be the text of an access token.

        Raises:
            NotAuthorised: the trust bundle does not let us; nothing was sent.
            Unavailable: the broker is away, or no worker listens; nothing was sent.
            Overloaded: the queue is full; nothing was done.
            ReplyTimeout: no reply within ``timeout_s`` (default: the contract's).
            OutcomeUnknown: the connection went meanwhile; it may have been done.
            PeerError: the reply breaks its contract, or is an error newer than we are.
            ServiceError: what else the contract names.
        """
        reply = await self.call_raw(
            request, timeout_s=timeout_s, user=user, correlation_id=correlation_id
        )
        return reply.parse()

    async def call_raw(
        self,
        request: Request[ReplyT],
        *,
        timeout_s: float | None = None,
        user: AccessToken | str | None = None,
        correlation_id: str | None = None,
    ) -> Reply[ReplyT]:
        """Send a request and await its reply, as ``call`` does, but leave it to be parsed.

        An error that was answered has its ``timing``, too.
        """
        began, code = perf_counter(), GIVEN_UP
        try:
            reply = await self._ask(request, timeout_s, user, correlation_id)
            code = OK
            return reply
        except ServiceError as error:
            code = error.code
            raise
        finally:
            self.ended[request.method, code] += 1
            self.durations[request.method].add(perf_counter() - began)

    async def _ask(
        self,
        request: Request[ReplyT],
        timeout_s: float | None,
        user: AccessToken | str | None,
        correlation_id: str | None,
    ) -> Reply[ReplyT]:
        loop = asyncio.get_running_loop()
        self._check_right(request.method)
        self._check_open(request.service)
        timeout_s = request.timeout_s if timeout_s is None else timeout_s
        answering = current_context.get(None)
        if answering and not answering.is_over:
            timeout_s = min(timeout_s, answering.time_left_s())
            correlation_id = correlation_id or answering.correlation_id
        if timeout_s <= 0:
            raise ReplyTimeout
        if timeout_s > LONGEST_DEADLINE_S:
            raise ValueError(f"timeout_s must be at most {LONGEST_DEADLINE_S:g}")
        message_id = new_id()
        waiting = _Waiting(request, loop.create_future(), perf_counter())
        self._waiting[message_id] = waiting  # before publishing: a reply may be quick
        timer = loop.call_later(timeout_s, waiting.time_out)
        try:
            self._publish(
                waiting,
                message_id=message_id,
                timeout_s=timeout_s,
                user=user,
                correlation_id=correlation_id or message_id,
            )
            return cast(Reply[ReplyT], await waiting.reply)
        finally:
            timer.cancel()
            del self._waiting[message_id]

    def _check_right(self, method: str) -> None:
        """Refuse what the broker would: by closing the channel, with all other calls on it."""
        right = (self._service, "request", method)
        if right not in self._keys.granted and not self._keys.may_send(*right):
            raise NotAuthorised(f"{self._service} may not call {method}")

    def _check_open(self, service: str) -> None:
        if not self.is_connected:
            raise Unavailable("the message broker is away")
        if self._watch.listening.get(service) is False:
            raise Unavailable(f"no {service} worker is running")

    def _publish(
        self,
        waiting: _Waiting,
        *,
        message_id: str,
        timeout_s: float,
        user: AccessToken | str | None,
        correlation_id: str,
    ) -> None:
        if not is_plain_id(correlation_id):
            raise ValueError("a correlation id is 1 to 128 characters of A-Z a-z 0-9 - _ . :")
        now, request = time(), waiting.request
        reply_to = self._replies.address or ""
        deadline, body = now + timeout_s, request.as_json
        if isinstance(request, SealedAsSent):
            body = request.body_for(self._service, message_id, deadline)
        if len(body) > REQUEST_MAX_BYTES:
            raise InvalidRequest(str(TooLarge(body, REQUEST_MAX_BYTES)))
        token, hashed = _text_and_hash(user) if user is not None else (None, None)
        headers: dict[str, Any] = {
            "signature": self._signer.request(
                audience=request.service,
                method=request.method,
                body=body,
                message_id=message_id,
                correlation_id=correlation_id,
                reply_to=reply_to,
                deadline=deadline,
                token_hash=hashed,
            )
        }
        if token is not None:
            headers["authorization"] = token
        span = sending(
            RPC_EXCHANGE,
            request.method,
            message_id=message_id,
            correlation_id=correlation_id,
            body_bytes=len(body),
        )
        (span.context if span else ongoing_trace()).write(headers)
        properties = BasicProperties(
            content_type="application/json",
            headers=headers,
            correlation_id=correlation_id,
            reply_to=reply_to,
            expiration=str(max(1, int(timeout_s * 1000))),
            message_id=message_id,
            timestamp=int(now),
            type=request.method,
            user_id=self._service,
        )

        def on_outcome(outcome: Outcome) -> None:
            if span is not None:
                span.end(error=None if outcome is Outcome.CONFIRMED else outcome)
            if outcome is not Outcome.CONFIRMED:
                waiting.fail(failure_of(outcome, request.service))

        try:
            self._publisher.publish(RPC_EXCHANGE, request.method, body, properties, on_outcome)
        except NotOpen as error:
            if span is not None:
                span.end(error=Unavailable.code)
            raise Unavailable("the message broker is away") from error

    def _on_reply(self, delivery: Delivery) -> None:
        headers = delivery.properties.headers or {}
        try:
            claims = self._verifier.verify(headers.get("signature"), delivery.body, typ="reply")
        except Refused as refusal:
            self.counts[f"refused.{refusal.reason}"] += 1
            log.warning("reply refused", reason=refusal.reason, detail=str(refusal))
            return
        waiting = self._waiting.get(claims.rid or "")
        if waiting is None:
            self.counts["late"] += 1
            log.info("late reply", method=claims.op, request_id=claims.cid)
        elif (waiting.request.service, waiting.request.method) != (claims.iss, claims.op):
            self.counts["refused.wrong_reply"] += 1
            log.warning("reply refused", reason="wrong_reply", method=claims.op, caller=claims.iss)
        elif not waiting.reply.done():
            timing = call_timing(perf_counter() - waiting.began, claims.tms) if claims.tms else None
            if claims.cty == PROBLEM:
                error = read_problem(delivery.body)
                error.timing = timing
                waiting.fail(error)
            else:
                waiting.reply.set_result(
                    Reply(waiting.request.reply, delivery.body, claims.dat, claims.old, timing)
                )

    def _on_lost(self) -> None:
        """Fail what is under way: the reply queue is gone, and what was in it."""
        for waiting in self._waiting.values():
            waiting.fail(OutcomeUnknown())


def _text_and_hash(user: AccessToken | str) -> tuple[str, str]:
    return (user, token_hash(user)) if isinstance(user, str) else (user.text, user.hash)
