"""Sessions of a database: how they are opened, begin a transaction, and are given up."""

import sqlite3
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import ExceptionContext

from postroad.context import current_context
from postroad.storage.outages import outage_of

T = TypeVar("T")

IS_READ_ONLY = "postroad_is_read_only"  # noted of a session by its last transaction
_CONNECT_TIMEOUT_S = 2  # with half of a request's time for a session that stands still before
_CONNECTIONS, _MORE_CONNECTIONS = 8, 24
_TO_ANSWER_S = 0.5  # of a request's deadline, for telling that the database took too long
_SHORTEST_PATIENCE_S = 0.1
_GRACE_S = 0.25  # for the server's own word that something took too long
_POSTGRESQL: dict[str, object] = {
    "connect_timeout": _CONNECT_TIMEOUT_S,
    # what is prepared in a session is not there in the next one that a pooler hands out
    "prepare_threshold": None,
    # a peer that has gone without a word is noticed within nine seconds
    "keepalives_idle": 3,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 9_000,
}
# One round trip sets a limit for this transaction alone, and tells what the session can do. A
# pooler that hands out another session for each transaction keeps no settings from before.
_BEGIN = text(
    "SELECT set_config('statement_timeout', :timeout, true),"
    " current_setting('transaction_read_only')"
)


class _LimitedConnection(psycopg.Connection[Any]):
    """A session whose server may stand still, or be waited for by a pooler: not for ever."""

    limit_s = float(_CONNECT_TIMEOUT_S)

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for an answer.

        Raises:
            OperationalError: there is none in time; the session is of no use any more.
        """
        return super().wait(gen, interval, self.limit_s if timeout is None else timeout)


def make_engine(url: URL) -> Engine:
    """Make what opens sessions when they are first needed."""
    pool: dict[str, Any] = {
        "pool_size": _CONNECTIONS,
        "max_overflow": _MORE_CONNECTIONS,
        "pool_timeout": _CONNECT_TIMEOUT_S,
    }
    if url.get_backend_name() == "sqlite":
        # opened, never made: a file that a migration makes is for its owner's eyes alone
        file = f"file:{quote(url.database or '')}?mode=rw"
        connect = partial(sqlite3.connect, file, uri=True, check_same_thread=False)
        engine = create_engine(url, creator=connect, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
    else:
        options = {name: value for name, value in _POSTGRESQL.items() if name not in url.query}
        engine = create_engine(url, connect_args=options, **pool)
        event.listen(engine, "do_connect", _connect)
    event.listen(engine, "handle_error", _give_session_up)
    return engine


def begin(connection: Connection, *, is_writing: bool, patience_s: float) -> None:
    """Begin a transaction in which no statement, nor lock, takes longer than somebody waits.

    Raises:
        DBAPIError, psycopg.Error: it cannot begin; a session that only reads cannot write.
    """
    connection.begin()
    timeout_s = _patience_s(patience_s)
    timeout_ms = int(1000 * timeout_s)
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(f"PRAGMA busy_timeout={timeout_ms}")
        # The lock for writing is taken where waiting for it is possible. A transaction that reads
        # first and writes later fails at once if another wrote in between
        # (sqlite.org/lang_transaction.html).
        connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
        if is_writing:  # what was opened read-only has begun to read; this changes nothing
            connection.exec_driver_sql("PRAGMA incremental_vacuum(1)")
        return
    session = connection.connection.driver_connection
    if isinstance(session, _LimitedConnection):
        session.limit_s = timeout_s / 2  # there is time left for another session
    _, read_only = connection.execute(_BEGIN, {"timeout": f"{timeout_ms}ms"}).one()
    if isinstance(session, _LimitedConnection):
        session.limit_s = timeout_s + _GRACE_S
    connection.info[IS_READ_ONLY] = read_only == "on"
    if is_writing and read_only == "on":
        raise psycopg.errors.ReadOnlySqlTransaction("the session is read-only")


def _patience_s(patience_s: float) -> float:
    """Return how long to wait for the database: while answering, less than the time left."""
    context = current_context.get(None)
    if context is None or context.is_over:
        return patience_s
    return max(_SHORTEST_PATIENCE_S, min(patience_s, context.time_left_s() - _TO_ANSWER_S))


def _connect(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> _LimitedConnection:
    return _LimitedConnection.connect(*arguments, **options)


def _give_session_up(context: ExceptionContext) -> None:
    """Close the session of an outage; and those of the pool, if they are like it."""
    outage = outage_of(context.original_exception)
    if outage is not None:
        context.is_disconnect = True
        context.invalidate_pool_on_disconnect = outage.is_of_session


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions: we do
    connection.execute("PRAGMA foreign_keys=ON")
