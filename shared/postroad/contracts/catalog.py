"""What the catalogue service answers."""

from typing import Literal

from pydantic import Field, FiniteFloat, model_validator

from postroad.contracts.base import Message, Request
from postroad.contracts.errors import (
    ProductNotFound,
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
