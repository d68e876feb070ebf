"""Whom a gate admits, by a clock that is set by hand and a service that is a queue."""

from collections import Counter, deque
from collections.abc import Callable

import pytest

from http_bridge.calls.gate import FEW, Gate, Place
from postroad.contracts.errors import Overloaded, ProductNotFound, ReplyTimeout

DEADLINE_S = 5.0
MOST = 1000
STEP_S = 0.01
SHORT_S = 0.05


class World:
    """A gate, and behind it a service that answers so many calls a second, in their order."""

    def __init__(self, *, rate_per_s: float, most: int = MOST) -> None:
        self.now = 100.0
        self.rate_per_s = rate_per_s
        self.gate = Gate(deadline_s=DEADLINE_S, most=most, clock=lambda: self.now)
        self.waiting: deque[Place] = deque()
        self.admitted: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.took_s: list[float] = []
        self.late = 0
        self._due = 0.0

    def ask(self, caller: str = "somebody") -> None:
        try:
            self.waiting.append(self.gate.enter(caller))
        except Overloaded:
            self.refused[caller] += 1
        else:
            self.admitted[caller] += 1

    def pass_time(self, for_s: float, **asking: float) -> None:
        """Let time pass; ``asking`` says by caller how many requests a second there are."""
        for _ in range(round(for_s / STEP_S)):
            self.now += STEP_S
            self._expire()
            self._answer()
            for caller, rate_per_s in asking.items():
                for _ in range(_due(self.now, rate_per_s)):
                    self.ask(caller)

    def _expire(self) -> None:
        while self.waiting and self.now - self.waiting[0].since >= DEADLINE_S:
            self.gate.leave(self.waiting.popleft(), was_answered=False)
            self.late += 1

    def _answer(self) -> None:
        self._due = min(self._due + self.rate_per_s * STEP_S, len(self.waiting))
        while self._due >= 1:
            self._due -= 1
            place = self.waiting.popleft()
            self.took_s.append(self.now - place.since)
            self.gate.leave(place, was_answered=True)


def _due(now: float, rate_per_s: float) -> int:
    return int(now * rate_per_s) - int((now - STEP_S) * rate_per_s)


def refuses(ask: Callable[[], object]) -> Overloaded:
    with pytest.raises(Overloaded) as refusal:
        ask()
    return refusal.value


@pytest.mark.parametrize("rate_per_s", [20, 160, 400])
@pytest.mark.parametrize("times", [2, 5, 10])
def test_overload_keeps_the_service_busy_and_no_wait_passes_the_deadline(
    rate_per_s: float, times: float
) -> None:
    world = World(rate_per_s=rate_per_s)

    world.pass_time(20, somebody=rate_per_s * times)

    assert len(world.took_s) >= 0.95 * 20 * rate_per_s
    assert not world.late
    assert world.refused["somebody"] > (times - 1) * 15 * rate_per_s


def test_nobody_is_refused_while_the_service_keeps_up() -> None:
    world = World(rate_per_s=160)

    world.pass_time(20, one=140, other=10)

    assert not world.refused


def test_a_burst_after_a_quiet_time_comes_in_whole() -> None:
    world = World(rate_per_s=160)
    world.pass_time(20, somebody=1)

    for _ in range(300):
        world.ask()

    assert not world.refused


def test_a_caller_that_returns_after_a_finished_burst_is_not_refused() -> None:
    world = World(rate_per_s=100)
    for _ in range(200):
        world.ask()

    for _ in range(round(3 / STEP_S)):
        answered = len(world.took_s)
        world.pass_time(STEP_S)
        for _ in range(len(world.took_s) - answered):
            world.ask()

    assert not world.refused


def test_a_service_that_halts_for_a_moment_refuses_nobody() -> None:
    world = World(rate_per_s=160)
    world.pass_time(10, somebody=100)

    world.rate_per_s = 0
    world.pass_time(0.8, somebody=100)
    world.rate_per_s = 160
    world.pass_time(10, somebody=100)

    assert not world.refused


