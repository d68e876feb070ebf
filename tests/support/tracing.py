"""Being within a trace, as if a request of somebody's were being answered."""

from collections.abc import Iterator
from contextlib import contextmanager

from structlog.typing import EventDict

from postroad.observability.trace_context import TraceContext, current_trace

PLACE = TraceContext("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "vendor=1")


@contextmanager
def within(place: TraceContext | None) -> Iterator[None]:
    token = current_trace.set(place)
    try:
        yield
    finally:
        current_trace.reset(token)


def with_trace(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Add the trace to a line of a log, as a process's logging does."""
    trace = current_trace.get()
    return {**event, "trace_id": trace.trace_id} if trace else event
