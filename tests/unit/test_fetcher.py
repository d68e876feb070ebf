"""Getting JSON from a server that is slow, broken or hostile: each test has a real one."""

import gzip
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic
from typing import Any

import pytest
from tenacity import RetryCallState, Retrying

from catalog_worker.fetcher import Fetched, Fetcher, _retry_after_s
from ops.ports import LOOPBACK, free_ports
from shared.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from tests.upstreams import (
    Asked,
    Pieces,
    Script,
    ScriptedServer,
    answering,
    in_turn,
    response,
    says,
    scripted,
    settings_for,
)
from tests.waiting import eventually

GOOD = says(response(body=b'{"a":1}'))
BROKEN = says(response(500))
REFUSED = says(response(400))
BUSY = says(response(429))
TRUNCATED = says(response(body=b"{" * 50, Connection="close")[:-10])
CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"

DEADLINE_S = 0.5
GRACE_S = 0.1  # on a busy machine
REST_S = 60

Serve = Callable[[Script], ScriptedServer]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as running:
        yield lambda script: running.enter_context(scripted(script))


def fetcher_of(server: ScriptedServer | str, **changes: Any) -> Fetcher:
    url = server if isinstance(server, str) else server.url
    return Fetcher(settings_for(url, **{"breaker_rest_s": REST_S, **changes}))


def get(fetcher: Fetcher, path: str = "/products") -> Fetched:
    return fetcher.get(path, {})


def failure(fetcher: Fetcher, path: str = "/products") -> ServiceError:
    with pytest.raises(ServiceError) as raised:
        fetcher.get(path, {})
    return raised.value


# What is asked and answered


def test_a_get_carries_its_parameters_and_gives_body_and_etag(serve: Serve) -> None:
    server = serve(says(response(body='{"a":"é"}'.encode(), ETag='W/"1"')))

    fetched = fetcher_of(server.url + "/api/").get("/products/search", {"q": "é & ü", "limit": 2})

    assert fetched == Fetched('{"a":"é"}'.encode(), 'W/"1"')
    (asked,) = server.asked
    assert asked.path == "/api/products/search?q=%C3%A9+%26+%C3%BC&limit=2"
    assert asked.headers["Accept"] == "application/json"
    assert asked.headers["If-None-Match"] is None


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "Application/JSON", "application/hal+json"]
)
def test_json_has_several_names(serve: Serve, content_type: str) -> None:
    server = serve(says(response(content_type=content_type)))

    assert get(fetcher_of(server)).body == b"{}"


@pytest.mark.parametrize("content_type", ["text/html", "text/plain", ""])
def test_anything_but_json_is_a_failure_and_not_asked_for_again(
    serve: Serve, content_type: str
) -> None:
    server = serve(says(response(content_type=content_type)))

    assert "did not answer JSON" in str(failure(fetcher_of(server)))
    assert len(server.asked) == 1


def test_a_404_in_json_is_an_answer(serve: Serve) -> None:
    server = serve(says(response(404, b'{"message":"not found"}')))

    assert get(fetcher_of(server)) == Fetched(None)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("status", "content_type"),
    [
        *((400, "application/json"), (401, "application/json"), (404, "text/html")),
        *((204, "application/json"), (301, "application/json"), (304, "application/json")),
    ],
)
def test_what_will_not_pass_is_not_tried_again(
    serve: Serve, status: int, content_type: str
) -> None:
    server = serve(says(response(status, b"", content_type)))

    error = failure(fetcher_of(server))

    assert isinstance(error, UpstreamFailed)
    assert str(error) == f"the product source answered {status}"
    assert len(server.asked) == 1


def test_an_etag_is_sent_and_a_304_says_that_nothing_has_changed(serve: Serve) -> None:
    server = serve(says(response(304, b"")))

    fetched = fetcher_of(server).get("/products", {}, etag='W/"1"')

    assert fetched.is_unchanged
    assert server.asked[0].headers["If-None-Match"] == 'W/"1"'


# Connections


def test_each_thread_keeps_a_connection_of_its_own(serve: Serve) -> None:
    together = threading.Barrier(4, timeout=5)

    def script(_: Asked) -> Pieces:
        together.wait()
        yield response()

    server = serve(script)
    fetcher = fetcher_of(server)
    with ThreadPoolExecutor(4) as threads:
        for _ in range(3):
            list(threads.map(lambda _: get(fetcher), range(4)))

    connections = [asked.connection for asked in server.asked]
    assert len(connections) == 12
    assert len(set(connections)) == 4


def test_each_thread_has_a_session_of_its_own() -> None:
    fetcher = fetcher_of("http://upstream.invalid")

    with ThreadPoolExecutor(1) as thread:
        theirs = [thread.submit(fetcher._session).result() for _ in range(2)]

    assert theirs[0] is theirs[1] is not fetcher._session()


