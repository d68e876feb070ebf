"""What traces cost the running system: ``python -m benchmarks.tracing_load``.

The same load without a collector, with one that is sent every span, and with one that is sent a
hundredth; in turn, so that what else the machine does is seen by all three.
"""

import argparse
import asyncio
import os
import statistics
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from benchmarks.load import Result, measure
from benchmarks.system import running
from ops.services import PROGRAMS

LIMITS = {"OTEL_BSP_MAX_QUEUE_SIZE": "65536", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "4096"}
SAMPLERS = {
    "off": None,
    "every request": {"OTEL_TRACES_SAMPLER": "always_on"},
    "1 in 100": {
        "OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
        "OTEL_TRACES_SAMPLER_ARG": "0.01",
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    parser.add_argument("--connections", type=int, default=16)
    parser.add_argument("--state", type=Path, default=Path(".postroad/bench").resolve())
    options = parser.parse_args()
    options.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    results: dict[str, list[Result]] = {name: [] for name in SAMPLERS}
    with collector() as url:
        for _ in range(options.rounds):
            for name, sampler in SAMPLERS.items():
                there = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, **LIMITS, **sampler} if sampler else {}
                results[name].append(asyncio.run(load(options, there)))
    machine = f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"
    print(f"{machine}; medians of {options.rounds} rounds")
    for name, runs in results.items():
        by_process = ", ".join(
            f"{process} {statistics.median(run.cpu_us[process] for run in runs):.0f}"
            for process in runs[0].cpu_us
        )
        total_us = statistics.median(run.cpu_us_total for run in runs)
        p50_ms = statistics.median(run.p50_ms for run in runs)
        print(f"{name:15}{total_us:6.0f} us of CPU a request, p50 {p50_ms:.2f} ms  ({by_process})")


async def load(options: argparse.Namespace, settings: dict[str, str]) -> Result:
    async with running(options.state, settings=dict.fromkeys(PROGRAMS, settings)) as system:
        return await asyncio.to_thread(
            measure,
            system.target(),
            connections=options.connections,
            seconds=options.seconds,
        )


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

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


if __name__ == "__main__":
    main()
