"""What a fetch may cost: its time, its size, and where it is sent."""

import gzip
import socket
import threading
import tracemalloc
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic

import pytest
import requests

from catalog_worker.catalog.fetcher import _failure
from postroad.contracts.errors import UpstreamFailed
from postroad.testing import eventually
from tests.support.fetching import BROKEN, CHUNKED, GOOD, Serve, failure, fetcher_of, get
from tests.support.upstreams import (
    BAD_FOR_S,
    Asked,
    Pieces,
    Script,
    ScriptedServer,
    answering,
    in_turn,
    response,
    says,
)

DEADLINE_S = 0.5
GRACE_S = 1.0  # of a busy machine; less than any other time-out here


def endless(head: bytes, piece: bytes) -> Script:
    def script(_: Asked) -> Pieces:
        yield head
        ends_at = monotonic() + BAD_FOR_S
        while monotonic() < ends_at:
            yield piece

    return script


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SLOW: dict[str, Callable[[ScriptedServer], Script]] = {
    "silence": lambda server: server.silence,
    "trickle": lambda server: server.trickle(HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "trickle to the end": lambda server: server.trickle(HEAD + b"Connection: close\r\n\r\n"),
    "trickle in a chunk": lambda server: server.trickle(CHUNKED + b"fffff\r\n"),
    "trickle before a status": lambda server: server.trickle(b"HTTP/1.1"),
    "trickle in a head": lambda server: server.trickle(HEAD + b"X-Slow:"),
    "trickle in a chunk's size": lambda server: server.trickle(CHUNKED + b"f;"),
    "trickle after the last chunk": lambda server: server.trickle(CHUNKED + b"0\r\nX-Slow:"),
    "beginnings without end": lambda _: endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "hints without end": lambda _: endless(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "failure after failure": lambda _: BROKEN,
    "a failure, then silence": lambda server: in_turn(BROKEN, server.silence),
    "a long pause": lambda _: says(response(429, Retry_After="1")),
}


def moved(to: str, status: int = 301) -> Script:
    return says(response(status, b"", "text/plain", Location=to))


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
async def test_a_slow_server_costs_no_more_time_than_somebody_waits(
    serve: Serve, slow: Callable[[ScriptedServer], Script]
) -> None:
    server = serve(GOOD)
    server.script = slow(server)
    fetcher = fetcher_of(server, upstream_attempts=10, upstream_timeout_s=60)

    began = monotonic()
    with answering(within_s=DEADLINE_S):
        failure(fetcher)

    assert monotonic() - began < DEADLINE_S + GRACE_S
    await eventually(lambda: server.asked)  # by a thread that may come to it later


def test_a_name_that_takes_long_to_resolve_costs_no_more_time_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    may_end = threading.Event()

    def resolve(*_: object) -> list[object]:
        may_end.wait(10)
        raise socket.gaierror(socket.EAI_AGAIN, "try again")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)

    began = monotonic()
    with answering(within_s=DEADLINE_S):
        failed = failure(fetcher_of("http://products.example"))
    took_s = monotonic() - began
    may_end.set()

    assert str(failed) == "the product source is too slow"
    assert took_s < DEADLINE_S + GRACE_S


async def test_a_head_that_trickles_gives_thread_and_socket_back(serve: Serve) -> None:
    server = serve(GOOD)
    open_connections: list[int] = []

    def trickle(asked: Asked) -> Pieces:
        open_connections.append(asked.connection)
        try:
            yield from server.trickle(HEAD + b"X-Slow:")(asked)
        finally:
            open_connections.remove(asked.connection)

    server.script = trickle
    fetcher = fetcher_of(server, breaker_failures=100, upstream_timeout_s=DEADLINE_S)

    began = monotonic()
    with ThreadPoolExecutor(15) as threads:
        failures = list(threads.map(lambda _: str(failure(fetcher)), range(30)))
        took_s = monotonic() - began
        server.script = GOOD
        again = list(threads.map(lambda _: get(fetcher).body, range(30)))

    assert failures == ["the product source is too slow"] * 30
    assert took_s < 2 * DEADLINE_S + GRACE_S
    assert again == [b'{"a":1}'] * 30
    await eventually(lambda: not open_connections)


def test_a_slow_server_costs_no_more_time_than_is_set(serve: Serve) -> None:
    server = serve(GOOD)
    server.script = server.silence

    began = monotonic()
    with answering(within_s=60):
        failed = failure(fetcher_of(server, upstream_timeout_s=0.2))

    assert str(failed) == "the product source is too slow"
    assert monotonic() - began < 0.2 + GRACE_S


def test_each_wait_has_a_limit_of_its_own(serve: Serve) -> None:
    server = serve(GOOD)
    server.script = in_turn(server.silence, GOOD)

    began = monotonic()
    fetched = get(fetcher_of(server, upstream_read_timeout_s=0.2))

    assert fetched.body == b'{"a":1}'
    assert 0.2 <= monotonic() - began < 0.2 + 0.1 + GRACE_S


def test_connecting_and_reading_share_the_time_left() -> None:
    fetcher = fetcher_of("http://upstream.invalid")

    timeout = fetcher._timeout(monotonic() + 0.5)

    assert timeout.total == pytest.approx(0.5, abs=0.1)


def test_a_request_out_of_time_asks_nobody_and_blames_nobody(serve: Serve) -> None:
    server = serve(GOOD)
    fetcher = fetcher_of(server, breaker_failures=1)

    with answering(within_s=-1):
        failed = failure(fetcher)

    assert "no time is left" in str(failed)
    assert not server.asked
    assert get(fetcher).body == b'{"a":1}'


def test_requests_that_come_late_do_not_put_a_slow_server_to_rest(serve: Serve) -> None:
    server = serve(GOOD)
    server.script = in_turn(server.silence, server.silence, GOOD)
    fetcher = fetcher_of(server, breaker_failures=1, upstream_timeout_s=1.0, upstream_attempts=1)

    for _ in range(2):
        with answering(within_s=0.2):
            assert "too slow" in str(failure(fetcher))

    assert get(fetcher).body == b'{"a":1}'


def test_requests_that_had_time_put_a_slow_server_to_rest(serve: Serve) -> None:
    server = serve(GOOD)
    server.script = server.silence
    fetcher = fetcher_of(server, breaker_failures=1, upstream_timeout_s=0.3, upstream_attempts=1)

    with answering(within_s=5):
        failure(fetcher)

    assert fetcher.breaker.opened


# Bodies


@pytest.mark.parametrize(
    "huge",
    [
        endless(HEAD + b"Content-Length: 99999999999\r\n\r\n", b" " * 1000),
        endless(HEAD + b"Connection: close\r\n\r\n", b" " * 1000),
        endless(CHUNKED, b"3e8\r\n" + b" " * 1000 + b"\r\n"),
    ],
    ids=["with a length", "to the end", "in chunks"],
)
def test_a_huge_body_is_not_read_to_its_end_nor_asked_for_again(serve: Serve, huge: Script) -> None:
    server = serve(huge)

    failed = failure(fetcher_of(server, upstream_body_max_bytes=100_000))

    assert str(failed) == "the product source answered too much"
    assert len(server.asked) == 1


def test_a_body_may_be_as_long_as_the_limit(serve: Serve) -> None:
    server = serve(in_turn(says(response(body=b" " * 2000)), says(response(body=b" " * 2001))))
    fetcher = fetcher_of(server, upstream_body_max_bytes=2000)

    assert get(fetcher).body == b" " * 2000
    assert "too much" in str(failure(fetcher))


def test_a_body_in_chunks_is_put_together(serve: Serve) -> None:
    server = serve(says(CHUNKED, b'3\r\n{"a\r\n', b'4\r\n":1}\r\n', b"0\r\n\r\n"))
    fetcher = fetcher_of(server)

    assert [get(fetcher).body for _ in range(2)] == [b'{"a":1}'] * 2
    assert len({asked.connection for asked in server.asked}) == 1


PACKED = {
    "gzip": ("gzip", gzip.compress(b'{"a":1}')),
    "by its other name": ("X-GZip", gzip.compress(b'{"a":1}')),
    "gzip without a word": ("", gzip.compress(b'{"a":1}')),
    "deflate": ("deflate", zlib.compress(b'{"a":1}')),
    "bare deflate": ("deflate", zlib.compress(b'{"a":1}', wbits=-15)),
    "gzip that is none": ("gzip", b'{"a":1}'),
    "identity": ("identity", b'{"a":1}'),
}
WRONGLY_PACKED = {
    "brotli": ("br", b"whatever", "in an encoding not asked for: br"),
    "twice": ("gzip, gzip", b"whatever", "in an encoding not asked for: gzip, gzip"),
    "too short": ("gzip", gzip.compress(b"{}")[:-1], "what cannot be unpacked"),
    "too long": ("gzip", gzip.compress(b"{}") * 2, "what cannot be unpacked"),
    "not gzip": ("gzip", b"\x1f\x8b and so on", "what cannot be unpacked"),
    "not deflate": ("deflate", b"{}", "what cannot be unpacked"),
}


@pytest.mark.parametrize(("encoding", "packed"), PACKED.values(), ids=PACKED)
def test_a_packed_body_is_read_although_nobody_asked_for_one(
    serve: Serve, encoding: str, packed: bytes
) -> None:
    server = serve(says(response(body=packed, Content_Encoding=encoding)))

    assert get(fetcher_of(server)).body == b'{"a":1}'
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


def test_a_packed_body_is_not_unpacked_beyond_the_limit(serve: Serve) -> None:
    packed = gzip.compress(b" " * 20_000_000)
    server = serve(says(response(body=packed, Content_Encoding="gzip")))
    fetcher = fetcher_of(server, upstream_body_max_bytes=len(packed))
    tracemalloc.start()

    failed = failure(fetcher)

    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert str(failed) == "the product source answered too much"
    assert most_bytes < 2_000_000
    assert len(server.asked) == 1


@pytest.mark.parametrize(("encoding", "packed", "why"), WRONGLY_PACKED.values(), ids=WRONGLY_PACKED)
def test_what_cannot_be_unpacked_is_said_and_not_asked_for_again(
    serve: Serve, encoding: str, packed: bytes, why: str
) -> None:
    server = serve(says(response(body=packed, Content_Encoding=encoding)))

    assert str(failure(fetcher_of(server))) == f"the product source answered {why}"
    assert len(server.asked) == 1


# Redirects


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_is_followed_as_it_stands(serve: Serve, status: int) -> None:
    server = serve(in_turn(moved("/products?limit=2", status), GOOD))

    fetched = fetcher_of(server).get("/products/", {"limit": 2}, etag='"1"')

    assert fetched.body == b'{"a":1}'
    assert [asked.path for asked in server.asked] == ["/products/?limit=2", "/products?limit=2"]
    assert server.asked[1].headers["If-None-Match"] == '"1"'


def test_a_redirect_may_name_the_host_in_another_way(serve: Serve) -> None:
    server = serve(GOOD)
    host, port = "localhost", server.server_port
    server.script = in_turn(moved(f"HTTP://LocalHost:{port}/there"), GOOD)

    fetched = get(fetcher_of(f"http://reader:secret@{host}:{port}"))

    assert fetched.body == b'{"a":1}'
    passwords = {asked.headers["Authorization"] for asked in server.asked}
    assert (len(server.asked), len(passwords), None in passwords) == (2, 1, False)


@pytest.mark.parametrize("template", ["{other}/products", "{other_without_scheme}/products"])
def test_a_redirect_to_another_host_is_not_followed(serve: Serve, template: str) -> None:
    other = serve(GOOD)
    to = template.format(other=other.url, other_without_scheme=other.url.removeprefix("http:"))
    server = serve(moved(to))

    failed = failure(fetcher_of(server))

    assert str(failed) == "the product source redirects elsewhere"
    assert (len(server.asked), len(other.asked)) == (1, 0)


@pytest.mark.parametrize("to", ["https://{host}/", "file:///etc/hostname", "http://["])
def test_a_redirect_to_anything_else_is_not_followed_either(serve: Serve, to: str) -> None:
    server = serve(GOOD)
    server.script = moved(to.format(host=server.url.removeprefix("http://")))

    failed = failure(fetcher_of(server))

    assert type(failed) is UpstreamFailed
    assert "redirects" in str(failed)
    assert len(server.asked) == 1


def test_the_body_of_a_redirect_is_not_read(serve: Serve) -> None:
    server = serve(GOOD)
    head = b"HTTP/1.1 301 Whatever\r\nLocation: /there\r\nConnection: close\r\n\r\n"
    server.script = in_turn(server.trickle(head), GOOD)

    with answering(within_s=DEADLINE_S):
        fetched = get(fetcher_of(server))

    assert fetched.body == b'{"a":1}'


def test_redirects_without_end_are_followed_a_few_times(serve: Serve) -> None:
    server = serve(moved("/products"))

    failed = failure(fetcher_of(server))

    assert str(failed) == "the product source redirects without end"
    assert len(server.asked) == 4


def test_why_tls_fails_does_not_name_our_upstream() -> None:
    error = requests.exceptions.SSLError("HTTPSConnectionPool(host='private.internal', port=443)")

    assert str(_failure(error).args[0]) == "the product source cannot be reached by TLS"
