"""Doing something with the database every now and then."""

import asyncio
from collections.abc import Callable

import structlog

from postroad.contracts.errors import Unavailable

log = structlog.get_logger()


async def regularly(work: Callable[[], object], *, interval_s: float) -> None:
    """Work in a thread, pause, and so on until cancelled; a database that is away comes back."""
    while True:
        try:
            await asyncio.to_thread(work)
        except Unavailable as error:
            log.warning("postponed", reason=str(error))
        await asyncio.sleep(interval_s)
