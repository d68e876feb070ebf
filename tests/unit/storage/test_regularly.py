"""Regular work with a database that is not always there."""

import asyncio
from contextlib import suppress

import pytest

from postroad.contracts.errors import OutcomeUnknown, Unavailable
from postroad.storage.retrying import regularly

LONG_S = 3600.0


@pytest.mark.parametrize("outage", [Unavailable(), OutcomeUnknown()])
async def test_what_the_database_cannot_do_now_is_tried_again_soon(outage: Exception) -> None:
    attempts: list[int] = []
    is_done = asyncio.Event()
    loop = asyncio.get_running_loop()

    def work() -> None:
        attempts.append(1)
        if len(attempts) < 3:
            raise outage
        loop.call_soon_threadsafe(is_done.set)

    working = asyncio.create_task(regularly(work, interval_s=LONG_S, retry_s=0.001))
    await asyncio.wait_for(is_done.wait(), 10)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working

    assert len(attempts) == 3


async def test_a_mistake_ends_the_work_and_is_seen() -> None:
    with pytest.raises(ZeroDivisionError):
        await regularly(lambda: 1 // 0, interval_s=LONG_S)
