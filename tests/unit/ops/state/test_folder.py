"""The state folder: what it keeps, and what it says when it is broken."""

import fcntl
import json
import os
import stat
from functools import partial
from pathlib import Path

import pytest

from ops.state.credentials import identity
from ops.state.folder import StateError, StateFolder

ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A state folder with keys and a password in it, left by an earlier run."""
    state = StateFolder(tmp_path / "state")
    with state.held(ADDRESS):
        identity(state, "auth")
        state.password("auth")
    return state.folder


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_first_run_makes_the_folder_for_its_owner_only(folder: Path) -> None:
    assert mode(folder) == 0o700
    assert mode(folder / "services" / "auth" / "identity.json") == 0o600
    assert mode(folder / "services" / "auth" / "broker.password") == 0o600


def test_a_folder_made_by_another_program_is_closed_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    with StateFolder(tmp_path).held(ADDRESS):
        assert mode(tmp_path) == 0o700


def test_the_next_run_has_the_same_keys_and_passwords(folder: Path) -> None:
    first, second = StateFolder(folder), StateFolder(folder)

    assert identity(first, "auth") == identity(second, "auth")
    assert first.password("auth") == second.password("auth")


def test_each_service_has_keys_and_a_password_of_its_own(folder: Path) -> None:
    state = StateFolder(folder)

    assert identity(state, "auth") != identity(state, "catalog")
    assert state.password("auth") != state.password("catalog")


def test_a_second_run_is_told_where_the_first_one_is(folder: Path) -> None:
    with (
        StateFolder(folder).held(ADDRESS),
        pytest.raises(StateError, match=f"already running: {ADDRESS} .process "),
        StateFolder(folder).held("http://127.0.0.1:8001"),
    ):
        pass


def test_a_run_after_the_first_one_ended_is_welcome(folder: Path) -> None:
    with StateFolder(folder).held(ADDRESS):
        pass
    with StateFolder(folder).held(ADDRESS), (folder / "lock").open() as lock:
        assert ADDRESS in lock.read()
        with pytest.raises(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_other_commands_learn_where_the_running_system_listens(folder: Path) -> None:
    state = StateFolder(folder)
    with state.held(ADDRESS):
        state.write_running({"http": ADDRESS, "amqp": "127.0.0.1:20000"})

        assert StateFolder(folder).running() == {"http": ADDRESS, "amqp": "127.0.0.1:20000"}
    assert StateFolder(folder).running() is None


def test_the_trust_bundle_is_written_whole(folder: Path) -> None:
    state = StateFolder(folder)

    state.write_trust({"services": {"auth": {}}})
    state.write_trust({"services": {}})

    assert json.loads(state.trust_file.read_text()) == {"services": {}}
    assert sorted(path.name for path in (folder / "trust").iterdir()) == ["trust.json"]


def test_a_file_where_the_folder_should_be_is_named(tmp_path: Path) -> None:
    path = tmp_path / "state"
    path.write_text("")

    with (
        pytest.raises(StateError, match=f"cannot use {path}.*--state"),
        StateFolder(path).held(ADDRESS),
    ):
        pass


@pytest.mark.parametrize("content", [b"", b'{"service": "auth", "ke', b"[]", b"\xff\xfe"])
def test_a_broken_identity_is_named(folder: Path, content: bytes) -> None:
    path = folder / "services" / "auth" / "identity.json"
    path.write_bytes(content)

    with pytest.raises(StateError, match=f"{path} is broken: .*mv {path} {path}.broken"):
        identity(StateFolder(folder), "auth")


def test_an_identity_of_another_service_is_refused(folder: Path) -> None:
    path = folder / "services" / "catalog" / "identity.json"
    path.parent.mkdir()
    (folder / "services" / "auth" / "identity.json").rename(path)

    with pytest.raises(StateError, match=f"{path} is broken: it holds the keys of auth"):
        identity(StateFolder(folder), "catalog")


@pytest.mark.parametrize("content", [b"", b"\n", b"\xff\xfe"])
def test_a_broken_password_is_named(folder: Path, content: bytes) -> None:
    path = folder / "services" / "auth" / "broker.password"
    path.write_bytes(content)

    with pytest.raises(StateError, match=f"{path} is broken"):
        StateFolder(folder).password("auth")


def test_a_folder_in_place_of_a_file_is_named(folder: Path) -> None:
    path = folder / "services" / "auth" / "broker.password"
    path.unlink()
    path.mkdir()

    with pytest.raises(StateError, match=f"cannot use {path}: Is a directory"):
        StateFolder(folder).password("auth")


def test_a_users_file_that_is_no_database_is_named(folder: Path) -> None:
    path = folder / "users.db"
    path.write_text("not a database")

    with (
        pytest.raises(StateError, match=f"{path} is broken: it is not an SQLite database"),
        StateFolder(folder).held(ADDRESS),
    ):
        pass


@pytest.mark.parametrize("content", ['{"http":', "", "[]"])
def test_a_broken_running_file_is_named(folder: Path, content: str) -> None:
    with StateFolder(folder).held(ADDRESS):
        (folder / "running.json").write_text(content)

        with pytest.raises(StateError, match=r"running\.json is broken"):
            StateFolder(folder).running()


@pytest.mark.parametrize("name", ["it's", "what?", "$HOME", 'a"b', "a\nb", "\udcff"])
def test_a_folder_in_which_nothing_can_run_is_refused_before_it_is_made(
    tmp_path: Path, name: str
) -> None:
    with (
        pytest.raises(StateError, match="choose another folder with --state"),
        StateFolder(tmp_path / name).held(ADDRESS),
    ):
        pass

    assert not (tmp_path / name).exists()


@pytest.mark.parametrize(
    "file",
    ["users.db", "revoked", "running.json", "services/auth/identity.json", "services/auth/tls"],
)
def test_no_advice_about_a_broken_file_costs_another(folder: Path, file: str) -> None:
    said = StateFolder(folder).broken(folder / file, "it is empty")

    assert "put a copy of it back" in said
    assert "remove" not in said
    assert "make clean" not in said


def test_a_password_that_postgresql_knows_too_is_not_just_made_anew(folder: Path) -> None:
    path = folder / "services" / "auth" / "database.password"
    path.write_text("")

    with pytest.raises(StateError, match="give the new one to PostgreSQL: ALTER ROLE"):
        StateFolder(folder).database_password("auth")


def test_who_runs_on_a_folder_is_named_for_as_long_as_they_do(folder: Path) -> None:
    state = StateFolder(folder)
    before = state.holder()

    with state.held(ADDRESS):
        held = StateFolder(folder).holder()

    assert (before, held) == (None, f"{ADDRESS} (process {os.getpid()})")
    assert state.holder() is None
    assert StateFolder(folder / "nowhere").holder() is None


def test_what_a_killed_run_left_is_not_taken_for_a_running_system(folder: Path) -> None:
    state = StateFolder(folder)
    state.write_running({"http": ADDRESS})

    assert state.running() is None
    with state.held(ADDRESS):  # the next one, which does not listen yet
        assert state.running() is None


def test_who_only_looks_keeps_nobody_from_running(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (folder / "lock").open() as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        stop_looking = partial(fcntl.flock, looking, fcntl.LOCK_UN)
        monkeypatch.setattr("ops.state.folder.time.sleep", lambda _: stop_looking())

        with StateFolder(folder).held(ADDRESS):
            pass
