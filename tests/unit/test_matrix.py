"""Which tests run on which combination, and the table of them."""

import pytest

from tests.matrix.__main__ import CannotRun, Run, counts, parse, planned, with_row

MARKED = "before\n<!-- matrix -->\n<!-- end -->\nafter\n"
ROW = ("3.14.8", "4.3.6", "17.12", "database", "20", "0", "1", "30")


def test_each_server_is_tested_once_and_units_are_tested_without() -> None:
    runs = list(planned(parse([])))

    assert [run.tests for run in runs].count("unit") == 1
    assert [run.broker for run in runs if run.tests == "broker"] == ["4.0", "4.3"]
    assert [run.database for run in runs if run.tests == "database"] == ["15", "17", "18"]


def test_a_part_of_it_can_be_chosen() -> None:
    options = parse(["--postgres", "17", "--tests", "database"])

    assert list(planned(options)) == [Run("database", database="17")]


def test_no_integration_test_is_in_two_parts() -> None:
    broker, database = Run("broker", "4.3").paths, Run("database", database="17").paths

    assert list(broker) == ["tests/integration", *(f"--ignore={path}" for path in database)]


def test_servers_are_named_by_their_images() -> None:
    images = Run("database", "4.0", "18").images

    assert images == ["RABBITMQ_IMAGE=rabbitmq:4.0-management", "POSTGRES_IMAGE=postgres:18"]


def test_a_report_is_counted() -> None:
    suite = '<testsuite tests="10" failures="1" errors="2" skipped="3" time="4.6"/>'

    assert counts(f"<testsuites>{suite}</testsuites>") == ("4", "3", "3", "5")


def test_a_run_of_no_tests_is_an_error() -> None:
    suite = '<testsuite tests="0" failures="0" errors="0" skipped="0" time="0"/>'

    with pytest.raises(CannotRun, match="no test"):
        counts(f"<testsuites>{suite}</testsuites>")


def test_a_row_takes_the_place_of_the_one_of_the_same_run() -> None:
    other = ("3.13.5", *ROW[1:])
    text = with_row(with_row(MARKED, ROW), other)

    text = with_row(text, (*ROW[:4], "21", "0", "0", "29"))

    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert lines[2:] == [
        "| 3.13.5 | 4.3.6 | 17.12 | database | 20 | 0 | 1 | 30 |",
        "| 3.14.8 | 4.3.6 | 17.12 | database | 21 | 0 | 0 | 29 |",
    ]
    assert text.startswith("before")
    assert text.endswith("after\n")
