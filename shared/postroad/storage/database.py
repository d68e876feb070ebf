"""A service's database: SQLite in a file, or PostgreSQL."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import quote

import structlog
from sqlalchemy import URL, Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy import exc as sql_errors
from sqlalchemy.dialects import postgresql, sqlite

from postroad.contracts.errors import Unavailable
from postroad.storage.settings import DatabaseSettings

log = structlog.get_logger()

PATIENCE_S = 10  # for a lock that another holds, and for one statement
_CONNECT_TIMEOUT_S = 5
_CONNECTIONS, _MORE_CONNECTIONS = 8, 24
_WRITES = "postroad_writes"  # an execution option of ours


class InvalidDatabaseUrl(Exception):
    """The URL names no database that we can use; the message says why."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """Changes that come about together, or not at all."""

    connection: Connection
    followers: list[Callable[[], None]] = field(default_factory=list)

    def after_commit(self, follower: Callable[[], None]) -> None:
        """Call this once the changes are there for all to see."""
        self.followers.append(follower)

    def exclude_others(self, lock: int) -> None:
        """Wait for other transactions under this number to end, and keep further ones waiting.

        SQLite has one writer at a time anyway.
        """
        if self.connection.dialect.name == "postgresql":
            self.connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})

    def insert(self, table: Table) -> "postgresql.Insert | sqlite.Insert":
        """Give an INSERT that can say ``ON CONFLICT``, which each dialect has for itself."""
        is_sqlite = self.connection.dialect.name == "sqlite"
        return sqlite.insert(table) if is_sqlite else postgresql.insert(table)


class Database:
    """Transactions; safe to use from several threads and processes."""

    def __init__(self, url: str, *, patience_s: int = PATIENCE_S) -> None:
        """Connect when first used.

        Raises:
            InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL.
        """
        self.url = parse_url(url)
        self.engine = _engine(self.url, patience_s)

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Look something up.

        Raises:
            Unavailable: the database is away.
        """
        with _reporting_outage(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Change something: all of it is committed at the end, or nothing after an exception.

        Raises:
            Unavailable: the database is away.
        """
        with _reporting_outage(), self.engine.connect() as connection:
            connection.execution_options(**{_WRITES: True})
            transaction = Transaction(connection)
            with connection.begin():
                yield transaction
        for follower in transaction.followers:
            follower()

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()


def parse_url(given: str) -> URL:
    """Read a database URL, with our driver for its kind.

    Raises:
        InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL.
    """
    try:
        url = make_url(given)
    except sql_errors.ArgumentError:
        raise InvalidDatabaseUrl("it is not a database URL") from None  # which holds a password
    except ValueError:
        raise InvalidDatabaseUrl(
            "its port is no number; an IPv6 address stands in brackets, as in [::1]"
        ) from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            if url.host or "?" in given:
                raise InvalidDatabaseUrl("for SQLite it is sqlite:/// and a file, without a ?")
            return url.set(drivername="sqlite")
        case "postgresql" | "postgres":
            url = url.set(drivername="postgresql+psycopg")
            _check_postgresql(url)
            return url
    raise InvalidDatabaseUrl("it must begin with sqlite:/// and a file, or with postgresql://")


def _check_postgresql(url: URL) -> None:
    """Refuse what the driver would refuse at each attempt to connect, as if it were away."""
    from psycopg import ProgrammingError, conninfo  # noqa: PLC0415  # memory; SQLite has no use

    _, options = url.get_dialect()().create_connect_args(url)
    try:
        conninfo.make_conninfo("", **options)
    except ProgrammingError as error:
        raise InvalidDatabaseUrl(str(error).strip()) from None
    for port in str(options.get("port", "")).split(","):  # one for each host
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
            raise InvalidDatabaseUrl("its port is no number from 1 to 65535")


def database_url(settings: DatabaseSettings) -> str:
    """Give the database's URL, with the password that is in a file of its own.

    Raises:
        InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL, or the file cannot be read.
    """
    url, path = settings.database_url.get_secret_value(), settings.database_password_file
    if path is None:
        return url
    try:
        password = path.read_text().strip()
    except OSError as error:
        raise InvalidDatabaseUrl(f"cannot read its password, {path}: {error.strerror}") from error
    return parse_url(url).set(password=password).render_as_string(hide_password=False)


@contextmanager
def _reporting_outage() -> Iterator[None]:
    try:
        yield
    except (
        sql_errors.OperationalError,
        sql_errors.InterfaceError,
        sql_errors.TimeoutError,  # all connections are in use
    ) as error:
        log.warning("database away", reason=str(getattr(error, "orig", error)).strip())
        raise Unavailable("the database is away") from error


def _engine(url: URL, patience_s: int) -> Engine:
    pool: dict[str, Any] = {
        "pool_size": _CONNECTIONS,
        "max_overflow": _MORE_CONNECTIONS,
        "pool_timeout": patience_s,
    }
    if url.get_backend_name() == "sqlite":
        # opened, never made: a file that a migration makes is for its owner's eyes alone
        file = f"file:{quote(url.database or '')}?mode=rw"
        connect = partial(
            sqlite3.connect, file, uri=True, timeout=patience_s, check_same_thread=False
        )
        engine = create_engine(url, creator=connect, **pool)
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
        return engine
    options: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_S}
    if "options" not in url.query:
        options["options"] = f"-c statement_timeout={patience_s * 1000}"
    return create_engine(url, connect_args=options, pool_pre_ping=True, **pool)


def _prepare_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver begins no transactions: we do
    connection.execute("PRAGMA foreign_keys=ON")


def _begin_sqlite(connection: Connection) -> None:
    """Take the lock for writing at the beginning, where waiting for it is possible.

    A transaction that reads first and writes later fails at once if another wrote in between
    (sqlite.org/lang_transaction.html).
    """
    is_writing = connection.get_execution_options().get(_WRITES)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_writing else "BEGIN")
