"""How cost grows with workers, connections, bodies and waiting: `make bench ARGS=scale`."""

import asyncio
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import requests

from benchmarks.load import Report, Result, Target, measure, run_wrk
from benchmarks.machine import Machine
from benchmarks.system import running
from benchmarks.tables import by_process, figure, table
from benchmarks.usage import memory_by_group
from ops.local.ports import LOOPBACK
from ops.local.worker import Program

WORKERS = (1, 2, 4)
UPSTREAM_MS = 20
UPSTREAM_CONNECTIONS = 2  # of a worker, for 16: a small machine is to feed four workers
WAITING = 32  # connections: more than four workers have upstream
CONNECTIONS = (10, 100, 1000)
TEXT_BYTES = 10_000
BODIES = {  # paths by what comes back: small products first, then large ones
    "1 KB": "/products?limit=5",
    "10 KB": "/products?limit=1&skip=20",
    "100 KB": "/products?limit=10&skip=20",
    "1 MB": "/products?limit=100&skip=20",
}
IN_FLIGHT = 10_000
IN_FLIGHT_S = 15.0
UPSTREAM_MODULE = "benchmarks.scaling.upstream"
PAGES = Path(__file__).with_name("pages.lua")
UNCACHED = {f"CATALOG_CACHE_{what}_S": "0" for what in ("FRESH", "REFRESH", "STALE")}
IDLE = {"catalog_sync": 0, "auth_audit": 0}


@dataclass(frozen=True, slots=True)
class Throughput:
    """So many worker processes, each waiting for upstream."""

    workers: int
    requests_per_s: float
    p50_ms: float
    cpu_us: float
    memory_mb: float  # of one worker process


@dataclass(frozen=True, slots=True)
class Body:
    """Replies of one size."""

    name: str
    body_bytes: int
    result: Result


