"""The scaling rule, at moments that the tests make up."""

from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ops.scaling.policy import Fallback, Policy, Rate, ScaleDown, ScaleUp
from ops.scaling.rule import Decision, Memory, decide

STEP_S = 5.0
WINDOW_S = 60
COOLDOWN_S = 30
NO_LIMIT = Rate("Pods", 1000, 15)
UP = ScaleUp(policies=(NO_LIMIT,))
DOWN = ScaleDown(stabilization_window_seconds=0, policies=(NO_LIMIT,))
RPC = Policy(
    program="catalog_worker",
    queue="rpc.catalog",
    value=20,
    min_replicas=1,
    max_replicas=10,
    up=UP,
    down=DOWN,
)
BACKGROUND = replace(RPC, min_replicas=0, cooldown_s=COOLDOWN_S)


@dataclass
class Run:
    """Decisions one after the other, each with what the one before left."""

    policy: Policy
    replicas: int = 1
    memory: Memory = field(default_factory=Memory)
    now_s: float = 0.0

    def step(self, depth: int | None, *, after_s: float = STEP_S) -> Decision:
        self.now_s += after_s
        decision = decide(
            self.policy, depth, replicas=self.replicas, memory=self.memory, now_s=self.now_s
        )
        self.replicas, self.memory = decision.replicas, decision.memory
        return decision

    def steps(self, *depths: int | None) -> list[int]:
        return [self.step(depth).replicas for depth in depths]


# Kubernetes: how many


@pytest.mark.parametrize(("depth", "replicas"), [(0, 1), (20, 1), (23, 2), (120, 6), (200, 10)])
def test_a_queue_gets_a_process_for_each_value_of_messages(depth: int, replicas: int) -> None:
    assert Run(RPC).step(depth).replicas == replicas


def test_the_reason_shows_the_sum() -> None:
    assert Run(RPC).step(120).reason == "120 messages / 20 per process = 6"


def test_there_are_no_more_than_allowed() -> None:
    decision = Run(RPC).step(1000)

    assert decision.replicas == 10
    assert decision.reason == "1000 messages / 20 per process = 50; at most 10"


def test_there_are_no_fewer_than_allowed() -> None:
    run = Run(replace(RPC, min_replicas=2), replicas=3)

    decision = run.step(0)

    assert decision.replicas == 2
    assert decision.reason == "0 messages / 20 per process = 0; at least 2"


def test_a_machine_caps_what_a_policy_allows() -> None:
    assert Run(RPC.capped(4)).step(1000).replicas == 4
    assert replace(RPC, min_replicas=6).capped(4).min_replicas == 4


@pytest.mark.parametrize(("depth", "replicas"), [(44, 2), (36, 2), (45, 3), (35, 2), (20, 1)])
def test_a_difference_of_a_tenth_changes_nothing(depth: int, replicas: int) -> None:
    assert Run(RPC, replicas=2).step(depth).replicas == replicas


def test_the_reason_names_the_tolerance() -> None:
    reason = Run(RPC, replicas=2).step(44).reason

    assert reason == "44 messages / 20 per process = 3; within a tenth of what 2 may have"


@pytest.mark.parametrize(("replicas", "wanted"), [(25, 10), (1, 2)])
def test_a_number_that_is_not_allowed_is_put_right_at_once(replicas: int, wanted: int) -> None:
    slow = ScaleDown(policies=(Rate("Pods", 1, 60),))
    run = Run(replace(RPC, min_replicas=2, down=slow), replicas=replicas)

    assert run.step(40).replicas == wanted


# Kubernetes: how fast


def test_pods_limit_how_many_are_added_in_a_period() -> None:
    up = ScaleUp(policies=(Rate("Pods", 2, 15),))
    run = Run(replace(RPC, up=up))

    decision = run.step(200)

    assert decision.replicas == 3
    assert decision.reason == "200 messages / 20 per process = 10; no faster than to 3"
    assert run.steps(200, 200, 200) == [3, 3, 5]


def test_percent_of_what_there_was_is_rounded_up() -> None:
    up = ScaleUp(policies=(Rate("Percent", 10, 15),))

    assert Run(replace(RPC, up=up)).step(200).replicas == 2


def test_the_larger_of_two_policies_counts_unless_the_smaller_is_selected() -> None:
    rates = (
        Rate("Percent", 100, 15),
        Rate("Pods", 4, 15),
    )
    larger, smaller = ScaleUp(policies=rates), ScaleUp(policies=rates, select_policy="Min")

    assert Run(replace(RPC, up=larger)).step(200).replicas == 5
    assert Run(replace(RPC, up=smaller)).step(200).replicas == 2


