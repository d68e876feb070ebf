"""Sessions of PostgreSQL; a process with SQLite loads neither this module nor psycopg."""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy import exc as sql_errors

T = TypeVar("T")

_CONNECT_TIMEOUT_S = 2  # with half of a request's time for a session that stands still before
_GRACE_S = 0.25  # for the server's own word that something took too long
_OPTIONS: dict[str, object] = {
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


def make_engine(url: URL, pool: dict[str, Any]) -> Engine:
    """Make what opens sessions when they are first needed."""
    options = {name: value for name, value in _OPTIONS.items() if name not in url.query}
    engine = create_engine(url, connect_args=options, **pool)
    event.listen(engine, "do_connect", _connect)
    return engine


def begin(connection: Connection, *, timeout_s: float) -> bool:
    """Limit the statements of a transaction, and return whether it can only read."""
    session = connection.connection.driver_connection
    if isinstance(session, _LimitedConnection):
        session.limit_s = timeout_s / 2  # there is time left for another session
    timeout = f"{int(1000 * timeout_s)}ms"
    _, read_only = connection.execute(_BEGIN, {"timeout": timeout}).one()
    if isinstance(session, _LimitedConnection):
        session.limit_s = timeout_s + _GRACE_S
    return bool(read_only == "on")


def read_only() -> sql_errors.DBAPIError:
    """Return the error that a statement that writes would meet."""
    error = psycopg.errors.ReadOnlySqlTransaction("the session is read-only")
    return sql_errors.DBAPIError(str(_BEGIN), None, error)


def _connect(
    _dialect: object, _record: object, arguments: list[Any], options: dict[str, Any]
) -> _LimitedConnection:
    return _LimitedConnection.connect(*arguments, **options)
