"""What is said of a service's schema without Alembic is what Alembic says."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, inspect

from auth_worker.tables import SCHEMA as AUTH
from catalog_worker.tables import SCHEMA as CATALOG
from postroad.storage.database import Database
from postroad.storage.migrate import _config
from postroad.storage.tables import Schema


@pytest.mark.parametrize("schema", [AUTH, CATALOG], ids=lambda schema: schema.service)
def test_the_newest_revision_is_the_head_of_the_migrations(schema: Schema) -> None:
    config = Config()
    config.set_main_option("script_location", schema.migrations)

    assert schema.newest == ScriptDirectory.from_config(config).get_current_head()


# With this one the migrations began to keep to it; what was there before nobody upgrades from.
SINCE = {"auth": "0003", "catalog": "catalog_0002"}


@pytest.mark.parametrize("schema", [AUTH, CATALOG], ids=lambda schema: schema.service)
def test_a_migration_takes_nothing_from_the_version_before(schema: Schema, tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    file.touch()
    with closing(Database(f"sqlite:///{file}")) as database, database.writing() as transaction:
        config = _config(schema, transaction.connection)
        command.upgrade(config, SINCE[schema.service])
        before = columns(transaction.connection)
        command.upgrade(config, "head")
        after = columns(transaction.connection)

    for table, known in before.items():
        assert known.items() <= after.get(table, {}).items()
        new = after[table].keys() - known.keys()
        assert not [each for each in new if after[table][each].endswith("required")]


def columns(connection: Connection) -> dict[str, dict[str, str]]:
    """Describe each table's columns: the type, and whether who writes a row has to know it."""
    found = inspect(connection)
    return {
        table: {
            column["name"]: f"{column['type']}"
            + (" required" if not column["nullable"] and column["default"] is None else "")
            for column in found.get_columns(table)
        }
        for table in found.get_table_names()
    }


@pytest.mark.parametrize("worker", ["auth_worker", "catalog_worker"])
def test_a_worker_on_sqlite_loads_neither_alembic_nor_psycopg(worker: str, tmp_path: Path) -> None:
    code = f"""import sys, {worker}.__main__
from postroad.storage.database import Database
database = Database('sqlite:///{tmp_path}/none.db')
assert database.problem() == 'the database is away'
print({{'alembic', 'psycopg'}} & {{*sys.modules}})"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"
