"""The list of safeguards, read from ``safeguards.toml``."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict

ROOT = Path(__file__).parents[2]


class Edit(BaseModel):
    """A text that is in a file once, and what is put there."""

    model_config = ConfigDict(extra="forbid")

    file: str
    old: str
    new: str


class Safeguard(BaseModel):
    """Something that may not be missing; each of the tests fails when it is."""

    model_config = ConfigDict(extra="forbid")

    name: str
    taken_out: str
    tests: list[str]
    edits: list[Edit]

    def take_out(self, copy: Path) -> None:
        """Edit a copy of the project.

        Raises:
            ValueError: a text to be replaced is not there exactly once; the list is out of date.
        """
        for edit in self.edits:
            file = copy / edit.file
            text = file.read_text()
            if text.count(edit.old) != 1:
                raise ValueError(f"{self.name}: {edit.file} does not have once: {edit.old}")
            file.write_text(text.replace(edit.old, edit.new))


def safeguards() -> list[Safeguard]:
    """Read the list."""
    text = (ROOT / "tests" / "safeguards" / "safeguards.toml").read_text()
    return [Safeguard.model_validate(entry) for entry in tomllib.loads(text)["safeguard"]]


def table() -> str:
    """Show the list as docs/guarantees.md does."""
    rows = ["| safeguard | what there was instead | what failed |", "| --- | --- | --- |"]
    for each in safeguards():
        tests = " ".join(f"`{test.removeprefix('tests/')}`" for test in each.tests)
        rows.append(f"| {each.name} | {each.taken_out} | {tests} |")
    return "\n".join(rows)
