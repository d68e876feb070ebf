"""Asking a blocking source for answers, each only once at a time, and keeping them."""

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import structlog

from catalog_worker.catalog.upstream import Answer
from postroad.contracts.errors import ServiceError

log = structlog.get_logger()

Ask = Callable[[Any], Answer[Any]]


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer that is kept."""

    answer: Answer[Any]
    as_of: float  # when upstream last said so, in seconds since 1970


class Renewals:
    """Asks in threads, and keeps the newest ``most`` answers."""

    def __init__(self, *, threads: int, most: int, clock: Callable[[], float]) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="upstream")
        self._most = most
        self._clock = clock
        self.entries: OrderedDict[Hashable, Entry] = OrderedDict()
        self.asking: dict[Hashable, asyncio.Task[Entry]] = {}

    def ask(self, key: Hashable, known: Entry | None, ask: Ask) -> "asyncio.Task[Entry]":
        """Ask in a thread, or join in waiting when that is being asked already."""
        asking = self.asking.get(key)
        if asking is None:
            asking = self.asking[key] = asyncio.create_task(self._renew(key, known, ask))
            asking.add_done_callback(_let_fail)
        return asking

    async def _renew(self, key: Hashable, known: Entry | None, ask: Ask) -> Entry:
        """Ask, and keep the answer before whoever waits for it goes on."""
        context = contextvars.copy_context()  # carries the deadline into the thread
        asked = asyncio.get_running_loop().run_in_executor(
            self._threads, context.run, ask, known.answer if known else None
        )
        try:
            await asyncio.wait([asked])
        finally:
            del self.asking[key]
        error = asked.exception()
        if error is not None and not isinstance(error, ServiceError):
            log.error("renewal failed", exc_info=error)  # a bug, for which perhaps nobody waits
        entry = Entry(asked.result(), self._clock())  # a failure is not kept: who waits has it
        self.entries[key] = entry
        self.entries.move_to_end(key)
        if len(self.entries) > self._most:
            self.entries.popitem(last=False)
        return entry


def _let_fail(asking: "asyncio.Task[Entry]") -> None:
    """Look at a failure: asyncio complains of one that nobody has waited for."""
    if not asking.cancelled():
        asking.exception()
