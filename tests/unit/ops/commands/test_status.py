"""What `postroad status` prints."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.commands.status_view import Queue, Status, page
from ops.local.broker import PrivateBroker
from ops.local.running import addresses
from ops.scaling.report import Change, ProgramReport, Report, read_report
from ops.state.folder import StateError, StateFolder

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
REPORT = Report(
    programs={
        "upstream": ProgramReport(wanted=1, pids=[7], draining=0, crashes=0),
        "catalog_worker": ProgramReport(
            wanted=3, pids=[8, 12], draining=1, crashes=2, least=1, most=8
        ),
        "catalog_sync": ProgramReport(wanted=0, pids=[], draining=0, crashes=0, least=0, most=4),
    },
    changes=[
        Change(at=NOON, program="catalog_worker", before=1, after=3, reason="the queue is deep")
    ],
)
STATUS = Status(
    http="http://127.0.0.1:8000",
    pages="http://127.0.0.1:20001",
    password_file="/here/scaler/broker.password",
    queues=[
        Queue("rpc.catalog", ready=60, unacked=5, in_per_s=12.34, out_per_s=4.0, consumers=2),
        Queue("dead.rpc.catalog", ready=1, unacked=0, in_per_s=0.0, out_per_s=0.0, consumers=0),
    ],
    report=REPORT,
)
PAGE = f"""\
Postroad at http://127.0.0.1:8000
RabbitMQ's own pages: http://127.0.0.1:20001 as scaler, password in /here/scaler/broker.password

QUEUE             READY  UNACKED  IN/S  OUT/S  CONSUMERS
rpc.catalog          60        5  12.3    4.0          2
dead.rpc.catalog      1        0   0.0    0.0          0

PROGRAM         RUNNING  WANTED    OF  DRAINING  CRASHES  PIDS
upstream              1       1     -         0        0  7
catalog_worker        2       3  1..8         1        2  8 12
catalog_sync          0       0  0..4         0        0  -

SCALED AT  PROGRAM         FROM, TO  WHY
{NOON.astimezone():%H:%M:%S}   catalog_worker  1 -> 3    the queue is deep"""


def run_status(*arguments: str) -> int:
    return run_command(["status", *arguments])


def test_the_page_shows_queues_processes_and_decisions() -> None:
    assert page(STATUS, colours=False) == PAGE


def test_colours_mark_headings_dead_letters_and_what_does_not_run() -> None:
    lines = page(STATUS, colours=True).splitlines()

    marked = [line for line in lines if line.startswith("\x1b[")]
    assert [line.split("m", 1)[1].split()[0] for line in marked] == [
        *("QUEUE", "dead.rpc.catalog", "PROGRAM", "catalog_worker", "SCALED"),
    ]
    assert all(line.endswith("\x1b[0m") for line in marked)


def test_before_the_first_decision_the_page_says_so() -> None:
    quiet = Status("", "", "", [], Report(programs=REPORT.programs, changes=[]))

    assert page(quiet, colours=False).endswith("\nNothing has been scaled yet.")


def test_a_rate_that_is_not_known_yet_is_no_number() -> None:
    queue = Queue("rpc.auth", ready=1, unacked=2, in_per_s=None, out_per_s=None, consumers=3)

    lines = page(Status("", "", "", [queue], REPORT), colours=False).splitlines()

    assert [line.split() for line in lines if line.startswith("rpc.auth")] == [
        ["rpc.auth", "1", "2", "-", "-", "3"]
    ]


def test_a_broker_that_does_not_answer_is_named_in_place_of_its_queues() -> None:
    silent = Status("", "", "", [], REPORT, problem="the broker does not say")

    text = page(silent, colours=False)

    assert "\nthe broker does not say\n" in text
    assert "QUEUE" not in text
    assert "catalog_worker" in text


def test_processes_that_nobody_reports_are_said_to_be_unknown() -> None:
    unknown = Status("", "", "", [], None)

    assert "Its processes are unknown" in page(unknown, colours=False)


def test_where_nothing_runs_the_command_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exit_status = run_status("--state", str(tmp_path))

    assert exit_status == 1
    assert capsys.readouterr().err == (
        f"postroad: nothing runs on {tmp_path}; start it with 'postroad up'\n"
    )


def test_a_broker_that_starts_again_is_told_from_a_system_that_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = StateFolder(tmp_path)
    broker = PrivateBroker(state.broker_folder)  # it does not listen
    with state.held("http://127.0.0.1:8000"):
        state.write_running(addresses("http://127.0.0.1:8000", broker))
        state.write_scaling(REPORT.model_dump_json())

        exit_status = run_status("--state", str(tmp_path))

    printed = capsys.readouterr()
    assert exit_status == 1
    assert "\nthe broker is away; it is being started again (" in printed.out
    assert "catalog_worker" in printed.out
    assert "postroad up" not in printed.out + printed.err


def test_a_system_that_has_only_begun_is_told_from_one_that_has_ended(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with StateFolder(tmp_path).held("http://127.0.0.1:8000"):
        exit_status = run_status("--state", str(tmp_path))

    complaint = capsys.readouterr().err
    assert exit_status == 1
    assert complaint.startswith("postroad: http://127.0.0.1:8000 (process ")
    assert complaint.endswith(f"is at work on {tmp_path}, but not up yet; try again in a moment\n")


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)

    state.write_scaling(REPORT.model_dump_json())

    assert read_report(state) == REPORT


def test_a_broken_report_is_named(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    state.write_scaling('{"programs": 1}')

    with pytest.raises(StateError, match=r"scaling\.json is broken"):
        read_report(state)


def test_the_report_goes_when_the_system_stops(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)

    with state.held("http://127.0.0.1:8000"):
        state.write_scaling(REPORT.model_dump_json())

    assert read_report(state) is None
