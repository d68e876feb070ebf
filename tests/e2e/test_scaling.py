"""The real system grows with its queues and shrinks again, and nobody notices but by the speed.

The rules are our own, in a copy that takes less time over it.
"""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import pytest_asyncio

from benchmarks.scaling import backlog, step
from benchmarks.scaling.backlog import Backlog, BacklogRun
from benchmarks.scaling.load import Stage
from benchmarks.scaling.series import Second
from benchmarks.scaling.step import Step, StepRun
from ops.scaling.policy import Policy, Rate, ScaleDown
from ops.services import policies

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.alone,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(180),
]

# More is asked of one worker than the 40 requests a second for which it has connections.
CALM, BURST = Stage(6, 4), Stage(60, 19)
AFTERWARDS = Stage(6, 12)
RECOVERED_AFTER_S = 15
RECOVERED_MS = 500.0  # upstream takes 100
PATIENCE_S = 20.0  # nobody is to be turned away here, only to wait

JOBS = 1_200
JOB_MS = 800  # eight at a time: ten jobs a second and consumer
WATCH_ONE_S = 6.0
CONSUMERS = 6
KILL_EVERY_S = 5.0


@dataclass(frozen=True)
class Runs:
    """What was seen: requests that became ten times as many, and jobs for one and for several."""

    requests: StepRun
    one_consumer: BacklogRun
    consumers: BacklogRun


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runs(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Scale two systems at a time: both mostly wait, for a slow upstream."""
    folder = tmp_path_factory.mktemp("scaling")
    rules = hasty_rules()
    async with asyncio.TaskGroup() as both:
        requests = both.create_task(scale_requests(folder / "requests", rules))
        jobs = both.create_task(scale_jobs(folder, rules))
    return Runs(requests.result(), *jobs.result())


def hasty_rules() -> dict[str, Policy]:
    """Return our rules, in which nothing is waited for as long as usual."""
    down = ScaleDown(stabilization_window_seconds=4, policies=(Rate("Percent", 50, 4),))
    return {
        name: replace(
            rule,
            down=down,
            cooldown_s=4,
            max_replicas=max(CONSUMERS, rule.max_replicas),
        )
        for name, rule in policies.load().items()
    }


async def scale_requests(folder: Path, rules: dict[str, Policy]) -> StepRun:
    rule = step.sized(rules[step.PROGRAM])
    return await step.run(folder, Step((CALM, BURST, AFTERWARDS), rule, 2 * PATIENCE_S))


async def scale_jobs(folder: Path, rules: dict[str, Policy]) -> tuple[BacklogRun, BacklogRun]:
    work = Backlog(JOBS, JOB_MS, give_up_s=120.0)
    rule = replace(rules[backlog.PROGRAM], polling_s=2)
    one = await backlog.watch_one(folder / "one", work, for_s=WATCH_ONE_S)
    # checks that each job was counted once
    return one, await backlog.scale(folder / "jobs", work, rule, kill_every_s=KILL_EVERY_S)


async def test_ten_times_the_requests_are_answered_and_latency_recovers(runs: Runs) -> None:
    run = runs.requests

    assert {status for second in run.seconds for status in second.answers} == {"200"}
    assert max(second.p95_ms for second in run.seconds) < PATIENCE_S * 1000
    recovered = between(run.seconds, CALM.seconds + RECOVERED_AFTER_S, CALM.seconds + BURST.seconds)
    assert max(second.p95_ms for second in recovered) < RECOVERED_MS
    assert max(second.p95_ms for second in run.seconds) > RECOVERED_MS  # one was too few
    assert run.samples[0].wanted == 1
    assert max(sample.consuming for sample in run.samples) > 1
    assert run.samples[-1].wanted < max(sample.wanted for sample in run.samples)


async def test_scaled_consumers_do_each_job_once_and_fast_though_some_are_killed(
    runs: Runs,
) -> None:
    run = runs.consumers

    assert run.kills
    assert run.samples[0].wanted == 0
    assert run.samples[-1].wanted == 0
    assert max(sample.wanted for sample in run.samples) == CONSUMERS
    assert run.sync["pages_done"] == run.stored == JOBS
    assert run.steady_jobs_per_s > 3 * runs.one_consumer.steady_jobs_per_s


def between(seconds: list[Second], from_s: float, to_s: float) -> list[Second]:
    return [second for second in seconds if from_s <= second.at_s < to_s]
