"""HTTP sessions that wait no longer than a deadline, and ask no proxy for what is on this machine.

requests limits each wait for bytes: a server that sends one now and then keeps its thread for ever.
So the sockets themselves know the deadline: whatever is read, in a head, a body or a proxy's answer
to ``CONNECT``, ends with it. So does connecting, however long a name takes to resolve.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar
from http.client import HTTPResponse
from time import monotonic
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError
from urllib3.util.ssl_ import create_urllib3_context

from postroad.urls import is_loopback

_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
_connecting = ThreadPoolExecutor(32, thread_name_prefix="connecting")


@contextmanager
def waiting_until(deadline: float) -> Iterator[None]:
    """Let what is read in this context raise ``TimeoutError`` at a time of ``monotonic()``."""
    token = _deadline.set(deadline)
    try:
        yield
    finally:
        _deadline.reset(token)


def new_session(url: str) -> requests.Session:
    """Make a session for one server.

    It asks the proxy that the environment names, unless the server is on this machine.
    """
    session = _Session()
    for scheme in _POOLS:
        session.mount(f"{scheme}://", _Adapter())
    session.trust_env = not is_loopback(url)
    session.headers["Accept"] = "application/json"
    session.headers["Accept-Encoding"] = "identity"
    return session


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> None:
        """Leave redirects to us: even unfollowed, requests would read their bodies to the end."""


def _left_s() -> float | None:
    deadline = _deadline.get()
    return None if deadline is None else deadline - monotonic()


@contextmanager
def _within_the_deadline(reading: socket.socket) -> Iterator[None]:
    patience_s, left_s = reading.gettimeout(), _left_s()
    if left_s is not None:
        if left_s <= 0:
            raise TimeoutError("the deadline has passed")
        reading.settimeout(left_s if patience_s is None else min(left_s, patience_s))
    try:
        yield
    finally:
        reading.settimeout(patience_s)


class _Socket(socket.socket):
    def recv_into(self, *arguments: Any) -> int:  # noqa: ANN401 - the base's own
        with _within_the_deadline(self):
            return super().recv_into(*arguments)


class _TlsSocket(ssl.SSLSocket):
    def do_handshake(self, block: bool = False) -> None:
        with _within_the_deadline(self):
            super().do_handshake(block)

    def recv_into(self, *arguments: Any) -> int:  # noqa: ANN401 - the base's own
        with _within_the_deadline(self):
            return super().recv_into(*arguments)


def _connected(connection: HTTPConnection, connect: Callable[[], socket.socket]) -> socket.socket:
    """Connect in a thread: nothing else ends the look-up of a name, or many addresses' turns."""
    connecting = _connecting.submit(connect)
    try:
        return _knowing_the_deadline(connecting.result(_left_s()))
    except TimeoutError:
        connecting.cancel()
        connecting.add_done_callback(_close)
        raise ConnectTimeoutError(connection, "the deadline has passed") from None


def _close(connecting: Future[socket.socket]) -> None:
    if not connecting.cancelled() and connecting.exception() is None:
        connecting.result().close()


def _knowing_the_deadline(connected: socket.socket) -> socket.socket:
    patience_s = connected.gettimeout()
    knowing = _Socket(fileno=connected.detach())
    knowing.settimeout(patience_s)
    return knowing


class _Response(HTTPResponse):
    def begin(self) -> None:
        """Read past interim answers, of which the base knows 100 alone (RFC 9110 section 15.2)."""
        super().begin()
        while 100 < self.status < 200 and self.status != requests.codes.switching_protocols:
            self.headers = self.msg = None  # type: ignore[assignment]  # as before any answer
            super().begin()


class _Connection(HTTPConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)


class _TlsConnection(HTTPSConnection):
    response_class = _Response

    def _new_conn(self) -> socket.socket:
        return _connected(self, super()._new_conn)


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - the same
        super().init_poolmanager(*arguments, ssl_context=_tls(), **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:  # noqa: ANN401 - the same
        if proxy.startswith("socks"):  # has pools of its own
            return super().proxy_manager_for(proxy, **options)
        contexts = {"ssl_context": _tls(), "proxy_ssl_context": _tls()}
        manager = super().proxy_manager_for(proxy, **contexts, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _tls() -> ssl.SSLContext:
    """Make a context that trusts nobody yet: requests adds whom to trust for each request."""
    context = create_urllib3_context()
    context.sslsocket_class = _TlsSocket
    return context
