"""Taking users over from a file of names and plaintext passwords, such as the tutorial's."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, SecretStr, TypeAdapter, ValidationError
from sqlalchemy import Connection, select, text
from sqlalchemy import exc as sql_errors

from auth_worker.passwords import BadPassword
from auth_worker.roles import DEFAULT_ROLE, UnknownRole
from auth_worker.tables import USERNAME_MAX, users
from auth_worker.usernames import BadUsername
from auth_worker.users import UserExists, new_user
from postroad.contracts.errors import explain
from postroad.storage.database import Database

PASSWORD_MAX = 1000  # the HTTP bridge takes no longer ones


class BadUserFile(Exception):
    """The file holds no users; the message says where."""


class ImportedUser(BaseModel):
    """One user of the file; what else it says of them is ignored."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    id: int | None = Field(default=None, ge=1, lt=2**31)
    username: str = Field(min_length=1, max_length=USERNAME_MAX)
    password: Annotated[SecretStr, Field(min_length=1, max_length=PASSWORD_MAX)]
    roles: tuple[str, ...] = (DEFAULT_ROLE,)


class _UserList(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True)

    users: list[ImportedUser]


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of it: names added, names that were there, and names whose id was taken."""

    added: list[str]
    known: list[str]
    renumbered: list[str]


def read_users(path: Path) -> list[ImportedUser]:
    """Read ``[{"id": 1, "username": "x", "password": "y"}]`` or ``{"users": [...]}``.

    Raises:
        BadUserFile: it cannot be read, or holds something else.
    """
    try:
        content = path.read_bytes().removeprefix(b"\xef\xbb\xbf")  # as some editors begin a file
        if content.lstrip().startswith(b"["):
            return TypeAdapter(list[ImportedUser]).validate_json(content)
        return _UserList.model_validate_json(content).users
    except OSError as error:
        raise BadUserFile(f"cannot read {path}: {error.strerror}") from error
    except ValidationError as error:
        raise BadUserFile(f"{path} holds no users: {explain(error)}") from None


def import_users(
    database: Database, found: Sequence[ImportedUser], *, hash_password: Callable[[str], str]
) -> Imported:
    """Add all who are not there yet, each with the id of the file if it is free, or nobody.

    Raises:
        BadUserFile: somebody in it cannot be a user, or is in it twice.
        UserExists: somebody else has just added one of them.
    """
    with database.reading() as connection:
        names = set(connection.execute(select(users.c.username)).scalars())
        ids = set(connection.execute(select(users.c.id)).scalars())
    rows, imported = [], Imported([], [], [])
    for user in found:  # hashed before the transaction begins, as that takes long
        row = _row(user, hash_password)
        if row["username"] in imported.added:
            raise BadUserFile(f"{user.username} is in it twice")
        if row["username"] in names:
            imported.known.append(user.username)
            continue
        if user.id is not None and user.id not in ids:
            row["id"] = user.id
            ids.add(user.id)
        elif user.id is not None:
            imported.renumbered.append(user.username)
        imported.added.append(str(row["username"]))
        rows.append(row)
    _insert(database, rows)
    return imported


def _row(user: ImportedUser, hash_password: Callable[[str], str]) -> dict[str, object]:
    try:
        return new_user(user.username, hash_password(user.password.get_secret_value()), user.roles)
    except (BadPassword, BadUsername, UnknownRole) as error:
        raise BadUserFile(f"{user.username!r}: {error}") from error


def _insert(database: Database, rows: list[dict[str, object]]) -> None:
    """Add rows, first those that bring their ids."""
    try:
        with database.writing() as transaction:
            for row in sorted(rows, key=lambda row: "id" not in row):
                if "id" not in row:
                    _skip_taken_ids(transaction.connection)
                transaction.connection.execute(users.insert().values(row))
            _skip_taken_ids(transaction.connection)
    except sql_errors.IntegrityError as error:
        raise UserExists("somebody else has just added one of them; import again") from error


def _skip_taken_ids(connection: Connection) -> None:
    """Let PostgreSQL count on from the highest id, as SQLite does by itself."""
    if connection.dialect.name == "postgresql":
        connection.execute(
            text(
                "SELECT setval(pg_get_serial_sequence('users', 'id'), "
                "(SELECT max(id) FROM users)) FROM users LIMIT 1"
            )
        )
