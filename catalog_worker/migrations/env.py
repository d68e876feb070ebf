"""Run by Alembic, on the connection that ``postroad.storage.migrate`` hands over."""

from alembic import context

from catalog_worker.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,  # SQLite cannot change a column in place
)
with context.begin_transaction():
    context.run_migrations()