@dataclass(frozen=True, slots=True)
class InFlight:
    """Very many requests under way at a time; memory in MB by process, second by second."""

    requests: int
    report: Report
    memory_mb: list[dict[str, float]]

    def settled_mb(self) -> dict[str, float]:
        """Give the most memory of the second third of the time."""
        third = len(self.memory_mb) // 3
        return _most(self.memory_mb[third : 2 * third])

    def last_mb(self) -> dict[str, float]:
        """Give the most memory of the last third."""
        return _most(self.memory_mb[2 * (len(self.memory_mb) // 3) :])


@dataclass(frozen=True, slots=True)
class Growth:
    machine: Machine
    workers: list[Throughput]
    connections: dict[int, Result]
    bodies: list[Body]
    in_flight: InFlight


async def measure_growth(folder: Path, *, seconds: float) -> Growth:
    """Measure all of it, each with a system of its own."""
    machine = Machine.this()
    workers = [await _throughput(folder, count, seconds) for count in WORKERS]
    connections = await _connections(folder, seconds)
    bodies = await _bodies(folder, seconds)
    return Growth(machine, workers, connections, bodies, await _in_flight(folder))


async def _throughput(folder: Path, workers: int, seconds: float) -> Throughput:
    print(f"{workers} worker processes, {UPSTREAM_MS} ms upstream", flush=True)
    few = {"CATALOG_UPSTREAM_CONNECTIONS": str(UPSTREAM_CONNECTIONS)}
    async with running(
        folder / "growth",
        settings={"catalog_worker": UNCACHED | few},
        replicas=IDLE | {"catalog_worker": workers},
        upstream=_upstream(products=1000, delay_ms=UPSTREAM_MS),
    ) as system:
        target = replace(system.target(), script=PAGES)
        result = await asyncio.to_thread(measure, target, connections=WAITING, seconds=seconds)
    return Throughput(
        workers,
        result.requests_per_s,
        result.p50_ms,
        result.cpu_us_total,
        result.memory_mb["worker"] / workers,
    )


async def _connections(folder: Path, seconds: float) -> dict[int, Result]:
    async with running(folder / "growth", replicas=IDLE) as system:
        results = {}
        for count in CONNECTIONS:
            print(f"{count} connections", flush=True)
            results[count] = await asyncio.to_thread(
                measure, system.target(), connections=count, seconds=seconds
            )
        return results


async def _bodies(folder: Path, seconds: float) -> list[Body]:
    upstream = _upstream(products=200, text_bytes=TEXT_BYTES)
    async with running(folder / "growth", replicas=IDLE, upstream=upstream) as system:
        bodies = []
        for name, path in BODIES.items():
            print(f"Replies of {name}", flush=True)
            target = system.target(path)
            body_bytes = await asyncio.to_thread(_body_bytes, target)
            result = await asyncio.to_thread(measure, target, connections=16, seconds=seconds)
            bodies.append(Body(name, body_bytes, result))
        return bodies


def _body_bytes(target: Target) -> int:
    return len(requests.get(target.url, headers=target.headers, timeout=10).content)


async def _in_flight(folder: Path) -> InFlight:
    print(f"{IN_FLIGHT:,} requests under way, {IN_FLIGHT_S:g} s", flush=True)
    bridge = {"BRIDGE_IN_FLIGHT_MAX": str(2 * IN_FLIGHT), "BRIDGE_TIMEOUT_S": "60"}
    async with running(
        folder / "growth", replicas=IDLE, settings={"http_bridge": bridge}
    ) as system:
        target = system.target()
        memory_mb = []
        with ThreadPoolExecutor(1) as threads:
            load: Future[Report] = threads.submit(
                run_wrk, target, connections=IN_FLIGHT, seconds=IN_FLIGHT_S, timeout_s=60
            )
            began = time.monotonic()
            while not load.done() and time.monotonic() - began < IN_FLIGHT_S:
                memory_mb.append(memory_by_group(target.processes))
                await asyncio.sleep(1)
            report = await asyncio.wrap_future(load)
    return InFlight(IN_FLIGHT, report, memory_mb)


def _upstream(*, products: int, delay_ms: int = 0, text_bytes: int = 0) -> Program:
    options = ("--products", str(products), "--text-bytes", str(text_bytes))
    return Program(
        "upstream",
        [sys.executable, "-m", UPSTREAM_MODULE, "--host", LOOPBACK, "--port", "{port}", *options],
        {"SAMPLE_UPSTREAM_DELAY_MS": str(delay_ms)},
    )


def _most(samples: Sequence[dict[str, float]]) -> dict[str, float]:
    return {name: max(sample[name] for sample in samples) for name in samples[0]}


def report(growth: Growth) -> str:
    """Say it in Markdown."""
    one = growth.workers[0]
    workers = [
        [
            str(each.workers),
            figure(each.requests_per_s),
            figure(each.requests_per_s / one.requests_per_s),
            figure(each.p50_ms),
            figure(each.cpu_us),
            figure(each.memory_mb),
        ]
        for each in growth.workers
    ]
    connections = [[str(count), *_cells(each)] for count, each in growth.connections.items()]
    bodies = [[each.name, f"{each.body_bytes:,}", *_cells(each.result)] for each in growth.bodies]
    costs = ["req/s", "p50 ms", "p99 ms", "CPU us", "by process", "memory MB"]
    flight = growth.in_flight
    waiting = (
        f"Each worker process has {UPSTREAM_CONNECTIONS} connections to an upstream that takes "
        f"{UPSTREAM_MS} ms; {WAITING} clients, nothing cached."
    )
    under_way = (
        f"{flight.requests:,} requests under way for {IN_FLIGHT_S:g} s: "
        f"{flight.report.requests:,} answers, {flight.report.not_200:,} of them not 200, "
        f"{flight.report.broken:,} without an answer. Memory in MB, the most of the second third "
        f"of the time: {by_process(flight.settled_mb())}; of the last: "
        f"{by_process(flight.last_mb())}."
    )
    parts = [
        f"{growth.machine}.",
        waiting,
        table(["workers", "req/s", "times", "p50 ms", "CPU us", "MB each"], workers),
        "`GET /products?limit=30` from memory:",
        table(["connections", *costs], connections),
        "Replies of different sizes, 16 connections:",
        table(["", "bytes", *costs], bodies),
        under_way,
    ]
    return "\n\n".join(parts) + "\n"


def _cells(result: Result) -> list[str]:
    return [
        *map(figure, (result.requests_per_s, result.p50_ms, result.p99_ms, result.cpu_us_total)),
        by_process(result.cpu_us),
        by_process(result.memory_mb),
    ]
