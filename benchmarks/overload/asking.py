"""Requests by HTTP: so many at a time, or so many a second whatever becomes of them."""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from urllib.parse import urlsplit

from benchmarks.scaling.load import LOST, Stage, due_times
from benchmarks.scaling.series import percentile

MakeRequest = Callable[[int], bytes]  # the head and body of the request of that number


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a request; the time is taken from when it was due."""

    due_s: float  # from the first on
    took_s: float
    status: int
    retry_after: str = ""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Requests of one kind to one server."""

    url: str
    make_request: MakeRequest

    async def keep_asking(self, tasks: int, for_s: float) -> float:
        """Have so many under way all the time; give how many a second were answered 200."""
        numbers, until = count(), time.monotonic() + for_s

        async def one_after_the_other() -> int:
            good = 0
            while time.monotonic() < until:
                answer = await self.ask(next(numbers))
                good += answer.status == 200
            return good

        began = time.monotonic()
        good = sum(await asyncio.gather(*(one_after_the_other() for _ in range(tasks))))
        return good / (time.monotonic() - began)

    async def ask_at(self, rate_per_s: float, for_s: float) -> list[Outcome]:
        """Send each request when it is due, and wait for all answers."""
        began, asked = time.monotonic(), []
        for number, due_s in enumerate(due_times([Stage(rate_per_s, for_s)])):
            await asyncio.sleep(began + due_s - time.monotonic())
            asked.append(asyncio.create_task(self.ask(number, began=began, due_s=due_s)))
        return list(await asyncio.gather(*asked))

    async def ask(self, number: int, *, began: float = 0, due_s: float = 0) -> Outcome:
        """Ask on a connection of its own."""
        status, retry_after = LOST, ""
        with suppress(OSError, ValueError, IndexError):
            head, _ = await self._exchange(self.make_request(number))
            status = _status(head)
            retry_after = _header(head, "retry-after")
        return Outcome(due_s, time.monotonic() - began - due_s, status, retry_after)

    async def read(self, number: int) -> tuple[int, bytes]:
        """Ask, and give the answer's status and body."""
        head, body = await self._exchange(self.make_request(number))
        return _status(head), body

    async def _exchange(self, request: bytes) -> tuple[str, bytes]:
        where = urlsplit(self.url)
        reader, writer = await asyncio.open_connection(where.hostname, where.port)
        try:
            writer.write(request)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return head.decode("latin-1"), body
        finally:
            writer.close()


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of many requests; times are in milliseconds."""

    asked: int
    good: int
    refused: int
    failed: int
    p50_ms: float
    p99_ms: float
    refused_p50_ms: float
    refused_p99_ms: float

    @classmethod
    def of(cls, outcomes: list[Outcome]) -> "Summary":
        good = [each.took_s for each in outcomes if each.status == 200]
        refused = [each.took_s for each in outcomes if each.status == 503 and each.retry_after]
        return cls(
            asked=len(outcomes),
            good=len(good),
            refused=len(refused),
            failed=len(outcomes) - len(good) - len(refused),
            p50_ms=_percentile_ms(good, 0.5),
            p99_ms=_percentile_ms(good, 0.99),
            refused_p50_ms=_percentile_ms(refused, 0.5),
            refused_p99_ms=_percentile_ms(refused, 0.99),
        )


def answered_per_s(outcomes: list[Outcome], within: range) -> float:
    """Say how many good answers came a second, within these seconds, whenever they were due."""
    good = [each.due_s + each.took_s for each in outcomes if each.status == 200]
    return sum(int(at_s) in within for at_s in good) / len(within)


def get(path: str, token: str) -> bytes:
    """Write a request for a path, with a bearer token."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: postroad\r\nConnection: close\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()


def post(path: str, body: bytes, token: str = "") -> bytes:
    """Write a request that brings JSON, with a bearer token if there is one."""
    head = f"POST {path} HTTP/1.1\r\nHost: postroad\r\nConnection: close\r\n"
    if token:
        head += f"Authorization: Bearer {token}\r\n"
    if body:
        head += "Content-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _status(head: str) -> int:
    return int(head.split(maxsplit=2)[1])


def _header(head: str, name: str) -> str:
    for line in head.split("\r\n")[1:]:
        key, _, value = line.partition(":")
        if key.lower() == name:
            return value.strip()
    return ""


def _percentile_ms(values: list[float], share: float) -> float:
    return percentile(values, share) * 1000 if values else 0.0
