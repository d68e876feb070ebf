"""A step in load: requests by HTTP that wait for a slow upstream, ten times as many for a while."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.scaling.load import Stage, send
from benchmarks.scaling.recorder import recording, scaled
from benchmarks.scaling.series import Change, Poll, Sample, Second, by_second
from benchmarks.scaling.system import running
from ops import services
from ops.scaling_policy import Policy

PROGRAM = "catalog_worker"
UPSTREAM_MS = 100
DEADLINE_S = 5.0  # the bridge's own
STAGES = (Stage(10, 30), Stage(100, 60), Stage(10, 130))

# A quarter of a real process, so that a small machine can feed several: 4 connections for 16, and
# in proportion what is counted in them.
CONNECTIONS = 4
PREFETCH = 16
_REAL_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class StepRun:
    """How it went, second by second."""

    seconds: list[Second]
    samples: list[Sample]
    polls: list[Poll] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)


def policy() -> Policy:
    """Give the rule of deploy/kubernetes/scaling.yaml for processes of this size."""
    ours = services.policies()[PROGRAM]
    return replace(ours, value=ours.value * CONNECTIONS // _REAL_CONNECTIONS)


async def run(folder: Path, *, is_scaled: bool, stages: Sequence[Stage] = STAGES) -> StepRun:
    """Put the load on a fresh system, one worker in it at first."""
    settings = {
        PROGRAM: {"CATALOG_UPSTREAM_CONNECTIONS": str(CONNECTIONS), "PREFETCH": str(PREFETCH)},
        "http_bridge": {"BRIDGE_TIMEOUT_S": str(DEADLINE_S)},
    }
    idle = {"catalog_sync": 0, "auth_audit": 0}
    rule = policy()
    async with AsyncExitStack() as context:
        system = await context.enter_async_context(
            running(folder, products=100, delay_ms=UPSTREAM_MS, settings=settings, replicas=idle)
        )
        recorder = await context.enter_async_context(
            recording(system, program=PROGRAM, queue=rule.queue)
        )
        if is_scaled:
            await context.enter_async_context(scaled(recorder, rule))
        answers = await send(system.url, system.token, stages)
    return StepRun(by_second(answers), recorder.samples, recorder.polls, recorder.changes)
