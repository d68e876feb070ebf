"""The tables that every service's database has: what it has to tell, and what it has heard."""

from sqlalchemy import BigInteger, Column, Double, Index, Integer, MetaData, String, Table, Text

BIG_INTEGER = BigInteger().with_variant(Integer, "sqlite")  # which counts up an INTEGER only


def new_metadata() -> MetaData:
    """Make a collection of tables whose keys and indexes have predictable names."""
    return MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


def outbox_table(metadata: MetaData) -> Table:
    """Add the outbox (``postroad.storage.outbox``) to a service's tables."""
    return Table(
        "outbox",
        metadata,
        Column("position", BIG_INTEGER, primary_key=True),
        Column("kind", String(10), nullable=False, server_default="event"),  # or job
        # older than jobs, hence its name in the database: whoever still runs the version before
        # has to find it
        Column("event_id", String(36), key="message_id", nullable=False, unique=True),
        Column("name", String(200), nullable=False),
        Column("body", Text, nullable=False),  # JSON
        Column("correlation_id", String(200), nullable=False),
        Column("traceparent", String(55)),  # where in a trace it was written, if anywhere
        Column("created_at", Double, nullable=False),
        Column("claimed_by", String(36)),
        Column("claimed_until", Double),  # whoever claimed it and has not sent it by then has died
    )


def inbox_table(metadata: MetaData) -> Table:
    """Add the inbox (``postroad.storage.inbox``) to a service's tables."""
    return Table(
        "inbox",
        metadata,
        Column("message_id", String(64), primary_key=True),
        Column("at", Double, nullable=False),
        Index(None, "at"),
    )
