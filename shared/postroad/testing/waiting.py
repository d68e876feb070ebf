"""Waiting with a deadline: for what happens in another process there is no event to await."""

import asyncio
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from time import monotonic

INTERVAL_S = 0.01


async def eventually(condition: Callable[[], object], *, timeout_s: float = 10.0) -> None:
    """Wait until a condition, plain or ``async``, holds.

    Raises:
        AssertionError: it does not in time.
    """
    deadline = monotonic() + timeout_s
    while not await _holds(condition):
        if monotonic() >= deadline:
            raise AssertionError(f"not within {timeout_s} s")
        await asyncio.sleep(INTERVAL_S)


async def _holds(condition: Callable[[], object | Awaitable[object]]) -> bool:
    result = condition()
    return bool(await result if isawaitable(result) else result)
