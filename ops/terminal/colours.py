"""What a terminal is like."""

import os
import sys


def wants_colours() -> bool:
    """Say whether what we print is seen by a person who likes colours."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")  # https://no-color.org
