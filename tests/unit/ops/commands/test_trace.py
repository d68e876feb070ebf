"""`postroad trace`: a tree from the lines of several processes."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ops.logs.writer import Logbook
from ops.state.folder import StateFolder

TRACE, EVENT_TRACE, JOB_TRACE = "a" * 32, "b" * 32, "c" * 32


def entry(event: str, second: float, **fields: object) -> bytes:
    time = f"2026-01-01T00:00:{second:09.6f}Z"
    line = {"event": event, "level": "info", "outcome": "ok", "time": time, "request_id": "r1"}
    return json.dumps(line | fields).encode() + b"\n"


HTTP = entry(
    "http", 1.2, service="bridge", method="POST", path="/products/sync",
    duration_ms=200.0, trace_id=TRACE,
)  # fmt: skip
REQUEST = entry(
    "request", 1.15, service="catalog", method="catalog.syncs.start", caller="bridge",
    duration_ms=100.0, queue_ms=20.0, upstream_ms=30.0, trace_id=TRACE,
)  # fmt: skip
NESTED = entry(
    "request", 1.1, service="auth", method="auth.sessions.get", caller="catalog",
    duration_ms=10.0, queue_ms=1.0, trace_id=TRACE, outcome="not_authenticated",
)  # fmt: skip
EVENT = entry(
    "work", 2.0, service="catalog", name="catalog.sync.requested", caller="catalog",
    duration_ms=50.0, attempt=1, trace_id=EVENT_TRACE, cause_trace_id=TRACE,
)  # fmt: skip
JOB = entry(
    "work", 3.0, service="catalog", name="catalog.pages.fetch", caller="catalog",
    duration_ms=50.0, attempt=2, trace_id=JOB_TRACE, cause_trace_id=EVENT_TRACE,
)  # fmt: skip
OTHER = entry(
    "http", 1.0, service="bridge", method="GET", path="/", duration_ms=1.0, trace_id="d" * 32,
    request_id="r2",
)  # fmt: skip


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path)
    state.programs_log_folder.parent.mkdir(parents=True)
    book = Logbook(state.programs_log_folder, lambda _: None)
    for program, line in (
        ("catalog_sync", JOB),
        ("catalog_sync", EVENT),
        ("auth_worker", NESTED),
        ("catalog_worker", b"Traceback: no line of a log\n"),
        ("catalog_worker", REQUEST),
        ("http_bridge", OTHER),
        ("http_bridge", HTTP),
    ):
        book.take(program, line)
    book.close()
    return state


def trace(*arguments: str, given: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "trace", *arguments],
        input=given,
        capture_output=True,
        timeout=30,
        check=False,
    )


def shape(step: dict[str, Any]) -> Any:
    """Leave nothing of a tree but names."""
    return {step["what"]: [shape(child) for child in step["children"]]}


@pytest.mark.parametrize("wanted", ["r1", TRACE, JOB_TRACE])
def test_each_step_is_below_the_one_that_caused_it(state: StateFolder, wanted: str) -> None:
    done = trace(wanted, "--json", "--state", str(state.folder))

    (root,) = json.loads(done.stdout)
    assert shape(root) == {
        "POST /products/sync": [
            {
                "catalog.syncs.start": [
                    {"auth.sessions.get": []},
                    {"catalog.sync.requested": [{"catalog.pages.fetch, attempt 2": []}]},
                ]
            }
        ]
    }
    request = root["children"][0]
    assert (request["queue_ms"], request["duration_ms"], request["upstream_ms"]) == (20, 100, 30)
    assert request["began_ms"] == pytest.approx(50)
    assert request["children"][0]["outcome"] == "not_authenticated"


def test_people_see_the_tree_with_a_bar_for_each_step(state: StateFolder) -> None:
    done = trace("r1", "--state", str(state.folder))

    first, *rows = done.stdout.decode().splitlines()
    assert TRACE in first
    assert "2000.0 ms" in first
    assert len(rows) == 5
    assert rows[0].startswith("http POST /products/sync ")
    assert rows[1].startswith("└─ request catalog.syncs.start ")
    assert rows[2].startswith("   ├─ request auth.sessions.get ")
    assert rows[1].endswith("100.0 ms  queue 20.0  upstream 30.0")
    assert all("█" in row for row in rows)
    assert len({row.index(" ms") for row in rows}) == 1


def test_a_log_of_another_place_is_read_from_standard_input() -> None:
    done = trace("r1", "--json", "--from", "-", given=REQUEST + b"no JSON\n" + HTTP)

    (root,) = json.loads(done.stdout)
    assert shape(root) == {"POST /products/sync": [{"catalog.syncs.start": []}]}


@pytest.mark.parametrize(
    "strange",
    [
        {"method": 7, "path": None, "duration_ms": "long"},
        {"duration_ms": 1.0},
        {"time": 5},
        {"time": "0001-01-01T00:00:00"},
        {"request_id": ["r1"], "trace_id": {}},
        {"name": 7, "attempt": "second"},
        {"name": [1], "upstream_ms": "slow", "queue_ms": 1e308},
    ],
    ids=str,
)
@pytest.mark.parametrize("event", ["http", "work"])
@pytest.mark.parametrize("form", [["--json"], []], ids=["json", "tree"])
def test_a_line_of_another_program_hides_nothing(
    event: str, strange: dict[str, object], form: list[str]
) -> None:
    done = trace("r1", *form, "--from", "-", given=entry(event, 1.0, **strange) + HTTP)

    assert done.stderr == b""
    assert b"POST /products/sync" in done.stdout


def test_steps_that_name_each_other_as_their_cause_are_shown_once() -> None:
    one, other = "e" * 32, "f" * 32
    lines = entry("work", 1.0, name="egg", trace_id=one, cause_trace_id=other) + entry(
        "work", 2.0, name="hen", trace_id=other, cause_trace_id=one
    )

    done = trace("r1", "--json", "--from", "-", given=lines)

    (root,) = json.loads(done.stdout)
    assert shape(root) == {"hen": [{"egg": []}]}


def test_a_step_whose_cause_is_not_in_the_log_stands_by_itself() -> None:
    done = trace("r1", "--json", "--from", "-", given=JOB + REQUEST)

    assert len(json.loads(done.stdout)) == 2


def test_it_says_so_when_nothing_is_found(state: StateFolder) -> None:
    done = trace("nobody", "--state", str(state.folder))

    assert done.returncode == 1
    assert b"no line of a log has the request id" in done.stderr
    assert done.stdout == b""


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    done = trace("r1", "--from", str(tmp_path / "nothing.log"))

    assert done.returncode == 1
    assert b"nothing.log" in done.stderr
