"""A catalogue that answers from the store while upstream cannot be asked."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

import structlog

from catalog_worker.catalog.stored import StoredCatalog
from catalog_worker.handlers import Catalog
from postroad.contracts.catalog import CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.errors import ServiceError, Unavailable, UpstreamBusy, UpstreamFailed
from postroad.contracts.replies import Dated

log = structlog.get_logger()

T = TypeVar("T")


class FallbackCatalog:
    """Asks the first catalogue, and the store only where that fails.

    What the store cannot say ends as the first one's error: that a product is not stored does
    not mean that there is none.
    """

    def __init__(self, first: Catalog, stored: StoredCatalog) -> None:
        self._first = first
        self._stored = stored

    async def list(self, request: ListProducts) -> Dated[ProductPage]:
        """Give a page of products."""
        try:
            return await self._first.list(request)
        except (UpstreamFailed, UpstreamBusy) as error:
            return await _fall_back(error, lambda: self._stored.list(request))

    async def find(self, product_id: int) -> Dated[Product | None]:
        """Give one product, if there is one."""
        try:
            return await self._first.find(product_id)
        except (UpstreamFailed, UpstreamBusy) as error:
            return await _fall_back(error, lambda: self._stored.find(product_id))

    async def categories(self) -> Dated[CategoryList]:
        """Give the categories."""
        try:
            return await self._first.categories()
        except (UpstreamFailed, UpstreamBusy) as error:
            return await _fall_back(error, self._stored.categories)


async def _fall_back(error: ServiceError, look: Callable[[], Dated[T] | None]) -> Dated[T]:
    try:
        found = await asyncio.to_thread(look)
    except Unavailable:
        raise error from None
    if found is None or found.value is None:
        raise error
    return found
