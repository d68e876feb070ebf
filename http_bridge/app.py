"""The bridge: HTTP in, one signed message out, its reply back."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from time import perf_counter

import orjson
import structlog

from http_bridge.asgi.messages import (
    JSON,
    PRIVATE_NO_STORE,
    ClientGone,
    HttpRequest,
    HttpResponse,
    Receive,
    Scope,
    Send,
    Stream,
)
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.calls.client import Calls
from http_bridge.http.authentication import RequestTokens
from http_bridge.http.metrics import HttpMetrics
from http_bridge.http.problems import MethodNotAllowed, NotFound, problem_response
from http_bridge.http.server_timing import server_timing
from http_bridge.http.tracing import PROBES, begin_trace
from http_bridge.routes.docs import Docs
from http_bridge.routes.live import Live
from http_bridge.routes.page import Page, wants_html
from http_bridge.routes.products import Products
from http_bridge.routes.sessions import Auth
from http_bridge.routes.syncs import Syncs
from http_bridge.settings import BridgeSettings
from postroad.contracts.errors import InternalError, ServiceError, Unavailable
from postroad.ids import new_id
from postroad.messaging.client import Client
from postroad.observability.http_spans import served
from postroad.observability.metrics import Metric
from postroad.security.access_tokens import TokenVerifier
from postroad.security.keyring import KeyRing
from postroad.security.revocations import Revocations
from postroad.security.signatures import is_plain_id

log = structlog.get_logger()

Handler = Callable[[HttpRequest], Awaitable[HttpResponse | Stream]]
PRODUCT_PATH = "/products/"
SYNC_PATH = "/products/sync/"


class Bridge:
    """The ASGI application. No business logic: each handler is one call to one service."""

    def __init__(
        self,
        settings: BridgeSettings,
        *,
        client: Client,
        keys: KeyRing,
        revocations: Revocations,
        watch: BrokerMonitor,
        lifespan: Callable[[], AbstractAsyncContextManager[None]],
        is_current: Callable[[], bool],
    ) -> None:
        """``lifespan`` surrounds the application's life; ``is_current`` is part of readiness."""
        self._client = client
        self._lifespan = lifespan
        self._is_current = is_current
        self._in_flight = 0
        calls = Calls(client, deadline_s=settings.timeout_s, in_flight_max=settings.in_flight_max)
        tokens = RequestTokens(TokenVerifier(keys, revocations))
        auth = Auth(
            calls,
            keys,
            tokens,
            timeout_s=settings.timeout_s,
            body_max_bytes=settings.body_max_bytes,
        )
        self._products = Products(calls, tokens, timeout_s=settings.timeout_s)
        self._syncs = Syncs(calls, tokens, timeout_s=settings.timeout_s)
        docs = Docs()
        self._page = Page()
        self.watch = watch
        self._routes: dict[str, dict[str, Handler]] = {
            "/": {"GET": self._about},
            "/healthz": {"GET": self._health},
            "/readyz": {"GET": self._readiness},
            "/.well-known/jwks.json": {"GET": auth.key_set},
            "/auth": {"POST": auth.sign_in},
            "/auth/refresh": {"POST": auth.refresh},
            "/auth/logout": {"POST": auth.sign_out},
            "/auth/me": {"GET": auth.own_user},
            "/products": {"GET": self._products.list},
            "/products/categories": {"GET": self._products.categories},
            "/products/sync": {"POST": self._syncs.start},
            "/openapi.json": {"GET": docs.openapi},
            "/asyncapi.json": {"GET": docs.asyncapi},
            "/live": {"GET": Live(watch, tokens).stream},
            **{path: {"GET": docs.page} for path in docs.paths},
            **{path: {"GET": self._page.part} for path in self._page.paths},
        }

        self._exchanges = HttpMetrics(
            (*self._routes, f"{PRODUCT_PATH}{{product_id}}", f"{SYNC_PATH}{{sync_id}}")
        )

    def metrics(self) -> list[Metric]:
        """Give what is counted of HTTP requests."""
        return self._exchanges.metrics(lambda: self._in_flight)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif scope["type"] == "http":
            await self._exchange(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        async with self._lifespan():
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _exchange(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, whatever happens, and log it in one line."""
        began = perf_counter()
        request = HttpRequest.from_scope(scope, receive)
        request.request_id = _request_id(request)
        code = None
        self._in_flight += 1
        span = begin_trace(request, self._exchanges)
        try:
            response = await self._dispatch(request)
        except ClientGone:
            if span is not None:
                span.end(error="client_gone")
            return
        except ServiceError as error:
            response, code = problem_response(error, request.request_id), error.code
        except Exception:  # a bug in the bridge is logged, and shown to nobody
            log.exception("bridge failed", path=request.path, request_id=request.request_id)
            response, code = problem_response(InternalError(), request.request_id), "internal"
        finally:
            self._in_flight -= 1
        if isinstance(response, HttpResponse) and response.timing is not None:
            response.headers.append(server_timing(response.timing, perf_counter() - began))
        self._exchanges.add(request, int(response.status), perf_counter() - began)
        await response.send(send, request.request_id)
        if span is not None:
            served(span, int(response.status), code)
        # whoever watches over us asks every few seconds
        write = log.debug if request.path in PROBES else log.info
        write(
            "http",
            method=request.method,
            path=request.path,
            status=int(response.status),
            outcome=code or "ok",
            duration_ms=round((perf_counter() - began) * 1000, 2),
            request_id=request.request_id,
        )

    async def _dispatch(self, request: HttpRequest) -> HttpResponse | Stream:
        path = request.path
        methods = self._routes.get(path) or self._routes.get(path.rstrip("/"))
        if methods is None and path.startswith(PRODUCT_PATH) and path.count("/") == 2:
            methods = {"GET": self._product}
        if methods is None and path.startswith(SYNC_PATH) and path.count("/") == 3:
            methods = {"GET": self._sync}
        if methods is None:
            raise NotFound(f"nothing at {path[:200]}")
        handler = methods.get("GET" if request.method == "HEAD" else request.method)
        if handler is None:
            raise MethodNotAllowed(allowed=", ".join(methods))
        return await handler(request)

    async def _product(self, request: HttpRequest) -> HttpResponse:
        return await self._products.get(request, request.path.removeprefix(PRODUCT_PATH))

    async def _sync(self, request: HttpRequest) -> HttpResponse:
        return await self._syncs.get(request, request.path.removeprefix(SYNC_PATH))

    async def _about(self, request: HttpRequest) -> HttpResponse:
        """Say what this is, and where to go from here: to a browser on a page."""
        if wants_html(request):
            return await self._page.index(request)
        about = {
            "name": "Postroad",
            "description": "Products and sign-in over HTTP, answered by workers over RabbitMQ.",
            "links": {
                "docs": "/docs",
                "openapi": "/openapi.json",
                "messages": "/docs/messages",
                "asyncapi": "/asyncapi.json",
                "sign_in": "/auth",
                "refresh": "/auth/refresh",
                "sign_out": "/auth/logout",
                "own_user": "/auth/me",
                "keys": "/.well-known/jwks.json",
                "products": "/products",
                "categories": "/products/categories",
                "sync": "/products/sync",
                "live": "/live",
                "health": "/healthz",
                "readiness": "/readyz",
            },
        }
        return HttpResponse(
            HTTPStatus.OK, orjson.dumps(about), [JSON, PRIVATE_NO_STORE, (b"vary", b"Accept")]
        )

    async def _health(self, _: HttpRequest) -> HttpResponse:
        return HttpResponse(HTTPStatus.OK, b'{"status":"ok"}')

    async def _readiness(self, _: HttpRequest) -> HttpResponse:
        """Say whether a call would be answered now."""
        if not self._client.is_connected:
            raise Unavailable("the message broker is away")
        if silent := self._client.silent_services():
            raise Unavailable(f"no worker listens for {', '.join(silent)}")
        if not self._is_current():
            raise Unavailable("it is not known yet which sessions have ended")
        return HttpResponse(HTTPStatus.OK, b'{"status":"ready"}')


def _request_id(request: HttpRequest) -> str:
    """Take the client's request id when it is plain, else make one."""
    given = request.headers.get(b"x-request-id", b"").decode("latin-1")
    return given if is_plain_id(given) else new_id()
