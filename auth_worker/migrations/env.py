"""Run by Alembic, on the connection that ``postroad.storage.migrate`` hands over."""

from auth_worker.tables import metadata
from postroad.storage.migrate import run_migrations

run_migrations(metadata)
