"""docs/asvs.md judges each requirement of the chapters that it is about, and counts right."""

import re
from collections import Counter

from tests.safeguards.listed import ROOT

PAGE = (ROOT / "docs" / "asvs.md").read_text()
ROW = re.compile(
    r"^\| ([\d.]+) \| ([12]) \| [^|]+ \| (met|not applicable|not met) \| ([^|]+) \|$", re.MULTILINE
)
ROWS = ROW.findall(PAGE)
VERDICTS = ("met", "not applicable", "not met")
CHAPTERS = ("6.", "7.", "3.3.", "12.", "16.")
LAST = {  # of each section of ASVS 5.0.0, the last requirement of level 1 or 2
    "6.1": 3, "6.2": 12, "6.3": 4, "6.4": 4, "6.5": 5, "6.6": 3, "6.8": 4,
    "7.1": 3, "7.2": 4, "7.3": 2, "7.4": 5, "7.5": 2, "7.6": 2, "3.3": 4,
    "12.1": 3, "12.2": 2, "12.3": 4, "16.1": 1, "16.2": 5, "16.3": 4, "16.4": 3, "16.5": 3,
}  # fmt: skip


def test_each_requirement_of_levels_1_and_2_is_judged_once() -> None:
    wanted = [f"{section}.{n}" for section, last in LAST.items() for n in range(1, last + 1)]

    assert [number for number, *_ in ROWS] == wanted


def test_what_is_met_names_a_test_or_a_file() -> None:
    shown = re.compile(r"`[\w/]+\.(py|conf)(::\w+)?`|\]\([\w/.#-]+\)")

    assert [
        number for number, _, verdict, why in ROWS if verdict == "met" and not shown.search(why)
    ] == []
    for file in re.findall(r"`([\w/]+/[\w/]+\.(?:py|conf))`", PAGE):
        assert (ROOT / file).is_file()


def test_the_page_counts_its_verdicts() -> None:
    counted = Counter(
        (chapter, verdict)
        for number, _, verdict, _ in ROWS
        for chapter in (*CHAPTERS, "")
        if number.startswith(chapter)
    )

    for chapter in (*CHAPTERS, ""):
        name = f"V{chapter.removesuffix('.')}" if chapter else "all"
        numbers = " | ".join(str(counted[chapter, verdict]) for verdict in VERDICTS)
        assert f"\n| {name} | {numbers} |\n" in PAGE
