"""``postroad users``, as somebody types it."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from auth_worker.audit.trail import AuditTrail, Entry
from auth_worker.tables import SCHEMA, users
from ops.commands.dispatch import run_command
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from tests.support.auth import PASSWORD, WRONG, AuthUnderTest, rows

Command = Callable[..., int]


@pytest.fixture
def command(database: Database, monkeypatch: pytest.MonkeyPatch, database_url: str) -> Command:
    """Run a subcommand on the database under test, with what is given on standard input."""
    cheap = {"TIME_COST": "1", "MEMORY_KIB": "64", "PARALLELISM": "1"}
    for name, value in cheap.items():
        monkeypatch.setenv(f"AUTH_ARGON2_{name}", value)
    monkeypatch.setenv("AUTH_DATABASE_URL", database_url)

    def users_command(*arguments: str, stdin: str = "") -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return run_command(["users", *arguments])

    return users_command


def test_a_user_who_is_added_can_sign_in(auth: AuthUnderTest, command: Command) -> None:
    status = command(
        "add", "reader", "--role", "operator", "--password-stdin", stdin=f"{PASSWORD}\n"
    )

    assert status == 0
    assert auth.access_token(auth.sign_in("reader")).scopes == {
        "catalog:read",
        "catalog:sync",
        "operations:read",
    }


def test_a_password_is_the_same_from_a_terminal_and_from_a_browser(
    auth: AuthUnderTest, command: Command
) -> None:
    command("add", "reader", "--password-stdin", stdin="cafe\u0301\u00a0noir\n")

    assert auth.sign_in("reader", "caf\u00e9 noir").access_token


def test_users_are_listed_with_roles_and_state(
    auth: AuthUnderTest, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    auth.add_user("reader", roles=("admin",))
    auth.add_user("writer")
    command("disable", "writer")
    capsys.readouterr()

    assert command("list") == 0

    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["1", "reader", "admin"], ["2", "writer", "user", "(disabled)"]]


def test_the_history_says_in_a_line_each_what_happened(
    auth: AuthUnderTest, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    auth.add_user("reader")
    trail = AuditTrail(auth.database)
    network = "192.0.2.0/24"
    trail.add("1", Entry(at=0.0, what="auth.login.succeeded", user_id=1, client_network=network))
    trail.add("2", Entry(at=61.5, what="auth.session.revoked", user_id=1, reason="signed_out"))
    failure = Entry(
        at=86_400.0, what="auth.login.failed", reason="unknown_user", client_network=network
    )
    trail.add("3", failure)

    assert command("history", "reader") == 0
    of_one = capsys.readouterr().out.splitlines()
    assert command("history", "--limit", "1") == 0
    newest = capsys.readouterr().out.splitlines()

    assert of_one == [
        "1970-01-01 00:01:01  reader  session ended (signed out)",
        "1970-01-01 00:00:00  reader  signed in from 192.0.2.0/24",
    ]
    assert newest == ["1970-01-02 00:00:00  -  failed to sign in (unknown user) from 192.0.2.0/24"]
    assert command("history", "nobody") == 1
    assert "no user nobody" in capsys.readouterr().err


def test_disabling_enabling_and_a_new_password_are_told_in_a_sentence(
    auth: AuthUnderTest, command: Command, capsys: pytest.CaptureFixture[str]
) -> None:
    auth.add_user("reader")
    auth.sign_in("reader")

    assert command("disable", "reader") == 0
    assert command("enable", "reader") == 0
    assert command("set-password", "reader", "--password-stdin", stdin="another one\n") == 0

    assert capsys.readouterr().out.splitlines() == [
        "disabled reader, and ended 1 session",
        "enabled reader",
        "set the password of reader, and ended no sessions",
    ]
    assert auth.sign_in("reader", "another one").access_token


def test_a_file_is_imported(
    auth: AuthUnderTest, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "users.json"
    file.write_text(json.dumps([{"id": 3, "username": "ann", "password": PASSWORD}]))

    assert command("import", str(file)) == 0

    assert capsys.readouterr().out.startswith("added 1 of 1 users\n")
    assert auth.sign_in("ann").user_id == 3


@pytest.mark.parametrize(
    "mistake",
    [
        (["add", "reader", "--password-stdin"], WRONG, "there is a user reader"),
        (["add", "b\x07b", "--password-stdin"], WRONG, "invisible"),
        (["add", "writer", "--password-stdin"], "", "a password has 1 to 1000 characters"),
        (["add", "writer", "--password-stdin"], "x" * 1001, "a password has 1 to 1000 characters"),
        (["add", "writer", "--password-stdin"], "a\tb", "no control characters"),
        (["set-password", "reader", "--password-stdin"], "a\tb", "no control characters"),
        (["add", "writer", "--password-stdin"], "seven!!", "at least 8 characters"),
        (["set-password", "reader", "--password-stdin"], "password", "most common"),
        (["add", "writer"], WRONG, "--password-stdin"),
        (["disable", "nobody"], "", "no user nobody"),
        (["set-password", "nobody", "--password-stdin"], WRONG, "no user nobody"),
        (["import", "/nowhere/users.json"], "", "cannot read /nowhere/users.json"),
        (["list", "--database", "mysql://u:pw@h/d"], "", "postgresql://"),
        (["list", "--database", "postgresql://u:pw@127.0.0.1:1/d"], "", "is away"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_sentence(
    auth: AuthUnderTest,
    command: Command,
    capsys: pytest.CaptureFixture[str],
    mistake: tuple[list[str], str, str],
) -> None:
    arguments, stdin, said = mistake
    auth.add_user("reader")
    before = rows(auth.database, users)

    status = command(*arguments, stdin=stdin)

    printed = capsys.readouterr()
    assert status == 1
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1
    assert said in printed.err
    assert "pw" not in printed.err
    assert rows(auth.database, users) == before


def test_a_password_is_asked_for_twice_and_not_shown(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'users.db'}"
    migrate(url, SCHEMA)

    same = _type_into(url, "add", "reader", lines=[PASSWORD, PASSWORD])
    different = _type_into(url, "add", "writer", lines=[PASSWORD, WRONG])

    assert "added reader" in same
    assert "the two passwords differ" in different
    assert PASSWORD not in same + different
    with closing(Database(url)) as database:
        assert [row.username for row in rows(database, users)] == ["reader"]


def _type_into(url: str, *arguments: str, lines: list[str]) -> str:
    """Run the command in a terminal, answer what it asks, and give what the terminal shows."""
    controller, terminal = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "ops.cli", "users", *arguments],
        env=os.environ | {"AUTH_DATABASE_URL": url, "AUTH_ARGON2_MEMORY_KIB": "64"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    shown = b""
    for prompt, line in zip((b"Password of", b"Once more"), lines, strict=True):
        while prompt not in shown or not shown.endswith(b": "):
            shown += os.read(controller, 1024)
        os.write(controller, f"{line}\n".encode())
    while chunk := _read(controller):
        shown += chunk
    process.wait(30)
    os.close(controller)
    return shown.decode()


def _read(controller: int) -> bytes:
    try:
        return os.read(controller, 1024)
    except OSError:  # nobody has the terminal open any more
        return b""


def test_without_a_database_it_says_how_to_get_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AUTH_DATABASE_URL", raising=False)

    status = run_command(["users", "list", "--state", str(tmp_path)])

    assert status == 1
    assert "postroad up" in capsys.readouterr().err


def test_no_option_takes_a_password() -> None:
    with pytest.raises(SystemExit):
        run_command(["users", "add", "reader", "--password", PASSWORD])
    with pytest.raises(SystemExit):
        run_command(["users", "add", "reader", "--password-stdin", PASSWORD])
