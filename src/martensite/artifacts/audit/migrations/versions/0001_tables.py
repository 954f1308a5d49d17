"""Records, payloads, checkpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    texts = ("time", "actor", "account", "action", "kind", "subject", "name", "outcome", "purpose", "details", "payload")
    op.create_table(
        "audit_records",
        sa.Column("number", number, primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in (*texts, "previous", "hash")),
    )
    op.create_index("audit_records_by_subject", "audit_records", ["subject", "number"])
    op.create_index("audit_records_by_time", "audit_records", ["time"])
    erasures = sa.text("action = 'erase'")
    op.create_index("audit_records_erasures", "audit_records", ["number"], sqlite_where=erasures, postgresql_where=erasures)
    op.create_table(
        "audit_payloads",
        sa.Column("number", number, primary_key=True, autoincrement=False),
        sa.Column("salt", sa.LargeBinary, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
    op.create_table(
        "audit_checkpoints",
        sa.Column("size", number, primary_key=True, autoincrement=False),
        sa.Column("root", sa.Text, primary_key=True),
        sa.Column("bundle", sa.Text, nullable=False),
    )
