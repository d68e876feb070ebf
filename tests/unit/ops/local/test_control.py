"""Asking a running system by a socket in its folder."""

import asyncio
from pathlib import Path

import pytest

from ops.local import control
from ops.local.control import Message


async def repeat(request: Message) -> Message:
    return {"asked": request}


async def test_a_request_is_answered_over_and_over(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async with control.listening(path, repeat):
        answers = [await asyncio.to_thread(control.ask, path, {"n": n}) for n in range(3)]
        mode = path.stat().st_mode & 0o777

    assert answers == [{"asked": {"n": n}} for n in range(3)]
    assert mode == 0o600
    assert not path.exists()


async def test_a_folder_may_be_deeper_than_the_name_of_a_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("a" * 100) / ("b" * 100)
    folder.mkdir(parents=True)
    path = folder / "control.sock"

    async with control.listening(path, repeat):
        assert await asyncio.to_thread(control.ask, path, {}) == {"asked": {}}


async def test_what_a_run_that_was_killed_left_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    path.touch()

    async with control.listening(path, repeat):
        assert await asyncio.to_thread(control.ask, path, {}) == {"asked": {}}


def test_nobody_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        control.ask(tmp_path / "control.sock", {})


async def test_one_who_leaves_before_the_answer_disturbs_nobody(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"

    async with control.listening(path, repeat):
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(b"\xff not JSON\n")
        writer.close()
        assert await asyncio.to_thread(control.ask, path, {}) == {"asked": {}}
