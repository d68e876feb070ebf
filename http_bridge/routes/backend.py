"""What handlers answer with."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from http_bridge.asgi.messages import HttpRequest, HttpResponse
from http_bridge.asgi.stream import Stream
from http_bridge.calls.broker_monitor import BrokerMonitor
from http_bridge.calls.gate import Calls
from http_bridge.http.authentication import RequestTokens
from postroad.messaging.client import Client
from postroad.security.keyring import KeyRing


@dataclass(frozen=True, slots=True, kw_only=True)
class Backend:
    """Made once, for all requests.

    ``links`` are those of ``GET /``; ``documents`` are written once, from the contracts and the
    table of routes: ``openapi``, ``asyncapi``, and ``messages``, which is a page.
    """

    calls: Calls
    client: Client
    keys: KeyRing
    tokens: RequestTokens
    monitor: BrokerMonitor
    is_current: Callable[[], bool]  # whether it is known which sessions have ended
    body_max_bytes: int
    links: Mapping[str, str]
    documents: Mapping[str, bytes]


Handler = Callable[[HttpRequest, Backend], Awaitable[HttpResponse | Stream]]
