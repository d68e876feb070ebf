"""Run the tests on each Python, RabbitMQ and PostgreSQL: ``make test-matrix``.

Everything runs in containers: one for each Python (`.ci/container`), and the servers beside it.
Of the integration tests, those in ``DATABASE`` use PostgreSQL and no RabbitMQ, and run on each
PostgreSQL; the others run on each RabbitMQ, and the unit tests on neither.

Each run is a row of the table in docs/compatibility.md, and replaces the one that was there.
"""

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.safeguards.listed import ROOT

PYTHONS = ("3.11", "3.13", "3.14")
BROKERS = ("4.0", "4.3")
DATABASES = ("15", "17", "18")
UNIT = ("tests/unit",)
DATABASE = (
    *(f"tests/integration/{name}" for name in ("auth", "catalog", "storage")),
    "tests/integration/test_database_roles.py",
)
DOCUMENT = ROOT / "docs" / "compatibility.md"
HEADER = ("Python", "RabbitMQ", "PostgreSQL", "tests", "passed", "failed", "skipped", "seconds")
_MARKS = re.compile(r"(<!-- matrix -->\n).*?(<!-- end -->)", re.DOTALL)
_REPORT = "/tmp/report.xml"  # in the container


class CannotRun(Exception):
    """A container does not start, or pytest runs no test; the message says which."""


@dataclass(frozen=True)
class Run:
    """One part of the tests, on one combination; without a server the part uses none."""

    tests: str
    broker: str = ""
    database: str = ""

    @property
    def paths(self) -> Sequence[str]:
        """Return the arguments of pytest."""
        if self.tests == "unit":
            return UNIT
        if self.tests == "database":
            return DATABASE
        return ("tests/integration", *(f"--ignore={path}" for path in DATABASE))

    @property
    def images(self) -> list[str]:
        """Return the variables that name the servers' images."""
        broker = [f"RABBITMQ_IMAGE=rabbitmq:{self.broker}-management"] if self.broker else []
        database = [f"POSTGRES_IMAGE=postgres:{self.database}"] if self.database else []
        return broker + database


def planned(options: argparse.Namespace) -> Iterator[Run]:
    """Yield what runs on one Python."""
    if "unit" in options.tests:
        yield Run("unit")
    if "broker" in options.tests:
        yield from (Run("broker", broker=broker) for broker in options.rabbitmq)
    if "database" in options.tests:
        yield from (Run("database", database=database) for database in options.postgres)


class PythonContainer:
    """A container with a copy of the checkout; ``with`` starts and removes it."""

    def __init__(self, version: str) -> None:
        self._name = f"postroad-matrix-{version}-{os.getpid()}"
        self._version = version

    def __enter__(self) -> "PythonContainer":
        try:
            self._call("up", f"python:{self._version}-slim")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._call("down", check=False)

    def python(self) -> str:
        """Return the version that it has."""
        version = self._call("run", ".venv/bin/python", "--version", is_read=True)
        return version.removeprefix("Python ").strip()

    def tested(self, run: Run, workers: int) -> tuple[str, ...]:
        """Run tests, and return how many passed, failed and were skipped, and the seconds."""
        arguments = [f"-n {workers}", "-q", f"--junitxml={_REPORT}", *run.paths]
        self._call("run", "rm", "-f", _REPORT)
        self._call(
            *("run", "nice", "env", "TESTS_NEED_DOCKER=yes", *run.images),
            *("make", "test", f"ARGS={' '.join(arguments)}"),
            check=False,
        )
        return counts(self._call("run", "cat", _REPORT, is_read=True))

    def _call(self, action: str, *arguments: str, is_read: bool = False, check: bool = True) -> str:
        command = [str(ROOT / ".ci" / "container"), action, self._name, *arguments]
        done = subprocess.run(
            command, stdout=subprocess.PIPE if is_read else None, text=True, check=False
        )
        if check and done.returncode:
            raise CannotRun(f"{action} {' '.join(arguments)}: status {done.returncode}")
        return done.stdout or ""


def counts(report: str) -> tuple[str, ...]:
    """Read pytest's report: passed, failed, skipped, seconds."""
    (suite,) = ET.fromstring(report).iter("testsuite")
    total, skipped = int(suite.attrib["tests"]), int(suite.attrib["skipped"])
    failed = int(suite.attrib["failures"]) + int(suite.attrib["errors"])
    if not total:
        raise CannotRun("pytest ran no test")
    figures = (total - failed - skipped, failed, skipped, round(float(suite.attrib["time"])))
    return tuple(map(str, figures))


def server_version(image: str, *command: str) -> str:
    """Return the version that a server in an image tells."""
    docker = ["docker", "run", "--rm", "--entrypoint", command[0], image, *command[1:]]
    told = subprocess.run(docker, capture_output=True, text=True, check=True).stdout
    found = re.search(r"\d+\.[\d.]*\d", told)
    if found is None:
        raise CannotRun(f"{image} tells no version: {told}")
    return found[0]


def with_row(text: str, row: tuple[str, ...]) -> str:
    """Put a row into a document's table, in place of the one of the same run."""
    marked = _MARKS.search(text)
    assert marked, "the document has no marks"
    lines = [line for line in marked[0].splitlines() if line.startswith("|")]
    rows = {cells[:4]: cells for cells in map(_cells, lines[2:])}
    rows[row[:4]] = row
    rule = "|" + " --- |" * len(HEADER)
    table = "\n".join([_line(HEADER), rule, *map(_line, sorted(rows.values()))])
    return _MARKS.sub(lambda found: f"{found[1]}\n{table}\n\n{found[2]}", text)


def _cells(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip("|").split("|"))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make test-matrix")
    for name, known in {
        "python": PYTHONS,
        "rabbitmq": BROKERS,
        "postgres": DATABASES,
        "tests": ("unit", "broker", "database"),
    }.items():
        parser.add_argument(f"--{name}", nargs="+", choices=known, default=known)
    parser.add_argument("--workers", type=int, default=2, help="tests at a time")
    parser.add_argument("--document", type=Path, default=DOCUMENT)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    options = parse(arguments)
    failed = 0
    for version in options.python:
        with PythonContainer(version) as container:
            python = container.python()
            for run in planned(options):
                broker = run.broker and server_version(
                    f"rabbitmq:{run.broker}-management", "rabbitmqctl", "version"
                )
                database = run.database and server_version(
                    f"postgres:{run.database}", "postgres", "--version"
                )
                row = (python, broker, database, run.tests, *container.tested(run, options.workers))
                print(_line(row), flush=True)
                options.document.write_text(with_row(options.document.read_text(), row))
                failed += int(row[5])
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
