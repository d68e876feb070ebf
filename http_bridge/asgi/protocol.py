"""A client's connection: uvicorn's, with bounds, and with an answer sent in one piece.

Bounded are what a client may send, how slowly it may send and take, and how many may be there.
"""

import asyncio
from dataclasses import dataclass
from typing import Any, ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEADERS_MAX = 100
UNSENT_MAX_BYTES = 64 * 1024  # more is sent at once, so that a slow client is noticed
TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask of us before it is refused or dropped."""

    headers_max_bytes: int
    receive_timeout_s: float  # for a whole request, from its first byte
    send_timeout_s: float  # for taking what was sent
    connections_max: int  # of all clients together


class JoinedWrites:
    """A connection's transport that sends all that is written in one turn of the loop at once.

    uvicorn writes an answer's head and its body one after the other, and uvloop sends the first at
    once: two calls of the system and two wake-ups of the client for one answer. Whatever this class
    does not know itself is the transport's own.
    """

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        self._unsent_bytes = 0

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self.flush)
        self._unsent.append(data)
        self._unsent_bytes += len(data)
        if self._unsent_bytes > UNSENT_MAX_BYTES:
            self.flush()

    def flush(self) -> None:
        """Send what was written, unless the connection has gone meanwhile."""
        unsent, self._unsent, self._unsent_bytes = self._unsent, [], 0
        if unsent and not self._transport.is_closing():
            self._transport.writelines(unsent)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with bounds where it has none.

    Too long a request line and headers are answered with 400, as any exception in httptools'
    callbacks is. A request that is not whole in time, the first of a connection included, is
    answered with 408. Who does not take an answer in time is dropped. Beyond the most connections,
    the one that has had no request for longest gives way to a new one, so that idle clients keep
    nobody out.
    """

    limits: ClassVar[Limits]
    idle: ClassVar[dict[HttpToolsProtocol, None]]  # nothing is being answered; longest so first
    _head_bytes = 0
    _has_begun = False  # a request of which not all has come
    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]  # in all but name
        self.idle[self] = None
        self._expect_request()
        if len(self.connections) > self.limits.connections_max:
            oldest = next(iter(self.idle))
            del self.idle[oldest]
            oldest.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.idle.pop(self, None)
        for timer in (self._receiving, self._sending):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        # uvicorn counts any byte, even an empty line, as the end of idleness.
        if self._has_begun or (self._is_idle() and self.timeout_keep_alive_task is None):
            self._expect_request()
        elif self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        self._has_begun = True
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1 and self.parser.get_http_version() != "1.0":
            raise ValueError("a request has one Host")  # RFC 9112 section 3.2; httptools minds not
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._has_begun = False
        super().on_message_complete()
        if not self._is_idle():
            self.idle.pop(self, None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()
        elif self._is_idle():
            self.idle[self] = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._sending is not None and not self.transport.is_closing():
            self._sending.cancel()
            self._sending = None

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._expect_reading()

    def _count(self, size: int) -> None:
        self._head_bytes += size
        is_over = len(self.headers) >= HEADERS_MAX
        if is_over or self._head_bytes > self.limits.headers_max_bytes:
            raise ValueError("request line and headers are too large")

    def _is_idle(self) -> bool:
        return (
            self.cycle is None  # type: ignore[redundant-expr]  # before the first request
            or self.cycle.response_complete
        )

    def _expect_request(self) -> None:
        if self._receiving is None:
            self._receiving = self.loop.call_later(
                self.limits.receive_timeout_s, self._on_slow_request
            )

    def _expect_reading(self) -> None:
        """Abort if the client does not take what it is sent; closing alone would wait on."""
        if self._sending is None:
            self._sending = self.loop.call_later(self.limits.send_timeout_s, self.transport.abort)

    def _on_slow_request(self) -> None:
        self._receiving = None
        if not self._is_idle() and not self.cycle.more_body:
            self._expect_request()  # another request is being answered; this one comes after
            return
        is_being_answered = not self._is_idle() and self.cycle.response_started
        if self._has_begun and not is_being_answered and not self.transport.is_closing():
            self.transport.write(TOO_SLOW)
        self.transport.close()
        self._expect_reading()


def limited_protocol(given: Limits) -> type[LimitedProtocol]:
    """Return the protocol of one server."""

    class ServerProtocol(LimitedProtocol):
        limits = given
        idle: ClassVar[dict[HttpToolsProtocol, None]] = {}

    return ServerProtocol
