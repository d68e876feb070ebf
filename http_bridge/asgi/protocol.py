"""A client's connection: uvicorn's, with bounds, and with an answer sent in one piece."""

import asyncio
from typing import Any, ClassVar

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from http_bridge.asgi.irregular import RequestTimeout, fault, hang_up, ignore_offer, too_much
from http_bridge.asgi.limits import HEADERS_MAX, WAITING_MAX, Limits
from postroad.contracts.errors import InvalidRequest, ServiceError

UNSENT_MAX_BYTES = 64 * 1024  # more is sent at once, so that a slow client is noticed


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

    def write_eof(self) -> None:
        self.flush()
        self._transport.write_eof()

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, with bounds where it has none.

    A malformed or too long request is answered with 400, one that is not whole in time with 408,
    the first of a connection included; so are too many that wait for their turn. Who does not take
    an answer in time is dropped. Beyond the most connections, the one that has had no request for
    longest gives way to a new one. Offers to speak another protocol are ignored.
    """

    limits: ClassVar[Limits]
    idle: ClassVar[dict[HttpToolsProtocol, None]]  # nothing is being answered; longest so first
    _head_bytes = 0
    _silent_bytes = 0  # that came since the parser last told of anything
    _has_begun = False  # a request of which not all has come
    _is_in_body = False  # of the last request, ``cycle``
    _is_offer = False  # of another protocol, without which it will come again
    _refusal: ServiceError | None = None  # ends the connection once all before it is answered
    _receiving: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(JoinedWrites(transport))  # type: ignore[arg-type]  # in all but name
        transport.set_write_buffer_limits(0)  # whatever is not taken pauses, and is timed
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
        self._unset_keepalive_if_required()
        if self._refusal is not None:
            return
        self._silent_bytes += len(data)
        try:
            self._parse(data)
        except HttpParserError as error:
            self._end(fault(error))
        # uvicorn counts any byte, even an empty line, as the end of idleness.
        if self._has_begun or (self._is_idle() and self.timeout_keep_alive_task is None):
            self._expect_request()
        elif self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None

    def on_message_begin(self) -> None:
        self._head_bytes = self._silent_bytes = 0
        self._has_begun, self._is_offer = True, False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value))
        if not self._is_in_body:  # else it is a trailer, which is no header (RFC 9110 section 6.5)
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.0", "1.1"):  # httptools takes 0.9 and 2.0, too
            raise InvalidRequest("the version of HTTP must be 1.0 or 1.1")
        hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts != 1 and version != "1.0":
            raise InvalidRequest("a request has one Host")  # RFC 9112 section 3.2
        if version == "1.0" and any(name == b"transfer-encoding" for name, _ in self.headers):
            raise InvalidRequest("HTTP/1.0 has no Transfer-Encoding")  # section 6.1
        if self.parser.get_method() == b"CONNECT":
            raise InvalidRequest("CONNECT is for proxies")
        if len(self.pipeline) >= WAITING_MAX:  # each takes 50 times the memory of its bytes
            raise InvalidRequest(f"at most {WAITING_MAX} requests may wait on a connection")
        self._is_offer = self.parser.should_upgrade()
        if not self._is_offer:
            super().on_headers_complete()
            self._is_in_body = True

    def on_body(self, body: bytes) -> None:
        self._silent_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if self._is_offer:
            return
        self._has_begun = self._is_in_body = False
        super().on_message_complete()
        if not self._is_idle():
            self.idle.pop(self, None)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()
        elif self._refusal is not None:
            self._end(self._refusal)
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

    def _parse(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade as offer:
            ignore_offer(self, memoryview(data)[offer.args[0] :])
        if self._silent_bytes > self.limits.headers_max_bytes:  # httptools keeps them all
            self._end(too_much(self.limits))

    def _count(self, size: int) -> None:
        self._silent_bytes = 0
        self._head_bytes += size
        if self._head_bytes > self.limits.headers_max_bytes or len(self.headers) >= HEADERS_MAX:
            raise too_much(self.limits)

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]

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
        if self._refusal is not None or not self._is_next():
            self._expect_request()
        elif self._has_begun:
            self._end(RequestTimeout(f"not whole within {self.limits.receive_timeout_s:g} s"))
        else:
            self.transport.close()
            self._expect_reading()

    def _is_next(self) -> bool:
        """Whether no other request is to be answered before the one that is coming."""
        return not self.pipeline if self._is_in_body else self._is_idle()

    def _end(self, refusal: ServiceError) -> None:
        """Answer what is not a whole request when its turn comes, then hang up."""
        self._refusal = refusal
        if self._is_next() and not self.transport.is_closing():
            is_answered = self._is_in_body and self.cycle.response_started
            hang_up(self, None if is_answered else self.limits.refuse(refusal))
            self._expect_reading()


def limited_protocol(given: Limits) -> type[LimitedProtocol]:
    """Return the protocol of one server."""

    class ServerProtocol(LimitedProtocol):
        limits = given
        idle: ClassVar[dict[HttpToolsProtocol, None]] = {}

    return ServerProtocol
