"""Tables: reservations, permits of shared lots, where their cars stand, and what was asked for."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    Float,
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
    text,
)
from sqlalchemy.dialects.postgresql import JSONB, REAL, TSTZRANGE, ExcludeConstraint

from parking_core.store.tables.metadata import metadata, moment

_GRANTED = text("(state = 'granted'::text)")
_ACTIVE = text("(state = 'active'::text)")
_INSIDE = text("(left_at IS NULL)")

reservations = Table(
    "reservations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("user_id", BigInteger, ForeignKey("user_accounts.id"), nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("plate", Text, nullable=False),
    Column("user_group", Text, nullable=False),
    Column("lat", Float(53), nullable=False),
    Column("lon", Float(53), nullable=False),
    Column("walk_m", Integer, nullable=False),
    moment("arrive_at"),
    moment("depart_at"),
    moment("until_at"),
    Column("lot_id", Integer, ForeignKey("lots.id")),
    Column("class_id", Integer, ForeignKey("space_classes.id")),
    Column("state", Text, nullable=False),
    Column("lateness", Text, nullable=False, server_default="none"),
    Column("price_fen", BigInteger, nullable=False, server_default="0"),
    Column("fee_fen", BigInteger, nullable=False, server_default="0"),
    Column("value_fen", BigInteger, nullable=False, server_default="0"),
    Column("hold_key", Text),
    Column("visit_id", BigInteger, ForeignKey("visits.id")),
    Column("moved_to", BigInteger, ForeignKey("reservations.id")),
    moment("asked_at"),
    moment("granted_at", nullable=True),
    moment("arrived_at", nullable=True),
    moment("left_at", nullable=True),
    moment("ended_at", nullable=True),
    UniqueConstraint("user_id", "idempotency_key"),
    Index("reservations_asked", "asked_at"),
    Index(
        "reservations_class",
        "class_id",
        "arrive_at",
        postgresql_where=text("(state = ANY (ARRAY['granted'::text, 'arrived'::text]))"),
    ),
    Index("reservations_due", "arrive_at", postgresql_where=_GRANTED),
    Index("reservations_expected", "plate", "arrive_at"),
    Index("reservations_inside", "depart_at", postgresql_where=text("(state = 'arrived'::text)")),
    Index("reservations_user", "user_id", "arrive_at"),
    Index("reservations_visit", "visit_id", postgresql_where=text("(visit_id IS NOT NULL)")),
    Index("reservations_waiting", "arrive_at", postgresql_where=text("(state = 'waiting'::text)")),
)

reservation_events = Table(
    "reservation_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("reservation_id", BigInteger, ForeignKey("reservations.id"), nullable=False),
    Column("kind", Text, nullable=False),
    moment("at"),
    Column("by", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Index("reservation_events_reservation", "reservation_id", "id"),
)

shared_permits = Table(
    "shared_permits",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("code", Text, nullable=False, unique=True),
    Column("user_id", BigInteger, ForeignKey("user_accounts.id"), nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("request_digest", LargeBinary, nullable=False),
    Column("class_id", Integer, ForeignKey("space_classes.id")),
    Column("lot_id", Integer, ForeignKey("lots.id")),
    Column("plate", Text, nullable=False),
    Column("user_group", Text, nullable=False),
    Column("state", Text, nullable=False),
    moment("valid_from"),
    moment("valid_until"),
    Column("months", SmallInteger, nullable=False),
    Column("first_day", Date, nullable=False),
    Column("price_fen", BigInteger, nullable=False),
    moment("asked_at"),
    moment("decided_at", nullable=True),
    moment("withdrawn_at", nullable=True),
    moment("ended_at", nullable=True),
    UniqueConstraint("user_id", "idempotency_key"),
    Index("shared_permits_class", "class_id", postgresql_where=_ACTIVE),
    Index("shared_permits_plate", "plate", postgresql_where=_ACTIVE),
    Index("shared_permits_user", "user_id"),
)

permit_events = Table(
    "permit_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("shared_permit_id", BigInteger, ForeignKey("shared_permits.id"), nullable=False),
    Column("kind", Text, nullable=False),
    moment("at"),
    Column("by", Text, nullable=False),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    Index("permit_events_permit", "shared_permit_id", "id"),
)

permit_draws = Table(
    "permit_draws",
    metadata,
    Column("shared_permit_id", BigInteger, ForeignKey("shared_permits.id"), nullable=False),
    Column("class_id", Integer, ForeignKey("space_classes.id"), nullable=False),
    moment("since"),
    moment("until"),
    Column("state", Text, nullable=False),
    Column("reservation_id", BigInteger, ForeignKey("reservations.id")),
    PrimaryKeyConstraint("shared_permit_id", "since"),
    Index("permit_draws_class", "class_id", "since", postgresql_where=text("(state = 'drawn'::text)")),
    Index("permit_draws_reservation", "reservation_id", postgresql_where=text("(state = 'moved'::text)")),
)

permit_months = Table(
    "permit_months",
    metadata,
    Column("shared_permit_id", BigInteger, ForeignKey("shared_permits.id"), nullable=False),
    moment("begins"),
    moment("ends"),
    Column("price_fen", BigInteger, nullable=False),
    Column("hold_key", Text),
    moment("charged_at", nullable=True),
    Column("charged_fen", BigInteger, nullable=False, server_default="0"),
    Column("lost_fen", BigInteger, nullable=False, server_default="0"),
    Column("refunded_fen", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("shared_permit_id", "begins"),
    Index("permit_months_uncharged", "begins", postgresql_where=text("(charged_at IS NULL)")),
)

space_stays = Table(
    "space_stays",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("space_id", Integer, ForeignKey("spaces.id"), nullable=False),
    Column("class_id", Integer, ForeignKey("space_classes.id"), nullable=False),
    Column("reservation_id", BigInteger, ForeignKey("reservations.id")),
    Column("shared_permit_id", BigInteger, ForeignKey("shared_permits.id")),
    Column("during", TSTZRANGE, nullable=False),
    moment("promised_until"),
    moment("left_at", nullable=True),
    ExcludeConstraint(("space_id", "="), ("during", "&&"), name="one_car_a_space", using="gist"),
    Index("space_stays_inside", "class_id", postgresql_where=_INSIDE),
    Index("space_stays_reservation", "reservation_id", unique=True, postgresql_where=_INSIDE),
)

violations = Table(
    "violations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("user_id", BigInteger, ForeignKey("user_accounts.id"), nullable=False),
    Column("reservation_id", BigInteger, ForeignKey("reservations.id")),
    Column("shared_permit_id", BigInteger, ForeignKey("shared_permits.id")),
    Column("kind", Text, nullable=False),
    moment("at"),
    Column("detail", JSONB, nullable=False, server_default="{}"),
    moment("withdrawn_at", nullable=True),
    Index("violations_user", "user_id", "at"),
)

user_notices = Table(
    "user_notices",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("user_id", BigInteger, ForeignKey("user_accounts.id"), nullable=False),
    Column("kind", Text, nullable=False),
    moment("at"),
    Column("detail", JSONB, nullable=False),
    moment("seen_at", nullable=True),
    Index("user_notices_user", "user_id", "id"),
)

refused_demand = Table(
    "refused_demand",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("asked_at"),
    moment("arrive_at"),
    moment("depart_at"),
    Column("lat", Float(53), nullable=False),
    Column("lon", Float(53), nullable=False),
    Column("user_group", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("alternatives", Integer, nullable=False),
    Column("taken", Boolean, nullable=False, server_default="false"),
    Index("refused_demand_arrive", "arrive_at"),
)

asked_demand = Table(
    "asked_demand",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    moment("asked_at"),
    moment("arrive_at"),
    moment("depart_at"),
    Column("lat", Float(53), nullable=False),
    Column("lon", Float(53), nullable=False),
    Column("walk_m", Integer, nullable=False),
    Column("user_group", Text, nullable=False),
    Column("granted", Boolean, nullable=False),
    Index("asked_demand_arrive", "arrive_at"),
)

departures = Table(
    "departures",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("reservation_id", BigInteger, ForeignKey("reservations.id"), unique=True),
    moment("promised_at"),
    moment("kept_until"),
    moment("left_at"),
    Index("departures_lot", "lot_id", "promised_at"),
)

let_downs = Table(
    "let_downs",
    metadata,
    Column("reservation_id", BigInteger, ForeignKey("reservations.id"), primary_key=True),
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("late_id", BigInteger, ForeignKey("reservations.id")),
    moment("at"),
    Column("at_barrier", Boolean, nullable=False),
    Index("let_downs_lot", "lot_id", "at"),
)

promise_days = Table(
    "promise_days",
    metadata,
    Column("lot_id", Integer, ForeignKey("lots.id"), nullable=False),
    Column("day", Date, nullable=False),
    Column("chosen_rate", REAL, nullable=False),
    Column("expected_rate", REAL, nullable=False),
    Column("departures", Integer, nullable=False),
    Column("late", Integer, nullable=False),
    Column("let_down", Integer, nullable=False),
    PrimaryKeyConstraint("lot_id", "day"),
)

allocation_rounds = Table(
    "allocation_rounds",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    moment("at"),
    moment("since"),
    moment("until"),
    Column("requests", Integer, nullable=False),
    Column("served", Integer, nullable=False),
    Column("value_fen", BigInteger, nullable=False),
    Column("upper_bound_fen", BigInteger, nullable=False),
    Column("seconds", REAL, nullable=False),
    Column("fairness", JSONB, nullable=False, server_default="{}"),
    Index("allocation_rounds_at", "at"),
)
