"""A thousand processes and a million requests a second, on paper.

Nothing of this size has been run. What is put in is the rule of deploy/kubernetes/scaling.yaml with
other bounds, and assumptions, each named here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from benchmarks.scaling.series import Sample, Second
from benchmarks.scaling.simulation import World, simulate
from ops.scaling.policy import Policy

CALM_PER_S, BURST_PER_S = 100_000.0, 1_000_000.0
CONCURRENCY = 100  # assumed: a process waits for so many answers at a time
SERVICE_S = 0.08  # assumed: for so long each, so 800 of them can do a million a second
START_S = 10.0  # assumed: from the decision to the first request, its image on the node already
SHARDS, SHARD_LENGTH = 100, 10_000  # assumed: so many queues, each as long as ours may be
LEAST, MOST = 100, 1_000
_REAL_CONNECTIONS = 16  # that our own value is counted in
LOT = 100  # requests to a message of the simulation
STATISTICS_S = 5.0  # RabbitMQ's default
DECIDES_EVERY_S = 15  # Kubernetes' --horizontal-pod-autoscaler-sync-period, its default
DEADLINE_S = 5.0

_CALM_S, _BURST_S = 30.0, 240.0  # then calm again
UNTIL_S = _CALM_S + _BURST_S + 90.0
_RAMP_S = 120.0
_GOOD_MS = 1000.0

Rate = Callable[[float], float]


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of a load, in a few numbers; shares are of all requests."""

    name: str
    answered: float
    refused: float
    late: float
    bad_for_s: int  # seconds in which one in twenty had no answer within a second
    peak_depth: int
    most_replicas: int
    most_after_s: float  # from the begin of the burst until as many as ever worked


@dataclass(frozen=True, slots=True)
class Shape:
    """What became of a load, second by second."""

    summary: Summary
    seconds: list[Second]
    samples: list[Sample]


def large_world(policy: Policy) -> World:
    """Describe a system of that size, its rule but for bounds and value our own."""
    value = CONCURRENCY * policy.value // _REAL_CONNECTIONS
    rule = replace(
        policy,
        value=value,
        min_replicas=LEAST,
        max_replicas=MOST,
        polling_s=DECIDES_EVERY_S,
    )
    return World(
        policy=rule,
        concurrency=CONCURRENCY,
        prefetch=CONCURRENCY,
        service_s=SERVICE_S,
        start_s=START_S,
        statistics_s=STATISTICS_S,
        deadline_s=DEADLINE_S,
        max_length=SHARDS * SHARD_LENGTH,
        lot=LOT,
    )


def shapes(policy: Policy) -> list[Shape]:
    """Simulate ten times the load: at once, with more in reserve, and little by little.

    The last is by a rule under which as many may wait as are worked on.
    """
    usual = large_world(policy)
    reserve = replace(usual, policy=replace(usual.policy, min_replicas=MOST // 2))
    patient = replace(usual, policy=replace(usual.policy, value=2 * CONCURRENCY))
    return [
        _shape("at once", usual, step),
        _shape(f"at once, {MOST // 2} kept ready", reserve, step),
        _shape("over 2 minutes", usual, ramp),
        _shape(f"over 2 minutes, value {2 * CONCURRENCY}", patient, ramp),
    ]


def step(at_s: float) -> float:
    """Give the rate at a time: ten times as much at once."""
    return BURST_PER_S if _CALM_S <= at_s < _CALM_S + _BURST_S else CALM_PER_S


def ramp(at_s: float) -> float:
    """Give the rate at a time: ten times as much little by little."""
    if at_s >= _CALM_S + _BURST_S:
        return CALM_PER_S
    share = min(1.0, max(0.0, (at_s - _CALM_S) / _RAMP_S))
    return CALM_PER_S + share * (BURST_PER_S - CALM_PER_S)


def _due(rate: Rate) -> Iterator[float]:
    at_s = 0.0
    while at_s < UNTIL_S:
        yield at_s
        at_s += LOT / rate(at_s)


def _shape(name: str, world: World, rate: Rate) -> Shape:
    run = simulate(world, _due(rate), until_s=UNTIL_S + DEADLINE_S)
    offered = sum(second.offered for second in run.seconds)
    most = max(sample.consuming for sample in run.samples)
    burst = [sample for sample in run.samples if sample.at_s >= _CALM_S]

    def share(status: str) -> float:
        return round(sum(second.answers.get(status, 0) for second in run.seconds) / offered, 4)

    summary = Summary(
        name=name,
        answered=share("200"),
        refused=share("503"),
        late=share("504"),
        bad_for_s=sum(_is_bad(second) for second in run.seconds),
        peak_depth=max(sample.depth for sample in run.samples),
        most_replicas=most,
        most_after_s=next(sample.at_s - _CALM_S for sample in burst if sample.consuming == most),
    )
    return Shape(summary, run.seconds, run.samples)


def _is_bad(second: Second) -> bool:
    served = second.answers.get("200", 0) / second.offered
    return served < 0.95 or second.p95_ms > _GOOD_MS
