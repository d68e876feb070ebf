"""What is kept of a benchmark, as JSON."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from pydantic import TypeAdapter

from benchmarks.scaling.backlog import BacklogRun
from benchmarks.scaling.load import Stage
from benchmarks.scaling.step import StepRun
from ops.scaling.policy import Policy

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Machine:
    """Where and when it was measured."""

    cpus: int
    python: str
    date: str
    load_before: float  # processes that ran or wanted to, over the minute before

    @classmethod
    def this(cls) -> "Machine":
        return cls(
            cpus=os.cpu_count() or 0,
            python=platform.python_version(),
            date=datetime.now(UTC).date().isoformat(),
            load_before=round(os.getloadavg()[0], 2),
        )


@dataclass(frozen=True, slots=True)
class StepResults:
    """The same step three times, and by which rules the second and third were scaled."""

    machine: Machine
    stages: list[Stage]
    deadline_s: float
    rule: Policy
    patient_rule: Policy
    fixed: StepRun
    scaled: StepRun
    patient: StepRun


@dataclass(frozen=True, slots=True)
class BacklogResults:
    """The same backlog twice."""

    machine: Machine
    jobs: int
    upstream_ms: int
    one: BacklogRun
    scaled: BacklogRun


def write(path: Path, results: object) -> None:
    path.write_bytes(TypeAdapter(type(results)).dump_json(results) + b"\n")
    print(f"wrote {path}", flush=True)


def read(path: Path, kind: type[T]) -> T:
    return TypeAdapter(kind).validate_json(path.read_bytes())
