"""Whether anything grows under a long, even load: ``make soak``.

Everything runs on this machine under products, sign-ins, jobs and events. Each second every process
is looked at: memory, open files, sockets, threads; so is what the broker has, and how long answers
take. `benchmarks/soak/trend.py` says what counts as growing. The exit status is 1 if anything grows
or a request fails.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Coroutine, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.environments import prepare_environment
from benchmarks.scaling.results import Machine
from benchmarks.scaling.series import Second, by_second
from benchmarks.soak.load import Load
from benchmarks.soak.processes import belongings
from benchmarks.soak.system import System, running
from benchmarks.soak.trend import Trend, lows, trend_of
from ops.local.broker import BrokerError

HERE = Path(__file__).parent
CHARTS = HERE.parent / "scaling" / "requirements.txt"
ENVIRONMENT = Path(".postroad/charts").resolve()
SHORTEST_MINUTES = 1.0

# Growth that is not worth a word; the names end in their units. A pool opens one more connection to
# SQLite, up to three files, whenever more threads than ever before ask at once, and keeps it.
LEAST = {
    "pss_mib": 2.0,
    "files": 6.0,
    "sockets": 2.0,
    "threads": 2.0,
    "connections": 1.0,
    "channels": 1.0,
    "queues": 1.0,
    "consumers": 1.0,
    "p50_ms": 2.0,
    "p95_ms": 20.0,
}

Series = dict[str, list[float]]  # by what was looked at


@dataclass(frozen=True, slots=True)
class Results:
    """All that is kept of a run."""

    machine: Machine
    minutes: float
    failed: dict[str, int]  # by HTTP status
    seconds: list[Second]
    series: dict[str, Series]  # by process; the broker's counts as "broker", answers as "answers"


def main() -> int:
    options = parse()
    try:
        results = asyncio.run(measure(options.minutes))
    except (BrokerError, OSError) as error:
        print(f"soak failed: {error}", file=sys.stderr)
        return 1
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "soak.json").write_text(json.dumps(asdict(results)) + "\n")
    draw(options.results)
    return report(results)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="make soak",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="of load (%(default)s)")
    parser.add_argument("--results", type=Path, default=HERE / "results", help="%(default)s")
    options = parser.parse_args()
    if options.minutes < SHORTEST_MINUTES:
        parser.error(f"at least {SHORTEST_MINUTES:.0f} minute")
    return options


async def measure(minutes: float) -> Results:
    machine = Machine.this()
    with tempfile.TemporaryDirectory() as folder:
        async with running(Path(folder) / "state") as system:
            print(f"Soak: {minutes:g} minutes", flush=True)
            load, series = Load(system), dict[str, Series]()
            await under_load(load, look(system, series, for_s=minutes * 60))
    seconds = by_second(load.answers)[:-1]  # the last is not whole
    series["answers"] = {
        "p50_ms": [second.p50_ms for second in seconds],
        "p95_ms": [second.p95_ms for second in seconds],
    }
    failed = {str(status): count for status, count in load.failed.items()}
    return Results(machine, minutes, failed, seconds, series)


async def under_load(load: Load, work: Coroutine[Any, Any, None]) -> None:
    """Do the work for as long as the load goes on, which is as long as the work takes."""
    loading, working = asyncio.create_task(load.run()), asyncio.create_task(work)
    await asyncio.wait({loading, working}, return_when=asyncio.FIRST_COMPLETED)
    for task in (loading, working):
        task.cancel()
    ends = await asyncio.gather(loading, working, return_exceptions=True)
    for end in ends:
        if isinstance(end, Exception):
            raise end


async def look(system: System, series: dict[str, Series], for_s: float) -> None:
    """Take a sample of everything each second."""
    began = time.monotonic()
    while (elapsed_s := time.monotonic() - began) < for_s:
        for name, values in (await asyncio.to_thread(sample, system)).items():
            of_one = series.setdefault(name, {})
            for what, value in values.items():
                of_one.setdefault(what, []).append(value)
        await asyncio.sleep(1 - elapsed_s % 1)


def sample(system: System) -> dict[str, Mapping[str, float]]:
    found: dict[str, Mapping[str, float]] = {
        name: asdict(belongings(pid)) for name, pid in system.pids().items()
    }
    return found | {"broker": system.totals()}


def draw(folder: Path) -> None:
    """Draw the chart, by a program that has what it takes to draw."""
    python = prepare_environment(ENVIRONMENT, CHARTS)
    subprocess.run([python, HERE / "chart.py", folder / "soak.json", folder], check=True)


def report(results: Results) -> int:
    """Print what each series did; give the exit status."""
    print(f"\n{'':16}{'':12}{'at the end':>12}{'growth':>10}{'noise':>10}")
    growing = 0
    for name, of_one in results.series.items():
        for what, values in of_one.items():
            if what not in LEAST:
                continue
            kept = values if name == "answers" else lows(values)
            trend = trend_of(kept, least=LEAST[what])
            growing += trend.is_growing
            print_row(name, what, trend)
    answered = sum(second.offered for second in results.seconds)
    failed = ", ".join(f"{count} by {status}" for status, count in results.failed.items())
    verdict = f"{growing} growing" if growing else "flat"
    print(f"\n{results.minutes:g} minutes, {answered} pages asked for")
    print(f"verdict: {verdict}; {failed or 'none'} failed")
    return 1 if growing or results.failed else 0


def print_row(name: str, what: str, trend: Trend) -> None:
    print(
        f"{name:16}{what:12}{trend.level:12.1f}{trend.growth:+10.2f}{trend.noise:10.2f}"
        f"{'  growing' if trend.is_growing else ''}"
    )


if __name__ == "__main__":
    sys.exit(main())
