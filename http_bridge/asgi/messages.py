"""One HTTP request and its response, on bare ASGI.

A prototype of this path took noticeably less CPU without a framework
(docs/decisions/0005-bare-asgi.md); the little that the bridge needs of one is here.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from postroad.contracts.errors import ServiceError
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


class BodyOverLimit(Exception):
    """The request's body is longer than allowed."""


class RequestTimeout(ServiceError):
    """The request has not come in time, head and body."""

    code = "request_timeout"
    title = "The request took too long to come"


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


@dataclass(slots=True)
class HttpRequest:
    """A request; its headers are read in one pass, its body on demand.

    A header that came in several lines is here as one (RFC 9110 section 5.3).
    """

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
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            is_https=scope["scheme"] == "https",
            client_address=scope["client"][0] if scope.get("client") else None,
            headers=_headers(scope["headers"]),
            receive=receive,
        )

    async def body(self, max_bytes: int) -> bytes:
        """Read the body.

        Raises:
            BodyOverLimit: it is longer than ``max_bytes``; the rest is not read.
            ClientGone: it never ends.
        """
        body = b""
        while True:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            body += bytes(message.get("body", b""))
            if len(body) > max_bytes:
                raise BodyOverLimit
            if not message.get("more_body", False):
                return body

    def cookies(self, name: bytes) -> list[str]:
        """Return the values of a cookie, each once (RFC 6265 section 4.2).

        There may be several: of other paths, of other hosts of the domain, of other ports of the
        host. The most specific comes first. A value in quotes is from a client that still follows
        RFC 2965, as Java's does.
        """
        pairs = (pair.partition(b"=") for pair in self.headers.get(b"cookie", b"").split(b";"))
        values = (value.strip(b' \t"') for key, _, value in pairs if key.strip() == name)
        return list(dict.fromkeys(value.decode("latin-1") for value in values if value))


def _headers(lines: Headers) -> dict[bytes, bytes]:
    headers = dict(lines)
    if len(headers) == len(lines):
        return headers
    values = defaultdict(list)
    for name, value in lines:
        values[name].append(value)
    return {
        name: (b"; " if name == b"cookie" else b", ").join(several)
        for name, several in values.items()
    }


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
