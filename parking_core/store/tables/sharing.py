"""Tables: people, sharing agreements, classes of spaces and their capacity."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
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
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, REAL

from parking_core.store.tables.metadata import metadata, moment

user_accounts = Table(
    "user_accounts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("role", Text, nullable=False),
    Column("operator_id", Integer, ForeignKey("operators.id")),
    Column("groups", ARRAY(Text), nullable=False, server_default="{}"),
    Column("token_digest", LargeBinary, nullable=False, unique=True),
    moment("created_at", server_default=func.clock_timestamp()),
    moment("disabled_at", nullable=True),
)

user_plates = Table(
    "user_plates",
    metadata,
    Column("user_id", BigInteger, ForeignKey("user_accounts.id"), nullable=False),
    Column("plate", Text, nullable=False),
    moment("added_at", server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("user_id", "plate"),
)

sharing_agreements = Table(
    "sharing_agreements",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("terms", JSONB, nullable=False),
    Column("version", Integer, nullable=False, server_default="1"),
    moment("created_at"),
    moment("changed_at"),
    Index("sharing_agreements_lot", "lot_id", unique=True, postgresql_where=text("(state <> 'terminated'::text)")),
)

agreement_events = Table(
    "agreement_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("agreement_id", Integer, ForeignKey("sharing_agreements.id"), nullable=False),
    Column("kind", Text, nullable=False),
    moment("at"),
    Column("by", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Index("agreement_events_agreement", "agreement_id", "id"),
)

space_classes = Table(
    "space_classes",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("agreement_id", Integer, ForeignKey("sharing_agreements.id"), nullable=False),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("code", Text, nullable=False),
    Column("windows", JSONB, nullable=False),
    moment("retired_at", nullable=True),
    Index("space_classes_code", "agreement_id", "code", unique=True, postgresql_where=text("(retired_at IS NULL)")),
    Index("space_classes_lot", "lot_id", postgresql_where=text("(retired_at IS NULL)")),
)

class_spaces = Table(
    "class_spaces",
    metadata,
    Column("class_id", Integer, ForeignKey("space_classes.id"), nullable=False),
    Column("space_id", Integer, ForeignKey("spaces.id"), nullable=False),
    Column("named", Boolean, nullable=False),
    PrimaryKeyConstraint("class_id", "space_id"),
    Index("class_spaces_space", "space_id"),
)

capacity_days = Table(
    "capacity_days",
    metadata,
    Column("class_id", Integer, ForeignKey("space_classes.id"), nullable=False),
    Column("day", Date, nullable=False),
    Column("offered", ARRAY(SmallInteger), nullable=False),
    Column("free", ARRAY(SmallInteger), nullable=False),
    Column("overdrawn", ARRAY(SmallInteger)),
    PrimaryKeyConstraint("class_id", "day"),
)

capacity_prices = Table(
    "capacity_prices",
    metadata,
    Column("class_id", Integer, ForeignKey("space_classes.id"), nullable=False),
    Column("day", Date, nullable=False),
    Column("price", ARRAY(Integer), nullable=False),
    moment("solved_at"),
    PrimaryKeyConstraint("class_id", "day"),
)

demand_bonuses = Table(
    "demand_bonuses",
    metadata,
    Column("day", Date, nullable=False),
    Column("user_group", Text, nullable=False),
    Column("bonus_fen", REAL, nullable=False),
    moment("solved_at"),
    PrimaryKeyConstraint("day", "user_group"),
)

lot_buffers = Table(
    "lot_buffers",
    metadata,
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("hour", SmallInteger, nullable=False),
    Column("guest_min", SmallInteger, nullable=False),
    Column("owner_min", SmallInteger, nullable=False),
    Column("grace_min", SmallInteger, nullable=False),
    Column("expected_rate", REAL, nullable=False),
    Column("departures", Integer, nullable=False),
    moment("learned_at"),
    PrimaryKeyConstraint("lot_id", "hour"),
)

suspensions = Table(
    "suspensions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("agreement_id", Integer, ForeignKey("sharing_agreements.id"), nullable=False),
    moment("since"),
    moment("until"),
    Column("reason", Text, nullable=False),
    Column("by", Text, nullable=False),
    moment("announced_at"),
    Column("affected", Integer, nullable=False, server_default="0"),
    Column("moved", Integer, nullable=False, server_default="0"),
    Column("refunded", Integer, nullable=False, server_default="0"),
    Index("suspensions_agreement", "agreement_id", "since"),
)

allocation_policies = Table(
    "allocation_policies",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("document", JSONB, nullable=False),
    moment("valid_from"),
    Column("by", Text, nullable=False),
    UniqueConstraint("valid_from"),
)

sharing_version = Table(
    "sharing_version",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    Column("version", BigInteger, nullable=False),
)
