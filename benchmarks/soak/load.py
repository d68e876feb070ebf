"""A steady load on everything: products, people who come and go, jobs and events.

Once a minute many ask for products at once. Pools of threads and connections grow to the most that
was ever wanted at once; so they do in the first minute, and not by chance in the last.
"""

import asyncio
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from benchmarks.overload.asking import Crowd, get, post
from benchmarks.scaling.load import Answer
from benchmarks.soak.system import System
from benchmarks.system import CREDENTIALS

PRODUCTS_PER_S = 40.0
SIGN_INS_PER_S = 0.5
SYNC_EVERY_S = 20.0
BURST, BURST_EVERY_S = 100, 60.0
PAGES = 120


@dataclass(slots=True)
class Load:
    """Asks until it is cancelled, and keeps what became of each request for products."""

    system: System
    answers: list[Answer] = field(default_factory=list)
    failed: Counter[int] = field(default_factory=Counter)  # by status
    _tokens: list[str] = field(default_factory=list)

    async def run(self) -> None:
        self._tokens = [self.system.token]
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_for_products(group))
            group.create_task(self._ask_at_once())
            group.create_task(self._come_and_go())
            group.create_task(self._sync())

    async def _ask_for_products(self, group: asyncio.TaskGroup) -> None:
        began, number = time.monotonic(), 0
        while True:
            due_s = number / PRODUCTS_PER_S
            await asyncio.sleep(began + due_s - time.monotonic())
            group.create_task(self._ask_for_page(number, began, due_s))
            number += 1

    async def _ask_for_page(self, number: int, began: float, due_s: float) -> None:
        request = get(f"/products?limit=10&skip={number % PAGES}", self._tokens[-1])
        outcome = await Crowd(self.system.url, lambda _: request).ask(0, began=began, due_s=due_s)
        self.answers.append(Answer(due_s, outcome.took_s, outcome.status))
        self._expect(200, outcome.status)

    async def _ask_at_once(self) -> None:
        """Ask for pages that nobody else asks for, so that the cache has none of them."""
        crowd = Crowd(
            self.system.url,
            lambda number: get(f"/products?limit=11&skip={number}", self._tokens[-1]),
        )
        while True:
            for outcome in await asyncio.gather(*(crowd.ask(each) for each in range(BURST))):
                self._expect(200, outcome.status)
            await asyncio.sleep(BURST_EVERY_S)

    async def _come_and_go(self) -> None:
        """Sign in, and out again two turns later; every fourth time with a wrong password."""
        number = 0
        while True:
            await asyncio.sleep(1 / SIGN_INS_PER_S)
            number += 1
            if number % 4 == 0:
                await self._post("/auth", CREDENTIALS | {"password": "wrong"}, expected=401)
                continue
            self._tokens.append(str((await self._post("/auth", CREDENTIALS))["access_token"]))
            if len(self._tokens) > 2:
                await self._post("/auth/logout", {}, token=self._tokens.pop(0))

    async def _sync(self) -> None:
        while True:
            await self._post("/products/sync", {}, token=self._tokens[-1], expected=202)
            await asyncio.sleep(SYNC_EVERY_S)

    async def _post(
        self, path: str, body: Mapping[str, str], *, token: str = "", expected: int = 200
    ) -> dict[str, object]:
        request = post(path, json.dumps(body).encode() if body else b"", token)
        status, answer = await Crowd(self.system.url, lambda _: request).read(0)
        self._expect(expected, status)
        found: dict[str, object] = json.loads(answer)
        return found

    def _expect(self, expected: int, status: int) -> None:
        if status != expected:
            self.failed[status] += 1
