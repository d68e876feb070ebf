"""The outbox keeps in which trace a message was written."""

import sqlalchemy as sa
from alembic import op

revision = "catalog_0002"
down_revision = "catalog_0001"


def upgrade() -> None:
    op.add_column("outbox", sa.Column("traceparent", sa.String(55)))


def downgrade() -> None:
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_column("traceparent")
