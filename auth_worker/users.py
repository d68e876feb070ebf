"""Users: who may sign in, and as what."""

from dataclasses import dataclass, replace
from time import time
from typing import Any

from sqlalchemy import Connection, Row, Select, func, select
from sqlalchemy import exc as sql_errors

from auth_worker.revocation import EndReason, end_sessions
from auth_worker.roles import DEFAULT_ROLE, check_roles, scopes_of
from auth_worker.tables import sessions, users
from auth_worker.usernames import BadUsername, check_username
from postroad.storage.database import Database, Transaction
from postroad.storage.outbox import Messages

_TAIL = 67  # characters of a hash after its parameters: salt and digest, in base64


class UserExists(Exception):
    """The user name is taken."""


class NoSuchUser(Exception):
    """There is no user of that name."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may sign in, unless disabled."""

    id: int
    username: str
    password_hash: str
    password_version: int
    roles: tuple[str, ...]
    is_disabled: bool
    for_development: bool

    @property
    def scopes(self) -> tuple[str, ...]:
        return scopes_of(self.roles)


class UserStore:
    """Users in the database.

    A user made for development is not found unless ``is_development``.
    """

    def __init__(
        self, database: Database, events: Messages, *, is_development: bool = False
    ) -> None:
        self._database = database
        self._events = events
        self._is_development = is_development

    def find(self, username: str) -> User | None:
        """Find a user by name; the disabled too."""
        with self._database.reading() as connection:
            return self._find(connection, username)

    def get(self, user_id: int) -> User | None:
        """Find a user by id."""
        with self._database.reading() as connection:
            return _user(connection.execute(self._known().where(users.c.id == user_id)).first())

    def lock(self, transaction: Transaction, user_id: int) -> User | None:
        """Find a user by id, who then stays as they are until the transaction ends."""
        query = self._known().where(users.c.id == user_id).with_for_update(key_share=True)
        return _user(transaction.connection.execute(query).first())

    def all(self) -> list[User]:
        """Give all users by name."""
        with self._database.reading() as connection:
            rows = connection.execute(self._known().order_by(users.c.username)).all()
        return [user for row in rows if (user := _user(row))]

    def hashes_of_each_kind(self) -> list[str]:
        """Give one password hash for each set of parameters in use."""
        kind = func.substr(users.c.password_hash, 1, func.length(users.c.password_hash) - _TAIL)
        query = select(func.min(users.c.password_hash)).group_by(kind)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def add(
        self,
        username: str,
        password_hash: str,
        *,
        roles: tuple[str, ...] = (DEFAULT_ROLE,),
        for_development: bool = False,
    ) -> None:
        """Add a user.

        Raises:
            UserExists: the name is taken.
            BadUsername: nobody can be called that.
            UnknownRole: there is no such role.
        """
        values = new_user(username, password_hash, roles, for_development=for_development)
        try:
            with self._database.writing() as transaction:
                transaction.connection.execute(users.insert().values(values))
        except sql_errors.IntegrityError as error:
            raise UserExists(f"there is a user {username}") from error

    def set_disabled(self, username: str, *, is_disabled: bool) -> int:
        """Keep a user out, or let them in again; gives how many sessions that ended.

        Raises:
            NoSuchUser: there is no user of that name.
        """
        with self._database.writing() as transaction:
            user = self._change(transaction, username, {"is_disabled": is_disabled})
            return self._end_sessions(transaction, user, "disabled") if is_disabled else 0

    def set_password(self, username: str, password_hash: str) -> int:
        """Replace a user's password; gives how many sessions that ended.

        Raises:
            NoSuchUser: there is no user of that name.
        """
        with self._database.writing() as transaction:
            user = self._change(transaction, username, _new_password(password_hash))
            return self._end_sessions(transaction, user, "new_password")

    def change_password(
        self, transaction: Transaction, user: User, password_hash: str, *, keeps: str
    ) -> tuple[User, int]:
        """Replace the password of a user who is locked, and end all their sessions but one.

        It gives the user as they are then, and how many sessions that ended.
        """
        values = _new_password(password_hash)
        transaction.connection.execute(users.update().where(users.c.id == user.id).values(values))
        which = (sessions.c.user_id == user.id) & (sessions.c.id != keeps)
        count = end_sessions(transaction, which, "new_password", events=self._events)
        changed = replace(
            user, password_hash=password_hash, password_version=user.password_version + 1
        )
        return changed, count

    def renew_hash(self, transaction: Transaction, user: User, password_hash: str) -> None:
        """Replace the hash of an unchanged password."""
        same = (users.c.id == user.id) & (users.c.password_version == user.password_version)
        transaction.connection.execute(
            users.update().where(same).values(password_hash=password_hash)
        )

    def _change(self, transaction: Transaction, username: str, values: dict[str, Any]) -> User:
        """Change a user; the sessions they are just beginning wait for it, and then see it."""
        user = self._find(transaction.connection, username)
        if user is None:
            raise NoSuchUser(f"no user {username}")
        transaction.connection.execute(users.update().where(users.c.id == user.id).values(values))
        return user

    def _end_sessions(self, transaction: Transaction, user: User, reason: EndReason) -> int:
        which = sessions.c.user_id == user.id
        return end_sessions(transaction, which, reason, events=self._events)

    def _find(self, connection: Connection, username: str) -> User | None:
        try:
            name = check_username(username)
        except BadUsername:
            return None  # PostgreSQL would not even take some of these for text
        return _user(connection.execute(self._known().where(users.c.username == name)).first())

    def _known(self) -> Select[Any]:
        query = users.select()
        if not self._is_development:
            query = query.where(users.c.for_development.is_(False))
        return query


def new_user(
    username: str, password_hash: str, roles: tuple[str, ...], *, for_development: bool = False
) -> dict[str, Any]:
    """Give the row of a new user.

    Raises:
        BadUsername: nobody can be called that.
        UnknownRole: there is no such role.
    """
    return {
        "username": check_username(username),
        "password_hash": password_hash,
        "password_version": 1,
        "roles": " ".join(check_roles(roles)),
        "is_disabled": False,
        "for_development": for_development,
        "created_at": time(),
    }


def _new_password(password_hash: str) -> dict[str, Any]:
    """Give what a new password changes in its user's row."""
    return {
        "password_hash": password_hash,
        "password_version": users.c.password_version + 1,
    }


def _user(row: Row[Any] | None) -> User | None:
    if row is None:
        return None
    return User(
        id=row.id,
        username=row.username,
        password_hash=row.password_hash,
        password_version=row.password_version,
        roles=tuple(row.roles.split()),
        is_disabled=row.is_disabled,
        for_development=row.for_development,
    )
