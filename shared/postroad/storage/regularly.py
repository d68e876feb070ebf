"""Doing something with the database every now and then."""

import asyncio
from collections.abc import Callable

import structlog

from postroad.contracts.errors import OutcomeUnknown, Unavailable

log = structlog.get_logger()


RETRY_S = 5.0


async def regularly(
    work: Callable[[], object], *, interval_s: float, retry_s: float = RETRY_S
) -> None:
    """Work in a thread, pause, and so on until cancelled.

    What the database cannot do now is postponed: it is tried again after ``retry_s``.
    """
    while True:
        pause_s = interval_s
        try:
            await asyncio.to_thread(work)
        except (Unavailable, OutcomeUnknown) as error:
            pause_s = min(interval_s, retry_s)
            log.warning("postponed", reason=str(error), pause_s=pause_s)
        await asyncio.sleep(pause_s)
