"""Load from wrk, and the CPU time that each process spent on it."""

import os
import re
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
UNIT_MS = {"us": 0.001, "ms": 1.0, "s": 1000.0}


class LoadError(Exception):
    """wrk failed, or the server answered with errors."""


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement: rates, latencies, and CPU microseconds per request by process."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_us: dict[str, float]

    @property
    def cpu_us_total(self) -> float:
        """CPU microseconds per request over all processes."""
        return sum(self.cpu_us.values())


def measure(
    url: str,
    *,
    headers: Mapping[str, str],
    connections: int,
    seconds: float,
    processes: Mapping[str, Iterable[int]],
) -> Result:
    """Load ``url`` with wrk; ``processes`` names groups of process ids, children counted too.

    Raises:
        LoadError: an answer was not 200, or wrk did not run.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "--timeout", "10s"]
    for name, value in headers.items():
        command += ["-H", f"{name}: {value}"]
    before = {name: cpu_seconds(pids) for name, pids in processes.items()}
    done = subprocess.run([*command, url], capture_output=True, text=True, check=False)
    after = {name: cpu_seconds(pids) for name, pids in processes.items()}
    if done.returncode != 0 or "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise LoadError(done.stdout + done.stderr)
    requests = int(_find(r"(\d+) requests in", done.stdout))
    return Result(
        requests_per_s=float(_find(r"Requests/sec:\s+([\d.]+)", done.stdout)),
        p50_ms=_milliseconds(_find(r"50%\s+([\d.]+\w+)", done.stdout)),
        p99_ms=_milliseconds(_find(r"99%\s+([\d.]+\w+)", done.stdout)),
        cpu_us={name: (after[name] - before[name]) / requests * 1e6 for name in processes},
    )


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time, user and system, that these processes and their children have used."""
    ticks = 0
    for pid in _with_children(pids):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS_PER_S


def _with_children(pids: Iterable[int]) -> list[int]:
    found = []
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        found += [pid, *_with_children(int(child) for child in children)]
    return found


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    if match is None:
        raise LoadError(f"cannot read what wrk printed:\n{text}")
    return match[1]


def _milliseconds(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s)", text)
    if match is None:
        raise LoadError(f"cannot read the time {text!r}")
    return float(match[1]) * UNIT_MS[match[2]]
