"""The tables that every service's database has: what it has to tell, and what it has heard."""

from dataclasses import dataclass
from importlib.resources import files
from typing import Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Double,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
)

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


class _Operations(Protocol):
    """Alembic's ``op``."""

    def get_bind(self) -> Connection: ...


def create_outbox(op: _Operations) -> None:
    """Create the outbox in a service's first migration."""
    outbox_table(new_metadata()).create(op.get_bind())


def create_inbox(op: _Operations) -> None:
    """Create the inbox in a service's first migration."""
    inbox_table(new_metadata()).create(op.get_bind())


@dataclass(frozen=True, slots=True)
class Schema:
    """A service's tables, and how they came to be.

    ``migrations``: Alembic's ``script_location``. ``own_table``: one that the first migration
    makes; a database that has it but no version is not ours.
    """

    service: str
    migrations: str
    own_table: str
    command: str  # that a person runs

    @property
    def newest(self) -> str:
        """The revision of the last migration, read from its module: Alembic is slow to load."""
        package, folder = self.migrations.split(":")
        modules = (files(package) / folder / "versions").iterdir()
        last = max((each for each in modules if each.name.startswith("r")), key=lambda it: it.name)
        return last.read_text().partition('\nrevision = "')[2].partition('"')[0]


class SchemaError(Exception):
    """The database is not as this version needs it; the message says what to do."""
