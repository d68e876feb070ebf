"""The bundled products, more of their kind, and the ways to look at them."""

import json
from collections.abc import Iterable, Sequence
from importlib import resources
from typing import overload

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from sample_api.query import PageQuery

Product = dict[str, object]
Products = Sequence[Product]


class UnknownProduct(Exception):
    """No product has this id."""

    def __init__(self, product_id: str) -> None:
        super().__init__(f"Product with id '{product_id}' not found")


def bundled_products() -> Products:
    source = resources.files("sample_api").joinpath("products.json")
    products: list[Product] = json.loads(source.read_text(encoding="utf-8"))
    return products


class Changes(BaseModel):
    """How the catalogue differs from what it was at the start; for tests and demos."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prices: dict[int, FiniteFloat] = Field(default_factory=dict)  # by product id
    removed: frozenset[int] = frozenset()  # product ids


class Catalogue(Sequence[Product]):
    """The bundled products, and made-up ones after them, the same each time.

    These are made when they are looked at: a million of them take no memory.
    """

    def __init__(self, count: int, changes: Changes | None = None) -> None:
        self._bundled = bundled_products()
        self._count = count
        self._prices = changes.prices if changes else {}
        removed = changes.removed if changes else frozenset()
        ids = range(1, count + 1)
        self._ids: Sequence[int] = (
            [number for number in ids if number not in removed] if removed else ids
        )

    def changed(self, changes: Changes) -> "Catalogue":
        """Give the same catalogue, different in this."""
        return Catalogue(self._count, changes)

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: int) -> Product: ...
    @overload
    def __getitem__(self, index: slice) -> list[Product]: ...
    def __getitem__(self, index: int | slice) -> Product | list[Product]:
        if isinstance(index, slice):
            return [self._product(number) for number in self._ids[index]]
        return self._product(self._ids[index])

    def _product(self, number: int) -> Product:
        generation, place = divmod(number - 1, len(self._bundled))
        product = self._bundled[place]
        if generation:
            product = product | {
                "id": number,
                "title": f"{product['title']}, No. {generation + 1}",
                "price": round(float(str(product["price"])) + generation % 100 / 10, 2),
            }
        if number in self._prices:
            product = product | {"price": self._prices[number]}
        return product


def find(products: Products, product_id: str) -> Product:
    """Compare ids as text, so that `01` is not product 1.

    Raises:
        UnknownProduct: there is none.
    """
    for product in products:
        if str(product["id"]) == product_id:
            return product
    raise UnknownProduct(product_id)


def matching(products: Products, text: str) -> Products:
    """Products whose title or description contains the text; every product contains ""."""
    wanted = _folded(text)
    return [
        product
        for product in products
        if wanted in _folded(f"{product['title']}\n{product['description']}")
    ]


def in_category(products: Products, slug: str) -> Products:
    return [product for product in products if product["category"] == slug]


def category_slugs(products: Products) -> list[str]:
    return sorted({str(product["category"]) for product in products})


def page(products: Products, query: PageQuery) -> dict[str, object]:
    """Sort, cut and trim a list: `{products, total, skip, limit}`.

    `limit` is the number of products returned, whatever was asked for.
    """
    ordered = _sorted(products, query.sort_by, descending=query.descending)
    start = max(query.skip or 0, 0)
    shown = [selected(product, query.select) for product in _cut(ordered, start, query.limit)]
    return {"products": shown, "total": len(products), "skip": query.skip, "limit": len(shown)}


def selected(product: Product, fields: Iterable[str]) -> Product:
    """Keep the id and these fields; one the product does not have is silently missing."""
    chosen = ["id", *fields]
    if chosen == ["id"]:
        return product
    return {field: product[field] for field in chosen if field in product}


def _cut(products: Products, start: int, limit: int | None) -> Products:
    if limit is None:
        return []
    if limit == 0:
        return products[start:]
    # A negative limit counts from the end, in JavaScript's slice as in Python's.
    return products[start : limit if limit < 0 else start + limit]


def _sorted(products: Products, field: str, *, descending: bool) -> Products:
    """Order by a field that holds plain values, products without it last; others do nothing."""
    if not field:
        return products
    valued: list[tuple[str | int | float, Product]] = []
    rest: list[Product] = []
    for product in products:
        value = product.get(field)
        if isinstance(value, str | int | float):
            valued.append((value, product))
        else:
            rest.append(product)
    valued.sort(key=lambda pair: pair[0], reverse=descending)
    return [product for _, product in valued] + rest


def _folded(text: str) -> str:
    return text.lower().replace("-", " ")
