"""A source of products in memory, and a cache of its answers."""

import threading
from typing import Any, TypeVar

from catalog_worker.catalog.cache import CachedCatalog
from catalog_worker.catalog.upstream import Answer
from postroad.contracts.catalog import Category, CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.message import Dated
from tests.support.auth import Clock
from tests.support.services import LAMP
from tests.support.upstreams import settings_for

T = TypeVar("T")

FRESH_S, REFRESH_S, STALE_S = 100, 1000, 10_000
JUST_FRESH_S = FRESH_S - 10
RENEWED_MEANWHILE_S = FRESH_S + 10
RENEWED_FIRST_S = FRESH_S + REFRESH_S + 10
TOO_OLD_S = FRESH_S + REFRESH_S + STALE_S + 10


class Shelf:
    """A source in memory: each answer is numbered, in a product's stock or a page's total."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.asked: list[object] = []
        self.known: list[Answer[Any] | None] = []
        self.error: Exception | None = None
        self.has_changed = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def list(self, request: ListProducts, known: Answer[ProductPage] | None) -> Answer[ProductPage]:
        number = self._ask(request, known)
        return self._answer(ProductPage(data=[], total=number, skip=0, limit=0), known)

    def find(self, product_id: int, known: Answer[Product | None] | None) -> Answer[Product | None]:
        number = self._ask(product_id, known)
        product = LAMP.model_copy(update={"stock": number}) if product_id == LAMP.id else None
        return self._answer(product, known)

    def categories(self, known: Answer[CategoryList] | None) -> Answer[CategoryList]:
        self._ask("categories", known)
        return self._answer(CategoryList(data=[Category(slug="books", name="Books")]), known)

    def _ask(self, question: object, known: Answer[Any] | None) -> int:
        self.asked.append(question)
        self.known.append(known)
        number = len(self.asked)
        assert self.may_answer.wait(5)
        if self.error is not None:
            raise self.error
        return number

    def _answer(self, value: T, known: Answer[T] | None) -> Answer[T]:
        if known is not None and not self.has_changed:
            return known
        return Answer(value, f'"{len(self.asked)}"')


def catalog_of(source: Shelf, **changes: Any) -> CachedCatalog:
    settings = {
        "cache_fresh_s": FRESH_S,
        "cache_refresh_s": REFRESH_S,
        "cache_stale_s": STALE_S,
        **changes,
    }
    return CachedCatalog(
        source, settings_for("http://upstream.invalid", **settings), clock=source.clock
    )


async def stock(catalog: CachedCatalog) -> int | None:
    return (await find(catalog)).value.stock


async def find(catalog: CachedCatalog) -> Dated[Product]:
    found = await catalog.find(LAMP.id)
    assert found.value is not None
    return Dated(found.value, found.as_of, found.is_stale)
