"""The bundled products, and the ways to look at them."""

import json
from collections.abc import Iterable, Sequence
from importlib import resources

from catalog_worker.sample_upstream.query import PageQuery

Product = dict[str, object]
Products = Sequence[Product]


class UnknownProduct(Exception):
    """No product has this id."""

    def __init__(self, product_id: str) -> None:
        super().__init__(f"Product with id '{product_id}' not found")


def bundled_products() -> Products:
    source = resources.files("catalog_worker.sample_upstream").joinpath("products.json")
    products: list[Product] = json.loads(source.read_text(encoding="utf-8"))
    return products


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
    shown = [selected(product, query.select) for product in _cut(ordered[start:], query.limit)]
    return {"products": shown, "total": len(products), "skip": query.skip, "limit": len(shown)}


def selected(product: Product, fields: Iterable[str]) -> Product:
    """Keep the id and these fields; one the product does not have is silently missing."""
    chosen = ["id", *fields]
    if chosen == ["id"]:
        return product
    return {field: product[field] for field in chosen if field in product}


def _cut(products: Products, limit: int | None) -> Products:
    if limit is None:
        return []
    # A negative limit counts from the end, in JavaScript's slice as in Python's.
    return products if limit == 0 else products[:limit]


def _sorted(products: Products, field: str, *, descending: bool) -> Products:
    """Order by a field that holds plain values, products without it last; others do nothing."""
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
