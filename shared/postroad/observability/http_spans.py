"""Spans of HTTP, of who answers and of who asks, as OpenTelemetry's conventions name them.

No address of a client and no query of a user is in them: a collector keeps what it is told.
"""

from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

from postroad.observability.spans import Kind, Span, recorder
from postroad.observability.trace_context import TraceContext, current_trace, ongoing_trace

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_OTHER = "_OTHER"
_PORTS = {"http": 80, "https": 443}


def serving(
    method: str, path: str, route: str | None, *, scheme: str, parent: TraceContext | None
) -> Span | None:
    """Begin to answer a request; ``route`` is none when there is nothing at its path."""
    if (record := recorder()) is None:
        return None
    attributes: dict[str, str | int] = {
        "http.request.method": method if method in METHODS else _OTHER,
        "url.path": path[:200],
        "url.scheme": scheme,
    }
    name = method if method in METHODS else "HTTP"
    if route is not None:
        attributes["http.route"] = route
        name = f"{name} {route}"
    return record.begin(Kind.SERVER, name, parent=parent, attributes=attributes)


def served(span: Span, status: int, code: str | None) -> None:
    """End a span of ``serving``; what the client did wrong is no error of ours."""
    attributes: dict[str, str | int] = {"http.response.status_code": status}
    span.end(error=code or str(status) if status >= 500 else None, attributes=attributes)


@dataclass(slots=True)
class Asked:
    """A request to a server; its ``status`` is to be noted when there is an answer."""

    status: int | None = None


@contextmanager
def asking(
    method: str, url: str, headers: MutableMapping[str, str], *, resends: int
) -> Iterator[Asked]:
    """Ask a server within the trace, which goes into the headers, too.

    ``resends`` counts the attempts before this one.
    """
    asked = Asked()
    span = _begin_asking(method, url, resends)
    (span.context if span else ongoing_trace()).write(headers)
    error: str | None = None
    try:
        yield asked
    except Exception as exception:
        error = type(exception).__name__
        raise
    finally:
        if span is not None:
            _end_asking(span, asked.status, error)


def _begin_asking(method: str, url: str, resends: int) -> Span | None:
    if (record := recorder()) is None:
        return None
    parts = urlsplit(url)
    port = parts.port or _PORTS.get(parts.scheme, 0)
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "url.full": f"{parts.scheme}://{parts.hostname}:{port}{parts.path}",
        "server.address": parts.hostname or "",
        "server.port": port,
    }
    if resends:
        attributes["http.request.resend_count"] = resends
    return record.begin(Kind.CLIENT, method, parent=current_trace.get(), attributes=attributes)


def _end_asking(span: Span, status: int | None, error: str | None) -> None:
    """End it; whatever is 4xx or 5xx is an error to who asked."""
    if status is None:
        span.end(error=error)
        return
    if status >= 400:
        error = str(status)
    span.end(error=error, attributes={"http.response.status_code": status})
