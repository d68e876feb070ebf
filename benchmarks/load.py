"""Load from wrk, and what each process spent on it. wrk's own CPU time is not counted."""

import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic, sleep

from pydantic import BaseModel

from benchmarks.usage import Groups, cpu_by_group, memory_by_group

REPORT = Path(__file__).with_name("report.lua")
WARM_UP_S = 1
TIMEOUT_S = 10.0
REST_S = 0.2
REST_SHARE = 0.1  # of a CPU: heartbeats, timers


class LoadError(Exception):
    """The load could not be put on, or the server answered with errors; the message says which."""


@dataclass(frozen=True, slots=True)
class Result:
    """One measurement; ``cpu_us`` is CPU time per request, by process."""

    requests_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    cpu_us: dict[str, float]
    memory_mb: dict[str, float]

    @property
    def cpu_us_total(self) -> float:
        """CPU microseconds per request over all processes."""
        return sum(self.cpu_us.values())


@dataclass(frozen=True, slots=True)
class Target:
    """Something to load: where, with which headers, and whose CPU time counts."""

    name: str
    url: str
    headers: dict[str, str]
    processes: dict[str, list[int]]
    script: Path = field(default=REPORT)  # for wrk; it has to print the same report


class Report(BaseModel):
    """What a load generator has seen."""

    requests: int
    seconds: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    not_200: int = 0
    broken: int = 0  # connections, or answers that did not come in time

    def result(
        self, cpu_s: Mapping[str, float], memory_mb: dict[str, float], *, hung_up: int = 0
    ) -> Result:
        """Put it together with what the processes used.

        ``hung_up``: so many more requests were worked on, whose answers came after the end.
        """
        worked_on = self.requests + hung_up
        return Result(
            requests_per_s=self.requests / self.seconds,
            p50_ms=self.p50_ms,
            p95_ms=self.p95_ms,
            p99_ms=self.p99_ms,
            cpu_us={name: used / worked_on * 1e6 for name, used in cpu_s.items()},
            memory_mb=memory_mb,
        )


def measure(target: Target, *, connections: int, seconds: float) -> Result:
    """Load a target with wrk, after a second that does not count.

    Raises:
        LoadError: an answer was not 200, or wrk did not run.
    """
    run_wrk(target, connections=connections, seconds=WARM_UP_S)
    quieten(target.processes)
    before = cpu_by_group(target.processes)
    report = run_wrk(target, connections=connections, seconds=seconds)
    memory_mb = memory_by_group(target.processes)
    quieten(target.processes)
    used_s = used_since(before, target.processes)
    if not report.requests:
        raise LoadError(f"not one answer in {seconds:g} s")
    if report.not_200 or report.broken:
        raise LoadError(
            f"{report.requests} answers, of which {report.not_200} not 200; "
            f"{report.broken} without an answer within {TIMEOUT_S:.0f} s"
        )
    return report.result(used_s, memory_mb, hung_up=connections)


def quieten(groups: Groups) -> None:
    """Wait until processes rest: slow ones still answer those who have hung up long ago."""
    deadline = monotonic() + TIMEOUT_S
    used_s = None
    while monotonic() < deadline:
        before_s, used_s = used_s, sum(cpu_by_group(groups).values())
        if before_s is not None and used_s - before_s < REST_SHARE * REST_S:
            return
        sleep(REST_S)


def used_since(before: Mapping[str, float], groups: Groups) -> dict[str, float]:
    """CPU seconds that each group has used since."""
    return {name: used - before[name] for name, used in cpu_by_group(groups).items()}


def run_wrk(
    target: Target, *, connections: int, seconds: float, timeout_s: float = TIMEOUT_S
) -> Report:
    """Load a target with wrk on one thread; that one can do many times what is measured here.

    Raises:
        LoadError: wrk did not run.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:.0f}s"]
    command += ["--timeout", f"{timeout_s:.0f}s"]
    for name, value in target.headers.items():
        command += ["-H", f"{name}: {value}"]
    done = subprocess.run(
        [*command, "-s", target.script, target.url], capture_output=True, text=True, check=False
    )
    _, found, report = done.stdout.partition("REPORT ")
    if done.returncode != 0 or not found:
        raise LoadError(f"wrk: {done.stdout}{done.stderr}")
    return Report.model_validate_json(report)
