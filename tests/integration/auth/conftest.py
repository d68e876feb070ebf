"""An auth service on a database of each kind."""

from collections.abc import Iterator

import pytest

from auth_worker.migrate import SCHEMA
from shared.messaging.keyring import KeyRing
from shared.storage.database import Database
from shared.storage.migrate import migrate
from tests.auth import AuthUnderTest, make_keys


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with the newest schema."""
    migrate(database_url, SCHEMA)
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def keys() -> dict[str, KeyRing]:
    return make_keys()


@pytest.fixture
def auth(database: Database, keys: dict[str, KeyRing]) -> AuthUnderTest:
    return AuthUnderTest(database, keys)
