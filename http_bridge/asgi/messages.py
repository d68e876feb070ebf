"""One HTTP request and its response, on bare ASGI.

A prototype of this path took noticeably less CPU without a framework
(docs/decisions/0005-bare-asgi.md); the little that the bridge needs of one is here.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, MutableMapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from postroad.contracts.replies import CallTiming

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON: tuple[bytes, bytes] = (b"content-type", b"application/json")
WITHOUT_LENGTH = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)  # RFC 9110 section 8.6
NO_STORE: tuple[bytes, bytes] = (b"cache-control", b"no-store")
PRIVATE_NO_STORE: tuple[bytes, bytes] = (b"cache-control", b"private, no-store")


class BodyOverLimit(Exception):
    """The request's body is longer than allowed."""


class ClientGone(Exception):
    """The client closed the connection before its request was whole."""


@dataclass(slots=True)
class HttpRequest:
    """A request; its headers are read in one pass, its body on demand."""

    method: str
    path: str
    query: bytes
    is_https: bool
    client_address: str | None
    headers: dict[bytes, bytes]
    receive: Receive
    request_id: str = ""

    @classmethod
    def from_scope(cls, scope: Scope, receive: Receive) -> "HttpRequest":
        """Read what a server says of a request (ASGI HTTP connection scope)."""
        return cls(
            method=scope["method"],
            path=scope["path"],
            query=scope["query_string"],
            is_https=scope["scheme"] == "https",
            client_address=scope["client"][0] if scope.get("client") else None,
            headers=dict(scope["headers"]),
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

    def cookie(self, name: bytes) -> str | None:
        """Find a cookie's value (RFC 6265 section 4.2)."""
        for pair in self.headers.get(b"cookie", b"").split(b";"):
            key, _, value = pair.strip().partition(b"=")
            if key == name:
                return value.decode("latin-1")
        return None


@dataclass(slots=True)
class HttpResponse:
    """A response, sent whole."""

    status: int
    body: bytes = b""
    headers: Headers = field(default_factory=lambda: [JSON, PRIVATE_NO_STORE])
    timing: CallTiming | None = None  # of the call that it answers with

    async def send(self, send: Send, request_id: str) -> None:
        """Send it, with the headers that every response has."""
        headers = _with_usual(self.headers, request_id)
        if self.status not in WITHOUT_LENGTH:
            headers.append((b"content-length", str(len(self.body)).encode()))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


GOODBYE_S = 1.0  # for the end of a stream to leave; who reads nothing at all is cut off


@dataclass(slots=True)
class Stream:
    """A response sent part by part, until the parts end, the client goes or the time is over.

    The next part is asked for when the last one has left: a slow client makes nothing pile up.
    """

    parts: AsyncGenerator[bytes, None]
    receive: Receive
    headers: Headers
    ends_after_s: float
    status: int = HTTPStatus.OK

    async def send(self, send: Send, request_id: str) -> None:
        """Send it, with the headers that every response has."""
        headers = _with_usual(self.headers, request_id)
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        sending = asyncio.create_task(self._send_parts(send))
        leaving = asyncio.create_task(self._client_leaves())
        try:
            await asyncio.wait(
                (sending, leaving),
                timeout=self.ends_after_s,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            sending.cancel()
            leaving.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            sending.result()  # what went wrong is a bug of ours, and is not to be lost
        with suppress(TimeoutError):
            await asyncio.wait_for(send({"type": "http.response.body", "body": b""}), GOODBYE_S)

    async def _send_parts(self, send: Send) -> None:
        async with aclosing(self.parts) as parts:
            async for part in parts:
                await send({"type": "http.response.body", "body": part, "more_body": True})

    async def _client_leaves(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _with_usual(headers: Headers, request_id: str) -> Headers:
    """Add the headers that every response has."""
    return [
        *headers,
        (b"x-request-id", request_id.encode()),
        (b"x-content-type-options", b"nosniff"),
    ]