def test_fewer_go_in_a_period_than_a_policy_allows() -> None:
    down = ScaleDown(
        stabilization_window_seconds=0,
        policies=(Rate("Percent", 50, 30),),
    )
    run = Run(replace(RPC, down=down), replicas=8)

    assert run.steps(0, 0, 0, 0, 0, 0, 0) == [4, 4, 4, 4, 4, 4, 2]


def test_of_two_policies_down_the_larger_counts_unless_min_is_selected() -> None:
    rates = (
        Rate("Percent", 50, 15),
        Rate("Pods", 1, 15),
    )
    larger = ScaleDown(stabilization_window_seconds=0, policies=rates)
    smaller = replace(larger, select_policy="Min")

    assert Run(replace(RPC, down=larger), replicas=8).step(0).replicas == 4
    assert Run(replace(RPC, down=smaller), replicas=8).step(0).replicas == 7


def test_a_direction_can_be_disabled() -> None:
    up = replace(UP, select_policy="Disabled")
    down = replace(DOWN, select_policy="Disabled")
    run = Run(replace(RPC, up=up, down=down), replicas=3)

    assert run.steps(200, 0) == [3, 3]


def test_what_was_removed_in_a_period_may_be_added_again() -> None:
    up = ScaleUp(policies=(Rate("Pods", 1, 15),))
    run = Run(replace(RPC, up=up), replicas=8)

    assert run.steps(60, 200) == [3, 9]


# Kubernetes: how sure


def test_down_goes_to_the_most_that_was_wanted_within_the_window() -> None:
    down = replace(DOWN, stabilization_window_seconds=WINDOW_S)
    run = Run(replace(RPC, down=down), replicas=5)
    run.steps(100, 60)

    decision = run.step(0)

    assert decision.replicas == 5
    assert decision.reason == "0 messages / 20 per process = 0; but 5 wanted within 60 s"
    assert run.step(0, after_s=WINDOW_S - 2 * STEP_S).replicas == 3  # the 5 is forgotten now
    assert run.step(0).replicas == 1


def test_up_goes_to_the_least_that_was_wanted_within_the_window() -> None:
    up = replace(UP, stabilization_window_seconds=WINDOW_S)
    run = Run(replace(RPC, up=up))
    run.steps(20, 60)

    decision = run.step(100)

    assert decision.replicas == 1
    assert decision.reason == "100 messages / 20 per process = 5; but 1 was enough within 60 s"
    assert run.step(100, after_s=WINDOW_S - 2 * STEP_S).replicas == 3  # the 1 is forgotten now


def test_who_has_just_begun_does_not_end_what_runs_within_the_window() -> None:
    down = replace(DOWN, stabilization_window_seconds=WINDOW_S)

    assert Run(replace(RPC, down=down), replicas=5).step(0).replicas == 5


# KEDA: whether at all


def test_the_first_message_starts_the_first_process() -> None:
    run = Run(BACKGROUND, replicas=0)

    assert run.step(0).replicas == 0
    assert run.step(1).reason == "1 message and no process: the first"
    assert run.replicas == 1


def test_the_first_process_comes_alone_however_deep_the_queue() -> None:
    assert Run(BACKGROUND, replicas=0).steps(100, 100) == [1, 5]


def test_no_more_than_the_activation_value_is_nothing_to_do() -> None:
    run = Run(replace(BACKGROUND, activation_value=10), replicas=0)

    assert run.steps(10, 11) == [0, 1]


def test_the_last_process_ends_when_nothing_was_to_do_for_the_cooldown() -> None:
    run = Run(BACKGROUND, replicas=0)
    run.step(1)

    assert run.step(0, after_s=COOLDOWN_S).replicas == 1
    decision = run.step(0, after_s=0.1)

    assert decision.replicas == 0
    assert decision.reason == "0 messages, and nothing to do for 30 s: none"


def test_all_that_are_left_end_after_the_cooldown_whatever_the_window() -> None:
    down = replace(DOWN, stabilization_window_seconds=300)
    run = Run(replace(BACKGROUND, down=down))
    run.steps(100)

    assert run.step(0, after_s=COOLDOWN_S + 1).replicas == 0


def test_one_that_nobody_saw_busy_ends_at_once() -> None:
    assert Run(BACKGROUND).step(0).replicas == 0


def test_a_program_that_needs_one_never_has_none() -> None:
    run = Run(RPC, replicas=0)

    assert run.step(0).reason == "at least 1"
    assert run.step(0, after_s=10_000).replicas == 1


# KEDA: when the depth cannot be had


def test_without_a_depth_all_stays_as_it_is() -> None:
    run = Run(RPC, replicas=3)

    assert run.steps(*[None] * 20) == [3] * 20


