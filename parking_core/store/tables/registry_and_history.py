"""Tables: registry, history of occupancy, rollups, dead letters."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
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
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL

from parking_core.store.tables.metadata import metadata, moment

areas = Table(
    "areas",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("parent_id", Integer, ForeignKey("areas.id")),
    Column("boundary", JSONB),
)

operators = Table(
    "operators",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
)

lots = Table(
    "lots",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("area_id", Integer, ForeignKey("areas.id")),
    Column("operator_id", Integer, ForeignKey("operators.id")),
    Column("lat", Double, nullable=False),
    Column("lon", Double, nullable=False),
    Column("address", Text, nullable=False, server_default=""),
    Column("shared", Boolean, nullable=False, server_default="false"),
    Column("etc_lanes", Integer, nullable=False, server_default="0"),
    Column("time_limited", Boolean, nullable=False, server_default="false"),
    Column("opening", JSONB),
    Column("height_limit_m", REAL),
    moment("created_at", server_default=func.now()),
    Column("legal_windows", JSONB),
)

spaces = Table(
    "spaces",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("code", Text, nullable=False),
    Column("kind", Text, nullable=False, server_default="standard"),
    Column("level", Text, nullable=False, server_default=""),
    Column("lat", Double),
    Column("lon", Double),
    Column("geometry", JSONB),
    UniqueConstraint("lot_id", "code"),
)

devices = Table(
    "devices",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("spaces.id")),
    Column("family", Text, nullable=False, server_default="native"),
    Column("model", Text, nullable=False, server_default=""),
    Column("firmware", Text, nullable=False, server_default=""),
    Column("expected_interval_s", Integer, nullable=False, server_default="3600"),
    Column("clock_earliest_s", BigInteger),
    Column("clock_latest_s", BigInteger),
    Column("enabled", Boolean, nullable=False, server_default="true"),
    Column("eui", Text, unique=True),
    Column("serial", Text, unique=True),
    Column("network", Text, nullable=False, server_default=""),
    Index("devices_space", "space_id"),
    Index("devices_lot", "lot_id"),
)

device_spaces = Table(
    "device_spaces",
    metadata,
    Column("device_id", Integer, ForeignKey("devices.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("spaces.id"), nullable=False),
    Column("address", Text),
    PrimaryKeyConstraint("device_id", "space_id"),
    Index("device_spaces_space", "space_id"),
    Index("device_spaces_address", "device_id", "address", unique=True, postgresql_where=text("(address IS NOT NULL)")),
)

registry_version = Table(
    "registry_version",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    Column("version", BigInteger, nullable=False),
)

occupancy_events = Table(
    "occupancy_events",
    metadata,
    Column("space_id", Integer, nullable=False),
    Column("device_id", Integer, nullable=False),
    moment("occurred_at"),
    moment("received_at"),
    moment("recorded_at", server_default=func.clock_timestamp()),
    Column("seq", BigInteger, nullable=False),
    Column("occupied", Boolean, nullable=False),
    Column("clock_suspect", Boolean, nullable=False),
    Column("battery_v", REAL),
    Column("rssi_dbm", REAL),
    Column("temperature_c", REAL),
    Index("occupancy_events_key", "space_id", "occurred_at", "seq", "occupied", "device_id", unique=True),
)

clock_ledger = Table(
    "clock_ledger",
    metadata,
    Column("device_id", Integer, nullable=False),
    Column("space_id", Integer, nullable=False),
    Column("raw_occurred_us", BigInteger, nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("occupied", Boolean, nullable=False),
    moment("received_at"),
    PrimaryKeyConstraint("device_id", "space_id", "raw_occurred_us", "seq", "occupied"),
    Index("clock_ledger_received", "received_at"),
)

device_liveness = Table(
    "device_liveness",
    metadata,
    Column("device_id", Integer, ForeignKey("devices.id"), primary_key=True, autoincrement=False),
    moment("last_heard_at"),
    Column("online", Boolean),
    Column("seq_missing", BigInteger, nullable=False, server_default="0"),
    Column("quiet_s", Integer, nullable=False, server_default="0"),
)

gateways = Table(
    "gateways",
    metadata,
    Column("instance", Text, primary_key=True),
    moment("seen_at"),
    moment("claimed_at", nullable=True),
)

space_silences = Table(
    "space_silences",
    metadata,
    Column("space_id", Integer, ForeignKey("spaces.id"), nullable=False),
    moment("began_at"),
    moment("ended_at", nullable=True),
    PrimaryKeyConstraint("space_id", "began_at"),
    Index("space_silences_open", "space_id", unique=True, postgresql_where=text("ended_at IS NULL")),
)

dead_letters = Table(
    "dead_letters",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("received_at"),
    Column("topic", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    moment("resolved_at", nullable=True),
    Index("dead_letters_received", "received_at"),
    Index("dead_letters_digest", "digest"),
)

dirty_buckets = Table(
    "dirty_buckets",
    metadata,
    Column("lot_id", Integer, nullable=False),
    moment("bucket"),
)


def _rollup_table(name: str, *more: Column[object]) -> Table:
    return Table(
        name,
        metadata,
        Column("lot_id", Integer, nullable=False),
        moment("bucket"),
        Column("spaces", Integer, nullable=False),
        Column("occupied_min", Double, nullable=False),
        Column("unknown_min", Double, nullable=False),
        Column("closed_min", Double, nullable=False),
        Column("full_min", Double, nullable=False),
        Column("arrivals", Integer, nullable=False),
        Column("departures", Integer, nullable=False),
        Column("dwell_count", Integer, nullable=False),
        Column("dwell_sum_s", Double, nullable=False),
        Column("dwell_histogram", ARRAY(Integer), nullable=False),
        *more,
        PrimaryKeyConstraint("lot_id", "bucket"),
    )


lot_rollups_5m = _rollup_table("lot_rollups_5m", Column("closing_digest", BigInteger))
lot_rollups_1h = _rollup_table("lot_rollups_1h")

lot_closings = Table(
    "lot_closings",
    metadata,
    Column("lot_id", Integer, nullable=False),
    moment("bucket"),
    Column("digest", BigInteger, nullable=False),
    Column("states", LargeBinary, nullable=False),
    PrimaryKeyConstraint("lot_id", "bucket"),
)

rollup_frontiers = Table(
    "rollup_frontiers",
    metadata,
    Column("lot_id", Integer, primary_key=True, autoincrement=False),
    moment("complete_until"),
)

history_floor = Table(
    "history_floor",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    moment("floor_at"),
)
