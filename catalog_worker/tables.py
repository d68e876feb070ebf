"""What the catalogue service keeps, as tables; the migrations make them.

Times are seconds since 1970.
"""

from sqlalchemy import Boolean, Column, Double, Index, Integer, String, Table, Text

from postroad.storage.tables import BIG_INTEGER, Schema, inbox_table, new_metadata, outbox_table

metadata = new_metadata()

SCHEMA = Schema(
    service="catalog",
    migrations="catalog_worker:migrations",
    own_table="products",
    command="python -m catalog_worker.migrate",
)

# sorted by code point in either database, as upstream sorts, and never by a locale
PLAIN_TEXT = Text().with_variant(Text(collation="C"), "postgresql")

products = Table(
    "products",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # upstream's
    Column("title", PLAIN_TEXT, nullable=False),
    Column("brand", PLAIN_TEXT),
    Column("price", Double, nullable=False),
    Column("description", Text, nullable=False),
    Column("category", PLAIN_TEXT),
    Column("thumbnail", Text),
    Column("rating", Double),
    Column("stock", BIG_INTEGER),
    Column("search_text", PLAIN_TEXT, nullable=False),  # what a search looks through
    Column("seen_by", String(36), nullable=False),  # the last sync that upstream listed it to
    Index(None, "category"),
)

syncs = Table(
    "syncs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("status", String(10), nullable=False),  # postroad.contracts.catalog.SyncStatus
    Column("requested_at", Double, nullable=False),
    Column("progress_at", Double, nullable=False),  # when a page was last stored
    Column("finished_at", Double),
    Column("pages", Integer),  # unknown until it has been split
    Column("pages_done", Integer, nullable=False),
    Column("total", Integer),  # of upstream's products, when it was split
    Column("is_steady", Boolean, nullable=False),  # each page has told that same total
    Column("products", Integer, nullable=False),
    Column("dropped", Integer, nullable=False, server_default="0"),  # cannot be read
    Column("first_dropped", Text),
    Column("unstored", Integer, nullable=False, server_default="0"),  # dropped, and never stored
    Column("added", Integer, nullable=False),
    Column("price_changed", Integer, nullable=False),
    Column("removed", Integer, nullable=False),
    Index(None, "status", "finished_at"),
    Index(None, "requested_at"),
)

outbox = outbox_table(metadata)
inbox = inbox_table(metadata)
