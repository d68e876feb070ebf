"""The breaking changes that are made on purpose: each can be made, and what missed it is named."""

import ast
import shutil
from pathlib import Path

import pytest

from tests.safeguards.listed import ROOT
from tests.upgrades.plan import ALL
from tests.upgrades.seeded import GUARDS, BreakingChange, Caught, changes, report


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.name)
def test_a_change_can_be_made(change: BreakingChange, tmp_path: Path) -> None:
    for name in (*(edit.file for edit in change.edits), *change.files):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).exists():
            shutil.copy2(ROOT / name, tmp_path / name)

    change.make(tmp_path)

    for edit in change.edits:
        text = (tmp_path / edit.file).read_text()
        assert text != (ROOT / edit.file).read_text()
        ast.parse(text)
    for name in change.files:
        ast.parse((tmp_path / name).read_text())
    assert set(change.alone) <= set(ALL)


def test_each_way_to_notice_is_needed_by_a_change() -> None:
    needed = {what for change in changes() for what in change.caught_by}

    assert needed == {"contracts", "tests", "upgrade"}
    assert all((ROOT / test).exists() for test in GUARDS)


def test_what_had_to_notice_a_change_and_did_not_is_named() -> None:
    change = changes()[1]

    caught = Caught(change, {"contracts": "an error code goes", "tests": "", "upgrade": ""})

    assert caught.missed == ["upgrade"]
    assert f"| {change.name} | an error code goes |  |  |" in report([caught])
