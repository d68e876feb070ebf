"""Spans of messages, as OpenTelemetry's conventions for RabbitMQ name them.

A send lasts until the broker has the message. A destination is ``exchange:routing key``, and for
who reads from it ``exchange:routing key:queue``.
"""

from postroad.observability.spans import Kind, Span, recorder
from postroad.observability.trace_context import TraceContext, current_trace, new_trace


def sending(
    exchange: str,
    routing_key: str,
    *,
    message_id: str,
    correlation_id: str,
    body_bytes: int,
    parent: TraceContext | None = None,
    is_reply: bool = False,
) -> Span | None:
    """Begin to send; the parent is what is being done now, unless another one is given."""
    if (record := recorder()) is None:
        return None
    destination = f"{exchange}:{routing_key}"
    attributes = _attributes("send", destination, routing_key, message_id, correlation_id)
    attributes["messaging.message.body.size"] = body_bytes
    if is_reply:  # to a queue that goes with its process: no name to group by
        attributes["messaging.destination.temporary"] = True
        destination = exchange
    return record.begin(
        Kind.PRODUCER,
        f"send {destination}",
        parent=parent or current_trace.get(),
        attributes=attributes,
    )


def processing(
    exchange: str,
    routing_key: str,
    queue: str,
    *,
    message_id: str,
    correlation_id: str,
    parent: TraceContext | None = None,
    link: TraceContext | None = None,
) -> tuple[Span | None, TraceContext]:
    """Begin to work on a message, within its sender's trace or linked to it, and note the trace."""
    if (record := recorder()) is None:
        span, trace = None, parent or new_trace()
    else:
        destination = f"{exchange}:{routing_key}:{queue}"
        attributes = _attributes("process", destination, routing_key, message_id, correlation_id)
        span = record.begin(
            Kind.CONSUMER, f"process {destination}", parent=parent, attributes=attributes, link=link
        )
        trace = span.context
    current_trace.set(trace)
    return span, trace


def _attributes(
    operation: str, destination: str, routing_key: str, message_id: str, correlation_id: str
) -> dict[str, str | int]:
    return {
        "messaging.system": "rabbitmq",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
        "messaging.rabbitmq.destination.routing_key": routing_key,
        "messaging.message.id": message_id,
        "messaging.message.conversation_id": correlation_id,
    }
