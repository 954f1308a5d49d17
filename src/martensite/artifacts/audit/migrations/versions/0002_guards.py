"""Triggers: append-only in the database itself."""

from alembic import op

from martensite.artifacts.audit.guards import statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    connection = op.get_bind()
    schema = (
        ""
        if connection.dialect.name == "sqlite"
        else connection.exec_driver_sql("SELECT quote_ident(current_schema())").scalar_one()
    )
    for statement in statements(connection.dialect.name, schema):
        connection.exec_driver_sql(statement)
