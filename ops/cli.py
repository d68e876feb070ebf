"""The `postroad` command, from its first line to its exit status."""

import gc
import os
import signal
import sys

from ops.terminal import interrupts
from ops.terminal.interrupts import INTERRUPTED


def main() -> int:
    """Run the command that the arguments name, and return its exit status."""
    interrupts.end_at_once()
    gc.disable()  # to look for garbage in what is imported, which stays, takes a fifth longer
    from ops.commands import dispatch  # noqa: PLC0415  # imports can be interrupted from here on

    status = 0
    try:
        try:
            options = dispatch.parse(sys.argv[1:])
            gc.freeze()
            gc.enable()
            status = dispatch.run(options)
        finally:
            print(end="", flush=True)  # now: at the interpreter's end it could not be caught
    except BrokenPipeError:  # whoever read has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if status != INTERRUPTED:
            status = 128 + signal.SIGPIPE  # as a shell says of other commands
    return status


if __name__ == "__main__":
    sys.exit(main())
