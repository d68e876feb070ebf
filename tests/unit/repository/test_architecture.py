"""docs/architecture.md leads through files that there are, in walks that end."""

import re

import pytest

from tests.safeguards.listed import ROOT

PAGE = (ROOT / "docs" / "architecture.md").read_text()
WALKS = re.findall(r"^## (One .+?)\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
STOPS_MAX = 12


@pytest.mark.parametrize("walk", [text for _, text in WALKS], ids=[name for name, _ in WALKS])
def test_a_walk_has_few_stops_and_each_names_a_file(walk: str) -> None:
    stops = re.findall(r"^\d+\. (.*?)(?=^\d+\. |\n\n|\Z)", walk, re.MULTILINE | re.DOTALL)

    assert 0 < len(stops) <= STOPS_MAX
    for stop in stops:
        assert re.match(r"\[`[^`]+`\]\(\.\./", stop), stop


def test_there_is_a_walk_for_a_request_an_event_and_a_job() -> None:
    assert [name.split()[1].strip(":") for name, _ in WALKS] == ["request", "event", "job"]


@pytest.mark.parametrize("path", sorted(set(re.findall(r"\]\(\.\./([^)]+)\)", PAGE))))
def test_every_file_that_it_names_exists(path: str) -> None:
    assert (ROOT / path).exists()
