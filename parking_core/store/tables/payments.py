"""Tables: payments through acquirers."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.metadata import metadata, moment

_LIVE = text("(state = ANY (ARRAY['created'::text, 'pending'::text]))")

payment_links = Table(
    "payment_links",
    metadata,
    Column("digest", LargeBinary, primary_key=True),
    Column("visit_id", BigInteger, ForeignKey("visits.id"), nullable=False),
    Column("device_id", Integer, ForeignKey("devices.id")),
    Column("amount_fen", BigInteger, nullable=False),
    Column("lines", JSONB, nullable=False, server_default="[]"),
    moment("created_at"),
    moment("expires_at"),
    moment("superseded_at", nullable=True),
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
    Column("code_url", Text),
    moment("created_at"),
    moment("changed_at"),
    Column("asks", Integer, nullable=False, server_default="0"),
    moment("next_ask_at"),
    Index("payment_orders_live", "link_digest", unique=True, postgresql_where=_LIVE),
    Index("payment_orders_ask", "next_ask_at", postgresql_where=_LIVE),
    Index("payment_orders_link", "link_digest"),
    Index("payment_orders_visit", "visit_id"),
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

payments = Table(
    "payments",
    metadata,
    Column("acquirer", Text, nullable=False),
    Column("transaction_ref", Text, nullable=False),
    Column("order_id", Uuid, ForeignKey("payment_orders.id")),
    Column("visit_id", BigInteger, ForeignKey("visits.id")),
    Column("amount_fen", BigInteger, nullable=False),
    moment("paid_at"),
    Column("result", Text, nullable=False),
    Column("notice_id", BigInteger, ForeignKey("payment_notices.id"), nullable=False),
    moment("booked_at", server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("acquirer", "transaction_ref"),
    Index("payments_order", "order_id"),
    Index("payments_visit", "visit_id"),
    Index("payments_paid", "paid_at"),
)

payment_refunds = Table(
    "payment_refunds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("acquirer", Text, nullable=False),
    Column("transaction_ref", Text, nullable=False),
    Column("order_id", Uuid, ForeignKey("payment_orders.id"), nullable=False),
    Column("visit_id", BigInteger, ForeignKey("visits.id"), nullable=False),
    Column("amount_fen", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("refund_ref", Text),
    moment("created_at"),
    Column("tries", Integer, nullable=False, server_default="0"),
    moment("next_try_at"),
    moment("ended_at", nullable=True),
    UniqueConstraint("acquirer", "transaction_ref", "reason"),
    ForeignKeyConstraint(["acquirer", "transaction_ref"], ["payments.acquirer", "payments.transaction_ref"]),
    Index("payment_refunds_due", "next_try_at", postgresql_where=text("(state = 'due'::text)")),
    Index("payment_refunds_visit", "visit_id"),
)

acquirer_bill_days = Table(
    "acquirer_bill_days",
    metadata,
    Column("acquirer", Text, nullable=False),
    Column("day", Date, nullable=False),
    Column("payments", Integer, nullable=False),
    Column("payments_fen", BigInteger, nullable=False),
    Column("refunds", Integer, nullable=False),
    Column("refunds_fen", BigInteger, nullable=False),
    Column("fee_fen", BigInteger, nullable=False),
    moment("fetched_at"),
    PrimaryKeyConstraint("acquirer", "day"),
)
