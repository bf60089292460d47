"""Months of permits as they are paid, and violations. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import ViolationKind

_COLUMNS = "shared_permit_id, begins, ends, price_fen, hold_key, charged_at, charged_fen, lost_fen, refunded_fen"

_ADD = """
INSERT INTO permit_months (shared_permit_id, begins, ends, price_fen, hold_key) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT DO NOTHING
"""

_OF_PERMIT = f"SELECT {_COLUMNS} FROM permit_months WHERE shared_permit_id = %s ORDER BY begins"  # noqa: S608  # a constant

_STAND = """
UPDATE permit_months SET charged_at = %(charged_at)s, charged_fen = %(charged_fen)s, lost_fen = %(lost_fen)s,
    refunded_fen = %(refunded_fen)s
WHERE shared_permit_id = %(permit)s AND begins = %(begins)s
"""

# Permits with something to do: a month that has begun and is not charged, money to give back, a next month to hold.
# A month counts that began before the permit ended.
_TO_SETTLE = """
SELECT s.id FROM shared_permits s
WHERE s.state NOT IN ('applied', 'refused') AND (
    EXISTS (SELECT FROM permit_months m WHERE m.shared_permit_id = s.id
            AND ((m.charged_at IS NULL AND m.begins <= %(now)s AND m.begins < coalesce(s.ended_at, 'infinity')
                  AND m.begins < s.valid_until)
                 OR (m.charged_at IS NOT NULL AND m.refunded_fen < m.lost_fen)))
    OR (s.state = 'active' AND s.withdrawn_at IS NULL AND s.price_fen > 0
        AND NOT EXISTS (SELECT FROM permit_months m WHERE m.shared_permit_id = s.id AND m.ends > %(ahead)s)
        AND (SELECT max(ends) FROM permit_months m WHERE m.shared_permit_id = s.id) < s.valid_until))
ORDER BY s.id LIMIT %(most)s
"""

_NOTE = """
INSERT INTO violations (key, user_id, reservation_id, shared_permit_id, kind, at, detail)
VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (key) DO NOTHING RETURNING id
"""

_OF_A_PERMIT = "SELECT count(*)::int FROM violations WHERE shared_permit_id = %s AND withdrawn_at IS NULL"
_OF_A_PERSON = "SELECT count(*)::int FROM violations WHERE user_id = %s AND at > %s AND withdrawn_at IS NULL"

# Cars inside under a permit's plate, but for those that a reservation lets stand there at the moment.
_INSIDE = """
SELECT s.id, v.id, v.entered_at FROM shared_permits s
JOIN visits v ON v.lot_id = s.lot_id AND v.vehicle = s.plate AND v.state = 'open'
WHERE s.state = 'active' AND s.valid_from <= %(now)s AND NOT EXISTS (
    SELECT FROM reservations r WHERE r.plate = s.plate AND r.lot_id = s.lot_id AND r.state IN ('granted', 'arrived')
        AND r.arrive_at <= %(now)s AND r.depart_at > %(now)s)
ORDER BY s.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PaidMonth:
    """A month as it is paid; fen.

    charged_fen: what was taken and not given back.
    lost_fen: what openings that were lost were worth; `refunded_fen` of it was taken less, or given back.
    """

    permit_id: int
    begins: datetime
    ends: datetime
    price_fen: int
    hold_key: str | None
    charged_at: datetime | None = None
    charged_fen: int = 0
    lost_fen: int = 0
    refunded_fen: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """What somebody did against the terms; found again under its key it is the same one."""

    key: str
    user_id: int
    kind: ViolationKind
    at: datetime
    reservation_id: int | None = None
    shared_permit_id: int | None = None
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class CarInside:
    """A car with a permit, inside its lot."""

    permit_id: int
    visit_id: int
    entered_at: datetime


def add(connection: Connection[Any], month: PaidMonth) -> None:
    """Adds a month; one that is known stays."""
    connection.execute(_ADD, (month.permit_id, month.begins, month.ends, month.price_fen, month.hold_key))


def of_permit(connection: Connection[Any], permit_id: int) -> list[PaidMonth]:
    """Months of a permit so far, in order."""
    return [_month(row) for row in connection.execute(_OF_PERMIT, (permit_id,))]


def stand(connection: Connection[Any], month: PaidMonth) -> None:
    """Stores what became of a month whose permit is locked."""
    values = {
        "permit": month.permit_id,
        "begins": month.begins,
        "charged_at": month.charged_at,
        "charged_fen": month.charged_fen,
        "lost_fen": month.lost_fen,
        "refunded_fen": month.refunded_fen,
    }
    connection.execute(_STAND, values)


def to_settle(connection: Connection[Any], now: datetime, ahead: datetime, most: int) -> list[int]:
    """Permits whose money has something to be done: to be charged by `now`, given back, or held until `ahead`."""
    return [number for (number,) in connection.execute(_TO_SETTLE, {"now": now, "ahead": ahead, "most": most})]


def note(connection: Connection[Any], violation: Violation) -> bool:
    """Keeps a violation; False: it was known."""
    row = connection.execute(
        _NOTE,
        (
            violation.key,
            violation.user_id,
            violation.reservation_id,
            violation.shared_permit_id,
            violation.kind.value,
            violation.at,
            Jsonb(dict(violation.detail)),
        ),
    ).fetchone()
    return row is not None


def violations_of_permit(connection: Connection[Any], permit_id: int) -> int:
    """How many violations count against a permit."""
    row = connection.execute(_OF_A_PERMIT, (permit_id,)).fetchone()
    return int(row[0]) if row else 0


def violations_of_person(connection: Connection[Any], user_id: int, since: datetime) -> int:
    """How many violations of a person count since a moment."""
    row = connection.execute(_OF_A_PERSON, (user_id, since)).fetchone()
    return int(row[0]) if row else 0


def cars_inside(connection: Connection[Any], now: datetime) -> list[CarInside]:
    """Cars with active permits inside their lots, without those that a reservation lets stand there."""
    return [CarInside(*row) for row in connection.execute(_INSIDE, {"now": now})]


def _month(row: Sequence[Any]) -> PaidMonth:
    permit_id, begins, ends, price_fen, hold_key, charged_at, charged_fen, lost_fen, refunded_fen = row
    return PaidMonth(
        permit_id=permit_id,
        begins=begins,
        ends=ends,
        price_fen=price_fen,
        hold_key=hold_key,
        charged_at=charged_at,
        charged_fen=charged_fen,
        lost_fen=lost_fen,
        refunded_fen=refunded_fen,
    )
