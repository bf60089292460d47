"""Tables: visits and charges."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.metadata import metadata, moment

lane_amendments = Table(
    "lane_amendments",
    metadata,
    Column("correction_event_id", BigInteger, ForeignKey("lane_events.id"), primary_key=True, autoincrement=False),
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("record_no", BigInteger, nullable=False),
    Column("event_id", BigInteger, ForeignKey("lane_events.id")),
    Column("vehicle_before", Text),
    Column("vehicle_after", Text, nullable=False),
    Column("plate_color", Text),
    Column("vehicle_class", SmallInteger),
    moment("corrected_at"),
    Column("in_force", Boolean, nullable=False, server_default="false"),
    moment("made_at", server_default=func.clock_timestamp()),
    Index("lane_amendments_in_force", "event_id", unique=True, postgresql_where=text("in_force")),
    Index("lane_amendments_vehicle", "vehicle_after", postgresql_where=text("in_force")),
    Index("lane_amendments_record", "device_id", "record_no"),
)

lane_events_set_aside = Table(
    "lane_events_set_aside",
    metadata,
    Column("event_id", BigInteger, ForeignKey("lane_events.id"), primary_key=True, autoincrement=False),
    Column("error", Text, nullable=False),
    moment("set_aside_at", server_default=func.clock_timestamp()),
)

visits = Table(
    "visits",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("vehicle", Text, nullable=False),
    Column("plate_color", Text),
    Column("vehicle_class", SmallInteger),
    Column("state", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False, server_default="{}"),
    Column("channel", Text),
    Column("entry_event_id", BigInteger, ForeignKey("lane_events.id")),
    Column("exit_event_id", BigInteger, ForeignKey("lane_events.id")),
    moment("entered_at", nullable=True),
    moment("exited_at", nullable=True),
    moment("matters_until"),
    Column("linked_event_id", BigInteger, ForeignKey("lane_events.id")),
    moment("opened_at", server_default=func.clock_timestamp()),
    moment("changed_at", server_default=func.clock_timestamp()),
    UniqueConstraint("entry_event_id", deferrable=True, initially="DEFERRED"),
    UniqueConstraint("exit_event_id", deferrable=True, initially="DEFERRED"),
    Index("visits_exited", "exited_at"),
    Index("visits_inside", "lot_id", "entered_at", postgresql_where=text("(state = 'open'::text)")),
    Index("visits_vehicle", "vehicle", "matters_until"),
)

charges = Table(
    "charges",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("visit_id", BigInteger, ForeignKey("visits.id"), nullable=False),
    Column("version", Integer, nullable=False),
    Column("tariff_id", Integer, ForeignKey("tariffs.id")),
    Column("amount_fen", BigInteger, nullable=False),
    Column("lines", JSONB, nullable=False),
    Column("reason", Text, nullable=False),
    moment("created_at", server_default=func.clock_timestamp()),
    UniqueConstraint("visit_id", "version"),
)

etc_transactions = Table(
    "etc_transactions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("terminal_no", Text, nullable=False),
    Column("terminal_serial", Text, nullable=False),
    Column("event_id", BigInteger, ForeignKey("lane_events.id"), nullable=False, unique=True),
    Column("completion_event_id", BigInteger, ForeignKey("lane_events.id")),
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("visit_id", BigInteger, ForeignKey("visits.id")),
    Column("amount_fen", BigInteger, nullable=False),
    moment("occurred_at"),
    Column("tac", Text),
    Column("state", Text, nullable=False),
    Column("reasons", ARRAY(Text), nullable=False, server_default="{}"),
    Column("package_id", BigInteger),
    Column("clearing_day", Date),
    moment("changed_at", server_default=func.clock_timestamp()),
    UniqueConstraint("terminal_no", "terminal_serial"),
    Index("etc_transactions_package", "package_id"),
    Index(
        "etc_transactions_state",
        "state",
        "id",
        postgresql_where=text(
            "(state = ANY (ARRAY['awaiting_tac'::text, 'held'::text, 'ready'::text, 'disputed'::text]))"
        ),
    ),
    Index("etc_transactions_visit", "visit_id"),
    Index("etc_transactions_clearing_day", "clearing_day", postgresql_where=text("(clearing_day IS NOT NULL)")),
)

lane_counts = Table(
    "lane_counts",
    metadata,
    Column("lot_id", Integer, ForeignKey("lots.id"), primary_key=True, autoincrement=False),
    Column("inside", Integer, nullable=False),
    Column("sensors", Boolean, nullable=False),
    Column("sensor_occupied", Integer),
    Column("drift", Integer),
    moment("counted_at"),
)
