"""What the catalogue service answers."""

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from postroad.contracts.base import Job, Message, Request
from postroad.contracts.errors import (
    ProductNotFound,
    SyncNotFound,
    Unavailable,
    UpstreamBusy,
    UpstreamFailed,
)

PRODUCT_ID_MAX = 2**31 - 1


class Product(Message):
    """One product, as shown in a shop. ``price`` is in the upstream's currency units.

    What upstream does not say of a product is null.
    """

    id: int
    title: str
    brand: str | None = None
    price: FiniteFloat
    description: str
    category: str | None = None
    thumbnail: str | None = None
    rating: FiniteFloat | None = None
    stock: int | None = None


class ProductPage(Message):
    """Part of a listing: ``data`` holds ``limit`` products, from number ``skip`` of ``total``."""

    data: list[Product]
    total: int
    skip: int
    limit: int


class Category(Message):
    """A shelf of the catalogue; ``slug`` is what ``ListProducts.category`` takes."""

    slug: str
    name: str


class CategoryList(Message):
    """All categories, in upstream's order."""

    data: list[Category]


SortField = Literal["id", "title", "brand", "price", "category", "rating", "stock"]


class ListProducts(
    Request[ProductPage],
    method="catalog.products.list",
    scope="catalog:read",
    errors=(UpstreamFailed, UpstreamBusy),
):
    """A page of products: of all, of one category, or of those that match ``q``."""

    limit: int = Field(default=30, ge=1, le=100)
    skip: int = Field(default=0, ge=0, le=1_000_000)
    q: str | None = Field(default=None, min_length=1, max_length=200)
    category: str | None = Field(default=None, pattern=r"^[a-z0-9-]{1,64}$")
    sort_by: SortField | None = None
    order: Literal["asc", "desc"] = "asc"

    @model_validator(mode="after")
    def _one_selection(self) -> "ListProducts":
        if self.q is not None and self.category is not None:
            raise ValueError("give q or category, not both")
        return self


class GetProduct(
    Request[Product],
    method="catalog.products.get",
    scope="catalog:read",
    errors=(ProductNotFound, UpstreamFailed, UpstreamBusy),
):
    """One product by its id."""

    product_id: int = Field(ge=1, le=PRODUCT_ID_MAX)


class ListCategories(
    Request[CategoryList],
    method="catalog.categories.list",
    scope="catalog:read",
    errors=(UpstreamFailed, UpstreamBusy),
):
    """The categories there are."""


SyncStatus = Literal["requested", "running", "done", "incomplete", "failed"]


class Sync(Message):
    """How far a sync is: a copy of all products from upstream into the service's own store.

    ``incomplete``: upstream did not list as many products as it said it has, or nothing at all,
    so none was taken for removed.
    ``failed``: it made no progress for too long. ``pages`` is null until it has been split.
    Times are seconds since 1970.
    """

    sync_id: str
    status: SyncStatus
    requested_at: float
    finished_at: float | None
    pages: int | None
    pages_done: int
    products: int  # that upstream has listed so far
    added: int
    price_changed: int
    removed: int


class StartSync(
    Request[Sync],
    method="catalog.syncs.start",
    scope="catalog:sync",
    errors=(Unavailable,),
):
    """Bring the stored catalogue up to date, in the background.

    While one is under way it is that one's ``Sync`` that comes back, so a second delivery does
    nothing.
    """


class GetSync(
    Request[Sync],
    method="catalog.syncs.get",
    scope="catalog:sync",
    errors=(SyncNotFound, Unavailable),
):
    """How far a sync is."""

    sync_id: str = Field(min_length=1, max_length=64)


class FetchPage(Job, name="catalog.pages.fetch", timeout_s=30.0):
    """Fetch one page of upstream's listing and store it, as part of a sync."""

    sync_id: str
    skip: int = Field(ge=0)
    limit: int = Field(ge=1, le=1000)
