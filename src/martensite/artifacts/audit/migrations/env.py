"""alembic's entry: migrates over the connection that it is given, inside the caller's transaction."""

from alembic import context

from martensite.artifacts.audit.tables import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
