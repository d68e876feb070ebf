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
        self.asking: dict[Hashable, asyncio.Future[Entry]] = {}

    def ask(self, key: Hashable, known: Entry | None, ask: Ask) -> "asyncio.Future[Entry]":
        """Ask in a thread, or join in waiting when that is being asked already."""
        asking = self.asking.get(key)
        if asking is None:
            context = contextvars.copy_context()  # carries the deadline into the thread
            asking = asyncio.get_running_loop().run_in_executor(
                self._threads, context.run, self._renew, known, ask
            )
            self.asking[key] = asking
            asking.add_done_callback(lambda asked: self._remember(key, asked))
        return asking

    def _renew(self, known: Entry | None, ask: Ask) -> Entry:
        return Entry(ask(known.answer if known else None), self._clock())

    def _remember(self, key: Hashable, asked: "asyncio.Future[Entry]") -> None:
        del self.asking[key]
        if asked.cancelled():
            return
        if (error := asked.exception()) is not None:
            if not isinstance(error, ServiceError):  # a bug, for which perhaps nobody waits
                log.error("renewal failed", exc_info=error)
            return  # a failure is not remembered; whoever waited for it has it
        self.entries[key] = asked.result()
        self.entries.move_to_end(key)
        if len(self.entries) > self._most:
            self.entries.popitem(last=False)
