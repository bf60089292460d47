"""Tables: reconciliation."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.metadata import metadata, moment

differences = Table(
    "differences",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("lot_id", Integer, ForeignKey("lots.id")),
    Column("device_id", Integer, ForeignKey("devices.id")),
    Column("visit_id", BigInteger, ForeignKey("visits.id")),
    Column("event_id", BigInteger, ForeignKey("lane_events.id")),
    Column("day", Date, nullable=False),
    moment("hour_at", nullable=True),
    Column("channel", Text),
    Column("records", Integer, nullable=False, server_default="0"),
    Column("amount_fen", BigInteger, nullable=False, server_default="0"),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    moment("found_at", server_default=func.clock_timestamp()),
    moment("ended_at", nullable=True),
    Column("explanation", Text),
    Index("differences_visit", "visit_id"),
    Index("differences_event", "event_id"),
    Index("differences_day", "day"),
    Index("differences_open", "owner", "day", postgresql_where=text("(state = 'open'::text)")),
)

acquirer_bills = Table(
    "acquirer_bills",
    metadata,
    Column("acquirer", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("transaction_ref", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("fee_fen", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("acquirer", "transaction_ref", "kind"),
    Index("acquirer_bills_day", "acquirer", "day"),
)

statements = Table(
    "statements",
    metadata,
    Column("operator_id", Integer, ForeignKey("operators.id"), nullable=False),
    Column("month", Date, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", JSONB, nullable=False),
    moment("created_at", server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("operator_id", "month", "version"),
)

revenue_shares = Table(
    "revenue_shares",
    metadata,
    Column("operator_id", Integer, ForeignKey("operators.id"), nullable=False),
    Column("valid_from", Date, nullable=False),
    Column("district_permille", Integer, nullable=False),
    PrimaryKeyConstraint("operator_id", "valid_from"),
)
