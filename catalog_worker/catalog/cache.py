"""A catalogue that remembers its answers for a while, and asks for each only once at a time.

The life of an answer is that of RFC 5861: fresh, then stale but given while it is renewed
(stale-while-revalidate), then given only when upstream cannot be asked (stale-if-error).
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Hashable
from operator import attrgetter
from time import time
from typing import Protocol, TypeVar

from catalog_worker.catalog.renewals import Entry, Renewals
from catalog_worker.catalog.stored import StoredCatalog, look_up
from catalog_worker.catalog.upstream import Answer
from catalog_worker.settings import CatalogSettings
from postroad.contracts.catalog import CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.errors import ServiceError, UpstreamBusy, UpstreamFailed
from postroad.contracts.message import Dated
from postroad.observability.timing import waiting_upstream

T = TypeVar("T")


class Source(Protocol):
    """Where products come from; blocking. ``upstream.UpstreamCatalog`` says more."""

    def list(
        self, request: ListProducts, known: Answer[ProductPage] | None
    ) -> Answer[ProductPage]: ...
    def find(
        self, product_id: int, known: Answer[Product | None] | None
    ) -> Answer[Product | None]: ...
    def categories(self, known: Answer[CategoryList] | None) -> Answer[CategoryList]: ...


_listing_of = attrgetter(*ListProducts.model_fields)  # hashing the request itself takes longer


class CachedCatalog:
    """Answers from memory on the event loop, and asks its source in threads.

    What neither has, because the source fails, is looked up in the store, if there is one.
    """

    def __init__(
        self,
        source: Source,
        settings: CatalogSettings,
        *,
        stored: StoredCatalog | None = None,
        clock: Callable[[], float] = time,
    ) -> None:
        self._source = source
        self._stored = stored
        self._settings = settings
        self._clock = clock
        self._renewals = Renewals(
            threads=settings.upstream_connections, most=settings.cache_max_entries, clock=clock
        )
        self.lookups: Counter[str] = Counter()
        self.stale_answers = 0

    async def list(self, request: ListProducts) -> Dated[ProductPage]:
        """Return a page of products."""
        return await self._answer(
            ("list", *_listing_of(request)),
            lambda known: self._source.list(request, known),
            lambda stored: stored.list(request),
        )

    async def find(self, product_id: int) -> Dated[Product | None]:
        """Return one product, if there is one."""
        return await self._answer(
            ("find", product_id),
            lambda known: self._source.find(product_id, known),
            lambda stored: stored.find(product_id),
        )

    async def categories(self) -> Dated[CategoryList]:
        """Return the categories."""
        return await self._answer("categories", self._source.categories, StoredCatalog.categories)

    async def _answer(
        self,
        key: Hashable,
        ask: Callable[[Answer[T] | None], Answer[T]],
        look: Callable[[StoredCatalog], Dated[T] | None],
    ) -> Dated[T]:
        entry = self._renewals.entries.get(key)
        age_s = self._clock() - entry.as_of if entry else 0.0
        fresh_s = self._settings.cache_fresh_s
        refresh_s = fresh_s + self._settings.cache_refresh_s
        is_stale = False
        if entry is not None and age_s < fresh_s:
            self.lookups["fresh"] += 1
        elif entry is not None and age_s < refresh_s:
            self.lookups["renewing"] += 1
            self._renewals.ask(key, entry, ask)
        else:
            self.lookups["missed"] += 1
            known = entry
            try:
                entry = await self._wait(self._renewals.ask(key, known, ask), known, age_s)
            except (UpstreamFailed, UpstreamBusy) as error:
                return await look_up(self._stored, look, error)
            is_stale = entry is known
        self.stale_answers += is_stale
        return Dated(entry.answer.value, entry.as_of, is_stale)

    async def _wait(
        self, asking: "asyncio.Future[Entry]", known: Entry | None, age_s: float
    ) -> Entry:
        """Wait for a new answer; make do with the known one if it fails and is not too old."""
        try:
            with waiting_upstream():
                return await asyncio.shield(asking)
        except ServiceError:
            settings = self._settings
            longest_s = settings.cache_fresh_s + settings.cache_refresh_s + settings.cache_stale_s
            if known is None or age_s >= longest_s:
                raise
            return known
