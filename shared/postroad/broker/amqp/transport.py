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
from typing import Any

from pika.adapters.utils import nbio_interface

from postroad.broker.amqp.connection import Stream

_TLS_GOODBYE_S = 1.0  # for the peer's; by default a broker that is silent would be left after 30

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
                lambda: Stream(protocol_factory()),
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname,
                ssl_shutdown_timeout=_TLS_GOODBYE_S if ssl_context else None,
            )
            return stream, stream.amqp

        return _Operation(connect(), on_done)


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
