"""What is said of a service's schema without Alembic is what Alembic says."""

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from auth_worker.tables import SCHEMA as AUTH
from catalog_worker.tables import SCHEMA as CATALOG
from postroad.storage.tables import Schema


@pytest.mark.parametrize("schema", [AUTH, CATALOG], ids=lambda schema: schema.service)
def test_the_newest_revision_is_the_head_of_the_migrations(schema: Schema) -> None:
    config = Config()
    config.set_main_option("script_location", schema.migrations)

    assert schema.newest == ScriptDirectory.from_config(config).get_current_head()


@pytest.mark.parametrize("worker", ["auth_worker", "catalog_worker"])
def test_a_worker_on_sqlite_loads_neither_alembic_nor_psycopg(worker: str, tmp_path: Path) -> None:
    code = f"""import sys, {worker}.__main__
from postroad.storage.database import Database
database = Database('sqlite:///{tmp_path}/none.db')
assert database.problem() == 'the database is away'
print({{'alembic', 'psycopg'}} & {{*sys.modules}})"""

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.splitlines()[-1] == "set()"
