"""The bridge: HTTP in, one signed message out, its reply back."""

from asyncio import CancelledError
from collections.abc import Callable, Iterable
from contextlib import AbstractAsyncContextManager
from time import perf_counter

import structlog

from http_bridge.asgi.lifespan import live
from http_bridge.asgi.messages import HttpRequest, HttpResponse, Receive, Scope, Send
from http_bridge.asgi.stream import Stream
from http_bridge.http.bodies import ClientGone
from http_bridge.http.metrics import HttpMetrics
from http_bridge.http.problems import (
    MethodNotAllowed,
    NotFound,
    allowed,
    problem_response,
    refused,
    why_cancelled,
)
from http_bridge.http.server_timing import is_timed, server_timing
from http_bridge.http.tracing import begin_trace
from http_bridge.routes.backend import Backend
from http_bridge.routes.routing import Resource, Route, Router
from postroad.contracts.errors import InternalError, ServiceError
from postroad.ids import is_plain_id, new_id
from postroad.observability.http_spans import served
from postroad.observability.metrics import OTHER, Metric

log = structlog.get_logger()

PATH_SHOWN = 200  # characters, in a log and in a problem


class Bridge:
    """The ASGI application. No business logic: a route sends one contract to one service."""

    def __init__(
        self,
        routes: Iterable[Route],
        backend: Backend,
        *,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        """``lifespan`` surrounds the application's life."""
        self._router = Router(routes)
        self._backend = backend
        self._lifespan = lifespan
        self._metrics = HttpMetrics()
        self._in_flight = 0

    def metrics(self) -> list[Metric]:
        """Return what is counted of HTTP requests."""
        return self._metrics.metrics(lambda: self._in_flight)

    def refuse(self, error: ServiceError) -> HttpResponse:
        """Return the answer to what never became a request."""
        return refused(error, self._metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await live(self._lifespan, receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens, and log it in one line."""
        began = perf_counter()
        request = HttpRequest.from_scope(scope, receive)
        if self._backend.site.is_https is not None:
            request.is_https = self._backend.site.is_https
        request.request_id = _request_id(request)
        path = request.path[:PATH_SHOWN]
        resource, request.parameters = self._router.find(request.path)
        route, is_probe = (resource.path, resource.is_probe) if resource else (None, False)
        code = None
        self._in_flight += 1
        span = begin_trace(request, route, is_recorded=not is_probe)
        try:
            response = await self._answer(request, resource)
        except ClientGone:
            if span is not None:
                span.end(error="client_gone")
            return
        except CancelledError as cancelled:
            error = why_cancelled(request, cancelled)
            response, code = problem_response(error, request.request_id), error.code
        except ServiceError as error:
            response, code = problem_response(error, request.request_id), error.code
        except Exception:  # a bug in the bridge is logged, and shown to nobody
            log.exception("bridge failed", path=path, request_id=request.request_id)
            response, code = problem_response(InternalError(), request.request_id), "internal"
        finally:
            self._in_flight -= 1
        if isinstance(response, HttpResponse) and response.timing and is_timed(request.path):
            response.headers.append(server_timing(response.timing, perf_counter() - began))
        seconds = perf_counter() - began
        self._metrics.add(route or OTHER, request.method, int(response.status), seconds)
        await response.send(send, request.request_id)
        if span is not None:
            served(span, int(response.status), code)
        write = log.debug if is_probe else log.info
        write(
            "http",
            method=request.method,
            path=path,
            status=int(response.status),
            outcome=code or "ok",
            duration_ms=round((perf_counter() - began) * 1000, 2),
            request_id=request.request_id,
        )

    async def _answer(
        self, request: HttpRequest, resource: Resource | None
    ) -> HttpResponse | Stream:
        if resource is None:
            raise NotFound(f"nothing at {request.path[:PATH_SHOWN]}")
        route = resource.routes.get("GET" if request.method == "HEAD" else request.method)
        if route is None:
            raise MethodNotAllowed(allowed=allowed(resource.routes))
        return await route.answer(request, self._backend)


def _request_id(request: HttpRequest) -> str:
    """Take the client's request id when it is plain, else make one."""
    given = request.headers.get(b"x-request-id", b"").decode("latin-1")
    return given if is_plain_id(given) else new_id()
