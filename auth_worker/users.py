"""Users in a database."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, Integer, MetaData, String, Table, create_engine, event
from sqlalchemy import exc as sql_errors

_metadata = MetaData()

_users = Table(
    "users",
    _metadata,
    Column("id", Integer, primary_key=True),
    Column("username", String(200), nullable=False, unique=True),
    Column("password_hash", String(500), nullable=False),
    Column("scope", String(500), nullable=False),
    Column("for_development", Boolean, nullable=False),
)

DEFAULT_SCOPE = "catalog:read"


class UserExists(Exception):
    """The user name is taken."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in; ``scope`` is a list separated by spaces (RFC 6749)."""

    id: int
    username: str
    password_hash: str
    scope: str


class UserStore:
    """Users in an SQL database; safe to use from several threads and processes.

    A user made for development is not found unless ``is_development``.
    """

    def __init__(self, database_url: str, *, is_development: bool = False) -> None:
        self._is_development = is_development
        self._engine = create_engine(database_url)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        _metadata.create_all(self._engine)

    def find(self, username: str) -> User | None:
        """Find a user by name."""
        query = _users.select().where(_users.c.username == username)
        if not self._is_development:
            query = query.where(_users.c.for_development.is_(False))
        with self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return User(row.id, row.username, row.password_hash, row.scope)

    def add(
        self,
        username: str,
        password_hash: str,
        *,
        scope: str = DEFAULT_SCOPE,
        for_development: bool = False,
    ) -> None:
        """Add a user.

        Raises:
            UserExists: the name is taken.
        """
        try:
            with self._engine.begin() as connection:
                connection.execute(
                    _users.insert().values(
                        username=username,
                        password_hash=password_hash,
                        scope=scope,
                        for_development=for_development,
                    )
                )
        except sql_errors.IntegrityError as error:
            raise UserExists(f"there is a user {username}") from error

    def close(self) -> None:
        """Close the connections to the database."""
        self._engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:
    """Let readers and a writer work side by side, and wait for one another (sqlite.org/wal)."""
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA busy_timeout=5000")
