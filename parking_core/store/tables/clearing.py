"""Tables: clearing."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from parking_core.store.tables.metadata import metadata, moment

etc_packages = Table(
    "etc_packages",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("state", Text, nullable=False),
    Column("records", Integer, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("clearing_day", Date, nullable=False),
    Column("parent_id", BigInteger, ForeignKey("etc_packages.id")),
    Column("body", LargeBinary, nullable=False),
    moment("created_at"),
    moment("sent_at", nullable=True),
    Column("tries", Integer, nullable=False, server_default="0"),
    moment("next_try_at", nullable=True),
    Column("result", SmallInteger),
    moment("answered_at", nullable=True),
    moment("booked_at", nullable=True),
    Index(
        "etc_packages_open",
        "next_try_at",
        postgresql_where=text("(state = ANY (ARRAY['packed'::text, 'sent'::text]))"),
    ),
    Index("etc_packages_day", "clearing_day"),
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
    Column("problem", Text),
    Index("clearing_messages_waiting", "id", postgresql_where=text("(applied_at IS NULL)")),
)

clearing_totals = Table(
    "clearing_totals",
    metadata,
    Column("clearing_day", Date, primary_key=True),
    Column("records", Integer, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("packages", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("files", ARRAY(BigInteger), nullable=False, server_default="{}"),
    Column("version", Integer, nullable=False, server_default="1"),
    moment("received_at"),
)

status_lists = Table(
    "status_lists",
    metadata,
    Column("version", Text, primary_key=True),
    Column("base_version", Text),
    moment("published_at"),
    Column("changes", Integer, nullable=False),
    moment("received_at", server_default=func.clock_timestamp()),
)

status_entries = Table(
    "status_entries",
    metadata,
    Column("medium", Text, nullable=False),
    Column("number", Text, nullable=False),
    Column("reason", SmallInteger, nullable=False),
    Column("from_version", Text, ForeignKey("status_lists.version"), nullable=False),
    Column("until_version", Text, ForeignKey("status_lists.version")),
    PrimaryKeyConstraint("medium", "number", "from_version"),
    Index("status_entries_from", "from_version"),
    Index("status_entries_until", "until_version"),
)

lane_status_lists = Table(
    "lane_status_lists",
    metadata,
    Column("device_id", Integer, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    Column("version", Text, ForeignKey("status_lists.version"), nullable=False),
    Column("command_id", Uuid, ForeignKey("commands.id")),
    Column("attempts", Integer, nullable=False, server_default="1"),
    Column("confirmed_version", Text, ForeignKey("status_lists.version")),
    moment("confirmed_at", nullable=True),
)
