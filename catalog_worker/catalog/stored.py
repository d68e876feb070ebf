"""The catalogue as the last sync left it, for when upstream cannot be asked."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Select, func, select

from catalog_worker.sync.products import as_product, folded
from catalog_worker.sync.syncs import last_done
from catalog_worker.tables import products
from postroad.contracts.catalog import Category, CategoryList, ListProducts, Product, ProductPage
from postroad.contracts.errors import ServiceError, Unavailable
from postroad.contracts.message import Dated, Message
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.storage.database import Database

T = TypeVar("T")


class StoredCatalog:
    """Finds products in the database; blocking. None means that no sync has been done yet.

    What it finds is stale: it is asked when upstream cannot be. Each method raises ``Unavailable``
    when the database is away.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self, request: ListProducts) -> Dated[ProductPage] | None:
        """Give a page of products, selected and sorted as upstream does it."""
        return self._look(lambda connection: _page(connection, request))

    def find(self, product_id: int) -> Dated[Product | None] | None:
        """Give one product, if it is stored."""
        query = products.select().where(products.c.id == product_id)

        def look(connection: Connection) -> Product | None:
            row = connection.execute(query).one_or_none()
            return as_product(row) if row else None

        return self._look(look)

    def categories(self) -> Dated[CategoryList] | None:
        """Give the categories that products are in; their names are made from the slugs."""
        slug = products.c.category
        query = select(slug).distinct().where(slug.is_not(None)).order_by(slug)

        def look(connection: Connection) -> CategoryList:
            slugs = connection.execute(query).scalars()
            data = [Category(slug=slug, name=slug.replace("-", " ").title()) for slug in slugs]
            return CategoryList(data=data)

        return self._look(look)

    def _look(self, look: Callable[[Connection], T]) -> Dated[T] | None:
        with self._database.reading() as connection:
            as_of = last_done(connection)
            return None if as_of is None else Dated(look(connection), as_of, is_stale=True)


async def look_up(
    stored: StoredCatalog | None,
    look: Callable[[StoredCatalog], Dated[T] | None],
    error: ServiceError,
) -> Dated[T]:
    """Return what the store has, where upstream failed.

    What the store cannot say ends as upstream's error: that a product is not stored does not mean
    that there is none. So does what is too long for a reply.
    """
    if stored is None:
        raise error
    try:
        found = await asyncio.to_thread(look, stored)
    except Unavailable:
        raise error from None
    value = found.value if found else None
    if found is None or not isinstance(value, Message) or len(value.as_json) > MESSAGE_MAX_BYTES:
        raise error
    return found


def _page(connection: Connection, request: ListProducts) -> ProductPage:
    selected = products.select()
    if request.q is not None:
        wanted = folded(request.q.replace("\0", ""))
        selected = selected.where(products.c.search_text.contains(wanted, autoescape=True))
    elif request.category is not None:
        selected = selected.where(products.c.category == request.category)
    total = connection.execute(select(func.count()).select_from(selected.subquery())).scalar_one()
    page = _sorted(selected, request).offset(request.skip).limit(request.limit)
    data = [as_product(row) for row in connection.execute(page)]
    return ProductPage(data=data, total=total, skip=request.skip, limit=len(data))


def _sorted(
    selected: Select[tuple[object, ...]], request: ListProducts
) -> Select[tuple[object, ...]]:
    """Sort by the wanted field, products without it last, then by id."""
    if request.sort_by is not None:
        column = products.c[request.sort_by]
        ordered = column.desc() if request.order == "desc" else column.asc()
        selected = selected.order_by(ordered.nulls_last())
    return selected.order_by(products.c.id)
