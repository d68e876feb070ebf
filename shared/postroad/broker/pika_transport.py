"""pika's I/O on the event loop's own transports, with the writes of one loop turn joined.

pika's asyncio adapter sends each frame by itself, three a message, and registers a writer anew for
each burst. Through its documented extension point (``AbstractIOServices``, given to a connection
as ``custom_ioloop``) the loop's transport does the work instead: without it a product listing
takes 691 us of CPU over all processes, with it 454 (docs/performance.md).
"""

import asyncio
import socket
import ssl
from collections.abc import Callable, Coroutine
from struct import Struct
from typing import Any, cast

from pika.adapters.utils import nbio_interface

_FRAME_START = Struct(">BHL")  # type, channel, payload size: AMQP 0-9-1 section 4.2.3
_TLS_GOODBYE_S = 1.0  # for the peer's; by default a broker that is silent would be left after 30
_FRAME_OVERHEAD = _FRAME_START.size + 1  # and the frame-end octet

StreamResult = (
    BaseException
    | tuple[nbio_interface.AbstractStreamTransport, nbio_interface.AbstractStreamProtocol]
)


class LoopServices(nbio_interface.AbstractIOServices):  # type: ignore[misc]  # made at run time
    """What pika asks of an I/O loop, answered by the running asyncio loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def get_native_ioloop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def close(self) -> None:
        raise NotImplementedError("the loop is not pika's to close")

    def run(self) -> None:
        raise NotImplementedError("the loop is not pika's to run")

    def stop(self) -> None:
        raise NotImplementedError("the loop is not pika's to stop")

    def add_callback_threadsafe(self, callback: Callable[..., None]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def call_later(
        self, delay: float, callback: Callable[..., None]
    ) -> nbio_interface.AbstractTimerReference:
        return _Timer(self._loop.call_later(delay, callback))

    def getaddrinfo(  # noqa: PLR0917  # pika's signature
        self,
        host: str,
        port: int,
        on_done: Callable[..., None],
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> nbio_interface.AbstractIOReference:
        lookup = self._loop.getaddrinfo(
            host, port, family=family, type=socktype, proto=proto, flags=flags
        )
        return _Operation(lookup, on_done)

    def connect_socket(
        self,
        sock: socket.socket,
        resolved_addr: tuple[str, int],
        on_done: Callable[[BaseException | None], None],
    ) -> nbio_interface.AbstractIOReference:
        return _Operation(self._loop.sock_connect(sock, resolved_addr), on_done)

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], nbio_interface.AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Callable[[StreamResult], None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> nbio_interface.AbstractIOReference:
        async def connect() -> StreamResult:
            _, stream = await self._loop.create_connection(
                lambda: _Stream(protocol_factory()),
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname,
                ssl_shutdown_timeout=_TLS_GOODBYE_S if ssl_context else None,
            )
            return stream, stream.amqp

        return _Operation(connect(), on_done)


class _Stream(asyncio.Protocol, nbio_interface.AbstractStreamTransport):  # type: ignore[misc]
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


class _Timer(nbio_interface.AbstractTimerReference):  # type: ignore[misc]
    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        self._handle.cancel()


class _Operation(nbio_interface.AbstractIOReference):  # type: ignore[misc]
    """A coroutine whose result, or exception, goes to pika's callback unless it is cancelled."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], on_done: Callable[[Any], None]) -> None:
        self._on_done = on_done
        self._is_cancelled = False
        self._task = asyncio.ensure_future(coroutine)
        self._task.add_done_callback(self._done)

    def cancel(self) -> bool:
        self._is_cancelled = True  # the result may be on its way already
        return self._task.cancel()

    def _done(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            return
        result = task.exception() or task.result()
        if not self._is_cancelled:
            self._on_done(result)
