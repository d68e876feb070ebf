"""One HTTP request and its response, on bare ASGI.

A prototype of this path took noticeably less CPU without a framework
(docs/decisions/0005-bare-asgi.md); the little that the bridge needs of one is here.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from http_bridge.asgi.headers import joined
from postroad.contracts.auth import ADDRESS_MAX
from postroad.contracts.message import CallTiming

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]
PathParameters = tuple[tuple[str, str], ...]  # names and values, in the path's order

JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
WITHOUT_LENGTH = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)  # RFC 9110 section 8.6
NO_STORE: tuple[bytes, bytes] = (b"cache-control", b"no-store")
PRIVATE_NO_STORE: tuple[bytes, bytes] = (b"cache-control", b"private, no-store")


@dataclass(slots=True)
class HttpRequest:
    """A request; its headers are read in one pass, its body is not."""

    method: str
    path: str
    query: bytes
    is_https: bool
    client_address: str | None
    headers: dict[bytes, bytes]
    receive: Receive
    request_id: str = ""
    parameters: PathParameters = ()

    @classmethod
    def from_scope(cls, scope: Scope, receive: Receive) -> "HttpRequest":
        """Read what a server says of a request (ASGI HTTP connection scope)."""
        lines = scope["headers"]
        headers = dict(lines)
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            is_https=scope["scheme"] == "https",
            client_address=scope["client"][0][:ADDRESS_MAX] if scope.get("client") else None,
            headers=headers if len(headers) == len(lines) else joined(lines),
            receive=receive,
        )


@dataclass(slots=True)
class HttpResponse:
    """A response, sent whole."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=lambda: [JSON, PRIVATE_NO_STORE])
    timing: CallTiming | None = None  # of the call that it answers with

    async def send(self, send: Send, request_id: str) -> None:
        """Send it, with the headers that every response has."""
        headers = with_usual(self.headers, request_id)
        if self.status not in WITHOUT_LENGTH:
            headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def with_usual(headers: Headers, request_id: str) -> Headers:
    """Add the headers that every response has."""
    return [
        *headers,
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
