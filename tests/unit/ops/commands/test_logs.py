"""`postroad logs`: which lines, and how they look."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ops.logs.writer import Logbook
from ops.state.folder import StateFolder
from ops.terminal.interrupts import INTERRUPTED
from postroad.testing import eventually


def entry(event: str, *, ago_s: float = 0.0, **fields: object) -> bytes:
    moment = (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat()
    return json.dumps({"event": event, "level": "info", "time": moment} | fields).encode() + b"\n"


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path)


@pytest.fixture
def book(state: StateFolder) -> Iterator[Logbook]:
    state.programs_log_folder.parent.mkdir(parents=True)
    with closing(Logbook(state.programs_log_folder, lambda _: None)) as book:
        yield book


def logs(state: StateFolder, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "ops.cli", "logs", *arguments, "--state", str(state.folder)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def shown(state: StateFolder, *arguments: str) -> list[dict[str, Any]]:
    done = logs(state, "--no-follow", "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("arguments", "events"),
    [
        ([], ["b", "c", "d"]),
        (["--since", "1h"], ["a", "b", "c", "d"]),
        (["--since", "999999d"], ["a", "b", "c", "d"]),  # before there was a calendar
        (["--level", "warning"], ["c"]),
        (["--service", "http_bridge"], ["d"]),
        (["--service", "catalog"], ["b", "c"]),
        (["--request-id", "r1"], ["a", "d"]),  # however old
        (["--request-id", "r1", "--since", "10m"], ["d"]),
    ],
)
def test_only_what_is_wanted_is_shown(
    state: StateFolder, book: Logbook, arguments: list[str], events: list[str]
) -> None:
    book.take("catalog_worker", entry("a", ago_s=1800, request_id="r1"))
    book.take("catalog_worker", entry("b", ago_s=3, service="catalog"))
    book.take("catalog_worker", entry("c", ago_s=2, service="catalog", level="error"))
    book.take("http_bridge", entry("d", ago_s=1, request_id="r1"))

    assert [line["event"] for line in shown(state, *arguments)] == events


def test_people_see_text_and_no_colours_where_there_is_no_terminal(
    state: StateFolder, book: Logbook
) -> None:
    book.take("http_bridge", entry("http", service="bridge", status=200))
    book.take("http_bridge", b"Traceback: it broke\n")

    lines = logs(state, "--no-follow").stdout.splitlines()

    assert len(lines) == 2
    assert "bridge" in lines[0]
    assert "status=200" in lines[0]
    assert lines[1] == "Traceback: it broke"
    assert "\x1b" not in "".join(lines)


async def test_what_comes_is_shown_until_it_is_interrupted(
    state: StateFolder, book: Logbook
) -> None:
    book.take("http_bridge", entry("before"))
    with state.held("tests"), following(state, "--json") as (process, output):
        await eventually(lambda: b'"before"' in output.read_bytes(), timeout_s=30)

        book.take("auth_worker", entry("after"))  # of a program that had not logged so far

        await eventually(lambda: b'"after"' in output.read_bytes(), timeout_s=30)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == INTERRUPTED
    assert b"Traceback" not in output.read_bytes()


@pytest.mark.parametrize(
    ("arguments", "remark"),
    [
        (["--request-id", "nope"], "no lines of request nope; waiting for some, until Ctrl-C"),
        (["--request-id", "r1"], "waiting for more lines of request r1, until Ctrl-C"),
        (
            ["--service", "catalog_sync", "--level", "error", "--request-id", "r1"],
            "no lines of request r1 of catalog_sync of level error or worse; waiting for some, ",
        ),
    ],
)
async def test_who_waits_for_some_lines_only_is_told_for_which(
    state: StateFolder, book: Logbook, arguments: list[str], remark: str
) -> None:
    book.take("http_bridge", entry("before", request_id="r1"))

    with state.held("tests"), following(state, *arguments) as (_, output):
        await eventually(lambda: f"postroad: {remark}" in output.read_text(), timeout_s=30)


@pytest.mark.parametrize(
    ("arguments", "remark"),
    [
        (["--request-id", "nope"], r"no lines of request nope"),
        (["--since", "5m"], r"no lines since 20\d\d-.*; --since looks further back"),
    ],
)
def test_where_there_is_nothing_to_show_that_is_said(
    state: StateFolder, book: Logbook, arguments: list[str], remark: str
) -> None:
    book.take("http_bridge", entry("before", ago_s=1800))

    done = logs(state, "--no-follow", *arguments)

    assert (done.returncode, done.stdout) == (0, "")
    assert re.fullmatch(f"postroad: {remark}\n", done.stderr)


@pytest.mark.parametrize("more", [[], ["--no-follow"]])
def test_a_service_that_is_none_is_refused_with_those_there_are(
    state: StateFolder, book: Logbook, more: list[str]
) -> None:
    book.take("shop_worker", entry("before", service="shop"))

    with state.held("tests"):
        done = logs(state, "--service", "nope", *more)

    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        "postroad: no program or service nope; there are auth, auth_audit, auth_worker, bridge, "
        "catalog, catalog_sync, catalog_worker, http_bridge, postroad, shop, shop_worker\n"
    )


def test_a_program_that_has_not_logged_yet_is_none_the_less_there(
    state: StateFolder, book: Logbook
) -> None:
    book.take("http_bridge", entry("before"))

    done = logs(state, "--service", "catalog_sync", "--no-follow")

    assert done.returncode == 0
    assert "no lines of catalog_sync since" in done.stderr


def test_a_reader_that_has_seen_enough_is_no_error(state: StateFolder, book: Logbook) -> None:
    for _ in range(5000):
        book.take("http_bridge", entry("line"))
    command = f"{sys.executable} -m ops.cli logs --no-follow --state {state.folder} | head -1"

    done = subprocess.run(["sh", "-c", command], capture_output=True, timeout=30, check=True)

    assert done.stdout.count(b"\n") == 1
    assert done.stderr == b""


def test_it_says_so_when_nothing_runs(state: StateFolder, book: Logbook) -> None:
    book.take("http_bridge", entry("before"))

    done = logs(state)

    assert done.returncode == 1
    assert "nothing runs" in done.stderr
    assert "--no-follow" in done.stderr


def test_it_says_so_when_nothing_was_ever_logged(state: StateFolder) -> None:
    done = logs(state, "--no-follow")

    assert done.returncode == 1
    assert "nothing has been logged" in done.stderr


def test_a_time_that_is_none_is_refused_in_one_sentence(state: StateFolder) -> None:
    done = logs(state, "--since", "yesterday")

    assert done.returncode == 2
    assert "write 30s, 10m, 2h or 1d" in done.stderr


@contextmanager
def following(
    state: StateFolder, *arguments: str
) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    output = state.folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "ops.cli", "logs", *arguments, "--state", str(state.folder)],
            stdout=file,
            stderr=subprocess.STDOUT,
            env=dict(os.environ),
        )
    try:
        yield process, output
    finally:
        process.kill()
        process.wait()
