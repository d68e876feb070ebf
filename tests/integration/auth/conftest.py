"""A database of each kind, and an auth service on it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from auth_worker.migrate import SCHEMA
from shared.messaging.keyring import KeyRing
from shared.storage.database import Database
from shared.storage.migrate import migrate
from tests.auth import AuthUnderTest, make_keys
from tests.postgres import Server, running_postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with running_postgres() as server:
        yield server


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.integration)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of this test alone; the test runs with either kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'auth.db'}"
        return
    server: Server = request.getfixturevalue("postgres")
    url = server.new_database()
    yield url
    server.drop_database(url)


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
