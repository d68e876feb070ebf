"""What a person sees while something takes its time: each step, or how far it is."""

import asyncio
import shutil
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PATIENCE_S = 2.0
_BAR = 30  # characters


def say(line: str) -> None:
    """Print a line now; that nobody is left to read it must not keep us from stopping."""
    with suppress(OSError):
        print(line, flush=True)


class Gauge:
    """How far something is: a bar that grows in a terminal, else a line now and then."""

    _BAR = 30

    def __init__(self) -> None:
        self._is_terminal = sys.stdout.isatty()
        self._said, self._said_at = "", -_PATIENCE_S

    def show(self, done: int, total: int | None, text: str) -> None:
        """Show where it stands; ``total`` is not known in the beginning."""
        if self._is_terminal:
            filled = self._BAR * done // total if total else 0
            line = f"  [{'#' * filled}{'.' * (self._BAR - filled)}] {text}"
            self._redraw(line[: shutil.get_terminal_size().columns - 1])
        elif text != self._said and time.monotonic() - self._said_at >= _PATIENCE_S:
            say(f"  ... {text}")
            self._said, self._said_at = text, time.monotonic()

    def close(self) -> None:
        """Leave the line to what follows."""
        if self._is_terminal:
            self._redraw("")

    def _redraw(self, line: str) -> None:
        with suppress(OSError):
            print(f"\r\x1b[K{line}", end="", flush=True)  # ECMA-48: erase to the end of the line


@asynccontextmanager
async def step(what: str) -> AsyncIterator[None]:
    """Print a line when a step is done, and now and then while it is not.

    Only whole lines are written: the services we start write to the same terminal.
    """
    began = time.monotonic()

    async def reassure() -> None:
        while True:
            await asyncio.sleep(_PATIENCE_S)
            say(f"  ... {what}: {time.monotonic() - began:.0f} s")

    reassuring = asyncio.create_task(reassure())
    try:
        yield
    finally:
        reassuring.cancel()
    say(f"  {time.monotonic() - began:5.1f} s  {what}")


class Progress:
    """How far something has come, as a bar: a line now and then, none when it is soon done."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._said_at = time.monotonic()

    def reach(self, done: int) -> None:
        """Note how much is done."""
        if time.monotonic() - self._said_at < _PATIENCE_S:
            return
        self._said_at = time.monotonic()
        bar = "#" * (_BAR * done // self._total)
        say(f"  [{bar:.<{_BAR}}] {self._what} {done} of {self._total}")
