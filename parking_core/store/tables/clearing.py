"""Tables: clearing."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    Identity,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.metadata import metadata, moment

etc_packages = Table(
    "etc_packages",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("state", Text, nullable=False),
    Column("records", Integer, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    moment("created_at"),
    moment("sent_at", nullable=True),
    Column("tries", Integer, nullable=False, server_default="0"),
    moment("next_try_at", nullable=True),
    Column("result", SmallInteger),
    moment("answered_at", nullable=True),
    moment("booked_at", nullable=True),
    Column("clearing_day", Date),
    Index("etc_packages_open", "id", postgresql_where=text("(state = ANY (ARRAY['packed'::text, 'sent'::text]))")),
)

clearing_messages = Table(
    "clearing_messages",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("message_no", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    moment("received_at", server_default=func.clock_timestamp()),
    Column("repeats", Integer, nullable=False, server_default="0"),
    moment("applied_at", nullable=True),
    Column("result", SmallInteger),
)

clearing_totals = Table(
    "clearing_totals",
    metadata,
    Column("clearing_day", Date, primary_key=True),
    Column("records", Integer, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("disputed_records", Integer, nullable=False, server_default="0"),
    Column("disputed_fen", BigInteger, nullable=False, server_default="0"),
    moment("received_at"),
)

status_lists = Table(
    "status_lists",
    metadata,
    Column("version", Text, primary_key=True),
    Column("base_version", Text),
    moment("published_at"),
    Column("entries", JSONB, nullable=False),
    moment("received_at", server_default=func.clock_timestamp()),
)
