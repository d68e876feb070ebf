"""What handlers answer with, and how a route names its handler."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.asgi.stream import Stream
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.calls.gate import Calls
from http_bridge.calls.probes import ServiceProbes
from http_bridge.http.authentication import RequestTokens
from http_bridge.http.lockouts import Lockouts
from http_bridge.http.site import Site
from postroad.contracts.base import Request
from postroad.contracts.errors import ServiceError
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing

Contract = type[Request[Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Made once, for all requests.

    ``links`` are those of ``GET /``; ``documents`` are written once, from the contracts and the
    table of routes: ``openapi``, ``asyncapi``, and ``messages``, which is a page.
    """

    calls: Calls
    client: Client
    keys: KeyRing
    site: Site
    tokens: RequestTokens
    lockouts: Lockouts
    monitor: BrokerMonitor
    probes: ServiceProbes
    is_current: Callable[[], bool]  # whether it is known which sessions have ended
    body_max_bytes: int
    links: Mapping[str, str]
    documents: Mapping[str, bytes]


Handler = Callable[[HttpRequest, Backend], Awaitable[HttpResponse | Stream]]


@dataclass(frozen=True, slots=True)
class HandlerRoute:
    """A route with a handler of its own; what is below ``link`` is for OpenAPI.

    ``gives`` is a model or the media types of the answer; a route without is not in the document.
    """

    method: str
    path: str
    answer: Handler
    link: str | None = None  # its name in ``GET /``; none: it is not there
    contract: Contract | None = None  # that it sends
    takes: type[BaseModel] | None = None
    is_body_required: bool = True
    gives: type[BaseModel] | tuple[str, ...] = ()
    errors: tuple[type[ServiceError], ...] = ()  # besides the contract's
    is_secured: bool = False
    is_probe: bool = False  # asked every few seconds: not traced, and logged for debugging only