def test_a_kept_connection_that_is_gone_is_made_anew(serve: Serve) -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:

        def answer_once_each() -> None:
            for _ in range(2):
                connection, _peer = listener.accept()
                with connection:
                    connection.recv(10_000)
                    connection.sendall(response())

        server = threading.Thread(target=answer_once_each)
        server.start()
        fetcher = fetcher_of(f"http://{LOOPBACK}:{listener.getsockname()[1]}")

        bodies = [get(fetcher).body for _ in range(2)]

        server.join()
    assert bodies == [b"{}", b"{}"]


# Another attempt


@pytest.mark.parametrize(
    "passing",
    [
        *(says(response(status)) for status in (500, 502, 503, 504, 429)),
        *(TRUNCATED, says(CHUNKED + b"10\r\nhalf", b"connection: close"), says(b"SMTP\r\n\r\n")),
    ],
)
def test_what_may_pass_is_tried_again_after_a_pause(serve: Serve, passing: Script) -> None:
    server = serve(in_turn(passing, passing, GOOD))

    fetched = get(fetcher_of(server, breaker_failures=1))

    assert fetched.body == b'{"a":1}'
    first, second, third = (asked.at for asked in server.asked)
    assert second - first >= 0.05
    assert third - second >= 0.05


@pytest.mark.parametrize(
    ("lasting", "error", "detail"),
    [
        (BROKEN, UpstreamFailed, "the product source answered 500"),
        (TRUNCATED, UpstreamFailed, "the product source broke off its answer"),
        (BUSY, UpstreamBusy, "the product source asks us to slow down"),
    ],
)
def test_what_does_not_pass_fails_after_some_attempts(
    serve: Serve, lasting: Script, error: type[ServiceError], detail: str
) -> None:
    server = serve(lasting)

    failed = failure(fetcher_of(server, upstream_attempts=2))

    assert (type(failed), str(failed)) == (error, detail)
    assert len(server.asked) == 2


def test_a_server_that_is_away_cannot_be_reached() -> None:
    (port,) = free_ports(1)

    failed = failure(fetcher_of(f"http://{LOOPBACK}:{port}"))

    assert str(failed) == "the product source cannot be reached"
    assert failed.__cause__ is not None


def test_pauses_grow_and_differ() -> None:
    fetcher = fetcher_of("http://upstream.invalid")
    attempt = RetryCallState(Retrying(), None, (), {})

    def pauses() -> list[float]:
        return sorted(fetcher._pause_s(attempt) for _ in range(100))

    first = pauses()
    attempt.attempt_number = 4
    later = pauses()

    assert 0.05 <= first[0] < first[-1] <= 0.1
    assert 0.05 <= later[0] < later[-1] <= 0.8
    assert later[-1] > 0.1


# Retry-After


def test_a_retry_after_that_fits_is_waited_for(serve: Serve) -> None:
    server = serve(in_turn(says(response(429, Retry_After="1")), GOOD))

    fetched = get(fetcher_of(server))

    assert fetched.body == b'{"a":1}'
    first, second = (asked.at for asked in server.asked)
    assert 1 <= second - first < 1.5


@pytest.mark.parametrize(
    ("status", "error"), [(429, UpstreamBusy), (503, UpstreamFailed)], ids=["429", "503"]
)
def test_a_retry_after_that_does_not_fit_is_passed_on_at_once(
    serve: Serve, status: int, error: type[ServiceError]
) -> None:
    server = serve(says(response(status, Retry_After="17")))

    began = monotonic()
    failed = failure(fetcher_of(server))

    assert (type(failed), failed.retry_after_s) == (error, 17)
    assert len(server.asked) == 1
    assert monotonic() - began < 0.5


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        *(("0", 0), ("17", 17), ("999999999", 3600), ("9" * 5000, None)),
        *(("", None), ("-1", None), ("1.5", None), ("soon", None), ("²", None)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 3600)),
        *(("Wed, 99 Oct 2015 07:28:00 GMT", None), ("Mon, 01 Jan 0001 00:00:00 GMT", 0)),
    ],
)
def test_retry_after_is_read_with_care(header: str, wait_s: int | None) -> None:
    assert _retry_after_s(header) == wait_s


def test_retry_after_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=20)

    assert _retry_after_s(format_datetime(soon, usegmt=True)) in {19, 20}


# Deadlines

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
SLOW: dict[str, Callable[[ScriptedServer], Script]] = {
    "silence": lambda server: server.silence,
    "trickle": lambda server: server.trickle(HEAD + b"Content-Length: 1000000\r\n\r\n"),
    "trickle to the end": lambda server: server.trickle(HEAD + b"Connection: close\r\n\r\n"),
    "trickle in a chunk": lambda server: server.trickle(CHUNKED + b"fffff\r\n"),
    "failure after failure": lambda _: BROKEN,
    "a failure, then silence": lambda server: in_turn(BROKEN, server.silence),
    "a long pause": lambda _: says(response(429, Retry_After="1")),
}


