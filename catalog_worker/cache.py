"""A catalogue that remembers its answers for a while, and asks for each only once at a time."""

import asyncio
import contextvars
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Protocol, TypeVar, cast

from catalog_worker.settings import CatalogSettings
from shared.contracts.catalog import CategoryList, ListProducts, Product, ProductPage

T = TypeVar("T")


class Source(Protocol):
    """Where products come from; blocking, and raising ``UpstreamFailed`` or ``UpstreamBusy``."""

    def list(self, request: ListProducts) -> ProductPage: ...
    def find(self, product_id: int) -> Product | None: ...
    def categories(self) -> CategoryList: ...


class CachedCatalog:
    """Answers from memory on the event loop, and asks its source in threads.

    Concurrent questions for the same thing share one answer. Failures are not remembered.
    """

    def __init__(self, source: Source, settings: CatalogSettings) -> None:
        self._source = source
        self._lifetime_s = settings.cache_lifetime_s
        self._max_entries = settings.cache_max_entries
        self._threads = ThreadPoolExecutor(
            settings.upstream_connections, thread_name_prefix="upstream"
        )
        self._answers: OrderedDict[Hashable, tuple[float, object]] = OrderedDict()
        self._asking: dict[Hashable, asyncio.Future[object]] = {}

    async def list(self, request: ListProducts) -> ProductPage:
        """Give a page of products."""
        key = ("list", *request.__dict__.values())
        return await self._answer(key, lambda: self._source.list(request))

    async def find(self, product_id: int) -> Product | None:
        """Give one product, if there is one."""
        return await self._answer(("find", product_id), lambda: self._source.find(product_id))

    async def categories(self) -> CategoryList:
        """Give the categories."""
        return await self._answer("categories", self._source.categories)

    async def _answer(self, key: Hashable, ask: Callable[[], T]) -> T:
        expires_at, answer = self._answers.get(key, (0.0, None))
        if monotonic() < expires_at:
            return cast(T, answer)
        asking = self._asking.get(key)
        if asking is None:
            context = contextvars.copy_context()  # carries the deadline into the thread
            loop = asyncio.get_running_loop()
            asking = loop.run_in_executor(self._threads, context.run, ask)
            self._asking[key] = asking
            asking.add_done_callback(lambda asked: self._remember(key, asked))
        return cast(T, await asyncio.shield(asking))

    def _remember(self, key: Hashable, asked: asyncio.Future[object]) -> None:
        del self._asking[key]
        if asked.cancelled() or asked.exception() is not None:
            return
        self._answers[key] = (monotonic() + self._lifetime_s, asked.result())
        self._answers.move_to_end(key)
        if len(self._answers) > self._max_entries:
            self._answers.popitem(last=False)
