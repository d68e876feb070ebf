"""What the system is to reach, held against what was measured."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.comparison import OURS, Comparison
from benchmarks.growth import Growth
from benchmarks.layers import Layers
from benchmarks.load import Result
from benchmarks.startup import Startup
from benchmarks.tables import figure, table

CONNECTIONS = 64
CPU_US_MAX = 550.0
TIMES_AS_FAST = {
    "nameko": 10.0,
    "faststream": 10.0,
    "celery": 12.0,
    "tutorial": 8.0,
    "aio-pika": 4.0,
    "flask": 2.5,
}
TIMES_RAW_CPU = 1.6
TIMES_RAW_P50 = 2.0
SIGNING_SHARE = 0.08
SCALED = {2: 1.8, 4: 3.4}  # times the throughput of one process: what near-linear is taken to be
SECOND_RUN_S = 6.0
WORKER_READY_S = 1.0

NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Goal:
    """A target and how it went; ``is_met`` is none where it was not measured."""

    what: str
    target: str
    measured: str = NOT_MEASURED
    is_met: bool | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the parts of the benchmark have left, where they have run."""

    comparison: Comparison | None = None
    layers: Layers | None = None
    growth: Growth | None = None
    startup: Startup | None = None


def goals(evidence: Evidence) -> list[Goal]:
    """Hold each target against what was measured."""
    return [
        *_comparison_goals(evidence.comparison),
        _signing_goal(evidence.layers),
        *_growth_goals(evidence.growth),
        *_startup_goals(evidence.startup),
    ]


def at_most(what: str, value: float | None, bound: float, unit: str) -> Goal:
    return _bounded(what, "at most", value, bound, unit, is_met=lambda value: value <= bound)


def at_least(what: str, value: float | None, bound: float, unit: str) -> Goal:
    return _bounded(what, "at least", value, bound, unit, is_met=lambda value: value >= bound)


def _bounded(
    what: str,
    how: str,
    value: float | None,
    bound: float,
    unit: str,
    *,
    is_met: Callable[[float], bool],
) -> Goal:
    target = f"{how} {bound:g} {unit}"
    if value is None:
        return Goal(what, target)
    return Goal(what, target, f"{figure(value)} {unit}", is_met(value))


def _comparison_goals(comparison: Comparison | None) -> list[Goal]:
    def row(name: str, connections: int = CONNECTIONS) -> Result | None:
        return comparison.row(name, connections) if comparison else None

    ours, bare = row(OURS), row("bare-asgi")
    return [
        at_most(
            f"CPU per request, all processes, {CONNECTIONS} connections",
            ours.cpu_us_total if ours else None,
            CPU_US_MAX,
            "us",
        ),
        *(
            at_least(
                f"requests per second against {name}, {CONNECTIONS} connections",
                _ratio(ours, row(name), lambda result: result.requests_per_s),
                bound,
                "times",
            )
            for name, bound in TIMES_AS_FAST.items()
        ),
        *(
            at_most(
                f"CPU against {name} RPC and a bare ASGI application together",
                _cpu_against(ours, row(name), bare),
                TIMES_RAW_CPU,
                "times",
            )
            for name in ("raw-pika", "raw-pika-joined")
        ),
        *(
            at_most(
                f"p50 at 1 connection against a round trip of {name}",
                _ratio(row(OURS, 1), row(name, 1), lambda result: result.p50_ms),
                TIMES_RAW_P50,
                "times",
            )
            for name in ("raw-pika", "raw-pika-joined")
        ),
    ]


def _ratio(
    ours: Result | None, theirs: Result | None, value: Callable[[Result], float]
) -> float | None:
    return value(ours) / value(theirs) if ours and theirs else None


def _cpu_against(ours: Result | None, raw: Result | None, bare: Result | None) -> float | None:
    if not (ours and raw and bare):
        return None
    return ours.cpu_us_total / (raw.cpu_us_total + bare.cpu_us_total)


def _signing_goal(layers: Layers | None) -> Goal:
    share = layers.signing_us / layers.cpu_us_total * 100 if layers else None
    return at_most(
        "sign and verify, both ways, of a request's CPU", share, SIGNING_SHARE * 100, "%"
    )


def _growth_goals(growth: Growth | None) -> list[Goal]:
    rates = {each.workers: each.requests_per_s for each in growth.workers} if growth else {}
    return [
        at_least(
            f"throughput of {workers} worker processes, 20 ms upstream, against 1",
            rates[workers] / rates[1] if rates else None,
            bound,
            "times",
        )
        for workers, bound in SCALED.items()
    ]


def _startup_goals(startup: Startup | None) -> list[Goal]:
    return [
        at_most(
            "`make run`, the second time, until ready",
            startup.second_run_s if startup else None,
            SECOND_RUN_S,
            "s",
        ),
        at_most(
            "a worker process until it takes requests",
            startup.worker_ready_s if startup else None,
            WORKER_READY_S,
            "s",
        ),
    ]


def report(found: list[Goal]) -> str:
    """Say which targets are met."""
    words = {True: "met", False: "not met", None: ""}
    rows = [[goal.what, goal.target, goal.measured, words[goal.is_met]] for goal in found]
    return table(["target", "", "measured", ""], rows) + "\n"
