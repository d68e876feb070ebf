"""Bring the auth service's database to the newest schema: ``python -m auth_worker.migrate``.

It may run while workers do, and any number of times: whoever comes second finds nothing to do.
"""

from auth_worker.settings import AuthSettings
from auth_worker.tables import SCHEMA
from postroad.storage.opening import run_migration

if __name__ == "__main__":
    run_migration(AuthSettings, SCHEMA)
