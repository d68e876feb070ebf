"""In which trace a request is: its client's, or one that begins here."""

from http_bridge.asgi.messages import HttpRequest
from http_bridge.http.metrics import HttpMetrics
from postroad.observability.http_spans import serving
from postroad.observability.metrics import OTHER
from postroad.observability.spans import Span, recorder
from postroad.observability.trace_context import current_trace, new_trace, parse

PROBES = ("/healthz", "/readyz")


def begin_trace(request: HttpRequest, exchanges: HttpMetrics) -> Span | None:
    """Note the trace, for all that is done for this request; record it, unless it is a probe."""
    parent, span = None, None
    if (given := request.headers.get(b"traceparent")) is not None:
        state = request.headers.get(b"tracestate", b"")
        parent = parse(given.decode("latin-1"), state.decode("latin-1"))
    if recorder() is not None and request.path not in PROBES:
        route = exchanges.route_of(request.path)
        span = serving(
            request.method,
            request.path,
            None if route == OTHER else route,
            scheme="https" if request.is_https else "http",
            parent=parent,
        )
    current_trace.set(span.context if span else parent or new_trace())
    return span