@pytest.mark.parametrize(
    ("behavior", "replicas", "wanted"),
    [
        ("static", 1, 2),
        ("static", 4, 2),
        ("currentReplicasIfHigher", 1, 2),
        ("currentReplicasIfHigher", 4, 4),
        ("static", 0, 2),
    ],
)
def test_without_a_depth_for_too_often_the_fallback_runs(
    behavior: Any, replicas: int, wanted: int
) -> None:
    fallback = Fallback(failure_threshold=3, replicas=2, behavior=behavior)
    run = Run(replace(BACKGROUND, fallback=fallback), replicas=replicas)

    assert run.steps(None, None, None, None) == [replicas] * 3 + [wanted]
    assert (
        run.step(None).reason == f"rpc.catalog cannot be counted, 5 in a row: fall back on {wanted}"
    )


def test_a_depth_in_between_begins_the_count_of_failures_anew() -> None:
    fallback = Fallback(failure_threshold=1, replicas=5)
    run = Run(replace(RPC, fallback=fallback))

    assert run.steps(None, 0, None, 0, None, None) == [1, 1, 1, 1, 1, 5]


# whatever comes

rates = st.builds(
    Rate,
    type=st.sampled_from(["Pods", "Percent"]),
    value=st.integers(1, 200),
    period_seconds=st.integers(1, 120),
)
windows = st.integers(0, 120)
choices = st.sampled_from(["Max", "Min", "Disabled"])
several = st.lists(rates, min_size=1, max_size=3).map(tuple)
fallbacks = st.builds(Fallback, failure_threshold=st.integers(0, 3), replicas=st.integers(0, 20))
policies = st.builds(
    Policy,
    program=st.just("catalog_worker"),
    queue=st.just("rpc.catalog"),
    value=st.integers(1, 50),
    activation_value=st.integers(0, 5),
    min_replicas=st.integers(0, 3),
    max_replicas=st.integers(3, 12),
    cooldown_s=st.integers(0, 120),
    up=st.builds(
        ScaleUp, stabilization_window_seconds=windows, select_policy=choices, policies=several
    ),
    down=st.builds(
        ScaleDown, stabilization_window_seconds=windows, select_policy=choices, policies=several
    ),
    fallback=st.none() | fallbacks,
)
moments = st.lists(
    st.tuples(st.none() | st.integers(0, 500), st.floats(0.5, 90)), min_size=1, max_size=40
)


@settings(deadline=None)  # a busy machine is no bug
@given(policy=policies, moments=moments, replicas=st.integers(0, 20))
def test_there_are_always_as_many_as_allowed(
    policy: Policy, moments: list[tuple[int | None, float]], replicas: int
) -> None:
    run = Run(policy, replicas=replicas)
    run.step(1)

    for depth, after_s in moments:
        run.step(depth, after_s=after_s)

        assert policy.min_replicas <= run.replicas <= policy.max_replicas


@settings(deadline=None)  # a busy machine is no bug
@given(policy=policies, moments=moments)
def test_none_end_that_were_wanted_within_the_window(
    policy: Policy, moments: list[tuple[int | None, float]]
) -> None:
    policy = replace(policy, min_replicas=1, fallback=None)
    window_s = policy.down.stabilization_window_seconds
    run, wanted = Run(policy), list[tuple[float, int]]()

    for depth, after_s in moments:
        before = run.replicas
        run.step(depth, after_s=after_s)
        if depth is not None:
            wanted.append((run.now_s, -(-depth // policy.value)))
        most = max((count for at_s, count in wanted if at_s > run.now_s - window_s), default=0)

        assert run.replicas >= min(before, most, policy.max_replicas)


@settings(deadline=None)  # a busy machine is no bug
@given(policy=policies, moments=moments)
def test_a_period_adds_no_more_than_the_most_generous_policy_allows(
    policy: Policy, moments: list[tuple[int | None, float]]
) -> None:
    rate = Rate("Pods", 2, 60)
    policy = replace(policy, min_replicas=1, fallback=None, up=ScaleUp(policies=(rate,)))
    policy = replace(policy, down=replace(policy.down, select_policy="Disabled"))
    run, counts = Run(policy), [(0.0, 1)]

    for depth, after_s in moments:
        run.step(depth, after_s=after_s)
        counts.append((run.now_s, run.replicas))

    added = [(now[0], now[1] - before[1]) for before, now in pairwise(counts)]
    for end_s, _ in added:
        in_period = sum(count for at_s, count in added if end_s - 60 < at_s <= end_s)
        assert in_period <= 2


@given(policy=policies, depth=st.integers(0, 500))
def test_a_depth_that_stays_the_same_is_settled_on(policy: Policy, depth: int) -> None:
    policy = replace(policy, up=UP, down=DOWN)
    run = Run(policy)
    for _ in range(5):
        run.step(depth, after_s=200)
    settled = run.replicas

    assert run.step(depth, after_s=200).replicas == settled
    if settled not in (0, policy.min_replicas, 1, policy.max_replicas):
        assert depth <= settled * policy.value * 1.1
