"""Writing what upstream lists into the store, and saying what that has changed."""

from collections.abc import Iterable
from typing import Any

import structlog
from sqlalchemy import Row, func, select

from catalog_worker.listing import Dropped, Listed
from catalog_worker.tables import products
from postroad.contracts.base import Event
from postroad.contracts.catalog import PRODUCT_ID_MAX, Product
from postroad.contracts.events import ProductAdded, ProductPriceChanged, ProductRemoved
from postroad.limits import MESSAGE_MAX_BYTES
from postroad.storage.database import Transaction

log = structlog.get_logger()

_BIGGEST_INTEGER = 2**63 - 1
_CATEGORY_MAX_BYTES = 2000  # PostgreSQL's index takes 2,704


def save_products(transaction: Transaction, listed: Iterable[Product], sync_id: str) -> list[Event]:
    """Store products as upstream lists them now; give an event for each that matters.

    Few statements, however many products. Whoever calls sees to it that nobody else stores
    products at the same time: ``Syncs.store_page`` locks the sync's row.
    """
    given = {product.id: _plain(product) for product in listed}
    known = {
        row.id: as_product(row)
        for row in transaction.connection.execute(products.select().where(products.c.id.in_(given)))
    }
    changed = [product for product in given.values() if product != known.get(product.id)]
    _upsert(transaction, changed, sync_id)
    transaction.connection.execute(
        products.update().where(products.c.id.in_(given)).values(seen_by=sync_id)
    )
    events = (_change(known.get(product.id), product, sync_id) for product in changed)
    return [event for event in events if event is not None]


def keep_dropped(transaction: Transaction, dropped: Iterable[Dropped], sync_id: str) -> int:
    """Leave what is stored of products that cannot be read now, and say of how many that is."""
    ids = [each.id for each in dropped if each.id is not None and 1 <= each.id <= PRODUCT_ID_MAX]
    kept = products.update().where(products.c.id.in_(ids)).values(seen_by=sync_id)
    return transaction.connection.execute(kept).rowcount


def without_unfit(listed: Listed) -> Listed:
    """Drop the products that no database takes, or no message, too."""
    fit: list[Product] = []
    dropped = list(listed.dropped)
    for product in listed.products:
        if (reason := _unfit(product)) is None:
            fit.append(product)
        else:
            log.warning("bad product dropped", id=product.id, reason=reason)
            dropped.append(Dropped(product.id, reason))
    return Listed(fit, listed.total, dropped)


def count_seen(transaction: Transaction, sync_id: str) -> int:
    """Count the products that a sync has stored: each once, though listed twice."""
    query = select(func.count()).where(products.c.seen_by == sync_id)
    return int(transaction.connection.execute(query).scalar_one())


def holds_any(transaction: Transaction) -> bool:
    """Say whether there is a product in the store."""
    return transaction.connection.execute(select(products.c.id).limit(1)).first() is not None


def remove_unseen(transaction: Transaction, sync_id: str) -> list[ProductRemoved]:
    """Remove the products that a sync has not seen; give an event for each."""
    removed = transaction.connection.execute(
        products.delete().where(products.c.seen_by != sync_id).returning(products.c.id)
    )
    return [ProductRemoved(product_id=row.id, sync_id=sync_id) for row in removed]


def folded(text: str) -> str:
    """Give text as a search sees it: as upstream's, it ignores case and hyphens."""
    return text.lower().replace("-", " ")


def as_product(row: Row[Any]) -> Product:
    return Product.model_construct(**{name: getattr(row, name) for name in Product.model_fields})


def _upsert(transaction: Transaction, changed: list[Product], sync_id: str) -> None:
    if not changed:
        return
    insert = transaction.insert(products)
    renewed = {
        column.name: insert.excluded[column.name] for column in products.c if column.name != "id"
    }
    rows = [
        {
            **product.model_dump(),
            "search_text": folded(f"{product.title}\n{product.description}"),
            "seen_by": sync_id,
        }
        for product in changed
    ]
    transaction.connection.execute(
        insert.on_conflict_do_update(index_elements=["id"], set_=renewed), rows
    )


def _change(before: Product | None, after: Product, sync_id: str) -> Event | None:
    if before is None:
        return ProductAdded(
            product_id=after.id, title=after.title, price=after.price, sync_id=sync_id
        )
    if before.price != after.price:
        return ProductPriceChanged(
            product_id=after.id,
            old_price=before.price,
            new_price=after.price,
            sync_id=sync_id,
        )
    return None


def _unfit(product: Product) -> str | None:
    if not 1 <= product.id <= PRODUCT_ID_MAX:
        return f"id: not from 1 to {PRODUCT_ID_MAX}"
    if abs(product.stock or 0) > _BIGGEST_INTEGER:
        return "stock: too large"
    if len((product.category or "").encode()) > _CATEGORY_MAX_BYTES:
        return "category: too long"
    return "too long for a message" if len(product.as_json) > MESSAGE_MAX_BYTES else None


def _plain(product: Product) -> Product:
    """Leave out the one character that PostgreSQL does not take in text."""
    cleaned = {
        name: value.replace("\0", "")
        for name, value in product.model_dump().items()
        if isinstance(value, str)
    }
    return product.model_copy(update=cleaned)
