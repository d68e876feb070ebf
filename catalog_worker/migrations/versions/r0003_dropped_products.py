"""A sync counts the products that cannot be read."""

import sqlalchemy as sa
from alembic import op

revision = "catalog_0003"
down_revision = "catalog_0002"


def upgrade() -> None:
    for name in ("dropped", "unstored"):
        op.add_column("syncs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("syncs", sa.Column("first_dropped", sa.Text()))


def downgrade() -> None:
    with op.batch_alter_table("syncs") as syncs:
        for name in ("dropped", "unstored", "first_dropped"):
            syncs.drop_column(name)
