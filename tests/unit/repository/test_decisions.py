"""docs/decisions/: each record has a number, a date and a status."""

import re
from pathlib import Path

import pytest

from tests.safeguards.listed import ROOT

FOLDER = ROOT / "docs" / "decisions"
HEAD = re.compile(
    r"# (?P<number>\d+)\. .+\n\nDate: \d{4}-\d\d-\d\d\. Status: (accepted|superseded by \d+)\.\n"
)
FILES = sorted(FOLDER.glob("*.md"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_decision_has_a_number_a_date_and_a_status(file: Path) -> None:
    head = HEAD.match(file.read_text())

    assert head
    assert int(head["number"]) == int(file.name[:4])


def test_decisions_are_numbered_without_a_gap() -> None:
    assert [int(file.name[:4]) for file in FILES] == list(range(1, len(FILES) + 1))
