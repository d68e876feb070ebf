"""Arguments that several commands take."""

import sys
from argparse import ArgumentParser, ArgumentTypeError
from pathlib import Path

from ops.commands.errors import CommandError
from ops.state.folder import default_folder


def add_state_argument(
    parser: ArgumentParser, what: str = "the folder of the running system"
) -> None:
    """Let a command be told which state folder it is about."""
    parser.add_argument(
        "--state", type=_folder, default=default_folder(), help=f"{what} (%(default)s)"
    )


def _folder(text: str) -> Path:
    if not text:  # Path("") is the working directory
        raise ArgumentTypeError("must be a folder, not ''")
    return Path(text)


def read_argument(file: str) -> str:
    """Read the file that an argument names; - is the standard input."""
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text()
    except OSError as error:
        raise CommandError(f"cannot read {file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"cannot read {file}: it is not text in {error.encoding}") from error
