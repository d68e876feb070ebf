"""Bring the catalogue's database to the newest schema: ``python -m catalog_worker.migrate``.

It may run while workers do, and any number of times: whoever comes second finds nothing to do.
"""

from catalog_worker.settings import StoreSettings
from postroad.storage.migrate import Schema, run_migration

SCHEMA = Schema(
    service="catalog",
    migrations="catalog_worker:migrations",
    own_table="products",
    command="python -m catalog_worker.migrate",
)


if __name__ == "__main__":
    run_migration(StoreSettings, SCHEMA)
