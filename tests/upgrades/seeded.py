"""Breaking changes, made in copies of the project on purpose: what notices each of them?"""

import asyncio
import os
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from ops.terminal.progress import say
from tests.faults import expected
from tests.faults.__main__ import logging_to
from tests.faults.checker import Finding, failed_clearly
from tests.safeguards.__main__ import PYTEST, TESTS_FAILED, copy_project
from tests.safeguards.listed import Edit
from tests.upgrades.plan import AFTER, BEFORE, Stage, alone
from tests.upgrades.releases import CommandFailed, Release, of_folder
from tests.upgrades.report import findings_of
from tests.upgrades.walk import Walk, walk

LISTED = Path(__file__).with_name("seeded.toml")
GUARDS = (
    "tests/unit/security/test_vectors.py",
    "tests/unit/storage/test_schemas.py",
    "tests/unit/auth_worker/test_tokens.py",
)
What = Literal["contracts", "tests", "upgrade"]


class BreakingChange(BaseModel):
    """A change, and what has to notice that it breaks the release before."""

    model_config = ConfigDict(extra="forbid")

    name: str
    alone: list[str]
    caught_by: list[What]
    edits: list[Edit]
    files: dict[str, str] = {}

    def make(self, copy: Path) -> None:
        """Make it in a copy of the project.

        Raises:
            ValueError: what is to be replaced is not there; the list is out of date.
        """
        for edit in self.edits:
            file = copy / edit.file
            file.write_text(edit.apply(file.read_text()))
        for name, text in self.files.items():
            (copy / name).write_text(text.lstrip())


@dataclass(frozen=True, slots=True)
class Caught:
    """What noticed a change, and what it said."""

    change: BreakingChange
    said: dict[What, str]

    @property
    def missed(self) -> list[What]:
        """Name what had to notice it, and did not."""
        return [each for each in self.change.caught_by if not self.said.get(each)]


def changes() -> list[BreakingChange]:
    """Read the list."""
    entries = tomllib.loads(LISTED.read_text())["change"]
    return [BreakingChange.model_validate(entry) for entry in entries]


def try_all(chosen: Iterable[BreakingChange], seed: int) -> list[Caught]:
    """Make each change in a copy, and see what notices."""
    return [_try(change, seed) for change in chosen]


def _try(change: BreakingChange, seed: int) -> Caught:
    say(f"{change.name}:")
    with ExitStack() as context:
        folder = Path(context.enter_context(tempfile.TemporaryDirectory(prefix="seeded-")))
        copy = folder / "copy"
        copy_project(copy)
        change.make(copy)
        before, after = of_folder(BEFORE, "the project"), of_folder(AFTER, change.name, copy)
        said: dict[What, str] = {
            "contracts": _contracts(before, after, folder / "before.json"),
            "tests": _tests(copy),
        }
        if "upgrade" in change.caught_by:
            (folder / "state").mkdir(mode=0o700)
            stage = Stage(change.name, alone(change.alone).moves)
            with logging_to(folder / "callers.log"):
                found = asyncio.run(walk(folder / "state", before, after, [stage], seed))
            said["upgrade"] = _summary(found, findings_of(found, expected.answers()))
    for what, sentence in said.items():
        say(f"  {what}: {sentence or 'nothing'}")
    return Caught(change, said)


def _contracts(before: Release, after: Release, document: Path) -> str:
    """Compare both releases' contracts, and return the first change that breaks."""
    document.write_text(asyncio.run(before.run("ops.cli", "contracts", "show")))
    try:
        asyncio.run(after.run("ops.cli", "contracts", "diff", str(document)))
    except CommandFailed as failed:
        _, breaks, sentence = str(failed).partition("breaks  ")
        if not breaks:
            raise
        return sentence.splitlines()[0]
    return ""


def _tests(copy: Path) -> str:
    """Run the tests that hold names and schemas, and return the first that fails."""
    done = subprocess.run(
        [sys.executable, *PYTEST, *GUARDS],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": f"{copy}{os.pathsep}{copy / 'shared'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode not in (0, TESTS_FAILED):
        raise RuntimeError(f"pytest did not run\n{done.stdout}{done.stderr}")
    failed = [line.split() for line in done.stdout.splitlines() if line.startswith("FAILED ")]
    return f"`{failed[0][1].removeprefix('tests/')}`" if failed else ""


def _summary(found: Walk, findings: list[Finding]) -> str:
    """Count what went wrong while both releases ran."""
    failed = failed_clearly(found.records.requests)
    parts = [f"{count} requests `{code}`" for code, count in failed.items()]
    counts = Counter(finding.what for finding in findings)
    parts += [f"{counts[what]} {what}" for what in ("wrong", "lost", "doubled") if counts[what]]
    if not parts and findings:
        parts = [findings[0].detail]
    return ", ".join(parts)


def report(tried: Iterable[Caught]) -> str:
    """Write what noticed each change; an empty cell is what did not."""
    lines = ["# Breaking changes, and what notices them", "", f"{datetime.now(UTC):%Y-%m-%d}.", ""]
    heads = ("`postroad contracts diff`", "tests", "both releases under load")
    lines += [f"| change | {' | '.join(heads)} |", "| --- | --- | --- | --- |"]
    for each in tried:
        columns: tuple[What, ...] = ("contracts", "tests", "upgrade")
        cells = [each.said.get(what, "not run") for what in columns]
        lines.append(f"| {each.change.name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
