"""What is said of a service's schema without Alembic is what Alembic says."""

import subprocess
import sys

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
def test_a_worker_does_not_load_alembic(worker: str) -> None:
    code = f"import sys, {worker}.__main__; print('alembic' in sys.modules)"

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"
