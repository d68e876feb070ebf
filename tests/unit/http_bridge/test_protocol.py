"""What the server makes of HTTP as it comes: offers to speak something else, and what is none."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from http_bridge.asgi.limits import HEADERS_MAX, WAITING_MAX
from postroad.testing import eventually
from tests.support.http_server import LIMITS, Peer, Server, connected, serving

HOST = b"Host: here\r\n"
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
WEBSOCKET = b"connection: keep-alive, upgrade\r\nupgrade: websocket\r\nSec-WebSocket-Key: x\r\n"
SIZED = b"Content-Length: 5\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n"
GET = b"GET / HTTP/1.1\r\n" + HOST + b"\r\n"
EARLY = b"POST /early HTTP/1.1\r\n"


def post(*headers: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"POST / HTTP/%b\r\n%b%b\r\n%b" % (version, HOST, b"".join(headers), body)


OFFERED = post(H2C, SIZED, body=b"hello")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serving(LIMITS) as server:
        yield server


@asynccontextmanager
async def asking(server: Server, *pieces: bytes) -> AsyncIterator[Peer]:
    async with connected(server) as peer:
        for piece in pieces:
            await peer.send(piece)
        yield peer


def statuses(received: bytes) -> list[int]:
    return [int(part[:3]) for part in received.split(b"HTTP/1.1 ")[1:]]


def problem(answer: bytes) -> dict[str, Any]:
    """Read a problem object, which every error is."""
    head, _, body = answer.partition(b"\r\n\r\n")
    headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n")[1:])
    read: dict[str, Any] = json.loads(body)
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-length"] == str(len(body))
    assert headers["connection"] == "close"
    assert headers["cache-control"] == "no-store"
    assert headers["x-request-id"] == read["request_id"]
    assert head.startswith(b"HTTP/1.1 %d " % read["status"])
    assert read["error"] == read["detail"]
    return read


# offers to speak another protocol (RFC 9110 section 7.8)


@pytest.mark.parametrize(
    "request_",
    [
        OFFERED,
        OFFERED.lower().replace(b"post / http", b"POST / HTTP"),
        post(SIZED, H2C, body=b"hello"),
        post(H2C, CHUNKED, body=CHUNKS),
        post(WEBSOCKET, SIZED, body=b"hello"),
        post(b"Connection: upgrade\r\nUpgrade: TLS/1.0, HTTP/1.1\r\n", SIZED, body=b"hello"),
        post(b"Connection: Upgrade\r\nConnection: close\r\nUpgrade: h2c\r\n", SIZED, body=b"hello"),
        post(H2C, SIZED, body=b"hello", version=b"1.0"),
    ],
)
async def test_an_offer_of_another_protocol_is_ignored_and_the_body_kept(
    server: Server, request_: bytes
) -> None:
    async with asking(server, request_) as peer:
        answer = await peer.answer()

    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\nhello")


async def test_an_offer_is_ignored_in_whatever_pieces_it_comes(server: Server) -> None:
    pieces = [OFFERED[at : at + 1] for at in range(len(OFFERED))]

    async with asking(server, *pieces) as peer:
        assert (await peer.answer()).endswith(b"hello")


async def test_an_offer_may_wait_for_its_body_to_be_wanted(server: Server) -> None:
    async with asking(server, post(H2C, SIZED, b"Expect: 100-continue\r\n")) as peer:
        await peer.send(b"hello")
        answer = await peer.rest()

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ")
    assert answer.endswith(b"hello")


async def test_after_an_offer_the_connection_goes_on(server: Server) -> None:
    async with asking(server, OFFERED + post(H2C, CHUNKED, body=CHUNKS) + GET + OFFERED) as peer:
        answers = [await peer.answer() for _ in range(4)]
        await peer.send(OFFERED)
        last = await peer.answer()

    bodies = [answer.partition(b"\r\n\r\n")[2] for answer in (*answers, last)]
    assert bodies == [b"hello", b"hello", b"nothing", b"hello", b"hello"]


async def test_an_offer_does_not_loosen_what_a_request_may_be(server: Server) -> None:
    for request in (
        post(H2C, SIZED, CHUNKED, body=CHUNKS),
        post(H2C, CHUNKED, body=b"ZZ\r\n"),
        post(H2C, b"A: " + b"a" * 1000 + b"\r\n"),
        post(H2C, HOST, SIZED, body=b"hello"),
        b"CONNECT elsewhere:80 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http://[:/ HTTP/1.1\r\n" + HOST + H2C + b"\r\n",
    ):
        async with asking(server, request) as peer:
            assert statuses(await peer.rest()) == [400]


# what is no request


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n", SIZED])
async def test_chunks_in_a_version_without_them_are_refused(server: Server, more: bytes) -> None:
    hidden = post(CHUNKED, more, body=b"0\r\n\r\n" + GET, version=b"1.0")

    async with asking(server, hidden) as peer:
        assert statuses(await peer.rest()) == [400]


MALFORMED = {
    "no HTTP": b"\x16\x03\x01\x02\x00",
    "no such method": b"BREW / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "an old version": GET.replace(b"1.1", b"0.9"),
    "a version to come": GET.replace(b"1.1", b"2.0"),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a path that is no text": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address that is a host": b"CONNECT elsewhere:80 HTTP/1.1\r\n" + HOST + b"\r\n",
    "an address that is none": b"GET http://[:/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "a header without a name": post(b": a\r\n"),
    "a null in a header": post(b"A: \0\r\n"),
    "a folded header": post(b"A: a\r\n b\r\n"),
    "a length that is none": post(b"Content-Length: five\r\n"),
    "two lengths": post(SIZED, b"Content-Length: 6\r\n"),
    "a length and chunks": post(SIZED, CHUNKED, body=CHUNKS),
    "chunks and a length": post(CHUNKED, SIZED, body=CHUNKS),
    "a coding that is none": post(b"Transfer-Encoding: x\r\n"),
    "a chunk without a size": post(CHUNKED, body=b"ZZ\r\nhello\r\n0\r\n\r\n"),
    "a chunk without an end": post(CHUNKED, body=b"2\r\nhello"),
    "no host": GET.replace(HOST, b""),
    "two hosts": post(HOST),
    "a long line": b"GET /%b HTTP/1.1\r\n" % (b"a" * 1000) + HOST + b"\r\n",
    "a long header": post(b"A: " + b"a" * 1000 + b"\r\n"),
    "many headers": post(*[b"a:\r\n"] * HEADERS_MAX),
}


@pytest.mark.parametrize("name", MALFORMED)
async def test_what_is_no_request_is_answered_with_a_problem(server: Server, name: str) -> None:
    async with asking(server, MALFORMED[name]) as peer:
        answer = await peer.rest()

    assert statuses(answer) == [400]
    assert problem(answer)["code"] == "invalid_request"


@pytest.mark.parametrize(
    ("name", "detail"),
    [
        ("two hosts", "a request has one Host"),
        ("a long header", "at most 1000 bytes and 100 headers before the body"),
        ("many headers", "at most 1000 bytes and 100 headers before the body"),
        ("no such method", "malformed HTTP: Invalid method encountered"),
        ("an address that is a host", "CONNECT is for proxies"),
        ("an address that is none", "malformed HTTP"),
    ],
)
async def test_a_problem_says_what_is_wrong_and_quotes_nothing(
    server: Server, name: str, detail: str
) -> None:
    async with asking(server, MALFORMED[name]) as peer:
        assert problem(await peer.rest())["detail"] == detail


@pytest.mark.parametrize(
    "begun", [b"GET / HTTP/1.1\r\n", post(SIZED, body=b"he"), post(CHUNKED, body=b"2\r\n")]
)
async def test_a_request_that_does_not_come_in_time_is_a_problem(
    server: Server, begun: bytes
) -> None:
    async with asking(server, begun) as peer:
        answer = await peer.rest()

    assert statuses(answer) == [408]
    assert problem(answer)["code"] == "request_timeout"


# what is no request, among others that are

BROKEN = post(CHUNKED, body=b"ZZ\r\n")


@pytest.mark.parametrize("malformed", [b"nonsense\r\n\r\n", BROKEN])
async def test_requests_before_a_malformed_one_are_answered_first(
    server: Server, malformed: bytes
) -> None:
    async with asking(server, GET * 3 + malformed + GET) as peer:
        answer = await peer.rest()

    assert statuses(answer) == [200, 200, 200, 400]
    assert problem(answer[answer.rindex(b"HTTP/1.1 ") :])["status"] == 400


async def test_a_body_that_is_late_waits_for_the_requests_before_it(server: Server) -> None:
    server.app.may_answer.clear()
    async with asking(server, GET + post(CHUNKED, body=b"2\r\n")) as peer:
        await eventually(lambda: server.app.answering)
        server.app.may_answer.set()

        assert statuses(await peer.rest()) == [200, 408]


@pytest.mark.parametrize("rest", [b"ZZ\r\n", b""], ids=["malformed", "late"])
async def test_what_is_answered_already_is_not_answered_again(server: Server, rest: bytes) -> None:
    async with asking(server, EARLY + HOST + CHUNKED + b"\r\n") as peer:
        assert statuses(await peer.answer()) == [404]
        await peer.send(rest)

        assert await peer.rest() == b""


# what does not end

ENDLESS = {
    "a path": b"GET /",
    "a header": b"GET / HTTP/1.1\r\n" + HOST + b"A: ",
    "a chunk's extension": post(CHUNKED, body=b"2;"),
    "a header after the chunks": post(CHUNKED, body=b"2\r\nhe\r\n0\r\nA: "),
    "empty lines": b"",
}


@pytest.mark.parametrize("name", ENDLESS)
async def test_what_does_not_end_is_refused_and_the_answer_arrives(
    server: Server, name: str
) -> None:
    more = (b"\r\n" if name == "empty lines" else b"aa") * 50_000
    async with asking(server, ENDLESS[name]) as peer:
        sending = asyncio.create_task(peer.trickle(more, 0))
        answer = await peer.answer()
        sending.cancel()

    assert statuses(answer) == [400]


# what comes at the wrong place, or too often


async def test_a_trailer_is_no_header(server: Server) -> None:
    trailers = b"X-Forwarded-For: 192.0.2.1\r\nHost: there\r\n\r\n"
    request = post(b"A: b\r\n", CHUNKED, body=CHUNKS.removesuffix(b"\r\n") + trailers)

    async with asking(server, request.replace(b"POST /", b"POST /headers"), GET) as peer:
        answer = await peer.answer()

        assert statuses(await peer.answer()) == [200]

    assert b"b'host': b'here', b'a': b'b'" in answer
    assert b"192.0.2.1" not in answer


async def test_few_requests_wait_on_a_connection(server: Server) -> None:
    server.app.may_answer.clear()

    async with asking(server, GET * (WAITING_MAX + 500)) as peer:
        await eventually(lambda: server.app.answering)
        server.app.may_answer.set()

        assert statuses(await peer.rest()) == [200] * (WAITING_MAX + 1) + [400]
