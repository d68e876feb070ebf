"""Files that no crash leaves half-written."""

import os
import stat
from pathlib import Path

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
