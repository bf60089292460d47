"""Tables: how devices are known and trusted, their frames, what they say of themselves, and their health."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Date,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL

from parking_core.store.tables.metadata import metadata, moment


def _device(*, is_key: bool = False) -> Column[int]:
    return Column(
        "device_id", Integer, ForeignKey("devices.id", ondelete="CASCADE"), primary_key=is_key, nullable=False
    )


device_frames = Table(
    "device_frames",
    metadata,
    Column("device_id", Integer, nullable=False),
    Column("session", Text, nullable=False),
    Column("counter", BigInteger, nullable=False),
    moment("received_at"),
    PrimaryKeyConstraint("device_id", "session", "counter"),
    Index("device_frames_received", "received_at"),
)

device_sessions = Table(
    "device_sessions",
    metadata,
    _device(),
    Column("session", Text, nullable=False),
    moment("begun_at"),
    moment("newest_at"),
    Column("highest", BigInteger, nullable=False),
    Column("forgotten_below", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("device_id", "session"),
)

device_vitals = Table(
    "device_vitals",
    metadata,
    _device(is_key=True),
    Column("battery_v", REAL),
    Column("battery_percent", REAL),
    Column("battery_state", Text),
    moment("battery_at", nullable=True),
    Column("temperature_c", REAL),
    Column("rssi_dbm", REAL),
    Column("snr_db", REAL),
    moment("signal_at", nullable=True),
    Column("firmware", Text),
    moment("firmware_at", nullable=True),
    Column("clock_offset_s", REAL),
    moment("clock_at", nullable=True),
    moment("joined_at", nullable=True),
    moment("restarted_at", nullable=True),
    Column("restarts", Integer, nullable=False, server_default="0"),
    Column("application", Text),
    Column("quarantined", JSONB),
    moment("quarantined_at", nullable=True),
)

device_credentials = Table(
    "device_credentials",
    metadata,
    _device(is_key=True),
    Column("salt", LargeBinary, nullable=False),
    Column("hash", LargeBinary, nullable=False),
    Column("iterations", Integer, nullable=False),
    moment("issued_at"),
    moment("revoked_at", nullable=True),
    moment("suspended_until", nullable=True),
    Column("suspended_for", Text),
)

device_actions = Table(
    "device_actions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("at"),
    Column("device", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("reason", Text, nullable=False, server_default=""),
    Index("device_actions_device", "device", "at"),
)

discoveries = Table(
    "discoveries",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("network", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("lot", Text, nullable=False, server_default=""),
    Column("state", Text, nullable=False, server_default="new"),
    moment("first_seen_at"),
    moment("last_seen_at"),
    Column("messages", BigInteger, nullable=False, server_default="1"),
    Column("topic", Text, nullable=False),
    Column("sample", LargeBinary, nullable=False),
    Column("device_id", Integer, ForeignKey("devices.id", ondelete="SET NULL")),
    moment("decided_at", nullable=True),
    Column("decided_by", Text),
    Column("reason", Text),
    UniqueConstraint("network", "identity"),
    Index("discoveries_seen", "last_seen_at"),
)

device_floods = Table(
    "device_floods",
    metadata,
    _device(is_key=True),
    moment("since"),
    moment("newest_at"),
    Column("left_out", BigInteger, nullable=False),
)

device_days = Table(
    "device_days",
    metadata,
    _device(),
    Column("day", Date, nullable=False),
    Column("messages", Integer, nullable=False),
    Column("quiet_s", Integer, nullable=False),
    Column("missing", Integer, nullable=False),
    Column("missing_total", BigInteger, nullable=False),
    Column("battery_v", REAL),
    Column("rssi_dbm", REAL),
    Column("clock_offset_s", REAL),
    Column("doubtful", Boolean, nullable=False, server_default="false"),
    PrimaryKeyConstraint("day", "device_id"),
    Index("device_days_device", "device_id", "day"),
)

bay_days = Table(
    "bay_days",
    metadata,
    Column("day", Date, nullable=False),
    Column("space_id", Integer, nullable=False),
    Column("device_id", Integer, nullable=False),
    *(
        Column(name, Integer, nullable=False)
        for name in ("messages", "changes", "flickers", "measured", "repeats", "suspects")
    ),
    Column("calm_free", Double, nullable=False),
    Column("calm_taken", Double, nullable=False),
    Column("clock_us", BigInteger, nullable=False),
    Column("run", Integer, nullable=False),
    Column("print", BigInteger, nullable=False),
    Column("run_us", BigInteger, nullable=False),
    Column("occupied", Boolean, nullable=False),
    Column("changed_us", BigInteger, nullable=False),
    Column("last_us", BigInteger, nullable=False),
    Column("doubtful", Boolean, nullable=False, server_default="false"),
    PrimaryKeyConstraint("day", "space_id", "device_id"),
    Index("bay_days_device", "device_id", "day"),
)

lot_days = Table(
    "lot_days",
    metadata,
    Column("lot_id", Integer, ForeignKey("lots.id", ondelete="CASCADE"), nullable=False),
    Column("day", Date, nullable=False),
    Column("bays", Integer, nullable=False),
    Column("changes", ARRAY(Integer), nullable=False),
    Column("activity", ARRAY(REAL), nullable=False),
    PrimaryKeyConstraint("day", "lot_id"),
)

device_conditions = Table(
    "device_conditions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _device(),
    Column("condition", Text, nullable=False),
    moment("since"),
    moment("found_at"),
    Column("evidence", JSONB, nullable=False),
    moment("cleared_at", nullable=True),
    Index(
        "device_conditions_open", "device_id", "condition", unique=True, postgresql_where=text("(cleared_at IS NULL)")
    ),
    Index("device_conditions_device", "device_id", "since"),
)

work_items = Table(
    "work_items",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _device(),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("state", Text, nullable=False, server_default="open"),
    moment("opened_at"),
    moment("closed_at", nullable=True),
    Column("closed_by", Text),
    Index("work_items_open", "device_id", unique=True, postgresql_where=text("(state = 'open'::text)")),
    Index("work_items_lot", "lot_id", "opened_at"),
)
