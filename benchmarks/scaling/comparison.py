"""The simulation against what was measured: the same load in, the same things looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.scaling import step
from benchmarks.scaling.load import Stage, due_times
from benchmarks.scaling.results import StepResults
from benchmarks.scaling.series import Sample, Second
from benchmarks.scaling.simulation import Simulated, World, simulate
from benchmarks.scaling.step import StepRun
from http_bridge.settings import BridgeSettings
from ops.scaling.policy import Policy

_LAG_S = 2.0  # until the depth that is seen is that of the burst
_WHILE_S = 5
_SLOW_MS = 500.0  # p95 above this is not recovered; upstream takes 100
_WELL = 0.95  # nor is a second in which fewer than these were answered: a refusal is quick


@dataclass(frozen=True, slots=True)
class Outline:
    """A run in a few numbers."""

    peak_depth: int
    peak_at_s: float  # after the burst began
    recovered_after_s: float  # the burst's begin: p95 was then as it should be for a while
    slow_s: int  # seconds in which p95 was not, or too many were refused
    failed: int
    most_replicas: int
    replica_seconds: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """How far the simulation is off."""

    measured: Outline
    simulated: Outline
    depth_error: float  # mean absolute difference of depth, as a share of the measured peak
    p95_error: float  # median of the relative differences of p95, over the seconds of the run
    replicas_equal: float  # share of seconds with the same number of processes wanted


def simulated_runs(results: StepResults) -> dict[str, Simulated]:
    """Simulate each measured run, under the very load that was sent."""
    due = due_times(results.stages)
    until_s = sum(stage.seconds for stage in results.stages)
    return {name: simulate(world, due, until_s=until_s) for name, world in worlds(results).items()}


def worlds(results: StepResults) -> dict[str, World]:
    """Describe the system of each measured run.

    How fast a process is comes from the run with one: from what it answered while more was asked of
    it. How long a start takes, and the beat at which the autoscaler asked, come from the scaled
    runs themselves.
    """
    service_s = step.CONNECTIONS / _answered_per_s(results)
    calm_s = results.stages[0].seconds
    took_ms = [second.p50_ms for second in results.fixed.seconds if second.at_s < calm_s]
    fixed = World(
        policy=replace(results.rule, max_replicas=1),
        concurrency=step.CONNECTIONS,
        prefetch=step.PREFETCH,
        service_s=service_s,
        way_s=max(0.0, median(took_ms) / 1000 - service_s),
        start_s=0.0,
        statistics_s=1.0,
        deadline_s=results.deadline_s,
        gate_most=BridgeSettings.model_fields["in_flight_max"].default,
    )
    return {
        "fixed": fixed,
        "scaled": _scaled(fixed, results.rule, results.scaled, calm_s),
        "patient": _scaled(fixed, results.patient_rule, results.patient, calm_s),
    }


def _scaled(fixed: World, rule: Policy, run: StepRun, calm_s: float) -> World:
    polled_at_s = next(poll.at_s for poll in run.polls if poll.at_s >= calm_s)
    return replace(
        fixed,
        policy=rule,
        start_s=_start_s(run),
        first_poll_s=polled_at_s % rule.polling_s,
    )


def _answered_per_s(results: StepResults) -> float:
    """Tell how many requests one worker answers a second, when it always has some to do."""
    calm, burst, _ = results.stages
    ends_s = calm.seconds + burst.seconds
    busy = [
        second for second in results.fixed.seconds if calm.seconds + _LAG_S <= second.at_s < ends_s
    ]
    return sum(second.answers.get("200", 0) for second in busy) / len(busy)


def _start_s(run: StepRun) -> float:
    """Tell how long the first additional processes took to start."""
    change = run.changes[0]
    took_s = [at_s - change.at_s for at_s in run.starts if at_s > change.at_s]
    return median(took_s[: change.after - change.before])


def compare(measured: StepRun, simulated: Simulated, stages: Sequence[Stage]) -> Comparison:
    """Hold a simulated run against the measured one, second by second."""
    at = {round(sample.at_s): sample for sample in simulated.samples}
    moments = ((sample, at.get(round(sample.at_s))) for sample in measured.samples)
    pairs = [(real, ours) for real, ours in moments if ours is not None]
    peak = max(sample.depth for sample in measured.samples)
    gaps = [abs(real.depth - ours.depth) for real, ours in pairs]
    latencies = zip(measured.seconds, simulated.seconds, strict=False)
    return Comparison(
        measured=outline(measured.seconds, measured.samples, stages),
        simulated=outline(simulated.seconds, simulated.samples, stages),
        depth_error=sum(gaps) / len(gaps) / peak,
        p95_error=median(abs(ours.p95_ms / real.p95_ms - 1) for real, ours in latencies),
        replicas_equal=sum(real.wanted == ours.wanted for real, ours in pairs) / len(pairs),
    )


def outline(seconds: list[Second], samples: list[Sample], stages: Sequence[Stage]) -> Outline:
    """Sum a run up."""
    began_s = stages[0].seconds
    deepest = max(samples, key=lambda sample: sample.depth)
    slow = {
        second.at_s
        for second in seconds
        if second.p95_ms > _SLOW_MS or second.answers.get("200", 0) < _WELL * second.offered
    }
    return Outline(
        peak_depth=deepest.depth,
        peak_at_s=round(deepest.at_s - began_s, 1),
        recovered_after_s=_first_good(slow, from_s=int(began_s) + 1) - began_s,
        slow_s=len(slow),
        failed=sum(second.offered - second.answers.get("200", 0) for second in seconds),
        most_replicas=max(sample.wanted for sample in samples),
        replica_seconds=float(sum(sample.wanted for sample in samples)),
    )


def _first_good(slow: set[int], *, from_s: int) -> int:
    """Find the second from which on none was slow for a while."""
    while slow & set(range(from_s, from_s + _WHILE_S)):
        from_s += 1
    return from_s
