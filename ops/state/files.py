"""Folders for their owner's eyes alone."""

from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder, and the parents that are missing, for us alone, whatever the umask."""
    for parent in reversed(path.parents):
        if not parent.exists():
            parent.mkdir(mode=0o700, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)
