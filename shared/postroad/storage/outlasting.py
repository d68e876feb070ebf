"""Work that outlasts its database's absence, rather than being given up because of it."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TypeVar

import structlog

from postroad.context import current_context
from postroad.contracts.errors import Unavailable

log = structlog.get_logger()

T = TypeVar("T")

LOOK_EVERY_S = 1.0


def outlasting(
    handler: Callable[[T], None],
    *,
    problem: Callable[[], str | None],
    pause: Callable[[float], None] = sleep,
) -> Callable[[T], None]:
    """Return a handler that is run again once there is no ``problem`` with the database.

    Its message is held meanwhile, and none of its attempts is used up. What is unavailable while
    there is no problem fails as anything else does.
    """

    def handle(message: T) -> None:
        while True:
            try:
                handler(message)
            except Unavailable:
                if not _has_passed(problem, pause):
                    raise
            else:
                return

    return handle


def _has_passed(problem: Callable[[], str | None], pause: Callable[[float], None]) -> bool:
    """Wait until a problem has passed; false if there was none, or nobody waits any more."""
    context, began = current_context.get(), monotonic()
    found = problem()
    if found is None:
        return False
    log.warning("waiting", reason=found, request_id=context.correlation_id)
    while problem() is not None:
        if context.is_over:
            return False
        pause(LOOK_EVERY_S)
    context.deadline += monotonic() - began
    return True
