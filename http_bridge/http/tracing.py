"""In which trace a request is: its client's, or one that begins here."""

from http_bridge.asgi.messages import HttpRequest
from postroad.observability.http_spans import serving
from postroad.observability.spans import Span, recorder
from postroad.observability.trace_context import current_trace, new_trace, parse


def begin_trace(request: HttpRequest, route: str | None, *, is_recorded: bool) -> Span | None:
    """Note the trace, for all that is done for this request, and record it if so wanted."""
    parent, span = None, None
    if (given := request.headers.get(b"traceparent")) is not None:
        state = request.headers.get(b"tracestate", b"")
        parent = parse(given.decode("latin-1"), state.decode("latin-1"))
    if recorder() is not None and is_recorded:
        span = serving(
            request.method,
            request.path,
            route,
            scheme="https" if request.is_https else "http",
            parent=parent,
        )
    current_trace.set(span.context if span else parent or new_trace())
    return span
