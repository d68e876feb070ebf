"""Bring the auth service's database to the newest schema: ``python -m auth_worker.migrate``.

It may run while workers do, and any number of times: whoever comes second finds nothing to do.
"""

import fcntl
import os
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path

import structlog
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, inspect, text

from auth_worker.database import Database, InvalidDatabaseUrl, database_url
from auth_worker.settings import AuthSettings
from shared.contracts.errors import Unavailable
from shared.logs import configure_logging
from shared.settings import LogSettings, read_settings

log = structlog.get_logger()

COMMAND = "python -m auth_worker.migrate"
_PATIENCE_S = 300  # for another migration to end
_LOCK = 0x706F7374726F6164  # the name of our advisory lock in PostgreSQL: "postroad"


class SchemaError(Exception):
    """The database is not as this version needs it; the message says what to do."""


def migrate(url: str) -> None:
    """Make what is missing.

    Raises:
        InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL.
        SchemaError: the database holds something else.
        Unavailable: it is away.
    """
    with (
        closing(Database(url, patience_s=_PATIENCE_S)) as database,
        _alone(database),
        database.writing() as transaction,
    ):
        connection = transaction.connection
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        _upgrade(connection)


def require_newest_schema(database: Database) -> None:
    """Make sure that the database is as this version needs it.

    Raises:
        SchemaError: it is not.
        Unavailable: it is away.
    """
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    found = None
    is_sqlite = database.url.get_backend_name() == "sqlite"
    if not is_sqlite or Path(database.url.database or "").exists():
        with database.reading() as connection:
            found = MigrationContext.configure(connection).get_current_revision()
    if found != newest:
        raise SchemaError(
            f"the schema of {database} is {found or 'missing'}, not {newest}; run: {COMMAND}"
        )


def main() -> None:
    """Migrate ``AUTH_DATABASE_URL``."""
    settings = read_settings(AuthSettings)
    configure_logging("auth", read_settings(LogSettings))
    try:
        migrate(database_url(settings))
    except (InvalidDatabaseUrl, SchemaError, Unavailable) as error:
        print(f"cannot migrate AUTH_DATABASE_URL: {error}", file=sys.stderr)  # noqa: T201
        raise SystemExit(1) from None


def _upgrade(connection: Connection) -> None:
    before = MigrationContext.configure(connection).get_current_revision()
    if before is None and inspect(connection).has_table("users"):
        raise SchemaError("the database was made by something else: it has users, but no version")
    try:
        command.upgrade(_config(connection), "head")
    except CommandError as error:
        raise SchemaError(f"the database was made by a newer version: {error}") from error
    after = MigrationContext.configure(connection).get_current_revision()
    if before != after:
        log.info("database migrated", before=before, after=after)


def _config(connection: Connection | None = None) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "auth_worker:migrations")
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
        raise SchemaError(f"{database} is no SQLite database") from error
    finally:
        raw.close()


if __name__ == "__main__":
    main()
