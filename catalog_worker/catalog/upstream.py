"""Products from an HTTP API shaped like dummyjson.com's."""

from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import quote

import structlog
from pydantic import BaseModel, RootModel, ValidationError

from catalog_worker.catalog.bodies import read_json, too_much
from catalog_worker.catalog.fetcher import Fetched, Fetcher
from catalog_worker.listing import Dropped, Listed
from postroad.contracts.catalog import Category, CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.errors import UpstreamFailed, explain
from postroad.contracts.message import Message
from postroad.limits import MESSAGE_MAX_BYTES

log = structlog.get_logger()

T_co = TypeVar("T_co", covariant=True)
ModelT = TypeVar("ModelT", bound=BaseModel)
MessageT = TypeVar("MessageT", bound=Message)

FIELDS = ",".join(Product.model_fields)
REASON_MAX = 200  # characters


@dataclass(frozen=True, slots=True)
class Answer(Generic[T_co]):
    """What upstream said, and the tag by which it knows that version again."""

    value: T_co
    etag: str | None


class UpstreamCatalog:
    """Asks upstream each time.

    Each method takes the answer that is at hand, and gives the same one back when upstream says
    that it still holds. Each raises ``UpstreamFailed`` when upstream is away, too slow or answers
    nonsense, and ``UpstreamBusy`` when it asks us to slow down.

    A product or a category that cannot be read is left out, and logged.
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
        listed = _listed(fetched, request.limit)
        if len(listed.dropped) > 1 and not listed.products:  # they are of another shape
            raise _nonsense(listed.dropped[0].reason)
        count = len(listed.products)
        page = ProductPage(data=listed.products, total=listed.total, skip=request.skip, limit=count)
        return _answer(page, fetched)

    def page(self, *, skip: int, limit: int) -> Listed:
        """Fetch a page of the whole listing, however far down and however long."""
        parameters: dict[str, str | int] = {"limit": limit, "skip": skip, "select": FIELDS}
        return _listed(self._fetcher.get("/products", parameters), limit)

    def find(
        self, product_id: int, known: Answer[Product | None] | None = None
    ) -> Answer[Product | None]:
        """Fetch one product, if there is one."""
        fetched = self._fetcher.get(
            f"/products/{product_id}", {"select": FIELDS}, etag=known.etag if known else None
        )
        if known and fetched.is_unchanged:
            return known
        if fetched.body is None:
            return Answer(None, fetched.etag)
        return _answer(_parse(Product, fetched.body), fetched)

    def categories(self, known: Answer[CategoryList] | None = None) -> Answer[CategoryList]:
        """Fetch the categories."""
        fetched = self._fetcher.get("/products/categories", {}, etag=known.etag if known else None)
        if known and fetched.is_unchanged:
            return known
        listed = _parse(_Categories, fetched.body).root
        categories, dropped = _readable(Category, listed, "bad category dropped")
        if dropped and not categories:
            raise _nonsense(dropped[0].reason)
        return _answer(CategoryList(data=categories), fetched)


class _Page(BaseModel):
    """Upstream's listing. Its ``limit`` is the number returned, its ``skip`` may be null."""

    products: list[object]  # one that is wrong is no reason against the others
    total: int


class _Categories(RootModel[list[object]]):
    """Upstream's list of categories."""


class _WithId(BaseModel):
    id: int


def _listed(fetched: Fetched, limit: int) -> Listed:
    page = _parse(_Page, fetched.body)
    products, dropped = _readable(Product, page.products[:limit], "bad product dropped")
    return Listed(products, page.total, dropped)


def _readable(
    model: type[ModelT], listed: list[object], event: str
) -> tuple[list[ModelT], list[Dropped]]:
    """Part what can be read from what breaks the contract, and log that."""
    good: list[ModelT] = []
    dropped: list[Dropped] = []
    for each in listed:
        try:
            good.append(model.model_validate(each))
        except ValidationError as error:
            bad = Dropped(_id_of(each), explain(error)[:REASON_MAX])
            log.warning(event, id=bad.id, reason=bad.reason)
            dropped.append(bad)
    return good, dropped


def _id_of(product: object) -> int | None:
    try:
        return _WithId.model_validate(product).id
    except ValidationError:
        return None


def _parse(model: type[ModelT], body: bytes | None) -> ModelT:
    if body is None:
        raise UpstreamFailed("the product source does not know its own paths")
    try:
        return model.model_validate(read_json(body))
    except ValueError as error:
        reason = explain(error) if isinstance(error, ValidationError) else f"no JSON: {error}"
        log.warning("upstream answered nonsense", model=model.__name__, reason=reason[:REASON_MAX])
        raise _nonsense(reason[:REASON_MAX]) from error


def _nonsense(reason: str) -> UpstreamFailed:
    return UpstreamFailed(f"the product source answered nonsense: {reason}")


def _answer(value: MessageT, fetched: Fetched) -> Answer[MessageT]:
    """Refuse what is too long for a reply, which its worker would take for a bug of its own."""
    if len(value.as_json) > MESSAGE_MAX_BYTES:
        raise too_much()
    return Answer(value, fetched.etag)
