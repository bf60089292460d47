"""Tables: tariffs and permits."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Identity,
    Index,
    Integer,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from parking_core.store.tables.metadata import metadata, moment

tariffs = Table(
    "tariffs",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("document", JSONB, nullable=False),
    moment("created_at", server_default=func.now()),
    UniqueConstraint("code", "version"),
)

lot_tariffs = Table(
    "lot_tariffs",
    metadata,
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    moment("valid_from"),
    Column("tariff_id", Integer, ForeignKey("tariffs.id"), nullable=False),
    PrimaryKeyConstraint("lot_id", "valid_from"),
)

tariffs_version = Table(
    "tariffs_version",
    metadata,
    Column("singleton", Boolean, primary_key=True, server_default="true"),
    Column("version", BigInteger, nullable=False),
)

permits = Table(
    "permits",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("kind", Text, nullable=False),
    moment("valid_from"),
    moment("valid_until"),
    Column("slots", Integer, nullable=False, server_default="1"),
    Column("windows", JSONB),
    Index("permits_lot", "lot_id"),
)

permit_plates = Table(
    "permit_plates",
    metadata,
    Column("permit_id", BigInteger, ForeignKey("permits.id"), nullable=False),
    Column("plate", Text, nullable=False),
    PrimaryKeyConstraint("permit_id", "plate"),
    Index("permit_plates_plate", "plate"),
)

coupons = Table(
    "coupons",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("kind", Text, nullable=False),
    Column("value", Integer, nullable=False),
    Column("lot_id", Integer, ForeignKey("lots.id")),
    Column("plate", Text),
    moment("valid_until"),
    Column("visit_id", BigInteger),
    Index("coupons_plate", "plate", postgresql_where=text("(visit_id IS NULL)")),
    Index("coupons_visit", "visit_id", postgresql_where=text("(visit_id IS NOT NULL)")),
)
