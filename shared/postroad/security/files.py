"""Files for their owner's eyes alone, that no crash leaves half-written."""

import fcntl
import os
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TextIO


def write_private(path: Path, text: str, *, mode: int = 0o600) -> None:
    """Write a file whole or not at all: whoever reads it meanwhile sees the one before.

    It is on the disk before it takes the other's place; else there might be neither after the
    machine has lost its power (rename(2), fsync(2)).
    """
    write_private_together({path: text}, mode=mode)


def write_private_together(texts: Mapping[Path, str], *, mode: int = 0o600) -> None:
    """Write files as ``write_private`` does, in their order: where one has no room, none."""
    with ExitStack() as opened:
        for path, text in texts.items():
            file = opened.enter_context(_locked(_temporary(path)))
            os.fchmod(file.fileno(), mode)  # whatever the umask
            file.truncate()  # a crash may have left it
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        for path in texts:
            _temporary(path).replace(path)
    for path in texts:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _temporary(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def _locked(path: Path) -> TextIO:
    """Open a file that nobody else writes meanwhile; whoever did may have renamed or deleted it."""
    while True:
        file = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600), "w")
        fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        file.close()
