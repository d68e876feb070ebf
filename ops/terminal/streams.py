"""Standard input, output and error, whatever the shell made of them."""

import os
import sys
from io import TextIOWrapper


def prepare() -> None:
    """Open those that were closed, and have characters replaced that cannot be written.

    A stream that is closed is none to Python, and the next file opened would take its place.
    """
    for descriptor, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_RDWR)
            if null != descriptor:
                os.dup2(null, descriptor)
                os.close(null)
            os.set_inheritable(descriptor, True)
            setattr(sys, name, open(descriptor, mode))  # noqa: SIM115, PTH123  # to stay open
    for stream, errors in (
        (sys.stdin, "strict"),  # a password is not to be half of one
        (sys.stdout, "replace"),
        (sys.stderr, "replace"),
    ):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
