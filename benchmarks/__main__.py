"""What a product listing costs, against the same answer with no broker at all: ``make bench``."""

import argparse
import asyncio
import json
import os
import platform
import shutil
import statistics
import sys
from collections.abc import Callable
from contextlib import AsyncExitStack
from importlib.metadata import version
from pathlib import Path

import requests

from benchmarks.load import LoadError, Result, measure
from benchmarks.system import Target, flask_without_broker, postroad
from ops.broker import BrokerError

PACKAGES = ("pika", "uvicorn", "uvloop", "pydantic", "structlog")


def main() -> int:
    options = parse()
    if shutil.which("wrk") is None:
        print("make bench needs wrk, the load generator: apt-get install wrk", file=sys.stderr)
        return 1
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        asyncio.run(run(options))
    except (BrokerError, LoadError) as error:
        print(f"benchmark failed: {error}", file=sys.stderr)
        return 1
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds, interleaved (%(default)s)")
    parser.add_argument("--seconds", type=int, default=5, help="of load each (%(default)s)")
    parser.add_argument(
        "--connections", type=int, nargs="+", default=[1, 16, 64], help="(%(default)s)"
    )
    parser.add_argument("--state", type=Path, default=Path(".postroad/bench").resolve())
    return parser.parse_args()


async def run(options: argparse.Namespace) -> None:
    async with AsyncExitStack() as running:
        print("Starting the system", flush=True)
        ours = await running.enter_async_context(postroad(options.state))
        page = checked_page(ours)
        flask = await running.enter_async_context(flask_without_broker(options.state, page))
        if checked_page(flask, like=page) is None:
            raise LoadError("the baseline answers something else")
        print_machine(page)
        results: dict[tuple[str, int], list[Result]] = {}
        for number in range(1, options.rounds + 1):
            for connections in options.connections:
                for target in (ours, flask):
                    print(
                        f"  round {number} of {options.rounds}: {target.name}, "
                        f"{connections} connections, {options.seconds} s",
                        flush=True,
                    )
                    result = await asyncio.to_thread(
                        measure,
                        target.url,
                        headers=target.headers,
                        connections=connections,
                        seconds=options.seconds,
                        processes=target.processes,
                    )
                    results.setdefault((target.name, connections), []).append(result)
        print_results(results, options.connections)


def checked_page(target: Target, *, like: bytes | None = None) -> bytes:
    """Fetch what is to be measured, and make sure that it is a page of 30 products."""
    response = requests.get(target.url, headers=target.headers, timeout=10)
    if response.status_code != 200 or len(response.json()["data"]) != 30:
        raise LoadError(f"{target.name} answers {response.status_code}: {response.text[:200]}")
    if like is not None and response.json() != json.loads(like):
        raise LoadError(f"{target.name} answers something else")
    return response.content


def print_machine(page: bytes) -> None:
    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    print(
        f"\n{os.cpu_count()} CPUs, Python {platform.python_version()}, {packages}."
        f"\nGET /products?limit=30: {len(page)} bytes; one bridge, one worker, one broker node."
        "\nSigned both ways, confirmed, acknowledged, authorised by the broker, logged in one line"
        "\na request and a delivery. flask: the same page with no broker, token or log.\n",
        flush=True,
    )


def print_results(results: dict[tuple[str, int], list[Result]], connections: list[int]) -> None:
    """Print medians over the rounds, and the ratio that a noisy machine leaves standing."""
    print(f"\n{'':10}{'conns':>6}{'req/s':>8}{'p50 ms':>8}{'p99 ms':>8}{'CPU us':>8}  by process")
    for count in connections:
        for name in ("postroad", "flask"):
            runs = results[name, count]
            by_process = ", ".join(
                f"{process} {statistics.median(run.cpu_us[process] for run in runs):.0f}"
                for process in runs[0].cpu_us
            )
            print(
                f"{name:10}{count:6}{median(runs, lambda run: run.requests_per_s):8.0f}"
                f"{median(runs, lambda run: run.p50_ms):8.2f}"
                f"{median(runs, lambda run: run.p99_ms):8.2f}"
                f"{median(runs, lambda run: run.cpu_us_total):8.0f}  {by_process}"
            )
        ours, flask = results["postroad", count], results["flask", count]
        ratio = median(ours, lambda run: run.cpu_us_total) / median(
            flask, lambda run: run.cpu_us_total
        )
        print(f"{'':16}postroad takes {ratio:.2f} times the CPU of flask")


def median(runs: list[Result], value: Callable[[Result], float]) -> float:
    return statistics.median(value(run) for run in runs)


if __name__ == "__main__":
    sys.exit(main())
