"""A step in load: requests by HTTP that wait for a slow upstream, ten times as many for a while."""

import json
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from benchmarks.scaling.load import Stage, send
from benchmarks.scaling.recorder import recording, scaled
from benchmarks.scaling.series import Change, Poll, Sample, Second, by_second
from benchmarks.scaling.system import LOG, running
from ops.scaling.policy import Policy
from postroad.topology.names import rpc_queue

PROGRAM = "catalog_worker"
UPSTREAM_MS = 100

# A quarter of a real process, so that a small machine can feed several: 4 connections for 16, and
# in proportion what is counted in them.
CONNECTIONS = 4
PREFETCH = 16
_REAL_CONNECTIONS = 16


@dataclass(frozen=True, slots=True)
class Step:
    """What is asked of the system; without a rule there is one worker throughout."""

    stages: Sequence[Stage]
    rule: Policy | None
    deadline_s: float  # how long the bridge lets a request wait


@dataclass(frozen=True, slots=True)
class StepRun:
    """How it went, second by second."""

    seconds: list[Second]
    samples: list[Sample]
    polls: list[Poll] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)  # when workers were ready for requests


def sized(policy: Policy) -> Policy:
    """Give a rule for processes of this size, from that for real ones."""
    return replace(policy, value=policy.value * CONNECTIONS // _REAL_CONNECTIONS)


def patient(policy: Policy) -> Policy:
    """Give the rule by which as many may wait as are worked on, before there is help."""
    return replace(policy, value=2 * CONNECTIONS)


async def run(folder: Path, step: Step) -> StepRun:
    """Put the load on a fresh system, one worker in it at first."""
    settings = {
        PROGRAM: {"CATALOG_UPSTREAM_CONNECTIONS": str(CONNECTIONS), "PREFETCH": str(PREFETCH)},
        "http_bridge": {"BRIDGE_TIMEOUT_S": str(step.deadline_s)},
    }
    idle = {"catalog_sync": 0, "auth_audit": 0}
    async with AsyncExitStack() as context:
        system = await context.enter_async_context(
            running(folder, products=100, delay_ms=UPSTREAM_MS, settings=settings, replicas=idle)
        )
        recorder = await context.enter_async_context(
            recording(system, program=PROGRAM, queue=rpc_queue("catalog"))
        )
        if step.rule:
            await context.enter_async_context(scaled(recorder, step.rule))
        answers = await send(system.url, system.token, step.stages)
        starts = [at_s - recorder.began_at_s for at_s in _starts(folder)]
    return StepRun(by_second(answers), recorder.samples, recorder.polls, recorder.changes, starts)


def _starts(folder: Path) -> list[float]:
    """Read from the log when workers were ready, in seconds since 1970."""
    lines = (folder / LOG).read_text().splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    return [
        datetime.fromisoformat(record["time"]).timestamp()
        for record in records
        if record.get("event") == "started" and record.get("service") == "catalog"
    ]
