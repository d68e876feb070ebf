"""pika's connection, mended in two places, and what lies between it and the loop's transport."""

import asyncio
from struct import Struct
from typing import Any, cast

from pika import BasicProperties
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils import nbio_interface
from pika.frame import Header
from pika.spec import FRAME_END_SIZE, FRAME_HEADER, FRAME_HEADER_SIZE

from postroad.logger import get_logger

log = get_logger(__name__)

_FRAME_START = Struct(">BHL")  # type, channel, payload size: AMQP 0-9-1 section 4.2.3
_FRAME_OVERHEAD = _FRAME_START.size + 1  # and the frame-end octet
_BODY_SIZE = Struct(">4xQ")  # after class and weight: AMQP 0-9-1 section 4.2.6.1


class Amqp(AsyncioConnection):  # type: ignore[misc]  # pika has no types
    """A connection that can be closed while it is being opened, and that no header ends."""

    def _on_connection_workflow_done(self, outcome: Any) -> None:
        """Mend how pika 1.4 tells of an abort: by an exception's class, on which it then trips."""
        super()._on_connection_workflow_done(outcome() if isinstance(outcome, type) else outcome)

    def _read_frame(self) -> tuple[int, Any]:
        """Take headers for none that the broker passes on and pika 1.4 cannot read.

        Such are a timestamp after the year 9999, a float that is infinite, tables a thousand deep.
        pika lets the connection go, the broker delivers the message again to the next one, and so
        whoever may send one message could keep its reader from all others. Without headers it is
        an unsigned message like any other.
        """
        try:
            return super()._read_frame()  # type: ignore[no-any-return]
        except Exception as error:  # any at all: a sender chooses which
            kind, channel, size = _FRAME_START.unpack_from(self._frame_buffer)
            if kind != FRAME_HEADER:
                raise
            log.warning("message with unreadable headers", reason=type(error).__name__)
            (body_bytes,) = _BODY_SIZE.unpack_from(self._frame_buffer, FRAME_HEADER_SIZE)
            consumed = FRAME_HEADER_SIZE + size + FRAME_END_SIZE
            return consumed, Header(channel, body_bytes, BasicProperties())


class Stream(asyncio.Protocol, nbio_interface.AbstractStreamTransport):  # type: ignore[misc]
    """Stands between the loop's transport and pika's protocol, and is to each the other one."""

    def __init__(self, amqp: nbio_interface.AbstractStreamProtocol) -> None:
        self.amqp = amqp
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
        self._unread = b""
        self._is_ending = False  # and pika knows why

    # to the loop: a protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self.amqp.connection_made(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if error is None and not self._is_ending:
            self.amqp.eof_received()  # uvloop leaves it out when TLS ends without a goodbye
        self.amqp.connection_lost(error)

    def eof_received(self) -> bool:
        self._is_ending = True
        return bool(self.amqp.eof_received())

    def data_received(self, data: bytes) -> None:
        """Pass whole frames on one by one.

        pika copies all that it has not yet parsed at each frame: given a full read at once, that
        grows with its square.
        """
        if self._unread:
            data = self._unread + data
        start, available = 0, len(data)
        while available - start >= _FRAME_OVERHEAD:
            size = _FRAME_START.unpack_from(data, start)[2]
            end = start + _FRAME_OVERHEAD + size
            if end > available:
                break
            self.amqp.data_received(data[start:end])
            start = end
        self._unread = data[start:]

    # to pika: a transport

    def abort(self) -> None:
        if self._transport is None:
            return
        self._is_ending = True
        self._flush()
        if self._transport.get_write_buffer_size():  # the peer does not read: do not wait for it
            self._transport.abort()
        else:
            self._transport.close()

    def get_protocol(self) -> nbio_interface.AbstractStreamProtocol:
        return self.amqp

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(data)

    def get_write_buffer_size(self) -> int:
        unsent = sum(map(len, self._unsent))
        return unsent + (self._transport.get_write_buffer_size() if self._transport else 0)

    def _flush(self) -> None:
        if self._unsent and self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()
