"""What it costs the running system to be watched: `make bench ARGS=telemetry`.

The same load with nobody watching, with metrics that are asked for each second, and with traces
besides, of few requests and of all; in turn, so that what else the machine does is seen by each.
"""

import asyncio
import statistics
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import requests

from benchmarks.load import Result, measure
from benchmarks.machine import Machine
from benchmarks.system import System, running
from benchmarks.tables import by_process, figure, table
from ops.local.ports import LOOPBACK
from ops.services.manifests import program_names

CONNECTIONS = 64
ASKED_EVERY_S = 1.0  # fifteen times as often as deploy/observability asks
# A second of spans, if each request is traced: by default the rest would be thrown away.
LIMITS = {"OTEL_BSP_MAX_QUEUE_SIZE": "65536", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"}


@dataclass(frozen=True, slots=True)
class Watching:
    """Who watches, and how."""

    name: str
    asks_metrics: bool
    sampler: Mapping[str, str] | None = None  # of traces; none are recorded without


WAYS = (
    Watching("nobody watches", asks_metrics=False),
    Watching("metrics, asked for each second", asks_metrics=True),
    Watching(
        "and traces, of 1 request in 100",
        asks_metrics=True,
        sampler={
            "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
            "OTEL_TRACES_SAMPLER_ARG": "0.01",
        },
    ),
    Watching(
        "and traces, of every request",
        asks_metrics=True,
        sampler={"OTEL_TRACES_SAMPLER": "always_on"},
    ),
)


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Each round's results, by who watched."""

    machine: Machine
    rounds: dict[str, list[Result]]


async def measure_telemetry(folder: Path, *, rounds: int, seconds: float) -> Telemetry:
    machine = Machine.this()
    found: dict[str, list[Result]] = {way.name: [] for way in WAYS}
    with collector() as url:
        for number in range(rounds):
            for way in WAYS if number % 2 == 0 else WAYS[::-1]:
                print(f"Round {number + 1} of {rounds}: {way.name}", flush=True)
                found[way.name].append(await _load(folder, way, url, seconds))
    return Telemetry(machine, found)


async def _load(folder: Path, way: Watching, collector_url: str, seconds: float) -> Result:
    traces = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector_url, **LIMITS, **(way.sampler or {})}
    settings = dict.fromkeys(program_names(), traces if way.sampler else {})
    async with running(
        folder / "telemetry", settings=settings, has_metrics=way.asks_metrics
    ) as system:
        with asking(system if way.asks_metrics else None):
            return await asyncio.to_thread(
                measure, system.target(), connections=CONNECTIONS, seconds=seconds
            )


@contextmanager
def asking(system: System | None) -> Iterator[None]:
    """Ask each process for its metrics again and again, as Prometheus does."""
    supervisors = [system.supervisor] if system else []
    ports = [
        port for each in supervisors for name in each.names for port in each.metrics_ports(name)
    ]
    is_over = threading.Event()

    def ask() -> None:
        with requests.Session() as session:
            session.trust_env = False
            while not is_over.wait(ASKED_EVERY_S):
                for port in ports:
                    session.get(f"http://{LOOPBACK}:{port}/metrics", timeout=5).raise_for_status()

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@contextmanager
def collector() -> Iterator[str]:
    """Take spans and forget them."""

    class Sink(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer((LOOPBACK, 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{LOOPBACK}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def report(found: Telemetry) -> str:
    rounds = len(next(iter(found.rounds.values())))
    rows = [
        [
            name,
            figure(statistics.median(run.requests_per_s for run in runs)),
            figure(statistics.median(run.p50_ms for run in runs)),
            figure(statistics.median(run.cpu_us_total for run in runs)),
            by_process(
                {
                    process: statistics.median(run.cpu_us[process] for run in runs)
                    for process in runs[0].cpu_us
                }
            ),
            figure(min(run.cpu_us_total for run in runs)),
        ]
        for name, runs in found.rounds.items()
    ]
    header = ["", "req/s", "p50 ms", "CPU us", "by process", "least of a round"]
    return (
        f"{found.machine}\n\n`GET /products?limit=30`, {CONNECTIONS} connections; medians of "
        f"{rounds} rounds in turn.\n\n{table(header, rows)}\n"
    )
