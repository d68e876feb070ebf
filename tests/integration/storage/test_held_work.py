"""Work whose database cannot be written for a while: it is held, and done when that has passed."""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
import structlog
from psycopg.sql import SQL

from catalog_worker.tables import SCHEMA, products
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.testing import eventually
from tests.support.auth import beside, rows
from tests.support.catalog import CatalogUnderTest, make_product
from tests.support.postgres import Server

pytestmark = pytest.mark.integration


@pytest.fixture
def database(postgres: Server) -> Iterator[Database]:
    url = postgres.new_database()
    migrate(url, SCHEMA)
    with closing(Database(url)) as database:
        yield database
    postgres.drop_database(url)


def set_read_only(postgres: Server, database: Database, value: str) -> None:
    with psycopg.connect(postgres.database("postgres"), autocommit=True) as connection:
        name = database.url.database
        connection.execute(
            SQL(f"ALTER DATABASE {name} SET default_transaction_read_only = {value}")
        )


async def test_a_page_is_stored_once_the_database_can_be_written_again(
    postgres: Server, database: Database
) -> None:
    catalog = CatalogUnderTest(database)
    catalog.listing.products = [make_product(number) for number in range(1, 6)]
    (job,) = catalog.start_and_split()
    set_read_only(postgres, database, "on")
    database.close()

    with structlog.testing.capture_logs() as logged, beside(lambda: catalog.deliver(job)):
        await eventually(lambda: "waiting" in [line["event"] for line in logged])
        stored_meanwhile = rows(database, products)
        set_read_only(postgres, database, "off")

    assert (len(stored_meanwhile), len(rows(database, products))) == (0, 5)
