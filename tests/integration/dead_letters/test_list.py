"""Looking at dead letters on a running broker: `postroad dead-letters list` and `show`."""

import io
import json
import sys
from datetime import UTC, datetime

import pytest

from ops.commands.dispatch import run_command
from postroad.topology.names import QUARANTINE
from tests.integration.dead_letters.running import (
    DEAD_SYNC,
    Captured,
    Command,
    Running,
    sign_nothing,
)

pytestmark = pytest.mark.integration


def test_nothing_to_look_at_is_good_news(command: Command, capsys: Captured) -> None:
    assert command("list") == 0
    assert capsys.readouterr().out == "no dead letters: all is well\n"


def test_the_list_counts_letters_that_are_alike(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(3)
    running.bury(2, signed_at=1.0)
    running.bury(1, sender="auth")
    running.bury_request()

    assert command("list") == 0

    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[0] == ["QUEUE", "NAME", "REASON", "CALLER", "COUNT", "OLDEST", "NEWEST"]
    assert sorted(row[:5] for row in rows[1:]) == [
        ["dead.rpc.auth", "-", "unsigned", "bridge", "1"],
        ["dead.work.auth.audit", "auth.login.failed", "failed", "auth", "1"],
        ["dead.work.catalog.sync", "catalog.pages.fetch", "expired", "catalog", "2"],
        ["dead.work.catalog.sync", "catalog.pages.fetch", "failed", "catalog", "3"],
    ]


def test_looking_leaves_everything_where_it_is(
    running: Running, command: Command, capsys: Captured
) -> None:
    ids = running.bury(5)

    for _ in range(25):  # more often than RabbitMQ 4 delivers a message by default
        assert command("list", "--json") == 0
        seen = map(json.loads, capsys.readouterr().out.splitlines())
        assert {letter["id"] for letter in seen} == set(ids)

    left = running.take_all(DEAD_SYNC)
    assert {properties.message_id for properties, _ in left} == set(ids)


def test_letters_are_chosen_by_what_they_are(
    running: Running, command: Command, capsys: Captured
) -> None:
    running.bury(60)
    running.bury(40, signed_at=1.0)
    running.bury(1, signs=sign_nothing)
    running.bury(2, sender="auth")
    counts = {
        "": 103,
        "--queue work.catalog.sync": 101,
        "--queue dead.work.*": 103,
        "--queue quarantine": 0,
        "--name auth.login.*": 2,
        "--caller catalog": 101,
        "--reason expired": 40,
        "--reason failed --caller catalog": 60,
        "--reason unsigned": 1,
        "--older-than 1h": 0,
        "--newer-than 1h": 103,
        "--id nobody's": 0,
    }

    found = {}
    for arguments in counts:
        assert command("list", "--json", *arguments.split()) == 0
        found[arguments] = len(capsys.readouterr().out.splitlines())

    assert found == counts


def test_one_letter_is_shown_whole_but_for_secrets(
    running: Running, command: Command, capsys: Captured
) -> None:
    (message_id,) = running.bury()

    assert command("show", message_id) == 0

    shown = capsys.readouterr().out
    assert f"{message_id} in {DEAD_SYNC}, died " in shown
    assert "its handler failed for good" in shown
    assert "the service that signed" in shown
    assert '"sync_id": "s"' in shown
    assert "It can go back to work" in shown


def test_no_secret_is_shown(running: Running, command: Command, capsys: Captured) -> None:
    running.bury_request()

    assert command("show", "--n", "1") == 0

    shown = capsys.readouterr().out
    assert "Refused: unsigned" in shown
    assert '"username": "reader"' in shown
    assert "its caller has long gone" in shown
    for secret in ("xyzzy", "a.users.token", '"t"'):
        assert secret not in shown


def explained(running: Running, text: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Give `postroad explain` something to read."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    return run_command(["explain", "-", "--state", str(running.state.folder)])


@pytest.mark.parametrize("is_kept", [False, True])
def test_a_letter_as_json_is_what_explain_reads(
    running: Running,
    command: Command,
    capsys: Captured,
    monkeypatch: pytest.MonkeyPatch,
    is_kept: bool,
) -> None:
    (message_id,) = running.bury(headers={"since": datetime(2026, 1, 2, tzinfo=UTC)})
    if is_kept:
        assert command("quarantine", "--id", message_id, "--yes") == 0
        running.comes_to(QUARANTINE, 1)
        capsys.readouterr()

    assert command("show", message_id, "--json") == 0

    letter = capsys.readouterr().out
    assert explained(running, letter, monkeypatch) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("job for catalog")
    assert f"message id{' ' * 32}{message_id}" in shown
    assert "its handler failed for good" in shown


def test_a_refused_letter_as_json_is_refused_for_the_same_reason(
    running: Running, command: Command, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.bury(signed_at=1.0, body=b"\xff")

    assert command("show", "--n", "1", "--json") == 0

    assert explained(running, capsys.readouterr().out, monkeypatch) == 1
    assert "Refused: expired" in capsys.readouterr().out


def test_a_letter_as_json_is_not_shown_in_a_terminal(
    running: Running, command: Command, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    running.bury_request()
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)

    assert command("show", "--n", "1", "--json") == 1

    said = capsys.readouterr()
    assert said.out == ""
    assert "pipe it into 'postroad explain -'" in said.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("show", "--n", "1"), "there is no such dead letter"),
        (("show",), "which one?"),
        (("redrive", "some-id"), "take --id ID"),
        (("list", "--queue", "work.none.*"), "no queue of dead letters is like"),
    ],
)
def test_what_makes_no_sense_is_one_sentence(
    running: Running,
    command: Command,
    capsys: Captured,
    arguments: tuple[str, ...],
    complaint: str,
) -> None:
    assert command(*arguments) == 1

    err = capsys.readouterr().err
    assert err.startswith("postroad: ")
    assert complaint in err
    assert err.count("\n") == 1
