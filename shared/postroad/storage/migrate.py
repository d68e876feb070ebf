"""Bringing a service's database to its newest schema.

It may be done while workers run, and any number of times: whoever comes second finds nothing to do.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext

import structlog
from alembic import command, context
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util import CommandError
from sqlalchemy import Connection, MetaData, inspect

from postroad.contracts.errors import Unavailable
from postroad.storage.database import Database
from postroad.storage.outages import outage_of
from postroad.storage.tables import Schema, SchemaError

log = structlog.get_logger()

_PATIENCE_S = 300  # for another migration to end
_LOCK = 0x706F7374726F6164  # the name of our advisory lock in PostgreSQL: "postroad"


def migrate(url: str, schema: Schema) -> None:
    """Make what is missing.

    Raises:
        InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL.
        SchemaError: the database holds something else.
        Unavailable: it cannot do it now.
    """
    with (
        closing(Database(url, patience_s=_PATIENCE_S)) as database,
        _alone(database),
        database.writing() as transaction,
    ):
        transaction.exclude_others(_LOCK)
        _upgrade(transaction.connection, schema)


def run_migrations(metadata: MetaData) -> None:
    """Run the migrations of a service; its ``env.py`` calls this with its tables."""
    context.configure(
        connection=context.config.attributes["connection"],
        target_metadata=metadata,
        render_as_batch=True,  # SQLite cannot change a column in place
    )
    with context.begin_transaction():
        context.run_migrations()


def _upgrade(connection: Connection, schema: Schema) -> None:
    before = MigrationContext.configure(connection).get_current_revision()
    if before is None and inspect(connection).has_table(schema.own_table):
        raise SchemaError(
            f"the database was made by something else: it has {schema.own_table}, but no version"
        )
    try:
        command.upgrade(_config(schema, connection), "head")
    except CommandError as error:
        raise SchemaError(
            f"another service or a newer version made the database: {error}"
        ) from error
    after = MigrationContext.configure(connection).get_current_revision()
    if before != after:
        log.info("database migrated", before=before, after=after)


def _config(schema: Schema, connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", schema.migrations)
    return config


@contextmanager
def _sqlite_file(path: str) -> Iterator[None]:
    """Make the file for its owner's eyes alone, and keep other migrations out.

    The write-ahead log, by which readers and a writer do not wait for one another
    (sqlite.org/wal.html), is a property of the file; nobody waits for the lock to set it.
    """
    try:
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        lock = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise SchemaError(f"cannot write {path}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


@contextmanager
def _alone(database: Database) -> Iterator[None]:
    is_sqlite = database.url.get_backend_name() == "sqlite"
    with _sqlite_file(database.url.database or "") if is_sqlite else nullcontext():
        if is_sqlite:
            _use_write_ahead_log(database)
        yield


def _use_write_ahead_log(database: Database) -> None:
    raw = database.engine.raw_connection()
    try:
        raw.cursor().execute("PRAGMA journal_mode=WAL")
    except sqlite3.DatabaseError as error:
        if outage := outage_of(error):
            raise Unavailable(outage.problem) from error
        raise SchemaError(f"{database} is not an SQLite database") from error
    finally:
        raw.close()
