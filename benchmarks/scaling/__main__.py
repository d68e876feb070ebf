"""How the system scales with its queues, measured and on paper: ``make scaling``.

step: ten times the load for a while, by HTTP: one worker, and scaled by two rules (14 minutes).
backlog: 20,000 jobs: one consumer, and scaled ones of which some are killed (8 minutes).
paper: the simulation, held against what was measured, and then larger than any machine here
(some minutes). It draws the charts.
"""

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from benchmarks.scaling import backlog, paper, step
from benchmarks.scaling.backlog import Backlog, BacklogError
from benchmarks.scaling.load import Stage
from benchmarks.scaling.results import BacklogResults, Machine, StepResults, read, write
from benchmarks.scaling.step import Step, StepRun
from ops.local.broker import BrokerError
from ops.scaling.policy import Policy
from ops.services import policies

PARTS = ("step", "backlog", "paper")
RESULTS = Path(__file__).parent / "results"
CALM_PER_S, BURST_PER_S = 10.0, 100.0
STAGES_S = (30.0, 120.0, 100.0)  # calm, burst, calm
DEADLINE_S = 5.0  # the bridge's own
JOBS = 20_000
JOB_MS = 400
ONE_FOR_S = 90.0  # how long one consumer is watched; all would take it many times that
KILL_EVERY_S = 20.0
GIVE_UP_S = 1800.0


def main() -> int:
    options = parse()
    folder: Path = options.results
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if "step" in options.parts:
            write(folder / "step.json", asyncio.run(measure_step(options.shorter)))
        if "backlog" in options.parts:
            write(folder / "backlog.json", asyncio.run(measure_backlog(options.shorter)))
        if "paper" in options.parts:
            measured = read(folder / "step.json", StepResults)
            paper.work_out(measured, read(folder / "backlog.json", BacklogResults), folder)
    except (BacklogError, BrokerError, OSError) as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", help=f"{', '.join(PARTS)}; all unless said")
    parser.add_argument(
        "--shorter", type=float, default=1.0, metavar="TIMES", help="so much less of each, to try"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder (%(default)s)")
    options = parser.parse_args()
    if strange := sorted(set(options.parts) - set(PARTS)):
        parser.error(f"there is no part {strange[0]}")
    options.parts = options.parts or PARTS
    return options


async def measure_step(shorter: float) -> StepResults:
    """Put the same step on one worker, and on scaled ones by two rules."""
    rates = (CALM_PER_S, BURST_PER_S, CALM_PER_S)
    stages = [Stage(rate, s / shorter) for rate, s in zip(rates, STAGES_S, strict=True)]
    ours = policies.load()[step.PROGRAM]
    scaled, patient = step.sized(ours), step.patient(ours)
    return StepResults(
        machine=Machine.this(),
        stages=stages,
        deadline_s=DEADLINE_S,
        rule=scaled,
        patient_rule=patient,
        fixed=await _step("one worker", stages, None),
        scaled=await _step(f"scaled, value {scaled.value}", stages, scaled),
        patient=await _step(f"scaled, value {patient.value}", stages, patient),
    )


async def _step(name: str, stages: list[Stage], rule: Policy | None) -> StepRun:
    print(f"Step: {name}, {sum(stage.seconds for stage in stages):.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        return await step.run(Path(folder) / "state", Step(stages, rule, DEADLINE_S))


async def measure_backlog(shorter: float) -> BacklogResults:
    """Have one consumer begin with a backlog, and scaled ones work the same off."""
    work = Backlog(round(JOBS / shorter), JOB_MS, GIVE_UP_S)
    rule = policies.load()[backlog.PROGRAM]
    with tempfile.TemporaryDirectory() as folder:
        print(f"Backlog: one consumer, {ONE_FOR_S / shorter:.0f} s", flush=True)
        one = await backlog.watch_one(Path(folder) / "one", work, for_s=ONE_FOR_S / shorter)
        print(f"Backlog: scaled, all {work.jobs}", flush=True)
        scaled = await backlog.scale(Path(folder) / "scaled", work, rule, kill_every_s=KILL_EVERY_S)
    return BacklogResults(Machine.this(), work.jobs, work.upstream_ms, one, scaled)


if __name__ == "__main__":
    sys.exit(main())