@pytest.mark.parametrize("slow", SLOW.values(), ids=SLOW)
def test_a_slow_server_costs_no_more_time_than_somebody_waits(
    serve: Serve, slow: Callable[[ScriptedServer], Script]
) -> None:
    server = serve(GOOD)
    server.script = slow(server)
    fetcher = fetcher_of(server, upstream_attempts=10, upstream_timeout_s=60)

    began = monotonic()
    with answering(within_s=DEADLINE_S):
        failure(fetcher)

    assert monotonic() - began < DEADLINE_S + GRACE_S
    assert server.asked


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


def endless(head: bytes, piece: bytes) -> Script:
    def script(_: Asked) -> Pieces:
        yield head
        while True:
            yield piece

    return script


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


def test_a_body_is_not_unpacked(serve: Serve) -> None:
    packed = gzip.compress(b" " * 10_000_000)
    server = serve(says(response(body=packed, Content_Encoding="gzip")))

    fetched = get(fetcher_of(server))

    assert fetched.body == packed
    assert server.asked[0].headers["Accept-Encoding"] == "identity"


# Redirects


def moved(to: str, status: int = 301) -> Script:
    return says(response(status, b"", "text/plain", Location=to))


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_on_the_same_host_is_followed_as_it_stands(serve: Serve, status: int) -> None:
    server = serve(in_turn(moved("/products?limit=2", status), GOOD))

    fetched = fetcher_of(server).get("/products/", {"limit": 2}, etag='"1"')

    assert fetched.body == b'{"a":1}'
    assert [asked.path for asked in server.asked] == ["/products/?limit=2", "/products?limit=2"]
    assert server.asked[1].headers["If-None-Match"] == '"1"'


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


# The breaker


def fail_until_open(fetcher: Fetcher) -> None:
    while not fetcher.breaker.opened:
        failure(fetcher)


def rest(fetcher: Fetcher) -> None:
    """Let the breaker's rest pass."""
    fetcher.breaker._opened -= REST_S


def test_the_breaker_opens_after_some_failed_calls_and_answers_at_once(serve: Serve) -> None:
    server = serve(BROKEN)
    fetcher = fetcher_of(server, breaker_failures=3, upstream_attempts=2)

    details = [str(failure(fetcher)) for _ in range(3)]
    began = monotonic()
    failed = failure(fetcher)
    took_s = monotonic() - began

    assert details == ["the product source answered 500"] * 3
    assert "given a rest" in str(failed)
    assert failed.retry_after_s == REST_S
    assert took_s < 0.02
    assert len(server.asked) == 3 * 2


def test_a_success_starts_the_count_anew(serve: Serve) -> None:
    server = serve(in_turn(BROKEN, GOOD, BROKEN, GOOD))
    fetcher = fetcher_of(server, breaker_failures=2, upstream_attempts=1)

    failure(fetcher)
    get(fetcher)
    failure(fetcher)

    assert get(fetcher).body == b'{"a":1}'


@pytest.mark.parametrize("alive", [REFUSED, BUSY, says(response(404, b"", "text/html"))])
def test_a_server_that_refuses_a_request_is_alive(serve: Serve, alive: Script) -> None:
    server = serve(alive)
    fetcher = fetcher_of(server, breaker_failures=1, upstream_attempts=1)

    for _ in range(3):
        failure(fetcher)

    assert len(server.asked) == 3


def test_after_its_rest_a_success_closes_the_breaker(serve: Serve) -> None:
    server = serve(in_turn(BROKEN, GOOD, BROKEN))
    fetcher = fetcher_of(server, breaker_failures=2, upstream_attempts=1)
    server.script = in_turn(BROKEN, BROKEN, GOOD, BROKEN)
    fail_until_open(fetcher)

    rest(fetcher)
    get(fetcher)
    failure(fetcher)

    assert fetcher.breaker.closed
    assert len(server.asked) == 4


def test_after_its_rest_a_failure_opens_the_breaker_again(serve: Serve) -> None:
    server = serve(BROKEN)
    fetcher = fetcher_of(server, breaker_failures=2, upstream_attempts=1)
    fail_until_open(fetcher)

    rest(fetcher)
    details = [str(failure(fetcher)) for _ in range(3)]

    assert "answered 500" in details[0]
    assert all("given a rest" in detail for detail in details[1:])
    assert len(server.asked) == 3

    server.script = GOOD
    rest(fetcher)
    assert get(fetcher).body == b'{"a":1}'


async def test_after_its_rest_one_call_tries_while_the_others_fail_at_once(serve: Serve) -> None:
    server = serve(BROKEN)
    fetcher = fetcher_of(server, breaker_failures=1, upstream_attempts=1)
    fail_until_open(fetcher)
    rest(fetcher)
    may_answer = threading.Event()

    def script(_: Asked) -> Pieces:
        assert may_answer.wait(5)
        yield response()

    server.script = script
    with ThreadPoolExecutor(1) as thread:
        trying = thread.submit(get, fetcher)
        await eventually(lambda: len(server.asked) == 2)

        details = [str(failure(fetcher)) for _ in range(5)]
        may_answer.set()

        assert trying.result().body == b"{}"
    assert all("given a rest" in detail for detail in details)
    assert len(server.asked) == 2
    assert get(fetcher).body == b"{}"
