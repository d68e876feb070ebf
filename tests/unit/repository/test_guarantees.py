"""Pages name tests that there are, and docs/guarantees.md safeguards that can be taken out."""

import ast
import re
import shutil
from pathlib import Path

import pytest

from tests.safeguards.listed import ROOT, Safeguard, safeguards, table

PAGES = {
    name: (ROOT / "docs" / name).read_text() for name in ("guarantees.md", "security.md", "asvs.md")
}
NAME = re.compile(r"`([\w/]+\.py)::(\w+)(?:\[[\w ]+\])?`")
NAMED = sorted({each for page in PAGES.values() for each in NAME.findall(page)})


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_tests(name: str) -> None:
    found = NAME.findall(PAGES[name])

    assert len(set(found)) > 50
    assert PAGES[name].count("::") == len(found) + 1  # which says how to read them


@pytest.mark.parametrize(("file", "name"), NAMED)
def test_every_test_that_is_named_exists(file: str, name: str) -> None:
    text = (ROOT / "tests" / file).read_text()

    assert re.search(rf"^(async )?def {name}\(", text, re.MULTILINE)


def test_the_page_shows_every_safeguard() -> None:
    assert f"safeguards.toml -->\n{table()}\n<!--" in PAGES["guarantees.md"]


@pytest.mark.parametrize("safeguard", safeguards(), ids=lambda safeguard: safeguard.name)
def test_a_safeguard_can_be_taken_out(safeguard: Safeguard, tmp_path: Path) -> None:
    for edit in safeguard.edits:
        (tmp_path / edit.file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / edit.file, tmp_path / edit.file)

    safeguard.take_out(tmp_path)

    for edit in safeguard.edits:
        text = (tmp_path / edit.file).read_text()
        assert text != (ROOT / edit.file).read_text()
        ast.parse(text)
