"""Stretches of time that owners take back, and the promises that meet them. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.reservations import ReservationState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

_COLUMNS = "id, agreement_id, since, until, reason, by, announced_at, affected, moved, refunded"

_ADD = f"""
INSERT INTO suspensions (agreement_id, since, until, reason, by, announced_at)
VALUES (%(agreement_id)s, %(since)s, %(until)s, %(reason)s, %(by)s, %(now)s) RETURNING {_COLUMNS}
"""  # noqa: S608  # the columns are the constant above
_SAME = f"SELECT {_COLUMNS} FROM suspensions WHERE agreement_id = %s AND since = %s AND until = %s"  # noqa: S608  # columns as above
_OF_AGREEMENT = f"SELECT {_COLUMNS} FROM suspensions WHERE agreement_id = %s AND until > %s ORDER BY since, id"  # noqa: S608  # columns as above
_STANDING = f"SELECT {_COLUMNS} FROM suspensions WHERE until > %s ORDER BY announced_at, id"  # noqa: S608  # columns as above

_COUNT = """
UPDATE suspensions SET affected = affected + %(affected)s, moved = moved + %(moved)s, refunded = refunded + %(refunded)s
WHERE id = %(id)s
"""

# Promises whose capacity meets the stretch, in the order in which they were made; classes that were retired too.
_MEETING = """
SELECT r.id, r.code, r.plate, r.state, r.arrive_at, r.depart_at
FROM reservations r JOIN space_classes c ON c.id = r.class_id
WHERE c.agreement_id = %(agreement_id)s AND r.state = ANY(%(states)s)
    AND r.arrive_at < %(until)s AND greatest(r.until_at, CASE WHEN r.state = 'arrived' THEN %(now)s END) > %(since)s
ORDER BY r.granted_at, r.id LIMIT %(most)s
"""

_PERMITS_INSIDE = """
SELECT p.id, p.code, p.plate, 'arrived', lower(s.during), s.promised_until
FROM space_stays s JOIN space_classes c ON c.id = s.class_id JOIN shared_permits p ON p.id = s.shared_permit_id
WHERE s.left_at IS NULL AND c.agreement_id = %(agreement_id)s
    AND lower(s.during) < %(until)s AND greatest(s.promised_until, %(now)s) > %(since)s
ORDER BY s.id
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspension:
    """A stretch that an owner takes back."""

    id: int
    agreement_id: int
    since: datetime
    until: datetime
    reason: str
    by: str
    announced_at: datetime
    affected: int  # promises, openings of permits too, that met it when it was announced
    moved: int
    refunded: int


@dataclass(frozen=True, slots=True)
class Meeting:
    """A promise, or a permit's car, that meets a stretch. The plate is personal: mask it for others."""

    id: int
    code: str
    plate: str
    state: ReservationState
    arrive_at: datetime
    depart_at: datetime


def add(
    connection: Connection[Any],
    agreement_id: int,
    stretch: tuple[datetime, datetime],
    *,
    reason: str,
    by: str,
    now: datetime,
) -> Suspension:
    """Records a stretch."""
    values = {
        "agreement_id": agreement_id,
        "since": stretch[0],
        "until": stretch[1],
        "reason": reason,
        "by": by,
        "now": now,
    }
    row = connection.execute(_ADD, values).fetchone()
    if row is None:
        raise AssertionError("An INSERT with RETURNING gives a row.")
    return _suspension(row)


def same(connection: Connection[Any], agreement_id: int, stretch: tuple[datetime, datetime]) -> Suspension | None:
    """The suspension of exactly this stretch."""
    row = connection.execute(_SAME, (agreement_id, *stretch)).fetchone()
    return None if row is None else _suspension(row)


def of_agreement(connection: Connection[Any], agreement_id: int, since: datetime) -> list[Suspension]:
    """An agreement's suspensions that end after a moment, by their beginning."""
    return [_suspension(row) for row in connection.execute(_OF_AGREEMENT, (agreement_id, since))]


def standing(connection: Connection[Any], now: datetime) -> list[Suspension]:
    """All that are not over, in the order in which they were announced."""
    return [_suspension(row) for row in connection.execute(_STANDING, (now,))]


def count(
    connection: Connection[Any], suspension_id: int, *, affected: int = 0, moved: int = 0, refunded: int = 0
) -> None:
    """Adds to the counts."""
    values = {"id": suspension_id, "affected": affected, "moved": moved, "refunded": refunded}
    connection.execute(_COUNT, values)


def meeting(
    connection: Connection[Any],
    suspension: Suspension,
    state: ReservationState,
    now: datetime,
    *,
    most: int | None = None,
) -> list[Meeting]:
    """Promises in a state that meet the stretch; a car that is in the lot meets it while it is there."""
    values = {
        "agreement_id": suspension.agreement_id,
        "states": [state.value],
        "since": suspension.since,
        "until": suspension.until,
        "now": now,
        "most": most,
    }
    return [
        Meeting(number, code, plate, ReservationState(found), arrive_at, depart_at)
        for number, code, plate, found, arrive_at, depart_at in connection.execute(_MEETING, values)
    ]


def permits_inside(connection: Connection[Any], suspension: Suspension, now: datetime) -> list[Meeting]:
    """Cars of permits that are in the lot and promised to stay into the stretch, or stay there already."""
    values = {
        "agreement_id": suspension.agreement_id,
        "since": suspension.since,
        "until": suspension.until,
        "now": now,
    }
    return [
        Meeting(number, code, plate, ReservationState(state), begins, ends)
        for number, code, plate, state, begins, ends in connection.execute(_PERMITS_INSIDE, values)
    ]


def _suspension(row: Sequence[Any]) -> Suspension:
    number, agreement_id, since, until, reason, by, announced_at, affected, moved, refunded = row
    return Suspension(
        id=number,
        agreement_id=agreement_id,
        since=since,
        until=until,
        reason=reason,
        by=by,
        announced_at=announced_at,
        affected=affected,
        moved=moved,
        refunded=refunded,
    )
