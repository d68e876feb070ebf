"""Arguments that several commands take."""

from argparse import ArgumentParser
from pathlib import Path

from ops.state.folder import default_folder


def add_state_argument(
    parser: ArgumentParser, what: str = "the folder of the running system"
) -> None:
    """Let a command be told which state folder it is about."""
    parser.add_argument(
        "--state", type=Path, default=default_folder(), help=f"{what} (%(default)s)"
    )
