"""Tables: journal."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

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

payment_links = Table(
    "payment_links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("visit_id", BigInteger, ForeignKey("visits.id"), nullable=False),
    Column("device_id", Integer, ForeignKey("devices.id")),
    Column("amount_fen", BigInteger, nullable=False),
    moment("created_at"),
    moment("expires_at"),
    Index("payment_links_visit", "visit_id"),
)

payment_orders = Table(
    "payment_orders",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("acquirer", Text, nullable=False),
    Column("link_digest", LargeBinary, ForeignKey("payment_links.digest"), nullable=False),
    Column("visit_id", BigInteger, ForeignKey("visits.id"), nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("acquirer_ref", Text),
    moment("created_at", server_default=func.clock_timestamp()),
    moment("changed_at", server_default=func.clock_timestamp()),
    Index("payment_orders_link", "link_digest"),
    Index(
        "payment_orders_open",
        "created_at",
        postgresql_where=text("(state = ANY (ARRAY['created'::text, 'pending'::text]))"),
    ),
)

payment_notices = Table(
    "payment_notices",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("acquirer", Text, nullable=False),
    Column("notice_id", Text, nullable=False),
    moment("received_at", server_default=func.clock_timestamp()),
    Column("repeats", Integer, nullable=False, server_default="0"),
    Column("body", LargeBinary, nullable=False),
    moment("processed_at", nullable=True),
    Column("result", Text),
    UniqueConstraint("acquirer", "notice_id"),
    Index("payment_notices_waiting", "id", postgresql_where=text("(processed_at IS NULL)")),
)
