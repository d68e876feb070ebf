"""Publishing what may wait: events, for whoever listens, and jobs, for one service.

Both are signed with Ed25519: whoever gets one can check it, nobody else can make it, and it can
be checked for as long as it may wait in a queue (docs/decisions/0011-jobs.md).
"""

import asyncio
from time import time
from typing import Any, Literal

from postroad.broker.interfaces import BasicProperties, NotOpen, Outcome, Publisher, TooLarge
from postroad.observability.message_spans import sending
from postroad.observability.trace_context import TraceContext
from postroad.security.keyring import KeyRing
from postroad.security.lasting_signatures import LastingSigner
from postroad.topology.names import EVENTS_EXCHANGE, EVENTS_TO_WORK_EXCHANGE, WORK_EXCHANGE

PERSISTENT = 2  # AMQP delivery-mode: survives a restart of the broker

Kind = Literal["event", "job"]


class NotPublished(Exception):
    """The broker did not take the message; it may be published again."""


class MessagePublisher:
    """Publishes events and jobs on a service's connection for publishing."""

    def __init__(self, publisher: Publisher, keys: KeyRing) -> None:
        self._publisher = publisher
        self._signer = LastingSigner(keys)
        self._service = keys.service

    async def publish(
        self,
        kind: Kind,
        name: str,
        body: bytes,
        *,
        message_id: str,
        correlation_id: str,
        trace: TraceContext | None = None,
    ) -> None:
        """Publish an event's or a job's JSON, and wait until the broker has it.

        That nobody listens to an event is fine, and that a listener does not take it; a job must
        find its queue. ``trace`` is where the message was written.

        Raises:
            NotPublished: the broker is away, did not confirm, or has no queue for the job.
        """
        exchange = EVENTS_EXCHANGE if kind == "event" else WORK_EXCHANGE
        headers: dict[str, Any] = {
            "signature": self._sign(kind, name, body, message_id, correlation_id)
        }
        span = sending(
            exchange,
            name,
            message_id=message_id,
            correlation_id=correlation_id,
            body_bytes=len(body),
            parent=trace,
        )
        if (place := span.context if span else trace) is not None:
            place.write(headers)
        properties = BasicProperties(
            content_type="application/json",
            headers=headers,
            delivery_mode=PERSISTENT,
            correlation_id=correlation_id,
            message_id=message_id,
            timestamp=int(time()),
            type=name,
            user_id=self._service,
        )
        outcome: Outcome | None = None
        try:
            outcome = await publish(self._publisher, exchange, name, body, properties)
            if kind == "event" and outcome is Outcome.REFUSED:
                # by one queue of all, which may be a listener's own: its events are not kept
                outcome = await publish(
                    self._publisher, EVENTS_TO_WORK_EXCHANGE, name, body, properties
                )
        finally:
            if span is not None:
                span.end(error=None if outcome is Outcome.CONFIRMED else outcome or "not_published")
        if outcome is Outcome.CONFIRMED or (kind == "event" and outcome is Outcome.RETURNED):
            return
        raise NotPublished(f"{name} was {outcome}")

    def _sign(
        self, kind: Kind, name: str, body: bytes, message_id: str, correlation_id: str
    ) -> str:
        if kind == "event":
            return self._signer.event(
                name=name, body=body, message_id=message_id, correlation_id=correlation_id
            )
        return self._signer.job(
            audience=name.partition(".")[0],
            name=name,
            body=body,
            message_id=message_id,
            correlation_id=correlation_id,
        )


async def publish(
    publisher: Publisher,
    exchange: str,
    routing_key: str,
    body: bytes,
    properties: BasicProperties,
) -> Outcome:
    """Publish a message, and wait for its fate.

    Raises:
        NotPublished: there is no connection, or the body is too large.
    """
    fate: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def on_outcome(outcome: Outcome) -> None:
        if not fate.done():  # the caller may have given up
            fate.set_result(outcome)

    try:
        publisher.publish(exchange, routing_key, body, properties, on_outcome)
    except NotOpen as error:
        raise NotPublished("the message broker is away") from error
    except TooLarge as error:
        raise NotPublished(str(error)) from error
    return await fate
