"""Product APIs on loopback: one that says just what a test has it say, and the sample one."""

import json
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic, time
from typing import Any

import uvicorn
from starlette.applications import Starlette

from catalog_worker.settings import CatalogSettings
from ops.local.ports import LOOPBACK
from postroad.context import RequestContext, current_context
from postroad.observability.timing import Stopwatch, current_stopwatch
from sample_api.faults import Faults
from sample_api.server import build_app

START_TIMEOUT_S = 10.0
BAD_FOR_S = 6.0  # longer than a test waits: a client without a deadline fails, and hangs not


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as the server got it."""

    path: str
    headers: Message
    connection: int  # the client's port
    at: float = field(default_factory=monotonic)


Pieces = Iterable[bytes]  # of an HTTP message, sent one by one
Script = Callable[[Asked], Pieces]


class ScriptedServer(ThreadingHTTPServer):
    """Answers each request with what ``script`` makes of it, and remembers what it was asked."""

    daemon_threads = True
    request_queue_size = 64  # connections that come at once

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        if tls is not None:
            self.socket = tls.wrap_socket(self.socket, server_side=True)
        self.script = script
        self.asked: list[Asked] = []
        self.is_leaving = threading.Event()
        self.url = f"{'https' if tls else 'http'}://{LOOPBACK}:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients of a bad server hang up on it."""

    def silence(self, _: Asked | None = None) -> Pieces:
        """Say nothing for longer than anybody waits."""
        self.is_leaving.wait(BAD_FOR_S)
        yield b""

    def trickle(self, head: bytes) -> Script:
        """Begin an answer, and go on with it a space at a time, for longer than anybody waits."""

        def script(_: Asked) -> Pieces:
            yield head
            ends_at = monotonic() + BAD_FOR_S
            while not self.is_leaving.wait(0.02) and monotonic() < ends_at:
                yield b" "

        return script


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = 0
    server: ScriptedServer

    def do_CONNECT(self) -> None:  # to a proxy
        self.do_GET()

    def do_GET(self) -> None:
        asked = Asked(self.path, self.headers, self.client_address[1])
        self.server.asked.append(asked)
        for piece in self.server.script(asked):
            self.close_connection |= b"connection: close" in piece.lower()
            self.wfile.write(piece)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def scripted(script: Script, tls: ssl.SSLContext | None = None) -> Iterator[ScriptedServer]:
    """Run a server of that script for as long as the context lasts."""
    server = ScriptedServer(script, tls)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.is_leaving.set()
        server.shutdown()
        server.server_close()
        thread.join()


def response(
    status: int = 200, body: bytes = b"{}", content_type: str = "application/json", **headers: str
) -> bytes:
    """Write an HTTP response; an underscore in a header's name is a hyphen."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def says(*pieces: bytes) -> Script:
    """Give the same answer each time."""
    return lambda _: pieces


def says_json(content: object) -> Script:
    return says(response(body=json.dumps(content).encode()))


def in_turn(*scripts: Script) -> Script:
    """Give one answer after the other, and the last one from then on."""
    left = list(scripts)

    def script(asked: Asked) -> Pieces:
        current = left.pop(0) if len(left) > 1 else left[0]
        return current(asked)

    return script


@contextmanager
def sample_upstream(port: int = 0) -> Iterator[tuple[str, Starlette]]:
    """Run the sample product API in a thread; give its address and its app."""
    app = build_app(Faults())
    config = uvicorn.Config(
        app, host=LOOPBACK, port=port, log_config=None, access_log=False, lifespan="off"
    )
    listener = config.bind_socket()
    listener.listen()  # from now on: the server itself does so when its thread comes to it
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://{LOOPBACK}:{listener.getsockname()[1]}", app
    finally:
        server.should_exit = True
        thread.join(START_TIMEOUT_S)
        listener.close()


def settings_for(url: str, **changes: Any) -> CatalogSettings:
    return CatalogSettings.model_validate({"upstream_url": url, **changes})


@contextmanager
def timed() -> Iterator[Stopwatch]:
    """Time what is waited for, as for a request that is being answered."""
    stopwatch = Stopwatch()
    token = current_stopwatch.set(stopwatch)
    try:
        yield stopwatch
    finally:
        current_stopwatch.reset(token)


@contextmanager
def answering(*, within_s: float) -> Iterator[RequestContext]:
    """Be in the midst of answering a request."""
    call = RequestContext("bridge", "message", "request", time() + within_s)
    token = current_context.set(call)
    try:
        yield call
    finally:
        current_context.reset(token)
