"""Run by Alembic: migrates through the connection that `gradloom.jobs.migrations.upgrade` hands over."""

from alembic import context

from gradloom.jobs.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # The caller's transaction holds every revision, so that a kill in between leaves the old schema whole.
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
