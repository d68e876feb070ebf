"""What is answered when more is asked than can be: ``python -m benchmarks.overload``.

products: pages from an upstream that takes 100 ms, 4 at a time. sign-in: Argon2, as in production.
scaled: products at five times what one worker can do, while more workers are started.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from benchmarks.overload.asking import Crowd, Outcome, Summary, answered_per_s, get, post
from benchmarks.scaling import step
from benchmarks.scaling.recorder import recording, scaled
from benchmarks.scaling.system import System, running
from benchmarks.system import CREDENTIALS
from ops.local.broker import BrokerError
from ops.services import policies
from postroad.topology.names import rpc_queue

CASES = ("products", "sign-in", "scaled")
TIMES = (0.5, 1.0, 2.0, 5.0, 10.0)
AT_A_TIME = 2 * step.CONNECTIONS  # enough to keep one worker busy
SCALED_TIMES, SCALED_S = 5.0, 40.0
PIECE_S = 5
MOST_WORKERS = 8  # as `postroad up`
DEADLINE_S = 5.0  # the bridge's own


def main() -> int:
    options = parse()
    print(f"{os.cpu_count()} CPUs, load average {os.getloadavg()[0]:.1f} before", flush=True)
    try:
        for case in options.cases:
            asyncio.run(measure(case, options.seconds, options.times))
    except (BrokerError, OSError) as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.overload",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("cases", nargs="*", help=f"{', '.join(CASES)}; all unless said")
    parser.add_argument("--seconds", type=int, default=12, help="of load each (%(default)s)")
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="of the capacity")
    options = parser.parse_args()
    if strange := sorted(set(options.cases) - set(CASES)):
        parser.error(f"there is no case {strange[0]}")
    options.cases = options.cases or CASES
    return options


async def measure(case: str, for_s: int, times: list[float]) -> None:
    async with system() as running_system:
        crowd = crowd_of(case, running_system)
        capacity = await crowd.keep_asking(AT_A_TIME, for_s)
        print(f"\n{case}: {capacity:.1f} a second, asked as fast as it answers", flush=True)
        if case == "scaled":
            await measure_scaled(running_system, crowd, capacity)
            return
        print_head("times")
        for factor in times:
            outcomes = await crowd.ask_at(factor * capacity, for_s)
            print_row(f"{factor:.1f}", outcomes, range(for_s), capacity)


@asynccontextmanager
async def system() -> AsyncIterator[System]:
    settings = {
        step.PROGRAM: {"CATALOG_UPSTREAM_CONNECTIONS": str(step.CONNECTIONS)},
        "http_bridge": {"BRIDGE_TIMEOUT_S": str(DEADLINE_S)},
    }
    with tempfile.TemporaryDirectory() as folder:
        async with running(
            Path(folder) / "state",
            products=1000,
            delay_ms=step.UPSTREAM_MS,
            settings=settings,
            replicas={"catalog_sync": 0},
        ) as running_system:
            yield running_system


def crowd_of(case: str, running_system: System) -> Crowd:
    if case == "sign-in":
        body = json.dumps(CREDENTIALS).encode()
        return Crowd(running_system.url, lambda _: post("/auth", body))
    token = running_system.token
    return Crowd(running_system.url, lambda number: get(f"/products?limit=1&skip={number}", token))


async def measure_scaled(running_system: System, crowd: Crowd, capacity: float) -> None:
    """Show piece by piece how workers come, and with them the answers."""
    program = step.PROGRAM
    queue, rule = (
        rpc_queue("catalog"),
        step.sized(policies.load()[program]).capped(MOST_WORKERS),
    )
    async with (
        recording(running_system, program=program, queue=queue) as recorder,
        scaled(recorder, rule),
    ):
        outcomes = await crowd.ask_at(SCALED_TIMES * capacity, SCALED_S)
    print_head("second")
    for start_s in range(0, int(SCALED_S), PIECE_S):
        print_row(str(start_s), outcomes, range(start_s, start_s + PIECE_S), capacity)
    changes = ", ".join(f"{each.before} to {each.after}" for each in recorder.changes)
    deepest = max(sample.depth for sample in recorder.samples)
    print(f"workers: {changes or 'one throughout'}; at most {deepest} messages")


def print_head(first: str) -> None:
    print(
        f"{first:>8}{'asked/s':>9}{'good/s':>9}{'of peak':>9}{'p50 ms':>8}{'p99 ms':>8}"
        f"{'refused':>9}{'p99 ms':>8}{'failed':>8}",
        flush=True,
    )


def print_row(name: str, outcomes: list[Outcome], within: range, capacity: float) -> None:
    """Print what became of the requests that were due, and how many were answered, within."""
    summary = Summary.of([each for each in outcomes if int(each.due_s) in within])
    good_per_s = answered_per_s(outcomes, within)
    print(
        f"{name:>8}{summary.asked / len(within):9.0f}{good_per_s:9.1f}{good_per_s / capacity:9.0%}"
        f"{summary.p50_ms:8.0f}{summary.p99_ms:8.0f}{summary.refused:9}"
        f"{summary.refused_p99_ms:8.0f}{summary.failed:8}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
