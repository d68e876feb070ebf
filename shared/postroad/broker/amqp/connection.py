"""pika's connection, faster for messages, and what lies between it and the loop's transport."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from pika import BasicProperties
from pika.adapters.utils import nbio_interface
from pika.channel import Channel
from pika.frame import decode_frame
from pika.spec import FRAME_METHOD, Basic

from postroad.broker.amqp import frames
from postroad.broker.amqp.mended import MendedConnection


class MessageChannel(Channel):  # type: ignore[misc]  # pika has no types
    """pika's channel, which takes a confirm or a delivery at once where all of it has come."""

    _on_confirm: Callable[[Any], None] | None = None

    def confirm_delivery(self, ack_nack_callback: Callable[[Any], None], callback: Any) -> None:
        super().confirm_delivery(ack_nack_callback, callback)
        self._on_confirm = ack_nack_callback

    def take(self, data: bytes, start: int, end: int) -> int:
        """Handle what begins with a frame and return its end; 0 for what is left to pika."""
        try:
            method = frames.METHOD.unpack_from(data, start)[3]
            parts = self._content_assembler
            has_part = parts._method_frame is not None or parts._header_frame is not None  # noqa: SLF001
            if method == Basic.Deliver.INDEX and not has_part:
                message, end = frames.read_delivery(data, start, self.channel_number)
                handle = partial(self._on_deliver, *message)
            elif method == Basic.Ack.INDEX and self._on_confirm is not None:
                handle = partial(self._on_confirm, decode_frame(data[start:end])[1])
            else:
                return 0
        except Exception:  # noqa: BLE001  # a part is still to come, or a sender chose the bytes
            return 0
        self.connection.bytes_received += end - start
        handle()
        return end


class Amqp(MendedConnection):
    """A connection whose messages are written at once, and handed to their channel at once."""

    def _create_channel(self, number: int, on_open: Callable[[Channel], None]) -> MessageChannel:
        return MessageChannel(self, number, on_open)

    def _send_message(
        self, channel: int, publish: Basic.Publish, content: tuple[BasicProperties, bytes]
    ) -> None:
        message = frames.write_message(channel, publish, *content, self._body_max_length)
        self._output_marshaled_frames([message])

    def _on_data_available(self, data: bytes) -> None:
        """Have channels take what they can, and pass all other frames on to pika one by one.

        pika copies all that it has not yet parsed at each frame: given a full read at once, that
        grows with its square.
        """
        data = self._frame_buffer + data  # type: ignore[has-type]
        start = 0
        while len(data) - start >= frames.OVERHEAD:
            kind, number, size = frames.FRAME.unpack_from(data, start)
            end = start + frames.OVERHEAD + size
            if end > len(data):
                break
            channel = self._channels.get(number) if kind == FRAME_METHOD else None
            taken = channel.take(data, start, end) if channel else 0
            if not taken:
                self._frame_buffer = b""
                super()._on_data_available(data[start:end])
            start = taken or end
        self._frame_buffer = data[start:]


class Stream(asyncio.Protocol, nbio_interface.AbstractStreamTransport):  # type: ignore[misc]
    """Stands between the loop's transport and pika's protocol, and is to each the other one."""

    def __init__(self, amqp: nbio_interface.AbstractStreamProtocol) -> None:
        self.amqp = amqp
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unsent: list[bytes] = []
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
        self.amqp.data_received(data)

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
