"""The `postroad` command, from its first line to its exit status."""

import gc
import os
import signal
import sys
from contextlib import suppress

from ops.terminal import interrupts, streams
from ops.terminal.interrupts import INTERRUPTED


def main() -> int:
    """Run the command that the arguments name, and return its exit status."""
    interrupts.end_at_once()
    streams.prepare()
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
            sys.stdout.flush()  # now: at the interpreter's end it could not be caught
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is still buffered
        if status == INTERRUPTED:
            return status
        if isinstance(error, BrokenPipeError):  # whoever read has seen enough
            return 128 + signal.SIGPIPE  # as a shell says of other commands
        with suppress(OSError):
            print(f"postroad: cannot write the output: {error.strerror}", file=sys.stderr)
        return 1
    return status


if __name__ == "__main__":
    sys.exit(main())
