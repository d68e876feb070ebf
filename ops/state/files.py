"""Folders for their owner's eyes alone."""

import os
from contextlib import suppress
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder, and the parents that are missing, for us alone, whatever the umask."""
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def find_of_others(folder: Path) -> Path | None:
    """Find something in a folder that is neither ours nor root's; links are not followed."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            with suppress(FileNotFoundError):  # deleted meanwhile
                if path.lstat().st_uid not in (os.geteuid(), 0):
                    return path
    return None
