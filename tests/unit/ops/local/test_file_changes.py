"""Which files change, in folders that come and go."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ops.local.file_changes import Changes

INTERVAL_S = 0.05
DEADLINE_S = 10.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "worker"
    (folder / "rooms").mkdir(parents=True)
    (folder / "handlers.py").write_text("a = 1\n")
    (folder / "rooms" / "store.py").write_text("b = 1\n")
    return folder


def watch(folder: Path) -> AsyncIterator[set[Path]]:
    return aiter(Changes(lambda: [folder], interval_s=INTERVAL_S))


async def following(seen: AsyncIterator[set[Path]]) -> set[Path]:
    return await asyncio.wait_for(anext(seen), DEADLINE_S)


async def test_a_file_that_is_changed_made_or_deleted_is_seen(folder: Path) -> None:
    seen = watch(folder)

    (folder / "handlers.py").write_text("a = 2 + 2\n")
    assert await following(seen) == {folder / "handlers.py"}
    (folder / "rooms" / "new.py").touch()
    assert await following(seen) == {folder / "rooms" / "new.py"}
    (folder / "rooms" / "store.py").unlink()
    assert await following(seen) == {folder / "rooms" / "store.py"}


async def test_what_changed_before_anybody_asked_is_seen(folder: Path) -> None:
    changes = Changes(lambda: [folder], interval_s=INTERVAL_S)
    (folder / "handlers.py").write_text("a = 2 + 2\n")

    assert await following(aiter(changes)) == {folder / "handlers.py"}


async def test_files_written_one_soon_after_the_other_are_one_change(folder: Path) -> None:
    files = [folder / f"part_{number}.py" for number in range(8)]
    seen = watch(folder)

    async def write() -> None:
        for file in files:
            file.touch()
            await asyncio.sleep(INTERVAL_S / 4)

    writing = asyncio.create_task(write())
    changed = await following(seen)
    await writing

    assert changed == set(files)


@pytest.mark.parametrize("name", [".handlers.py.swp", "4913", "handlers.py~", "a.tmp", "#a.py#"])
async def test_what_an_editor_puts_beside_a_file_is_no_change(folder: Path, name: str) -> None:
    seen = watch(folder)
    (folder / name).touch()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "handlers.cpython-311.pyc").touch()
    (folder / "last.py").touch()

    assert await following(seen) == {folder / "last.py"}


async def test_a_folder_that_comes_later_is_seen(tmp_path: Path, folder: Path) -> None:
    seen = aiter(Changes(lambda: tmp_path.glob("*/"), interval_s=INTERVAL_S))

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "service.toml").touch()

    assert await following(seen) == {tmp_path / "other" / "service.toml"}


async def test_a_file_put_back_as_it_was_is_no_change(folder: Path) -> None:
    file = folder / "handlers.py"
    before = file.stat()
    seen = watch(folder)
    file.write_text("a = 2 + 2\n")
    file.write_text("a = 1\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    (folder / "last.py").touch()

    assert await following(seen) == {folder / "last.py"}
