"""The real system grows with its queues and shrinks again, and nobody notices but by the speed.

The rules are those of deploy/kubernetes/scaling.yaml, in a copy that takes less time over it.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.scaling import backlog, step
from benchmarks.scaling.backlog import Backlog
from benchmarks.scaling.load import Stage
from benchmarks.scaling.series import Second
from benchmarks.scaling.step import Step
from ops.scaling.policy import SCALING_FILE, Policy, load_policies

pytestmark = [pytest.mark.e2e, pytest.mark.alone]

# More is asked of one worker than the 40 requests a second for which it has connections.
CALM, BURST = Stage(6, 4), Stage(60, 19)
AFTERWARDS = Stage(6, 12)
RECOVERED_AFTER_S = 15
RECOVERED_MS = 500.0  # upstream takes 100
PATIENCE_S = 20.0  # nobody is to be turned away here, only to wait

JOBS = 1_500
JOB_MS = 800  # eight at a time: ten jobs a second and consumer
WATCH_ONE_S = 7.0
CONSUMERS = 6
KILL_EVERY_S = 7.0


@pytest.fixture
def rules(tmp_path: Path) -> dict[str, Policy]:
    """Read a copy of the scaling file in which nothing is waited for as long as usual."""
    text = SCALING_FILE.read_text()
    for usual, shorter in {
        "stabilizationWindowSeconds: 60": "stabilizationWindowSeconds: 4",
        "periodSeconds: 30": "periodSeconds: 4",
        "cooldownPeriod: 60": "cooldownPeriod: 4",
        "maxReplicaCount: 4 ": f"maxReplicaCount: {CONSUMERS} ",
    }.items():
        assert usual in text
        text = text.replace(usual, shorter)
    copy = tmp_path / "scaling.yaml"
    copy.write_text(text)
    return load_policies(copy)


async def test_ten_times_the_requests_are_answered_and_latency_recovers(
    tmp_path: Path, rules: dict[str, Policy]
) -> None:
    rule = step.sized(rules[step.PROGRAM])

    run = await step.run(
        tmp_path / "state", Step((CALM, BURST, AFTERWARDS), rule, deadline_s=2 * PATIENCE_S)
    )

    assert {status for second in run.seconds for status in second.answers} == {"200"}
    assert max(second.p95_ms for second in run.seconds) < PATIENCE_S * 1000
    recovered = between(run.seconds, CALM.seconds + RECOVERED_AFTER_S, CALM.seconds + BURST.seconds)
    assert max(second.p95_ms for second in recovered) < RECOVERED_MS
    assert max(second.p95_ms for second in run.seconds) > RECOVERED_MS  # one was too few
    assert run.samples[0].wanted == 1
    assert max(sample.consuming for sample in run.samples) > 1
    assert run.samples[-1].wanted < max(sample.wanted for sample in run.samples)


@pytest.mark.timeout(180)
async def test_scaled_consumers_do_each_job_once_and_fast_though_some_are_killed(
    tmp_path: Path, rules: dict[str, Policy]
) -> None:
    work = Backlog(JOBS, JOB_MS, give_up_s=120.0)
    rule = replace(rules[backlog.PROGRAM], polling_s=2)
    one = await backlog.watch_one(tmp_path / "one", work, for_s=WATCH_ONE_S)

    run = await backlog.scale(  # which checks that each job was counted once
        tmp_path / "scaled", work, rule, kill_every_s=KILL_EVERY_S
    )

    assert run.kills
    assert run.samples[0].wanted == 0
    assert run.samples[-1].wanted == 0
    assert max(sample.wanted for sample in run.samples) == CONSUMERS
    assert run.sync["pages_done"] == run.stored == JOBS
    assert run.steady_jobs_per_s > 3 * one.steady_jobs_per_s


def between(seconds: list[Second], from_s: float, to_s: float) -> list[Second]:
    return [second for second in seconds if from_s <= second.at_s < to_s]
