"""Bring the catalogue's database to the newest schema: ``python -m catalog_worker.migrate``.

It may run while workers do, and any number of times: whoever comes second finds nothing to do.
"""

from catalog_worker.settings import StoreSettings
from catalog_worker.tables import SCHEMA
from postroad.storage.opening import run_migration

if __name__ == "__main__":
    run_migration(StoreSettings, SCHEMA)
