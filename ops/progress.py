"""What a person sees while something starts: each step, and how long it took."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_PATIENCE_S = 2.0


def say(line: str) -> None:
    """Print a line now; that nobody is left to read it must not keep us from stopping."""
    with suppress(OSError):
        print(line, flush=True)


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
