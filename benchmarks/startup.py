"""How long a start takes, and what of it is imports: `make bench ARGS=startup`."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from statistics import median

from benchmarks.machine import ROOT, Machine
from benchmarks.system import running
from benchmarks.tables import figure, table
from ops.local import ports, processes
from ops.local.ports import LOOPBACK
from ops.services import programs

MODULES = ("catalog_worker", "http_bridge", "auth_worker")
READY = "Postroad is up at"
READY_TIMEOUT_S = 120.0
REPEATS = 3
HEAVIEST = 8  # packages to name


class StartupError(Exception):
    """Something did not start; the message says what it printed."""


@dataclass(frozen=True, slots=True)
class Startup:
    """Seconds until ready, and milliseconds of importing by package."""

    machine: Machine
    first_run_s: float  # `make run` with an empty state folder; packages are installed
    second_run_s: float
    worker_ready_s: float  # from the process's start until it takes requests: medians
    imports_ms: dict[str, dict[str, float]]


async def measure_startup(folder: Path) -> Startup:
    """Start everything twice as a user does, then a worker process a few times.

    Raises:
        StartupError: it did not become ready.
    """
    machine = Machine.this()
    runs_s = []
    with tempfile.TemporaryDirectory() as state:
        for time_of in ("first", "second"):
            print(f"`make run`, the {time_of} time", flush=True)
            runs_s.append(await _make_run(Path(state)))
    print("A worker process", flush=True)
    ready_s = await _worker_ready(folder)
    print("Imports", flush=True)
    imports_ms = {module: await asyncio.to_thread(_imports_ms, module) for module in MODULES}
    return Startup(machine, runs_s[0], runs_s[1], ready_s, imports_ms)


async def _make_run(state: Path) -> float:
    (port,) = ports.free_ports(1)
    began = time.monotonic()
    child = await asyncio.create_subprocess_exec(
        *("make", "run", f"PORT={port}"),
        cwd=ROOT,
        env={**os.environ, "POSTROAD_STATE": str(state), "VENV": sys.prefix},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=processes.die_with(os.getpid()),  # no other threads hold locks
    )
    output = b""
    try:
        async with asyncio.timeout(READY_TIMEOUT_S):
            while READY.encode() not in output:
                line = await child.stdout.readline() if child.stdout else b""
                if not line:
                    raise StartupError(output.decode(errors="replace"))
                output += line
        return time.monotonic() - began
    except TimeoutError as error:
        raise StartupError(output.decode(errors="replace")) from error
    finally:
        os.killpg(child.pid, signal.SIGINT)  # Ctrl-C: all of the terminal's group get it
        await child.communicate()


async def _worker_ready(folder: Path) -> float:
    """Start catalogue workers beside a running system, one after the other."""
    log = folder / "worker-start.log"
    took_s = []
    async with running(folder / "startup") as system:
        [program] = [
            each
            for each in programs.programs(
                system.state,
                broker_address=system.broker.address,
                upstream=f"http://{LOOPBACK}:9",
                host=LOOPBACK,
                port=9,
            )
            if each.name == "catalog_worker"
        ]
        env = {**program.env, "LOG_FORMAT": "json"}
        for _ in range(REPEATS):
            began = time.time()
            with log.open("wb") as output:
                child = processes.spawn(program.argv, env=env, output=output)
            try:
                if not await processes.settle(lambda: _takes_requests_at(log) > 0, timeout_s=30):
                    raise StartupError(log.read_text())
                took_s.append(_takes_requests_at(log) - began)
            finally:
                await processes.stop(child, grace_s=10)
    return median(took_s)


def _takes_requests_at(log: Path) -> float:
    """Read when a worker had its consumer, in seconds since 1970; 0 before it has."""
    lines = [line for line in log.read_text().splitlines() if line.endswith("}")]
    for record in map(json.loads, lines):
        if record["event"] == "broker connected" and record["role"] == "consumer":
            return datetime.fromisoformat(record["time"]).timestamp()
    return 0.0


def _imports_ms(module: str) -> dict[str, float]:
    """Time the imports of a program by package, each without what it imports itself."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}.__main__"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return by_package(done.stderr)


def by_package(importtime: str) -> dict[str, float]:
    """Add up what ``-X importtime`` prints, in ms by package; the standard library is one."""
    took_us: dict[str, float] = defaultdict(float)
    for own_us, name in re.findall(r"import time:\s+(\d+) \|\s+\d+ \|\s+(\S+)", importtime):
        package = name.partition(".")[0]
        is_standard = package in sys.stdlib_module_names
        took_us["standard library" if is_standard else package] += int(own_us)
    total = {"all": sum(took_us.values())}
    heaviest = sorted(took_us.items(), key=lambda item: -item[1])[:HEAVIEST]
    return {name: round(us / 1000, 1) for name, us in (total | dict(heaviest)).items()}


def report(startup: Startup) -> str:
    """Say it in Markdown."""
    rows = [
        ["`make run`, packages installed, an empty state folder", figure(startup.first_run_s)],
        ["`make run`, the second time", figure(startup.second_run_s)],
        ["a catalogue worker, until it takes requests", figure(startup.worker_ready_s)],
    ]
    imports = [[module, _listed(took)] for module, took in startup.imports_ms.items()]
    return (
        f"{startup.machine}.\n\n{table(['start', 's'], rows)}\n\n"
        f"{table(['imports of', 'ms (`-X importtime`), the heaviest first'], imports)}\n"
    )


def _listed(took_ms: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {ms:.0f}" for name, ms in took_ms.items())
