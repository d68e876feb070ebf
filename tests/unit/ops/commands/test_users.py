"""`postroad users` on a state folder: it sees those who can sign in to what runs there."""

import io
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from auth_worker.tables import SCHEMA, outbox
from auth_worker.users import UserStore
from ops.commands.dispatch import run_command
from ops.services import programs
from ops.state.folder import StateFolder
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.storage.outbox import Outbox

Users = Callable[..., int]
Captured = pytest.CaptureFixture[str]


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path / "state")


@pytest.fixture
def users(state: StateFolder, monkeypatch: pytest.MonkeyPatch) -> Users:
    """Run a subcommand on the folder, in an environment that says nothing."""
    for name in ("AUTH_DATABASE_URL", "POSTROAD_ENV"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TIME_COST": "1", "MEMORY_KIB": "64", "PARALLELISM": "1"}.items():
        monkeypatch.setenv(f"AUTH_ARGON2_{name}", value)

    def run(*arguments: str) -> int:
        monkeypatch.setattr(sys, "stdin", io.StringIO("a new password\n"))
        return run_command(["users", *arguments, "--state", str(state.folder)])

    return run


@pytest.fixture
def admin(state: StateFolder) -> None:
    """Make who can sign in after a plain `postroad up`."""
    with state.held("tests"):
        add(f"sqlite:///{state.users_file}", "admin", for_development=True)


def add(url: str, *names: str, for_development: bool = False) -> None:
    migrate(url, SCHEMA)
    with closing(Database(url)) as database:
        store = UserStore(database, Outbox(outbox), is_development=True)
        for name in names:
            store.add(name, "hash", for_development=for_development)


@pytest.mark.usefixtures("admin")
def test_who_can_sign_in_to_what_runs_is_listed_and_changed(users: Users, capsys: Captured) -> None:
    assert users("list") == 0
    assert capsys.readouterr().out == "     1  admin  user (development only)\n"

    for words, said in {
        ("disable", "admin"): "disabled admin",
        ("enable", "admin"): "enabled admin",
        ("set-password", "admin", "--password-stdin"): "set the password of admin",
        ("history", "admin"): "nothing has been noted of admin so far",
        ("history", "--limit", "9" * 20): "nothing has been noted so far",
    }.items():
        assert users(*words) == 0
        assert said in capsys.readouterr().out
    assert users("add", "admin", "--password-stdin") == 1
    assert capsys.readouterr().err == "postroad: there is a user admin\n"


@pytest.mark.usefixtures("admin")
def test_a_password_without_end_is_not_read_to_its_end(
    state: StateFolder, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    typed = io.StringIO("x" * 1_000_000)
    monkeypatch.setattr(sys, "stdin", typed)
    command = ["users", "set-password", "admin", "--password-stdin"]

    assert run_command([*command, "--state", str(state.folder)]) == 1
    assert "1 to 1000 characters; nothing was changed" in capsys.readouterr().err
    assert typed.tell() < 2000


@pytest.mark.usefixtures("admin")
def test_what_runs_comes_before_a_database_of_the_environment(
    state: StateFolder,
    users: Users,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Captured,
) -> None:
    url = f"sqlite:///{tmp_path / 'other.db'}"
    add(url, "reader")
    monkeypatch.setenv("AUTH_DATABASE_URL", url)

    with state.held("tests"):
        assert users("list") == 0
    running = capsys.readouterr().out
    assert users("list") == 0
    stopped = capsys.readouterr().out

    assert "admin" in running
    assert "reader" in stopped


@pytest.mark.usefixtures("admin")
def test_the_folders_database_is_known_by_whatever_path_it_is_named(
    state: StateFolder, users: Users, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(state.folder.parent)

    assert users("list", "--database", "sqlite:///state/users.db") == 0

    assert "admin" in capsys.readouterr().out


def test_an_empty_list_says_so_and_what_to_do(
    users: Users, tmp_path: Path, capsys: Captured
) -> None:
    url = f"sqlite:///{tmp_path / 'new.db'}"
    add(url)
    capsys.readouterr()

    assert users("list", "--database", url) == 0

    assert capsys.readouterr().out == (
        "nobody may sign in yet; add somebody with 'postroad users add NAME'\n"
    )


def test_a_name_that_is_taken_but_not_listed_is_explained(
    users: Users, tmp_path: Path, capsys: Captured
) -> None:
    url = f"sqlite:///{tmp_path / 'once-development.db'}"
    add(url, "admin", for_development=True)

    assert users("add", "admin", "--password-stdin", "--database", url) == 1

    assert capsys.readouterr().err == (
        "postroad: there is a user admin who is not listed: made for development, or by somebody "
        "else just now\n"
    )


def test_the_command_and_the_worker_are_in_the_same_environment(state: StateFolder) -> None:
    (auth, *_) = programs.programs(
        state, broker_address="127.0.0.1:1", upstream="", host="", port=1
    )

    assert programs.sign_in_environment(state).items() <= auth.env.items()
