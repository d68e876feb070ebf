"""The schema of the catalogue's database, on both kinds."""

import os
import subprocess
import sys
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from pydantic import SecretStr
from sqlalchemy import inspect, text

from auth_worker.tables import SCHEMA as AUTH_SCHEMA
from catalog_worker.tables import SCHEMA, metadata
from postroad.storage.database import Database
from postroad.storage.migrate import migrate
from postroad.storage.opening import open_database, require_schema
from postroad.storage.tables import SchemaError
from tests.support.catalog import make_store_settings
from tests.support.postgres import Server


def test_migrating_an_empty_database_makes_what_the_code_expects(database_url: str) -> None:
    migrate(database_url, SCHEMA)

    with closing(Database(database_url)) as database, database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert set(metadata.tables) <= set(inspect(connection).get_table_names())


def test_two_processes_that_migrate_at_once_both_succeed(database_url: str) -> None:
    environment = os.environ | {"CATALOG_DATABASE_URL": database_url}
    command = [sys.executable, "-m", "catalog_worker.migrate"]

    processes = [subprocess.Popen(command, env=environment) for _ in range(2)]

    assert [process.wait(60) for process in processes] == [0, 0]
    with closing(Database(database_url)) as database:
        require_schema(database, SCHEMA)


def test_a_worker_does_not_start_on_a_missing_schema_and_says_what_to_run(
    database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_store_settings(database_url=SecretStr(database_url))

    with pytest.raises(SystemExit) as ended:
        open_database(settings, SCHEMA, is_development=False)

    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "CATALOG_DATABASE_URL" in said
    assert "python -m catalog_worker.migrate" in said


def test_the_database_of_another_service_is_not_taken_for_ours(database_url: str) -> None:
    migrate(database_url, AUTH_SCHEMA)

    with pytest.raises(SchemaError, match="another service"):
        migrate(database_url, SCHEMA)
    with closing(Database(database_url)) as database, pytest.raises(SchemaError):
        require_schema(database, SCHEMA)


@pytest.mark.integration
def test_whatever_the_locale_postgresql_sorts_text_by_code_point(postgres: Server) -> None:
    url = postgres.new_database()
    migrate(url, SCHEMA)
    query = (
        "SELECT column_name FROM information_schema.columns"
        " WHERE table_name = 'products' AND collation_name = 'C'"
    )

    with closing(Database(url)) as database, database.reading() as connection:
        plain = set(connection.execute(text(query)).scalars())

    assert plain >= {"title", "brand", "category"}
