"""What the catalogue service does."""

from typing import Protocol

from postroad.contracts.catalog import (
    CategoryList,
    GetProduct,
    ListCategories,
    ListProducts,
    Product,
    ProductPage,
)
from postroad.contracts.errors import ProductNotFound
from postroad.contracts.message import Dated
from postroad.contracts.probes import ProbeSyncs, Readiness
from postroad.contracts.syncs import GetSync, StartSync, Sync


class Catalog(Protocol):
    """Where products are found; raises ``UpstreamFailed`` or ``UpstreamBusy``."""

    async def list(self, request: ListProducts) -> Dated[ProductPage]: ...
    async def find(self, product_id: int) -> Dated[Product | None]: ...
    async def categories(self) -> Dated[CategoryList]: ...


class SyncBook(Protocol):
    """Where syncs are kept; blocking. ``syncs.Syncs`` says more."""

    def start(self) -> Sync: ...
    def get(self, sync_id: str) -> Sync: ...
    def problem(self) -> str | None: ...


async def list_products(request: ListProducts, *, catalog: Catalog) -> Dated[ProductPage]:
    return await catalog.list(request)


async def get_product(request: GetProduct, *, catalog: Catalog) -> Dated[Product]:
    found = await catalog.find(request.product_id)
    if found.value is None:
        raise ProductNotFound(f"no product {request.product_id}")
    return Dated(found.value, found.as_of, found.is_stale)


async def list_categories(_: ListCategories, *, catalog: Catalog) -> Dated[CategoryList]:
    return await catalog.categories()


def start_sync(_: StartSync, *, syncs: SyncBook) -> Sync:
    """Start a sync; runs in a thread, as ``get_sync`` does. A redelivery finds it under way."""
    return syncs.start()


def get_sync(request: GetSync, *, syncs: SyncBook) -> Sync:
    return syncs.get(request.sync_id)


def probe_syncs(_: ProbeSyncs, *, syncs: SyncBook) -> Readiness:
    return Readiness(problem=syncs.problem())
