"""Files that no crash leaves half-written."""

import os
import stat
from pathlib import Path
from threading import Thread

import pytest

from postroad.security.files import write_private


def test_a_file_is_on_the_disk_before_it_takes_the_other_s_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "key"
    path.write_text("before")
    done: list[tuple[str, str]] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        done.append(("on the disk", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def replacing(source: Path, target: Path) -> None:
        done.append(("replaced", path.read_text()))
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", replacing)

    write_private(path, "after")

    assert done == [
        ("on the disk", str(tmp_path / "key.new")),
        ("replaced", "before"),
        ("on the disk", str(tmp_path)),
    ]
    assert path.read_text() == "after"


def test_a_write_that_a_crash_cut_short_does_not_stop_the_next(tmp_path: Path) -> None:
    path = tmp_path / "key"
    (tmp_path / "key.new").write_text("half")

    write_private(path, "whole")

    assert path.read_text() == "whole"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_of_two_that_write_at_once_each_writes_the_whole_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = tmp_path / "key", []
    others = [Thread(target=write_private, args=(path, "the other's")) for _ in range(2)]
    fsync = os.fsync

    def while_others_begin(descriptor: int) -> None:
        monkeypatch.setattr(os, "fsync", fsync)
        for other in others:
            other.start()
        others[0].join(0.2)
        fsync(descriptor)

    def replacing(source: Path, target: Path) -> None:
        seen.append(source.read_text())
        replace(source, target)

    replace = os.replace
    monkeypatch.setattr(os, "fsync", while_others_begin)
    monkeypatch.setattr(os, "replace", replacing)

    write_private(path, "the first's, which is longer")
    for other in others:
        other.join()

    assert seen == ["the first's, which is longer", "the other's", "the other's"]
    assert [file.name for file in tmp_path.iterdir()] == ["key"]
