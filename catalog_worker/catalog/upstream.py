"""Products from an HTTP API shaped like dummyjson.com's."""

from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

import structlog
from pydantic import BaseModel, RootModel, ValidationError, field_validator

from catalog_worker.catalog.fetcher import Fetcher
from postroad.contracts.catalog import Category, CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.errors import UpstreamFailed

log = structlog.get_logger()

T = TypeVar("T")
ModelT = TypeVar("ModelT", bound=BaseModel)

FIELDS = ",".join(Product.model_fields)


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What upstream said, and the tag by which it knows that version again."""

    value: T
    etag: str | None


class UpstreamCatalog:
    """Asks upstream each time.

    Each method takes the answer that is at hand, and gives the same one back when upstream says
    that it still holds. Each raises ``UpstreamFailed`` when upstream is away, too slow or answers
    nonsense, and ``UpstreamBusy`` when it asks us to slow down.
    """

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher

    def list(
        self, request: ListProducts, known: Answer[ProductPage] | None = None
    ) -> Answer[ProductPage]:
        """Fetch a page of products."""
        parameters: dict[str, str | int] = {
            "limit": request.limit,
            "skip": request.skip,
            "select": FIELDS,
        }
        if request.sort_by is not None:
            parameters |= {"sortBy": request.sort_by, "order": request.order}
        if request.q is not None:
            parameters["q"] = request.q
            path = "/products/search"
        elif request.category is not None:
            path = f"/products/category/{quote(request.category)}"
        else:
            path = "/products"
        fetched = self._fetcher.get(path, parameters, etag=known.etag if known else None)
        if known and fetched.is_unchanged:
            return known
        page = _parse(_Page, fetched.body)
        products = page.products[: request.limit]
        value = ProductPage(data=products, total=page.total, skip=request.skip, limit=len(products))
        return Answer(value, fetched.etag)

    def page(self, *, skip: int, limit: int) -> ProductPage:
        """Fetch a page of the whole listing, however far down and however long."""
        fetched = self._fetcher.get("/products", {"limit": limit, "skip": skip, "select": FIELDS})
        page = _parse(_Page, fetched.body)
        products = page.products[:limit]
        return ProductPage(data=products, total=page.total, skip=skip, limit=len(products))

    def find(
        self, product_id: int, known: Answer[Product | None] | None = None
    ) -> Answer[Product | None]:
        """Fetch one product, if there is one."""
        fetched = self._fetcher.get(
            f"/products/{product_id}", {"select": FIELDS}, etag=known.etag if known else None
        )
        if known and fetched.is_unchanged:
            return known
        product = None if fetched.body is None else _parse(Product, fetched.body)
        return Answer(product, fetched.etag)

    def categories(self, known: Answer[CategoryList] | None = None) -> Answer[CategoryList]:
        """Fetch the categories."""
        fetched = self._fetcher.get("/products/categories", {}, etag=known.etag if known else None)
        if known and fetched.is_unchanged:
            return known
        return Answer(CategoryList(data=_parse(_Categories, fetched.body).root), fetched.etag)


class _Page(BaseModel):
    """Upstream's listing. Its ``limit`` is the number returned, its ``skip`` may be null."""

    products: list[Product]
    total: int

    @field_validator("products", mode="before")
    @classmethod
    def _drop_bad_products(cls, products: object) -> object:
        """Leave a product out that breaks the contract, rather than lose the page for it."""
        if not isinstance(products, list):
            return products
        good = []
        for product in products:
            try:
                good.append(Product.model_validate(product))
            except ValidationError as error:
                log.warning("bad product dropped", errors=error.error_count())
        if products and not good:
            raise ValueError("not one product is readable")
        return good


class _Categories(RootModel[list[Category]]):
    """Upstream's list of categories."""


def _parse(model: type[ModelT], body: bytes | None) -> ModelT:
    if body is None:
        raise UpstreamFailed("the product source does not know its own paths")
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        log.warning("upstream answered nonsense", model=model.__name__, errors=error.error_count())
        raise UpstreamFailed("the product source answered nonsense") from error
