"""A catalogue service on a database of each kind."""

from collections.abc import Iterator

import pytest

from catalog_worker.tables import SCHEMA
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from tests.support.catalog import CatalogUnderTest


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A database with the newest schema."""
    migrate(database_url, SCHEMA)
    database = Database(database_url)
    yield database
    database.close()


@pytest.fixture
def catalog(database: Database) -> CatalogUnderTest:
    return CatalogUnderTest(database)
