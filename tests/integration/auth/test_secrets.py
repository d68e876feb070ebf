"""What a thief of the database finds: no password, no token, no client's address."""

from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from auth_worker.tables import SCHEMA, outbox, refresh_tokens, users
from auth_worker.users import UserStore
from postroad.contracts.errors import InvalidCredentials, InvalidRefreshToken, TooManyAttempts
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.storage.outbox import Outbox
from tests.support.auth import PASSWORD, WRONG, AuthUnderTest, rows

ADDRESS = "203.0.113.201"
TYPED_INTO_THE_WRONG_FIELD = "my-secret-in-the-name-field"


def dump(database: Database) -> bytes:
    """Give all that is kept: a file's bytes with its log's, or every row of every table."""
    if database.url.get_backend_name() == "sqlite":
        file = Path(database.url.database or "")
        return b"".join(path.read_bytes() for path in file.parent.glob(f"{file.name}*"))
    url = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT format('COPY %I TO STDOUT', tablename) FROM pg_tables"
            " WHERE schemaname = 'public'"
        ).fetchall()
        copied = b""
        for (statement,) in tables:
            with connection.cursor().copy(statement) as copy:
                copied += b"".join(bytes(block) for block in copy)
    return copied


def test_no_password_token_or_address_is_anywhere_in_the_database(auth: AuthUnderTest) -> None:
    auth.add_user("reader")
    first = auth.sign_in("reader", address=ADDRESS)
    second = auth.refresh(auth.refresh_token(first))
    third = auth.refresh(auth.refresh_token(second))
    with pytest.raises(InvalidRefreshToken):
        auth.refresh(auth.refresh_token(first))
    for username in ["reader"] * 6 + [TYPED_INTO_THE_WRONG_FIELD]:
        with pytest.raises((InvalidCredentials, TooManyAttempts)):
            auth.sign_in(username, WRONG, address=ADDRESS)

    kept = dump(auth.database)

    sessions = [first, second, third]
    secrets = [PASSWORD, WRONG, TYPED_INTO_THE_WRONG_FIELD, ADDRESS]
    secrets += [auth.refresh_token(session) for session in sessions]
    secrets += [session.access_token for session in sessions]
    secrets += [session.access_token.rpartition(".")[2] for session in sessions]
    secrets += [session.sealed_refresh_token for session in sessions]
    assert [secret for secret in secrets if secret.encode() in kept] == []
    # and the search would have found them
    assert rows(auth.database, users)[0].password_hash.encode() in kept
    assert rows(auth.database, refresh_tokens)[0].token_hash.encode() in kept
    assert b"203.0.113.0/24" in kept


def test_a_database_file_is_for_its_owners_eyes_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'auth.db'}"

    migrate(url, SCHEMA)
    with closing(Database(url)) as database:
        UserStore(database, Outbox(outbox)).add("reader", "hash")
        modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}

    assert set(modes) >= {"auth.db", "auth.db-wal", "auth.db-shm"}
    assert set(modes.values()) == {0o600}
