"""State folders that somebody else made, or could reach into."""

import os
import stat
from pathlib import Path

import pytest

from ops.state.folder import StateError, StateFolder


def test_a_folder_of_another_user_is_refused_and_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o755)
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: -1)
    state = StateFolder(tmp_path)

    for use in (state.changing(), state.held("http://127.0.0.1:8000")):
        with pytest.raises(StateError, match="belongs to another user"), use:
            pass
    with pytest.raises(StateError, match="belongs to another user"):
        state.running()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
@pytest.mark.parametrize("planted", ["trust", "services/auth", "broker/advanced.config"])
def test_what_another_user_put_into_the_folder_is_refused(tmp_path: Path, planted: str) -> None:
    (tmp_path / planted).mkdir(parents=True)
    os.chown(tmp_path / planted, 65534, -1)
    tmp_path.chmod(0o777)
    state = StateFolder(tmp_path)

    for use in (state.changing(), state.held("http://127.0.0.1:8000")):
        with pytest.raises(StateError, match=f"{planted} belongs to another user"), use:
            pass
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to other users")
def test_a_folder_to_which_another_user_s_link_leads_is_refused_and_left(tmp_path: Path) -> None:
    system = tmp_path / "etc"
    system.mkdir()
    system.chmod(0o755)
    (tmp_path / "theirs").symlink_to(system)
    os.lchown(tmp_path / "theirs", 65534, -1)
    (tmp_path / "ours").symlink_to("theirs")

    for name in ("theirs", "ours", "theirs/state"):
        state = StateFolder(tmp_path / name)
        with pytest.raises(StateError, match="theirs is a link of another user"), state.changing():
            pass
    assert list(system.iterdir()) == []
    assert stat.S_IMODE(system.stat().st_mode) == 0o755


def test_parents_that_are_made_are_closed_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        with StateFolder(tmp_path / "a" / "b" / "state").changing():
            pass
    finally:
        os.umask(before)

    for made in ("a", "a/b", "a/b/state"):
        assert stat.S_IMODE((tmp_path / made).stat().st_mode) == 0o700


def test_links_that_lead_in_a_circle_are_one_sentence(tmp_path: Path) -> None:
    link = tmp_path / "loop"
    link.symlink_to(link)

    with pytest.raises(StateError, match="loop"), StateFolder(link).changing():
        pass
