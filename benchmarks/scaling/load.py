"""An even stream of HTTP requests: each is sent when it is due, whatever became of the others."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

LOST = 0  # the status of a request without an answer


@dataclass(frozen=True, slots=True)
class Stage:
    """So many requests a second, for so long."""

    rate_per_s: float
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a request; ``at_s`` is when it was due, from which the time is taken."""

    at_s: float
    took_s: float
    status: int


def due_times(stages: Sequence[Stage]) -> list[float]:
    """Say when each request is due, in seconds from the start."""
    times, began_s = [], 0.0
    for stage in stages:
        requests = round(stage.rate_per_s * stage.seconds)
        times += [began_s + number / stage.rate_per_s for number in range(requests)]
        began_s += stage.seconds
    return times


async def send(url: str, token: str, stages: Sequence[Stage]) -> list[Answer]:
    """Ask for one product page after the other, all different, so that none is asked for twice.

    Each has a connection of its own: what waits in one place is then no pool's queue.
    """
    began = time.monotonic()
    tasks = []
    for number, at_s in zip(count(), due_times(stages), strict=False):
        await asyncio.sleep(began + at_s - time.monotonic())
        path = f"/products?limit=1&skip={number}"
        tasks.append(asyncio.create_task(_ask(url, path, token, began=began, at_s=at_s)))
    return list(await asyncio.gather(*tasks))


async def _ask(url: str, path: str, token: str, *, began: float, at_s: float) -> Answer:
    status = LOST
    with suppress(OSError, ValueError, IndexError):
        status = await _get(url, path, token)
    return Answer(at_s, time.monotonic() - began - at_s, status)


async def _get(url: str, path: str, token: str) -> int:
    where = urlsplit(url)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {where.netloc}\r\nConnection: close\r\n"
            f"Authorization: Bearer {token}\r\n\r\n".encode()
        )
        answer = await reader.read()
        return int(answer.split(maxsplit=2)[1])
    finally:
        writer.close()
