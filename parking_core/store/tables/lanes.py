"""Tables: lanes."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
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
    func,
    text,
)

from parking_core.store.tables.metadata import metadata, moment

lanes = Table(
    "lanes",
    metadata,
    Column("device_id", Integer, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    Column("direction", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default="true"),
    Column("plate_codes", Text, nullable=False, server_default="national"),
    Column("amount_limit_fen", BigInteger, nullable=False, server_default="50000"),
)

lane_events = Table(
    "lane_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("record_no", BigInteger, nullable=False),
    Column("event", Text, nullable=False),
    Column("source", Text, nullable=False),
    moment("occurred_at"),
    moment("received_at"),
    moment("recorded_at", server_default=func.clock_timestamp()),
    Column("refers_to", BigInteger),
    Column("plate", Text),
    Column("plate_color", Text),
    Column("vehicle_class", SmallInteger),
    Column("vehicle", Text, nullable=False),
    Column("obu_plate", Text),
    Column("card_plate", Text),
    Column("obu_id", Text),
    Column("contract_no", Text),
    Column("card_no", Text),
    Column("card_network", Text),
    Column("card_type", Text),
    Column("terminal_no", Text),
    Column("terminal_serial", Text),
    Column("tac", Text),
    Column("algorithm", Text),
    Column("trade_type", Text),
    Column("amount_fen", BigInteger),
    Column("balance_before_fen", BigInteger),
    Column("balance_after_fen", BigInteger),
    Column("status_list_version", Text),
    moment("hour_at", nullable=True),
    Column("hour_records", Integer),
    Column("hour_amount_fen", BigInteger),
    Column("flags", ARRAY(Text), nullable=False, server_default="{}"),
    Column("payload", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    moment("processed_at", nullable=True),
    UniqueConstraint("device_id", "record_no"),
    Index("lane_events_lane_time", "device_id", "occurred_at"),
    Index("lane_events_refers", "device_id", "refers_to", postgresql_where=text("(refers_to IS NOT NULL)")),
    Index(
        "lane_events_transaction",
        "terminal_no",
        "terminal_serial",
        unique=True,
        postgresql_where=text(
            "((terminal_no IS NOT NULL) AND (terminal_serial IS NOT NULL) AND (event = ANY (ARRAY['entry'::text, 'exit'::text])))"
        ),
    ),
    Index("lane_events_vehicle", "vehicle", "occurred_at"),
    Index("lane_events_waiting", "id", postgresql_where=text("(processed_at IS NULL)")),
)

lane_repeats = Table(
    "lane_repeats",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("record_no", BigInteger, nullable=False),
    Column("event_id", BigInteger, ForeignKey("lane_events.id"), nullable=False),
    Column("reason", Text, nullable=False),
    moment("occurred_at"),
    moment("received_at"),
    Column("tac", Text),
    Column("amount_fen", BigInteger),
    Column("payload", LargeBinary, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    moment("processed_at", nullable=True),
    UniqueConstraint("device_id", "record_no", "digest"),
    Index("lane_repeats_waiting", "id", postgresql_where=text("(processed_at IS NULL)")),
)

lane_gaps = Table(
    "lane_gaps",
    metadata,
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("record_no", BigInteger, nullable=False),
    Column("run_from", BigInteger, nullable=False),
    moment("occurred_at"),
    moment("seen_at"),
    moment("named_at", nullable=True),
    moment("filled_at", nullable=True),
    PrimaryKeyConstraint("device_id", "record_no"),
    Index("lane_gaps_open", "device_id", postgresql_where=text("(filled_at IS NULL)")),
    Index("lane_gaps_run", "device_id", "run_from"),
)

lane_runs = Table(
    "lane_runs",
    metadata,
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("first_record_no", BigInteger, nullable=False),
    Column("last_record_no", BigInteger, nullable=False),
    PrimaryKeyConstraint("device_id", "first_record_no"),
)
