"""The simulation against what was measured: the same load in, the same things looked at."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from benchmarks.scaling.load import Stage, due_times
from benchmarks.scaling.series import Sample, Second
from benchmarks.scaling.simulation import Simulated, World, simulate
from benchmarks.scaling.step import CONNECTIONS, PREFETCH, Step, StepRun
from ops.scaling_policy import Policy

_GROWING_S = 4  # of the burst, before the first requests of it have waited for too long
_SLOW_MS = 500.0  # p95 above this is not recovered; upstream takes 100


@dataclass(frozen=True, slots=True)
class Outline:
    """A run in a few numbers."""

    peak_depth: int
    peak_at_s: float  # after the burst began
    recovered_after_s: float  # the burst's begin: from then on p95 was as it should be
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


def calibrated(fixed: StepRun, scaled: StepRun, step: Step, rule: Policy) -> World:
    """Tell the simulation of the system: its speed, from the run with one worker; its start.

    What one process can do is what the burst brings less what the queue then grows by. How long a
    start takes, and when the autoscaler looks, is taken from the scaled run.
    """
    calm, burst = step.stages[0], step.stages[1]
    growing = [
        sample for sample in fixed.samples if 1 <= sample.at_s - calm.seconds <= 1 + _GROWING_S
    ]
    grown = growing[-1].depth - growing[0].depth
    growth_per_s = grown / (growing[-1].at_s - growing[0].at_s)
    service_s = CONNECTIONS / (burst.rate_per_s - growth_per_s)
    calm_s = median(second.p50_ms for second in fixed.seconds if second.at_s < calm.seconds) / 1000
    change = scaled.changes[0]
    starts = [at_s - change.at_s for at_s in scaled.starts if at_s > change.at_s]
    first = next(poll.at_s for poll in scaled.polls if poll.at_s >= calm.seconds)
    return World(
        policy=rule,
        concurrency=CONNECTIONS,
        prefetch=PREFETCH,
        service_s=service_s,
        way_s=max(0.0, calm_s - service_s),
        start_s=median(starts[: change.after - change.before]),
        statistics_s=1.0,
        first_poll_s=first % rule.polling_s,
        deadline_s=step.deadline_s,
    )


def rerun(world: World, stages: Sequence[Stage]) -> Simulated:
    """Simulate the very load that was sent."""
    return simulate(world, due_times(stages), until_s=sum(stage.seconds for stage in stages))


def fixed_world(world: World) -> World:
    """Give the same system with one worker throughout."""
    return replace(world, policy=replace(world.policy, max_replicas=1))


def compare(measured: StepRun, simulated: Simulated, stages: Sequence[Stage]) -> Comparison:
    """Hold a simulated run against the measured one, second by second."""
    pairs = list(zip(measured.samples, simulated.samples, strict=False))
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
    slow = [second.at_s for second in seconds if second.p95_ms > _SLOW_MS]
    return Outline(
        peak_depth=deepest.depth,
        peak_at_s=round(deepest.at_s - began_s, 1),
        recovered_after_s=max(slow, default=began_s - 1) + 1 - began_s,
        failed=sum(second.offered - second.answers.get("200", 0) for second in seconds),
        most_replicas=max(sample.wanted for sample in samples),
        replica_seconds=float(sum(sample.wanted for sample in samples)),
    )
