"""Products, syncs, outbox and inbox."""

import sqlalchemy as sa
from alembic import op

# with the service's name: in another service's database it is seen to be none of ours
revision = "catalog_0001"
down_revision = None

PLAIN_TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
BIG_INTEGER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "products",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("title", PLAIN_TEXT, nullable=False),
        sa.Column("brand", PLAIN_TEXT),
        sa.Column("price", sa.Double(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("category", PLAIN_TEXT),
        sa.Column("thumbnail", sa.Text()),
        sa.Column("rating", sa.Double()),
        sa.Column("stock", BIG_INTEGER),
        sa.Column("search_text", PLAIN_TEXT, nullable=False),
        sa.Column("seen_by", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_products"),
    )
    op.create_index("ix_products_category", "products", ["category"])
    op.create_table(
        "syncs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("status", sa.String(10), nullable=False),
        sa.Column("requested_at", sa.Double(), nullable=False),
        sa.Column("progress_at", sa.Double(), nullable=False),
        sa.Column("finished_at", sa.Double()),
        sa.Column("pages", sa.Integer()),
        sa.Column("pages_done", sa.Integer(), nullable=False),
        sa.Column("total", sa.Integer()),
        sa.Column("is_steady", sa.Boolean(), nullable=False),
        sa.Column("products", sa.Integer(), nullable=False),
        sa.Column("added", sa.Integer(), nullable=False),
        sa.Column("price_changed", sa.Integer(), nullable=False),
        sa.Column("removed", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_syncs"),
    )
    op.create_index("ix_syncs_status_finished_at", "syncs", ["status", "finished_at"])
    op.create_index("ix_syncs_requested_at", "syncs", ["requested_at"])
    op.create_table(
        "outbox",
        sa.Column("position", BIG_INTEGER, nullable=False),
        sa.Column("kind", sa.String(10), nullable=False, server_default="event"),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("correlation_id", sa.String(200), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.Column("claimed_by", sa.String(36)),
        sa.Column("claimed_until", sa.Double()),
        sa.PrimaryKeyConstraint("position", name="pk_outbox"),
        sa.UniqueConstraint("event_id", name="uq_outbox_event_id"),
    )
    op.create_table(
        "inbox",
        sa.Column("message_id", sa.String(64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("message_id", name="pk_inbox"),
    )
    op.create_index("ix_inbox_at", "inbox", ["at"])


def downgrade() -> None:
    for table in ("inbox", "outbox", "syncs", "products"):
        op.drop_table(table)
