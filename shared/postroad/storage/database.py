"""A service's database: SQLite in a file, or PostgreSQL."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

import structlog
from sqlalchemy import URL, Connection, Table, make_url, text
from sqlalchemy import exc as sql_errors
from sqlalchemy.dialects import postgresql, sqlite

from postroad.contracts.errors import OutcomeUnknown, Unavailable
from postroad.storage.engine import IS_READ_ONLY, begin, make_engine
from postroad.storage.outages import Outage, outage_of
from postroad.storage.settings import DatabaseSettings
from postroad.urls import check_address

log = structlog.get_logger()

PATIENCE_S = 10  # for a lock that another holds, and for one statement; less, of a request
_REMEMBERED_S = 8  # less than a system takes that is to be well ten seconds after its database
_NOWHERE = "/nowhere/postroad"  # a folder without a socket: libpq checks its options, and fails
_BAD_CHARACTER = re.compile(r"[\x00-\x1f\x7f]|^\s|\s$")
_ADDRESS = re.compile(r"[^:]+://(?:[^:/@]*(?::[^@]*)?@)?([^/?]*)")  # where SQLAlchemy finds it
_ALL_IN_USE = "all connections to the database are in use"


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


@dataclass(frozen=True, slots=True)
class _Refusal:
    at: float
    problem: str


class Database:
    """Transactions; safe to use from several threads and processes."""

    def __init__(
        self, url: str, *, patience_s: int = PATIENCE_S, clock: Callable[[], float] = monotonic
    ) -> None:
        """Connect when first used.

        Raises:
            InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL.
        """
        self.url = parse_url(url)
        self.engine = make_engine(self.url)
        self._patience_s = patience_s
        self._clock = clock
        self._disk: _Refusal | None = None

    def __str__(self) -> str:
        return self.url.render_as_string(hide_password=True)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Look something up.

        Raises:
            Unavailable: the database cannot do it now.
        """
        with self._transaction(is_writing=False) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Change something: all of it is committed at the end, or nothing after an exception.

        Raises:
            Unavailable: the database cannot do it now; nothing was changed.
            OutcomeUnknown: the connection was lost during the commit.
        """
        with self._transaction(is_writing=True) as connection:
            transaction = Transaction(connection)
            yield transaction
            _commit(connection)
        for follower in transaction.followers:
            follower()

    def problem(self) -> str | None:
        """Return why a change would not be taken now, none if it would.

        It is tried with a change of nothing. That a change has met a full disk is told for a
        while: a smaller one may be taken.
        """
        if self._disk is not None and self._clock() - self._disk.at < _REMEMBERED_S:
            return self._disk.problem
        try:
            with self._transaction(is_writing=True):
                return None
        except Unavailable as error:
            return str(error)
        except sql_errors.DBAPIError as error:  # nothing of ours has been said to it: it is damaged
            log.warning("database unusable", reason=_reason(error))
            return "the database cannot be used"

    def close(self) -> None:
        """Close the connections."""
        self.engine.dispose()

    @contextmanager
    def _transaction(self, *, is_writing: bool) -> Iterator[Connection]:
        pool = self.engine.pool
        with self._reporting_outage(), self._begun(is_writing=is_writing) as connection:
            try:
                yield connection
            finally:
                # A session opened later may be able to write; one of a pool that was replaced
                # meanwhile goes back to where nobody takes or closes it.
                if not connection.invalidated and (
                    connection.info.get(IS_READ_ONLY) or self.engine.pool is not pool
                ):
                    connection.invalidate()

    def _begun(self, *, is_writing: bool) -> Connection:
        """Begin a transaction; a session that has become useless in the pool is replaced."""
        for is_last in (False, True):
            connection = self.engine.connect()
            try:
                begin(connection, is_writing=is_writing, patience_s=self._patience_s)
            except sql_errors.DBAPIError as error:
                connection.invalidate()
                connection.close()
                outage = _outage_of(error)
                if is_last or outage is None or not outage.is_of_session:
                    raise
                self.engine.dispose()
            else:
                break
        return connection

    @contextmanager
    def _reporting_outage(self) -> Iterator[None]:
        try:
            yield
        except sql_errors.TimeoutError as error:  # all connections are in use
            log.warning("database unavailable", problem=_ALL_IN_USE, reason=str(error))
            raise Unavailable(_ALL_IN_USE) from error
        except sql_errors.DBAPIError as error:
            outage = _outage_of(error)
            if outage is None:
                raise
            log.warning("database unavailable", problem=outage.problem, reason=_reason(error))
            if outage.is_of_disk:
                self._disk = _Refusal(self._clock(), outage.problem)
            raise Unavailable(outage.problem) from error


def parse_url(given: str) -> URL:
    """Read a database URL, with our driver for its kind.

    Raises:
        InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL.
    """
    if _BAD_CHARACTER.search(given):
        raise InvalidDatabaseUrl("it has a control character, or a space at its beginning or end")
    try:
        url = make_url(given)
    except sql_errors.ArgumentError:
        raise InvalidDatabaseUrl("it is not a database URL") from None  # which holds a password
    except ValueError:
        raise InvalidDatabaseUrl(
            "it must have a port from 1 to 65535, and brackets around an IPv6 address, as in [::1]"
        ) from None
    match url.get_backend_name():
        case "sqlite" if url.database and url.database != ":memory:":
            if url.host or "?" in given:
                raise InvalidDatabaseUrl("for SQLite it is sqlite:/// and a file, without a ?")
            return url.set(drivername="sqlite")
        case "postgresql" | "postgres":
            url = url.set(drivername="postgresql+psycopg")
            _check_postgresql(url, given)
            return url
    raise InvalidDatabaseUrl("it must begin with sqlite:/// and a file, or with postgresql://")


def _check_postgresql(url: URL, given: str) -> None:
    """Refuse what the driver would refuse at each attempt to connect, as if it were away."""
    address = _ADDRESS.match(given)
    try:
        for each in address[1].split(",") if address and address[1] else ():
            check_address(each)
    except ValueError as error:
        raise InvalidDatabaseUrl(f"it {error}") from None
    from psycopg import ProgrammingError, conninfo, pq  # noqa: PLC0415  # memory; SQLite has no use

    try:
        _, options = url.get_dialect()().create_connect_args(url)
    except sql_errors.ArgumentError:  # of ?port=
        raise InvalidDatabaseUrl("it must have a port from 1 to 65535") from None
    try:
        nowhere = {**options, "host": _NOWHERE, "hostaddr": None, "port": None}
        attempt = pq.PGconn.connect_start(conninfo.make_conninfo("", **nowhere).encode())
        conninfo.timeout_from_conninfo(dict(options))
    except ProgrammingError as error:
        raise InvalidDatabaseUrl(str(error).strip()) from None
    if _NOWHERE not in (complaint := attempt.error_message.decode(errors="replace")):
        raise InvalidDatabaseUrl(complaint.strip())  # of a value, before any attempt to connect
    for host in str(options.get("host", "")).split(","):
        if not host.startswith("/"):  # a folder with a socket
            _check_host(host)
    for port in str(options.get("port", "")).split(","):  # one for each host
        if port and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65_535):
            raise InvalidDatabaseUrl("it must have a port from 1 to 65535")


def _check_host(host: str) -> None:
    try:
        host.encode("idna")
    except UnicodeError:
        raise InvalidDatabaseUrl("its host must be a name or an address") from None


def database_url(settings: DatabaseSettings) -> str:
    """Give the database's URL, with the password that is in a file of its own.

    Raises:
        InvalidDatabaseUrl: it is no URL of SQLite or PostgreSQL, or the file cannot be read.
    """
    url, path = settings.database_url.get_secret_value(), settings.database_password_file
    if path is None or parse_url(url).get_backend_name() == "sqlite":  # which has no passwords
        return url
    try:
        password = path.read_text().strip()
    except OSError as error:
        raise InvalidDatabaseUrl(f"cannot read its password, {path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise InvalidDatabaseUrl(f"its password, {path}, is not UTF-8") from None
    return parse_url(url).set(password=password).render_as_string(hide_password=False)


def _commit(connection: Connection) -> None:
    try:
        connection.commit()
    except sql_errors.DBAPIError as error:
        outage = _outage_of(error)
        if outage is None or not outage.loses_commits:
            raise  # it was refused, and so rolled back
        log.warning("commit lost", reason=_reason(error))
        raise OutcomeUnknown("the database was lost during the commit") from error


def _outage_of(error: sql_errors.DBAPIError) -> Outage | None:
    return outage_of(error.orig)


def _reason(error: sql_errors.DBAPIError) -> str:
    return str(error.orig).strip()
