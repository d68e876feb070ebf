"""The bridge's HTTP server on a real socket, before a small application; and clients of it."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial

import uvicorn

from http_bridge.asgi.limits import Limits
from http_bridge.asgi.messages import (
    HttpRequest,
    HttpResponse,
    Receive,
    Scope,
    Send,
)
from http_bridge.asgi.protocol import LimitedProtocol, limited_protocol
from http_bridge.http.bodies import ClientGone, read_body
from http_bridge.http.metrics import HttpMetrics
from http_bridge.http.problems import refused
from ops.local.ports import LOOPBACK
from postroad.testing import eventually

TIMEOUT_S = 0.5
LATE_S = 2.0  # what a time-out may take more, on a busy machine
LIMITS = Limits(
    headers_max_bytes=1000,
    receive_timeout_s=TIMEOUT_S,
    send_timeout_s=TIMEOUT_S,
    connections_max=1000,
    refuse=partial(refused, metrics=HttpMetrics()),
)
KEEP_ALIVE_S = 1
SOME, MUCH = b"x" * 40_000, b"x" * 200_000  # of which uvicorn waits for the latter to be taken


class App:
    """Echoes each body when it may, but for ``/early``; ``/headers`` echoes those.

    It keeps count of clients that went away.
    """

    def __init__(self) -> None:
        self.gone = 0
        self.answering = 0
        self.may_answer = threading.Event()
        self.may_answer.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = HttpRequest.from_scope(scope, receive)
        if request.path == "/early":
            await HttpResponse(404, b"not for the body's sake").send(send, "a-request")
            return
        try:
            body = await read_body(request, 1000)
        except ClientGone:
            self.gone += 1
            return
        self.answering += 1
        await eventually(self.may_answer.is_set)
        heads = repr(request.headers).encode()
        fixed = {"/some": SOME, "/much": MUCH, "/headers": heads}
        answer = fixed.get(request.path, body or b"nothing")
        await HttpResponse(200, answer).send(send, "a-request")


class Server:
    """A server in a thread."""

    def __init__(self, app: App, protocol: type[LimitedProtocol], keep_alive_s: int) -> None:
        config = uvicorn.Config(
            app,
            http=protocol,
            loop="uvloop",
            lifespan="off",
            log_config=None,
            timeout_keep_alive=keep_alive_s,
        )
        self.app = app
        self.protocol = protocol
        self._listener = socket.create_server((LOOPBACK, 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.port = self._listener.getsockname()[1]
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, args=([self._listener],))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.app.may_answer.set()
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(10)
        self._listener.close()

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)


@contextmanager
def serving(limits: Limits, *, keep_alive_s: int = KEEP_ALIVE_S) -> Iterator[Server]:
    server = Server(App(), limited_protocol(limits), keep_alive_s)
    server.start()
    try:
        yield server
    finally:
        server.stop()


class Peer:
    """A client that does as it is told, byte by byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> bytes:
        """Read one answer; nothing when the connection has ended."""
        try:
            head = await asyncio.wait_for(self._reader.readuntil(b"\r\n\r\n"), 5)
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r")[0])
            return head + await self._reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return b""

    async def rest(self) -> bytes:
        """Read until the server ends the connection."""
        try:
            return await asyncio.wait_for(self._reader.read(), TIMEOUT_S + KEEP_ALIVE_S + LATE_S)
        except ConnectionError:
            return b""

    async def trickle(self, data: bytes, every_s: float) -> None:
        """Send a byte every so often until the server has had enough."""
        while not self._reader.at_eof():
            try:
                await self.send(data)
            except ConnectionError:
                return
            await asyncio.sleep(every_s)


@asynccontextmanager
async def connected(server: Server) -> AsyncIterator[Peer]:
    """Connect, with buffers so small that an answer does not fit into them."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (LOOPBACK, server.port))
    reader, writer = await asyncio.open_connection(sock=raw, limit=1024)
    try:
        yield Peer(reader, writer)
    finally:
        writer.transport.abort()
