"""Reading the files of a logbook: what is in them, and what comes."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from ops.logs.lines import Line, parse_line


class LogFollower:
    """Reads all programs' files, each line once, through rotations and restarts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _File] = {}

    def history(self) -> list[Line]:
        """Give what has been rotated out, and all that is there now, by time."""
        old = []
        for path in sorted(self._folder.glob("*.log.1")):
            with path.open("rb") as file:
                old += list(_File(path.name.removesuffix(".log.1"), file).lines())
        return sorted([*old, *self.new()], key=lambda line: line.time)

    def new(self) -> list[Line]:
        """Give what has come since the last time, by time."""
        found: list[Line] = []
        for path in sorted(self._folder.glob("*.log")):
            program = path.name.removesuffix(".log")
            file = self._open.get(program)
            if file is not None:
                found += file.lines()  # of one that has been rotated out, too: to its end
            if file is None or not file.is_at(path):
                self._reopen(program, path)
                found += self._open[program].lines()
        return sorted(found, key=lambda line: line.time)

    def close(self) -> None:
        for file in self._open.values():
            file.close()

    def _reopen(self, program: str, path: Path) -> None:
        if program in self._open:
            self._open[program].close()
        self._open[program] = _File(program, path.open("rb"))


class _File:
    """One file, read as far as whole lines go."""

    def __init__(self, program: str, file: IO[bytes]) -> None:
        self._program = program
        self._file = file
        self._last = ""

    def is_at(self, path: Path) -> bool:
        return path.exists() and path.stat().st_ino == _inode(self._file)

    def lines(self) -> Iterator[Line]:
        while (text := self._file.readline()).endswith(b"\n"):
            line = parse_line(self._program, text.rstrip(b"\n"), before=self._last)
            self._last = line.time
            yield line
        self._file.seek(-len(text), 1)  # half a line: the rest is still to come

    def close(self) -> None:
        self._file.close()


def _inode(file: IO[bytes]) -> int:
    return os.fstat(file.fileno()).st_ino
