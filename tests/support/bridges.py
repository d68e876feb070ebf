"""The bridge in a test's own process, asked as an ASGI server does."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import orjson

from http_bridge.app import Bridge
from http_bridge.asgi.messages import Headers, HttpRequest, Scope
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.routes.backend import Backend
from http_bridge.routes.routing import Route
from http_bridge.routes.table import routes_of, services_behind
from http_bridge.settings import BridgeSettings
from http_bridge.wiring import ROOT, make_backend, queues_of
from postroad.broker.interfaces import Broker
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing
from postroad.security.token_verifier import Revocations
from postroad.topology.manifest import find_manifests

MANIFESTS = find_manifests(ROOT)
ROUTES = routes_of(MANIFESTS)
SERVICES = services_behind(ROUTES)
QUEUES = queues_of(MANIFESTS, SERVICES)


def make_bridge(
    broker: Broker,
    keys: KeyRing,
    *,
    client: Client | None = None,
    routes: Sequence[Route] = ROUTES,
    public_url: str | None = None,
    is_development: bool = False,
) -> Bridge:
    """Put a bridge together; only a ``client`` that is given and started can call."""

    @asynccontextmanager
    async def lifespan() -> AsyncIterator[None]:
        yield

    backend = make_test_backend(
        *(broker, keys),
        client=client,
        routes=routes,
        public_url=public_url,
        is_development=is_development,
    )
    return Bridge(routes, backend, lifespan=lifespan)


def make_test_backend(
    broker: Broker,
    keys: KeyRing,
    *,
    client: Client | None = None,
    revocations: Revocations | None = None,
    routes: Sequence[Route] = ROUTES,
    public_url: str | None = None,
    is_development: bool = False,
) -> Backend:
    """Put together what a bridge's handlers answer with."""
    return make_backend(
        routes,
        BridgeSettings(public_url=public_url),
        client=client or Client(broker, keys),
        keys=keys,
        revocations=Revocations() if revocations is None else revocations,
        monitor=BrokerMonitor(broker, keys, queues=QUEUES, interval_s=0.01),
        is_current=lambda: True,
        is_development=is_development,
    )


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    lines: Headers
    body: bytes

    @property
    def headers(self) -> dict[bytes, bytes]:
        return dict(self.lines)

    @property
    def set_cookies(self) -> list[str]:
        return [value.decode() for name, value in self.lines if name == b"set-cookie"]

    def json(self) -> Any:
        return orjson.loads(self.body)


async def ask(
    bridge: Bridge,
    method: str,
    path: str,
    *,
    query: bytes = b"",
    headers: Headers | None = None,
    body: bytes = b"",
    address: str = "192.0.2.77",
    scheme: str = "http",
) -> Answer:
    """Send one request, and return the answer to it."""
    sent: list[Scope] = []

    async def receive() -> Scope:
        return {"type": "http.request", "body": body}

    async def send(message: Scope) -> None:
        sent.append(message)

    scope: Scope = {
        "type": "http",
        "method": method,
        "path": path,
        "query_string": query,
        "scheme": scheme,
        "headers": headers or [],
        "client": (address, 50_000),
    }
    await bridge(scope, receive, send)
    start, *parts = sent
    return Answer(start["status"], start["headers"], b"".join(part["body"] for part in parts))


def cookies(*lines: str) -> Headers:
    return [(b"cookie", line.encode()) for line in lines]


def request_with(*headers: tuple[bytes, bytes], scheme: str = "http") -> HttpRequest:
    async def receive() -> Scope:
        raise AssertionError("nobody reads the body")

    scope: Scope = {
        "method": "POST",
        "path": "/",
        "query_string": b"",
        "scheme": scheme,
        "headers": list(headers),
    }
    return HttpRequest.from_scope(scope, receive)
