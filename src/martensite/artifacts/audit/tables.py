"""The log's tables. The migrations make them; this describes the newest state."""

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, MetaData, Table, Text, text

VERSION_TABLE = "audit_version"  # alembic's, under a name that no neighbour in the database has

metadata = MetaData()
_number = BigInteger().with_variant(Integer, "sqlite")  # in SQLite only an INTEGER key is the row's own number


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


records = Table(
    "audit_records",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=False),
    _text("time"),
    _text("actor"),
    _text("account"),
    _text("action"),
    _text("kind"),
    _text("subject"),
    _text("name"),
    _text("outcome"),
    _text("purpose"),
    _text("details"),
    _text("payload"),
    _text("previous"),
    _text("hash"),
)
Index("audit_records_by_subject", records.c.subject, records.c.number)
Index("audit_records_by_time", records.c.time)
Index(
    "audit_records_erasures",
    records.c.number,
    sqlite_where=text("action = 'erase'"),
    postgresql_where=text("action = 'erase'"),
)

payloads = Table(
    "audit_payloads",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=False),
    Column("salt", LargeBinary, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

checkpoints = Table(
    "audit_checkpoints",
    metadata,
    Column("size", _number, primary_key=True, autoincrement=False),
    Column("root", Text, primary_key=True),
    Column("bundle", Text, nullable=False),
)
