"""Folders for their owner's eyes alone."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_LINKS_MAX = 40  # path_resolution(7)


def make_folder(path: Path) -> None:
    """Make a folder, and the parents that are missing, for us alone, whatever the umask."""
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def find_link_of_others(path: Path) -> Path | None:
    """Find a link that is neither ours nor root's among those by which a path leads somewhere."""
    return next((link for link in _links(path) if _is_of_others(link)), None)


def find_of_others(folder: Path) -> Path | None:
    """Find something in a folder that is neither ours nor root's; links are not followed."""
    for place, folders, files in os.walk(folder):
        for path in (Path(place, name) for name in (*folders, *files)):
            with suppress(FileNotFoundError):  # deleted meanwhile
                if _is_of_others(path):
                    return path
    return None


def _links(path: Path, depth: int = 0) -> Iterator[Path]:
    for part in (*reversed(path.parents), path):
        if part.is_symlink() and depth < _LINKS_MAX:
            yield part
            yield from _links(part.parent / part.readlink(), depth + 1)


def _is_of_others(path: Path) -> bool:
    return path.lstat().st_uid not in (os.geteuid(), 0)
