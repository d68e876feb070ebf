"""Where the time of a request went, put together from what each hop says."""

from time import perf_counter, time

import pytest

from http_bridge.http.server_timing import is_timed, server_timing
from postroad.contracts.errors import UpstreamFailed
from postroad.contracts.message import CallTiming
from postroad.observability.timing import (
    Stopwatch,
    call_timing,
    current_stopwatch,
    waiting_upstream,
)
from tests.support.upstreams import timed


def spin(seconds: float) -> None:
    """Take some time, by the clock that is being tested."""
    until = perf_counter() + seconds
    while perf_counter() < until:
        pass


def test_a_call_takes_the_time_in_the_queue_in_the_worker_and_the_way_back() -> None:
    timing = call_timing(0.010, (2_000, 5_000, 4_000))

    assert (timing.queue_s, timing.worker_s, timing.upstream_s) == (0.002, 0.005, 0.004)
    assert timing.reply_s == pytest.approx(0.003)
    assert timing.queue_s + timing.worker_s + timing.reply_s == pytest.approx(0.010)


def test_a_worker_that_asked_no_upstream_says_so() -> None:
    stopwatch = Stopwatch()
    stopwatch.queue_s = 0.001

    queue_us, worker_us = stopwatch.times_us()

    assert queue_us == 1_000
    assert worker_us >= 0
    assert call_timing(0.010, (1_000, 2_500)).upstream_s is None


def test_a_worker_that_asked_its_upstream_says_how_long() -> None:
    stopwatch = Stopwatch()
    stopwatch.upstream_s = 0.0152

    assert stopwatch.times_us()[2:] == (15_200,)


def test_a_caller_whose_clock_is_ahead_has_not_waited() -> None:
    stopwatch = Stopwatch()

    stopwatch.sent(time() + 2)

    assert stopwatch.queue_s == 0


@pytest.mark.parametrize("queue_us", [0, 2_000, 4_000, 5_000_000])
def test_with_differing_clocks_no_part_is_negative_or_exceeds_the_whole(queue_us: int) -> None:
    timing = call_timing(0.010, (queue_us, 7_000))

    assert timing.worker_s == 0.007
    assert 0 <= timing.queue_s <= 0.003 + 1e-9
    assert 0 <= timing.reply_s <= 0.003 + 1e-9
    assert timing.queue_s + timing.worker_s + timing.reply_s == pytest.approx(0.010)


def test_a_worker_that_claims_more_time_than_there_was_is_not_believed() -> None:
    timing = call_timing(0.010, (5_000, 60_000_000, 50_000_000))

    assert (timing.queue_s, timing.worker_s, timing.upstream_s) == (0, 0.010, 0.010)
    assert timing.reply_s == 0


def ask_in_vain() -> None:
    with waiting_upstream():
        spin(0.002)
        raise UpstreamFailed


def test_waiting_for_an_upstream_is_counted_for_the_request_being_answered() -> None:
    with timed() as stopwatch:
        for _ in range(2):
            with pytest.raises(UpstreamFailed):
                ask_in_vain()

    assert stopwatch.upstream_s is not None
    assert stopwatch.upstream_s >= 0.004


def test_waiting_for_an_upstream_is_free_to_happen_outside_of_a_request() -> None:
    assert current_stopwatch.get(None) is None

    with waiting_upstream():
        pass


def test_server_timing_names_the_parts_in_milliseconds() -> None:
    timing = CallTiming(queue_s=0.0011, worker_s=0.0172, reply_s=0.0004, upstream_s=0.0152)

    name, header = server_timing(timing, 0.01901)

    assert name == b"server-timing"
    assert header == (
        b"edge;dur=0.31, queue;dur=1.10, worker;dur=17.20, upstream;dur=15.20, reply;dur=0.40, "
        b"total;dur=19.01"
    )


@pytest.mark.parametrize("path", ["/auth", "/auth/", "/auth/refresh", "/auth/logout", "/auth/me"])
def test_what_a_sign_in_takes_is_not_told(path: str) -> None:
    assert not is_timed(path)
    assert is_timed("/products")


def test_server_timing_leaves_out_an_upstream_that_was_not_asked() -> None:
    timing = CallTiming(queue_s=0.001, worker_s=0.002, reply_s=0.001, upstream_s=None)

    _, header = server_timing(timing, 0.005)

    assert b"upstream" not in header
    assert b"edge;dur=1.00" in header
