"""Tables: journal."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.lanes import lane_events, lane_repeats
from parking_core.store.tables.metadata import metadata, moment

accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("lot_id", Integer, ForeignKey("lots.id")),
    Column("operator_id", Integer, ForeignKey("operators.id")),
)

journal = Table(
    "journal",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    moment("occurred_at"),
    moment("booked_at", server_default=func.clock_timestamp()),
    Column("visit_id", BigInteger, ForeignKey("visits.id")),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Index("journal_occurred", "occurred_at"),
    Index("journal_visit", "visit_id"),
)

postings = Table(
    "postings",
    metadata,
    Column("journal_id", BigInteger, ForeignKey("journal.id"), nullable=False),
    Column("line", SmallInteger, nullable=False),
    Column("account_id", Integer, ForeignKey("accounts.id"), nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    PrimaryKeyConstraint("journal_id", "line"),
    Index("postings_account", "account_id", "journal_id"),
)

# A late TAC may come before the exit that it completes: settlement looks for it by these.
Index(
    "lane_events_completion",
    lane_events.c.terminal_no,
    lane_events.c.terminal_serial,
    postgresql_where=text("(event = 'completion'::text)"),
)
Index(
    "lane_events_completion_of",
    lane_events.c.device_id,
    lane_events.c.refers_to,
    postgresql_where=text("(event = 'completion'::text)"),
)
Index("lane_repeats_event", lane_repeats.c.event_id)

holds = Table(
    "holds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("visit_id", BigInteger, ForeignKey("visits.id")),
    Column("channel", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("captured_fen", BigInteger, nullable=False, server_default="0"),
    Column("state", Text, nullable=False),
    moment("placed_at"),
    moment("expires_at"),
    moment("ended_at", nullable=True),
    Index("holds_expiring", "expires_at", postgresql_where=text("(state = 'placed'::text)")),
)
