"""Giving a server that keeps failing a rest, and finding out when it is well again."""

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from time import monotonic

import pytest

from catalog_worker.catalog.fetcher import Fetched, Fetcher
from postroad.contracts.errors import UpstreamFailed
from postroad.testing import eventually
from tests.support.fetching import BROKEN, GOOD, REST_S, Serve, failure, fetcher_of, get
from tests.support.upstreams import Asked, Pieces, Script, ScriptedServer, in_turn, response, says

REFUSED = says(response(400))
BUSY = says(response(429))


class Turnstile:
    """A lock that counts who has come to wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.waited = 0
        self.release = self._lock.release

    def acquire(self, *, blocking: bool = True) -> bool:
        self.waited += blocking
        return self._lock.acquire(blocking)


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
    failed = failure(fetcher)

    assert details == ["the product source answered 500"] * 3
    assert "given a rest" in str(failed)
    assert failed.retry_after_s == REST_S
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


# A patient fetcher, as jobs have


def patient(server: ScriptedServer, *, rest_s: int = REST_S) -> Fetcher:
    """Give a fetcher whose breaker has just opened."""
    fetcher = fetcher_of(
        server, wait_when_open=True, breaker_failures=1, upstream_attempts=1, breaker_rest_s=rest_s
    )
    fail_until_open(fetcher)
    return fetcher


async def test_a_patient_call_waits_for_the_rest_and_then_asks(serve: Serve) -> None:
    server = serve(in_turn(BROKEN, GOOD))
    fetcher = patient(server, rest_s=1)

    began = monotonic()
    assert get(fetcher).body == b'{"a":1}'

    assert monotonic() - began > 0.9
    assert len(server.asked) == 2


@pytest.mark.parametrize("is_well", [True, False])
async def test_patient_calls_share_the_fate_of_the_one_that_tries(
    serve: Serve, is_well: bool
) -> None:
    server = serve(BROKEN)
    fetcher = patient(server)
    rest(fetcher)
    fetcher._probe = turnstile = Turnstile()  # type: ignore[assignment]
    may_answer = threading.Event()

    def script(_: Asked) -> Pieces:
        assert may_answer.wait(5)
        yield response(200 if is_well else 500)

    server.script = script
    with ThreadPoolExecutor(6) as threads:
        calls: list[Future[Fetched]] = [threads.submit(get, fetcher) for _ in range(6)]
        await eventually(lambda: len(server.asked) == 2 and turnstile.waited == 5)
        assert not any(call.done() for call in calls)
        may_answer.set()
        failures = [call.exception() for call in calls]

    if is_well:
        assert failures == [None] * 6
        assert len(server.asked) == 1 + 6
    else:
        assert all(isinstance(error, UpstreamFailed) for error in failures)
        assert len(server.asked) == 2
        assert fetcher.breaker.opened
