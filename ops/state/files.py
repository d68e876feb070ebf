"""Folders for their owner's eyes alone."""

from pathlib import Path


def make_folder(path: Path) -> None:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
