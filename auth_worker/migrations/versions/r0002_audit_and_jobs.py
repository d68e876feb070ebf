"""The audit trail; the outbox takes jobs too."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    # the default is for workers of the version before, which write events while this runs
    op.add_column(
        "outbox", sa.Column("kind", sa.String(10), nullable=False, server_default="event")
    )
    op.create_table(
        "audit",
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("what", sa.String(200), nullable=False),
        sa.Column("user_id", sa.Integer()),
        sa.Column("session_id", sa.String(36)),
        sa.Column("reason", sa.String(40)),
        sa.Column("client_network", sa.String(64)),
        sa.PrimaryKeyConstraint("event_id", name="pk_audit"),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_user_id_at", "audit", ["user_id", "at"])


def downgrade() -> None:
    op.drop_table("audit")
    with op.batch_alter_table("outbox") as outbox:
        outbox.drop_column("kind")
