"""Getting JSON from a server that is slow, broken or hostile: each test has a real one."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from time import monotonic
from typing import Any

import pytest
from tenacity import RetryCallState, Retrying

from catalog_worker.catalog.fetcher import Fetched, _retry_after_s
from ops.local.ports import LOOPBACK, free_ports
from postroad.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from tests.support.fetching import BROKEN, CHUNKED, GOOD, Serve, failure, fetcher_of, get
from tests.support.tracing import PLACE, within
from tests.support.upstreams import Asked, Pieces, Script, in_turn, response, says

AT_ONCE_S = 5.0  # and not after the 17 s that a response asks for

REFUSED = says(response(400))
BUSY = says(response(429))
TRUNCATED = says(response(body=b"{" * 50, Connection="close")[:-10])


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


@pytest.mark.parametrize("first", ["103 Early Hints", "102 Processing", "100 Continue"])
def test_what_a_server_says_before_its_answer_is_read_past(serve: Serve, first: str) -> None:
    server = serve(
        says(f"HTTP/1.1 {first}\r\nLink: </x>\r\n\r\n".encode(), response(body=b'{"a":1}'))
    )
    fetcher = fetcher_of(server)

    assert [get(fetcher).body for _ in range(2)] == [b'{"a":1}'] * 2
    assert len({asked.connection for asked in server.asked}) == 1


@pytest.mark.parametrize(
    ("headers", "shown"),
    [
        ({"content_type": "text/\x1b[31mred"}, "text/\ufffd[31mred"),
        ({"Content_Encoding": "br\x07"}, "br\ufffd"),
    ],
)
def test_what_a_server_sends_is_made_plain_where_it_is_told(
    serve: Serve, headers: dict[str, Any], shown: str
) -> None:
    failed = failure(fetcher_of(serve(says(response(**headers)))))

    assert str(failed).endswith(shown)


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


def test_each_attempt_carries_the_trace_of_what_is_being_done(serve: Serve) -> None:
    answers = iter([BROKEN, GOOD])
    server = serve(lambda asked: next(answers)(asked))  # noqa: PLW0108  # each time the next one

    with within(PLACE):
        get(fetcher_of(server))

    assert len(server.asked) == 2
    for asked in server.asked:
        assert asked.headers["traceparent"] == PLACE.traceparent
        assert asked.headers["tracestate"] == PLACE.tracestate


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


HTTP_THAT_IS_NONE = {
    "another protocol": b"SMTP\r\n\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000,
    "many lines": b"HTTP/1.1 200 OK\r\n" + b"X: x\r\n" * 200,
}


@pytest.mark.parametrize("answer", HTTP_THAT_IS_NONE.values(), ids=HTTP_THAT_IS_NONE)
def test_what_is_no_http_is_said_to_be_none(serve: Serve, answer: bytes) -> None:
    failed = failure(fetcher_of(serve(says(answer, b"connection: close"))))

    assert str(failed) == "the product source does not answer in HTTP"


def test_a_server_that_hangs_up_without_an_answer_is_not_said_to_be_away() -> None:
    with socket.create_server((LOOPBACK, 0)) as listener:

        def hang_up() -> None:
            connection, _peer = listener.accept()
            connection.recv(10_000)
            connection.close()

        server = threading.Thread(target=hang_up)
        server.start()
        url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"

        failed = failure(fetcher_of(url, upstream_attempts=1))

        server.join()
    assert str(failed) == "the product source broke off its answer"


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
    assert second - first >= 1


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
    assert monotonic() - began < AT_ONCE_S


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        *(("0", 0), ("17", 17), ("999999999", 3600), ("9" * 5000, None)),
        *(("", None), ("-1", None), ("1.5", None), ("soon", None), ("²", None), (" 17 ", 17)),
        *(("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("Fri, 31 Dec 9999 23:59:59 GMT", 3600)),
        *(("Wed, 99 Oct 2015 07:28:00 GMT", None), ("Mon, 01 Jan 0001 00:00:00 GMT", 0)),
    ],
)
def test_retry_after_is_read_with_care(header: str, wait_s: int | None) -> None:
    assert _retry_after_s(header) == wait_s


def test_retry_after_may_be_a_date() -> None:
    soon = datetime.now(UTC) + timedelta(seconds=20)

    assert _retry_after_s(format_datetime(soon, usegmt=True)) in {19, 20}