def test_a_few_are_admitted_though_nothing_is_answered() -> None:
    world = World(rate_per_s=0)

    world.pass_time(2, somebody=5 * FEW)
    refused_soon = world.refused["somebody"]
    world.pass_time(2, somebody=5 * FEW)

    assert FEW <= world.admitted["somebody"] <= 2 * FEW
    assert refused_soon


def test_a_caller_with_nothing_in_flight_is_let_in_during_a_standstill() -> None:
    world = World(rate_per_s=0)
    world.pass_time(2, greedy=5 * FEW)

    world.ask("modest")

    assert not world.refused["modest"]


def test_workers_that_are_added_are_given_more_at_once() -> None:
    world = World(rate_per_s=40)
    world.pass_time(10, somebody=400)
    answered_before = len(world.took_s)

    world.rate_per_s = 320
    world.pass_time(10, somebody=400)

    assert len(world.took_s) - answered_before >= 0.9 * 10 * 320


def test_two_deadlines_after_a_slowdown_all_calls_are_in_time_again() -> None:
    world = World(rate_per_s=320)
    world.pass_time(10, somebody=300)

    world.rate_per_s = 40
    world.pass_time(2 * DEADLINE_S, somebody=300)
    late_at_first, answered_at_first = world.late, len(world.took_s)
    world.pass_time(10, somebody=300)

    assert world.late == late_at_first
    assert len(world.took_s) - answered_at_first >= 0.95 * 10 * 40


def test_a_greedy_caller_takes_nothing_from_modest_ones() -> None:
    world = World(rate_per_s=40)
    modest = {f"modest_{number}": 1.5 for number in range(9)}
    world.pass_time(DEADLINE_S, greedy=400)

    world.pass_time(30, greedy=400, **modest)

    assert [world.refused[name] for name in modest] == [0] * len(modest)
    assert all(world.admitted[name] == pytest.approx(45, abs=1) for name in modest)
    assert world.admitted["greedy"] > 0.9 * 30 * (40 - 9 * 1.5)
    assert not world.late


def test_a_caller_who_is_alone_may_have_all_of_it() -> None:
    world = World(rate_per_s=160)

    world.pass_time(20, greedy=800)

    assert world.admitted["greedy"] >= 0.95 * 20 * 160


def test_a_thousand_callers_with_a_call_each_stay_below_twice_the_limit() -> None:
    world = World(rate_per_s=40)
    world.pass_time(10, somebody=400)
    limit = round(40 * DEADLINE_S / 2)

    for number in range(1000):
        world.ask(f"caller {number}")

    assert limit <= len(world.waiting) <= 2 * limit + FEW


def test_the_most_that_is_set_holds_in_a_burst_too() -> None:
    world = World(rate_per_s=0, most=50)

    for _ in range(200):
        world.ask()

    assert world.admitted["somebody"] == 50


def test_the_most_that_is_set_holds_however_fast_the_service_is() -> None:
    world = World(rate_per_s=400, most=50)

    world.pass_time(10, somebody=800)
    under_way = len(world.waiting)

    assert under_way == 50


def test_a_refusal_says_when_to_come_back() -> None:
    world = World(rate_per_s=0)
    world.pass_time(2, somebody=5 * FEW)

    refusal = refuses(lambda: world.gate.enter("somebody"))

    assert refusal.retry_after_s == 3


@pytest.mark.parametrize("error", [ReplyTimeout, Overloaded])
def test_a_call_without_a_reply_counts_as_nothing_answered(error: type[Exception]) -> None:
    assert _admits_more_after(error) is False


@pytest.mark.parametrize("error", [None, ProductNotFound])
def test_a_call_with_a_reply_counts_though_it_says_no(error: type[Exception] | None) -> None:
    assert _admits_more_after(error) is True


def _admits_more_after(error: type[Exception] | None) -> bool:
    """Tell whether calls that end so make room for more than the few."""
    world = World(rate_per_s=0)
    for _ in range(4 * FEW):
        _end(world.gate.enter("somebody"), error)
    for _ in range(FEW):
        world.ask()
    world.now += SHORT_S + DEADLINE_S / 20 * 2
    world.ask()
    return not world.refused


def _end(place: Place, error: type[Exception] | None) -> None:
    if error is None:
        with place:
            return
    with pytest.raises(error), place:
        raise error
