"""What the soak calls growing, and what it reads of a process."""

import math
import os
import random
import threading

import pytest

from benchmarks.soak.processes import belongings
from benchmarks.soak.trend import lows, trend_of

SECONDS = 900


def series(of: "list[float] | range", *, noise: float = 0.0) -> list[float]:
    chance = random.Random(7)
    return [value + chance.gauss(0, noise) for value in of]


@pytest.mark.parametrize("noise", [0.0, 1.0])
def test_what_grows_by_a_mebibyte_a_minute_grows(noise: float) -> None:
    leaking = series([50 + second / 60 for second in range(SECONDS)], noise=noise)

    assert trend_of(leaking, least=2.0).is_growing


@pytest.mark.parametrize(
    "values",
    [
        series([50.0] * SECONDS, noise=3.0),
        series([50 + 20 * math.sin(second / 15) for second in range(SECONDS)]),
        series([50 + second % 60 for second in range(SECONDS)]),
        series([50 + min(second, SECONDS / 4) for second in range(SECONDS)], noise=0.5),
        series([50 - second / 60 for second in range(SECONDS)]),
    ],
    ids=["noise", "waves", "collected each minute", "at first only", "less and less"],
)
def test_what_goes_up_and_down_does_not_grow(values: list[float]) -> None:
    assert not trend_of(values, least=2.0).is_growing


def test_what_is_used_for_a_moment_does_not_hide_what_is_kept() -> None:
    values = [50 + second / 100 + (64 if second % 3 == 0 else 0) for second in range(SECONDS)]

    assert not trend_of(values, least=2.0).is_growing
    assert trend_of(lows(values), least=2.0).is_growing


def test_growth_that_is_not_worth_a_word_is_left_alone() -> None:
    values = series([50 + second / 600 for second in range(SECONDS)])

    assert not trend_of(values, least=2.0).is_growing
    assert trend_of(values, least=0.5).is_growing


def test_a_trend_says_how_much_it_was_and_where_it_ended() -> None:
    trend = trend_of([0.0] * 300 + [10 + second / 60 for second in range(600)], least=2.0)

    assert trend.growth == pytest.approx(599 / 60)
    assert trend.level == pytest.approx(10 + 599 / 60)
    assert trend.noise == pytest.approx(0, abs=1e-6)


def test_a_process_is_seen_to_have_what_it_opens() -> None:
    before = belongings(os.getpid())
    reading, writing = os.pipe()
    may_end = threading.Event()
    thread = threading.Thread(target=may_end.wait)
    thread.start()
    kept = b"x" * (32 * 1024 * 1024)
    try:
        after = belongings(os.getpid())
    finally:
        may_end.set()
        thread.join()
        os.close(reading)
        os.close(writing)

    assert after.files == before.files + 2
    assert after.threads == before.threads + 1
    assert after.pss_mib - before.pss_mib == pytest.approx(len(kept) / 2**20, abs=4)
