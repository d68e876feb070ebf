"""Sessions of a database: how they are opened, begin a transaction, and are given up."""

import sqlite3
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy import exc as sql_errors
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.pool import ConnectionPoolEntry

from postroad.context import current_context
from postroad.storage.outages import outage_of

_FILE = "postroad_file"
IS_READ_ONLY = "postroad_is_read_only"  # noted of a session by its last transaction
_POOL_TIMEOUT_S = 2
_CONNECTIONS, _MORE_CONNECTIONS = 8, 24
_TO_ANSWER_S = 0.5  # of a request's deadline, for telling that the database took too long
_SHORTEST_PATIENCE_S = 0.1


def make_engine(url: URL) -> Engine:
    """Make what opens sessions when they are first needed."""
    pool: dict[str, Any] = {
        "pool_size": _CONNECTIONS,
        "max_overflow": _MORE_CONNECTIONS,
        "pool_timeout": _POOL_TIMEOUT_S,
    }
    if url.get_backend_name() == "sqlite":
        # opened, never made: a file that a migration makes is for its owner's eyes alone
        file = f"file:{quote(url.database or '')}?mode=rw"
        connect = partial(sqlite3.connect, file, uri=True, check_same_thread=False)
        engine = create_engine(url, creator=connect, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        _leave_files_that_are_gone(engine)
    else:
        from postroad.storage import postgresql  # noqa: PLC0415  # memory; SQLite has no use

        engine = postgresql.make_engine(url, pool)
    event.listen(engine, "handle_error", _give_session_up)
    return engine


def begin(connection: Connection, *, is_writing: bool, patience_s: float) -> None:
    """Begin a transaction in which no statement, nor lock, takes longer than somebody waits.

    Raises:
        DBAPIError: it cannot begin; a session that only reads cannot write.
    """
    connection.begin()
    timeout_s = _patience_s(patience_s)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA busy_timeout={int(1000 * timeout_s)}")
        # The lock for writing is taken where waiting for it is possible. A transaction that reads
        # first and writes later fails at once if another wrote in between
        # (sqlite.org/lang_transaction.html).
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
        if is_writing:  # what was opened read-only has begun to read; this changes nothing
            connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        return
    from postroad.storage import postgresql  # noqa: PLC0415  # memory; SQLite has no use

    is_read_only = postgresql.begin(connection, timeout_s=timeout_s)
    connection.info[IS_READ_ONLY] = is_read_only
    if is_writing and is_read_only:
        raise postgresql.read_only()


def _patience_s(patience_s: float) -> float:
    """Return how long to wait for the database: while answering, less than the time left."""
    context = current_context.get(None)
    if context is None or context.is_over:
        return patience_s
    return max(_SHORTEST_PATIENCE_S, min(patience_s, context.time_left_s() - _TO_ANSWER_S))


def _give_session_up(context: ExceptionContext) -> None:
    """Close the session of an outage; and those of the pool, if they are like it."""
    outage = outage_of(context.original_exception)
    if outage is not None:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = outage.is_of_session


def _leave_files_that_are_gone(engine: Engine) -> None:
    """Replace sessions whose file was deleted or replaced: what they write, nobody else sees."""
    path = engine.url.database or ""

    def remember(_connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
        record.info[_FILE] = _identity(path)

    def compare(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        if record.info[_FILE] != _identity(path):
            raise sql_errors.InvalidatePoolError

    event.listen(engine, "connect", remember)
    event.listen(engine, "checkout", compare)


def _identity(path: str) -> tuple[int, int] | None:
    try:
        found = Path(path).stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions: we do
    connection.execute("PRAGMA foreign_keys=ON")
