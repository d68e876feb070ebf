"""An even load on everything: products, people who come and go, jobs and events."""

import asyncio
import json
import time
from dataclasses import dataclass, field

from benchmarks.overload.asking import Crowd, get, post
from benchmarks.scaling.load import Answer
from benchmarks.soak.system import System
from benchmarks.system import CREDENTIALS

PRODUCTS_PER_S = 40.0
SIGN_INS_PER_S = 0.5
SYNC_EVERY_S = 20.0
PAGES = 120
GOOD = (200, 202, 401)  # the last for a wrong password


@dataclass(slots=True)
class Load:
    """Asks until it is cancelled, and keeps what became of each request for products."""

    system: System
    answers: list[Answer] = field(default_factory=list)
    failed: int = 0
    _token: str = ""

    async def run(self) -> None:
        self._token = self.system.token
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask_for_products(group))
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
        request = get(f"/products?limit=10&skip={number % PAGES}", self._token)
        outcome = await Crowd(self.system.url, lambda _: request).ask(0, began=began, due_s=due_s)
        self.answers.append(Answer(due_s, outcome.took_s, outcome.status))
        self.failed += outcome.status not in GOOD

    async def _come_and_go(self) -> None:
        """Sign in, and out again at the next turn; every fourth time with a wrong password."""
        number = 0
        while True:
            await asyncio.sleep(1 / SIGN_INS_PER_S)
            number += 1
            wrong = {"password": "wrong"} if number % 4 == 0 else {}
            answer = await self._post("/auth", CREDENTIALS | wrong)
            if "access_token" not in answer:
                continue
            before, self._token = self._token, str(answer["access_token"])
            if before != self.system.token:
                await self._post("/auth/logout", {}, token=before)

    async def _sync(self) -> None:
        while True:
            await self._post("/products/sync", {}, token=self._token)
            await asyncio.sleep(SYNC_EVERY_S)

    async def _post(
        self, path: str, body: dict[str, str], *, token: str = ""
    ) -> dict[str, object]:
        request = post(path, json.dumps(body).encode() if body else b"", token)
        status, answer = await Crowd(self.system.url, lambda _: request).read(0)
        self.failed += status not in GOOD
        found: dict[str, object] = json.loads(answer)
        return found
