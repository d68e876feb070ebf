"""What no honest client writes: each has a clear answer, and the next client has its own."""

import re
import socket

import httpx
import pytest

from http_bridge.asgi.limits import HEADERS_MAX, WAITING_MAX
from tests.e2e.system import System

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="session")]

TIMEOUT_S = 10.0
HOST = b"Host: localhost\r\n"
END = b"Connection: close\r\n\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"


def get(path: bytes = b"/healthz", *headers: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return b"GET %b %b\r\n%b%b%b" % (path, version, HOST, b"".join(headers), END)


def post(*headers: bytes, body: bytes = b"{}", path: bytes = b"/auth") -> bytes:
    kind = b"Content-Type: application/json\r\n"
    return b"POST %b HTTP/1.1\r\n%b%b%b%b%b" % (path, HOST, kind, b"".join(headers), END, body)


def sized(body: bytes) -> bytes:
    return post(b"Content-Length: %d\r\n" % len(body), body=body)


# what it is, what is sent, and the statuses of the answers that come until the connection ends
REQUESTS: dict[str, tuple[bytes, list[int]]] = {
    # smuggling: where the request ends must be certain, or it is nobody's
    "both a length and chunks": (
        post(b"Content-Length: 4\r\n", CHUNKED, body=b"0\r\n\r\n" + get()),
        [400],
    ),
    "both chunks and a length": (
        post(CHUNKED, b"Content-Length: 4\r\n", body=b"0\r\n\r\n" + get()),
        [400],
    ),
    "two lengths": (post(b"Content-Length: 2\r\nContent-Length: 3\r\n"), [400]),
    "a list of lengths": (post(b"Content-Length: 2, 2\r\n"), [400]),
    "a negative length": (post(b"Content-Length: -1\r\n"), [400]),
    "a length with a sign": (post(b"Content-Length: +2\r\n"), [400]),
    "a length of 23 digits": (post(b"Content-Length: 99999999999999999999999\r\n"), [400]),
    "a coding that is none": (post(b"Transfer-Encoding: xchunked\r\n"), [400]),
    "chunks that are not last": (post(b"Transfer-Encoding: chunked, gzip\r\n"), [400]),
    "a space before the colon": (post(b"Transfer-Encoding : chunked\r\n"), [400]),
    "a folded header": (get(b"/healthz", b"X-A: a\r\n b\r\n"), [400]),
    "a body where none belongs": (
        get(b"/healthz", b"Content-Length: %d\r\n" % len(get())).replace(END, b"\r\n")
        + get()
        + get(b"/nowhere"),
        [200, 404],  # and none for what was inside the body
    ),
    # chunks
    "a chunk's size in letters": (post(CHUNKED, body=b"ZZ\r\n{}\r\n0\r\n\r\n"), [400]),
    "a chunk of 2**72 bytes": (post(CHUNKED, body=b"f" * 18 + b"\r\n{}\r\n0\r\n\r\n"), [400]),
    "a chunk of negative size": (post(CHUNKED, body=b"-2\r\n{}\r\n0\r\n\r\n"), [400]),
    "a chunk without an end": (post(CHUNKED, body=b"2\r\n{}0\r\n\r\n"), [400]),
    "chunks over the limit": (
        post(CHUNKED, body=b"1000\r\n%b\r\n" % (b"x" * 4096) * 5 + b"0\r\n\r\n"),
        [413],
    ),
    # bytes that do not belong
    "a null in a header": (get(b"/healthz", b"X-A: a\0b\r\n"), [400]),
    "a null in a header's name": (get(b"/healthz", b"X\0A: b\r\n"), [400]),
    "a null in the path": (get(b"/heal\0thz"), [400]),
    "a null in the path, encoded": (get(b"/healthz%00"), [404]),
    "a path that is no UTF-8": (get(b"/\xff"), [400]),
    "a path that is no UTF-8, encoded": (get(b"/%ff"), [404]),
    "line feeds alone": (get().replace(b"\r\n", b"\n"), [400]),
    "carriage returns alone": (get().replace(b"\r\n", b"\r") + b"\r\n", [400]),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 50, [400]),
    # versions, forms and methods
    "HTTP/0.9": (b"GET /healthz\r\n" + END, [400]),
    "HTTP/1.2": (get(version=b"HTTP/1.2"), [400]),
    "the preface of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", [400]),
    "an address with a host": (get(b"http://elsewhere/healthz"), [200]),
    "an address that is a host": (b"CONNECT elsewhere:80 HTTP/1.1\r\n" + HOST + END, [400]),
    "an address that is a star": (b"OPTIONS * HTTP/1.1\r\n" + HOST + END, [404]),
    "no such method": (b"BREW /healthz HTTP/1.1\r\n" + HOST + END, [400]),
    "a change to websockets": (
        get(b"/healthz", b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"),
        [200],
    ),
    "a change to HTTP/2, with a sign-in": (
        sized(
            b'{"username":"admin","password":"admin"}',
        ).replace(END, b"Connection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\r\n"),
        [200],
    ),
    "no host": (get().replace(HOST, b""), [400]),
    "two hosts": (get(b"/healthz", b"Host: other\r\n"), [400]),
    # much of something
    "many headers": (get(b"/healthz", *[b"a:\r\n"] * HEADERS_MAX), [400]),
    "many requests at once": (
        get().replace(END, b"\r\n") * WAITING_MAX + get(),
        [200] * (WAITING_MAX + 1),
    ),
    "a body a thousand deep": (sized(b"[" * 10_000), [400]),
    # what is well-formed, and nonsense
    "text that is none": (sized(b'{"username":"\\ud800","password":"x"}'), [400]),
    "a name with a null": (sized(b'{"username":"a\\u0000","password":"x"}'), [401]),
    "names given twice": (sized(b'{"username":1,"password":2,"username":[]}'), [400]),
    "a token a thousand deep": (
        get(b"/products", b"Authorization: Bearer %b.e30.AA\r\n" % (b"W1tb" * 900)),
        [401],
    ),
    "a token that is no text": (get(b"/products", b"Authorization: Bearer \xff.\xff.\r\n"), [401]),
    "cookies that are none": (get(b"/products", b"Cookie: token=\xff; =;;token\r\n"), [401]),
    "an origin that is none": (
        post(
            b"Content-Length: 2\r\nCookie: refresh_token=x\r\nOrigin: http://[\r\n",
            path=b"/auth/logout",
        ),
        [403],
    ),
    "an origin that is no text": (
        post(
            b"Content-Length: 2\r\nCookie: refresh_token=x\r\nOrigin: http://\xff\r\n",
            path=b"/auth/logout",
        ),
        [403],
    ),
}


def answers(system: System, request: bytes) -> list[int]:
    """Send bytes, and give the statuses of all that comes back until the connection ends."""
    with socket.create_connection(("127.0.0.1", system.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request)
        received = b"".join(iter(lambda: connection.recv(65_536), b""))
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


@pytest.mark.parametrize("name", REQUESTS)
async def test_what_no_honest_client_writes_is_answered_clearly(
    system: System, visitor: httpx.AsyncClient, name: str
) -> None:
    request, expected = REQUESTS[name]

    statuses = answers(system, request)

    assert statuses == expected
    assert (await visitor.get("/healthz")).status_code == 200


async def test_an_address_with_another_host_goes_nowhere_else(system: System) -> None:
    with socket.create_connection(("127.0.0.1", system.port), timeout=TIMEOUT_S) as connection:
        connection.sendall(get(f"{system.upstream_url}/products".encode()))
        received = b"".join(iter(lambda: connection.recv(65_536), b""))

    assert b'"not_authenticated"' in received  # it is our own /products
