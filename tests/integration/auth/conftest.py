"""An auth service on a database of each kind."""

from collections.abc import Iterator

import pytest

from auth_worker.tables import SCHEMA
from postroad.security.keyring import KeyRing
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from tests.integration.auth.counting import Counted
from tests.support.auth import AuthUnderTest, make_keys


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


@pytest.fixture
def counted(auth: AuthUnderTest) -> Counted:
    auth.add_user("reader")
    return Counted(auth)
