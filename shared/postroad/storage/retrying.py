"""Work that is done once its database can do it, rather than given up."""

import asyncio
from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

import structlog

from postroad.context import current_context
from postroad.contracts.errors import OutcomeUnknown, Unavailable

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R")

LOOK_EVERY_S = 1.0
RETRY_S = 5.0


def held_during_outage(
    handler: Callable[[T], R],
    *,
    outage: Callable[[], str | None],
    pause: Callable[[float], None] = sleep,
) -> Callable[[T], R]:
    """Return a handler that is run again after an outage of its database.

    Its message is held meanwhile, and none of its attempts is used up. ``outage`` returns what the
    database cannot do now; an error while it returns none counts as any other.
    """

    def handle(message: T) -> R:
        while True:
            try:
                return handler(message)
            except (Unavailable, OutcomeUnknown):  # an inbox knows whether it was done
                if not _has_passed(outage, pause):
                    raise

    return handle


def _has_passed(outage: Callable[[], str | None], pause: Callable[[float], None]) -> bool:
    """Wait for the end of an outage; false if there was none, or nobody waits any more."""
    context, began = current_context.get(), monotonic()
    found = outage()
    if found is None:
        return False
    log.warning("waiting", reason=found, request_id=context.correlation_id)
    while outage() is not None:
        if context.is_over:
            return False
        pause(LOOK_EVERY_S)
    context.deadline += monotonic() - began
    return True


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
