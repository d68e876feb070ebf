"""What the programs of `postroad up` log: into a file for each, and on to the terminal."""

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

FILE_MAX_BYTES = 10 * 1024 * 1024  # then it becomes <program>.log.1, of which there is one


class Logbook:
    """Files of lines, one for each program, written by us alone: so none is lost between two."""

    def __init__(
        self,
        folder: Path,
        show: Callable[[bytes], None],
        *,
        file_max_bytes: int = FILE_MAX_BYTES,
    ) -> None:
        """``show`` is given all lines as well. Files are opened when there is something in them."""
        self._folder = folder
        self._show = show
        self._max_bytes = file_max_bytes
        self._files: dict[str, IO[bytes]] = {}

    def take(self, program: str, lines: bytes) -> None:
        """Keep whole lines, and show them; that a disk is full stops nobody."""
        with suppress(OSError):
            file = self._files.get(program) or self._open(program)
            file.write(lines)
            if file.tell() >= self._max_bytes:
                self._rotate(program)
        self._show(lines)

    def stream(self, program: str) -> io.RawIOBase:
        """Give something to write lines to."""
        return _Stream(self, program)

    def close(self) -> None:
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _open(self, program: str) -> IO[bytes]:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        file = (self._folder / f"{program}.log").open("ab", buffering=0)
        file.seek(0, io.SEEK_END)
        self._files[program] = file
        return file

    def _rotate(self, program: str) -> None:
        path = self._folder / f"{program}.log"
        self._files.pop(program).close()
        path.rename(path.with_suffix(".log.1"))


class _Stream(io.RawIOBase):
    def __init__(self, book: Logbook, program: str) -> None:
        self._book = book
        self._program = program

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]  # of all that a buffer may be
        self._book.take(self._program, bytes(data))
        return len(data)
