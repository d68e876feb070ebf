"""Which releases of RabbitMQ are out of support, and which have a fault that touches us."""

from datetime import date
from pathlib import Path

import pytest

from ops.health import releases
from ops.local.broker_node import started_version

LAST_DAY = date(2026, 11, 30)  # of 4.3's community support
DAY_AFTER = date(2026, 12, 1)


@pytest.mark.parametrize(
    ("version", "today", "until"),
    [
        ("4.3.6", LAST_DAY, None),
        ("4.3.6", DAY_AFTER, "2026-11-30"),
        ("3.10.8", LAST_DAY, "2023-07-31"),
        ("3.10.8-1.1+deb12u1", LAST_DAY, "2023-07-31"),
        ("4.2.10", LAST_DAY, "2026-07-31"),
        ("4.4.1", date(2040, 1, 1), None),  # newer than the table
        ("4.30.0", date(2040, 1, 1), None),  # not 4.3
        ("3.9.29", LAST_DAY, None),  # too old for us, which doctor says in other words
        ("unknown", LAST_DAY, None),
    ],
)
def test_a_series_is_out_of_support_from_the_day_after_its_last(
    version: str, today: date, until: str | None
) -> None:
    said = releases.out_of_support(version, today)

    assert said == (
        None if until is None else f"community support of RabbitMQ {version} ended on {until}"
    )


@pytest.mark.parametrize(
    ("version", "words"),
    [
        ("4.2.5", []),
        ("4.2.6", ["callers"]),
        ("4.2.7", []),
        ("4.3.0", ["callers", "dead letters"]),
        ("4.3.0-rc.1", ["callers", "dead letters"]),
        ("4.3.2", ["dead letters"]),
        ("4.3.2-1", ["dead letters"]),
        ("4.3.3", []),
        ("4.3.4", []),
        ("4.4.0", []),
        ("3.10.8", []),
        ("unknown", []),
    ],
)
def test_a_release_with_a_fault_that_touches_us_is_named(version: str, words: list[str]) -> None:
    found = list(releases.faults(version))

    assert len(found) == len(words)
    for (problem, advice), word in zip(found, words, strict=True):
        assert problem.startswith(f"RabbitMQ {version} ")
        assert word in problem
        assert advice.startswith("take 4.")


def test_no_fault_is_mended_before_it_begins() -> None:
    for fault in releases.FAULTS:
        assert fault.since < fault.mended
        assert fault.since[:2] == fault.mended[:2]


@pytest.mark.parametrize(
    ("version", "parts"), [("4.4.1", 0), ("4.3.4", 1), ("4.3.2", 2), ("4.3.0", 3)]
)
def test_all_there_is_to_say_fits_in_a_line(version: str, parts: int) -> None:
    line = releases.in_a_line(version, DAY_AFTER)

    assert len(line.split("; ") if line else []) == parts


def test_which_release_was_started_is_read_from_its_log(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    log.write_text("… [info] <0.216.0>  Starting RabbitMQ 3.10.8 on Erlang 25.2.3 [jit]\n")

    assert started_version(log) == "3.10.8"


def test_a_log_that_names_no_release_is_no_error(tmp_path: Path) -> None:
    log = tmp_path / "broker.log"
    log.write_text("… [info] <0.1.0> …\n")

    assert started_version(log) == ""
    assert releases.in_a_line("", DAY_AFTER) is None
