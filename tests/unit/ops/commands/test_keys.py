"""`postroad keys rotate` that is called wrongly, or cannot be finished."""

import resource
from pathlib import Path

import pytest

from ops.commands.dispatch import run_command
from ops.state.folder import StateFolder


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    assert run_command(["provision", "--state", str(tmp_path / "state")]) == 0
    return StateFolder(tmp_path / "state")


def contents(state: StateFolder) -> dict[Path, bytes]:
    files = [*state.folder.glob("services/*/identity.json"), state.trust_file]
    return {file: file.read_bytes() for file in files}


def test_no_key_is_changed_when_one_cannot_be_read(state: StateFolder) -> None:
    state.identity_file("catalog").unlink()
    before = contents(state)

    assert run_command(["keys", "rotate", "--state", str(state.folder)]) == 1
    assert contents(state) == before


def test_no_key_is_changed_when_the_disk_has_no_room_to_tell_others(state: StateFolder) -> None:
    before = contents(state)
    room = len(before[state.trust_file])  # for the new keys, but not for all that others know
    was, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, most))
    try:
        status = run_command(["keys", "rotate", "bridge", "--state", str(state.folder)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (was, most))

    assert status == 1
    assert contents(state) == before


@pytest.mark.parametrize("lead", ["nan", "inf", "1e300", "-1", "soon"])
def test_a_lead_that_is_no_time_is_refused(state: StateFolder, lead: str) -> None:
    before = contents(state)

    with pytest.raises(SystemExit, match="2"):
        run_command(["keys", "rotate", f"--lead={lead}", "--state", str(state.folder)])
    assert contents(state) == before
