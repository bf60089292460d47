"""Cars with a promise at their lot: who is expected, where they stand, when they left. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.sharing import Terms, read_terms
from parking_core.store.reservations import COLUMNS, reservation_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Reservation

# Promises that visits can be about, or were: a visit keeps its row when a correction makes it another car's.
_OF_VISITS = f"""
SELECT {COLUMNS} FROM reservations
WHERE id IN (
    SELECT id FROM reservations WHERE plate = ANY(%(plates)s) AND until_at > %(since)s
    UNION SELECT id FROM reservations WHERE visit_id = ANY(%(visits)s))
  AND state IN ('granted', 'arrived', 'lapsed', 'completed') ORDER BY id
"""  # noqa: S608  # the columns are a constant

_LOCK = f"SELECT {COLUMNS} FROM reservations WHERE id = ANY(%s) ORDER BY id FOR UPDATE"  # noqa: S608  # the columns are a constant

_PERMITS = """
SELECT p.id, p.code, p.user_id, p.plate, d.lot_id, d.class_id, d.since, d.until
FROM shared_permits p JOIN LATERAL (
    SELECT c.lot_id, d.class_id, d.since, d.until FROM permit_draws d JOIN space_classes c ON c.id = d.class_id
    WHERE d.shared_permit_id = p.id AND d.state = 'drawn' AND d.until > %(since)s AND d.since < %(until)s) AS d ON true
WHERE p.plate = ANY(%(plates)s) AND p.state = 'active' ORDER BY p.id, d.since
"""

_LEFT_BY_PERMIT = """
SELECT s.id, s.shared_permit_id, p.plate, c.lot_id, s.promised_until, lower(s.during)
FROM shared_permits p JOIN space_stays s ON s.shared_permit_id = p.id AND s.left_at IS NULL
JOIN space_classes c ON c.id = s.class_id
WHERE p.plate = ANY(%s) ORDER BY s.id
"""

# Classes in force, and former ones that still have promises.
_CLASSES = """
SELECT c.id, c.windows, array_agg(s.space_id ORDER BY s.space_id)
FROM space_classes c JOIN class_spaces s ON s.class_id = c.id
WHERE c.lot_id = %(lot)s AND (c.retired_at IS NULL OR c.id = ANY(%(too)s)) GROUP BY c.id ORDER BY c.id
"""

_INSIDE = """
SELECT s.space_id, s.promised_until, coalesce(r.depart_at, s.promised_until)
FROM space_stays s JOIN space_classes c ON c.id = s.class_id LEFT JOIN reservations r ON r.id = s.reservation_id
WHERE c.lot_id = %s AND s.left_at IS NULL
"""

# Promises of a lot whose cars are not inside yet; an opening of a permit counts until its car stands there. A car
# that stands there already needs no further space for its next promise.
_TO_COME = """
SELECT r.id, r.class_id, r.arrive_at, r.until_at, r.depart_at FROM reservations r
WHERE r.lot_id = %(lot)s AND r.state = 'granted' AND r.until_at > %(now)s AND r.arrive_at < %(until)s
  AND NOT EXISTS (SELECT FROM reservations here
                  WHERE here.plate = r.plate AND here.lot_id = r.lot_id AND here.state = 'arrived')
UNION ALL
SELECT NULL, d.class_id, d.since, d.until, d.until FROM permit_draws d JOIN space_classes c ON c.id = d.class_id
WHERE c.lot_id = %(lot)s AND d.state = 'drawn' AND d.until > %(now)s AND d.since < %(until)s
  AND NOT EXISTS (SELECT FROM space_stays s WHERE s.shared_permit_id = d.shared_permit_id AND s.left_at IS NULL)
ORDER BY 3, 1
"""

# Clocks of lanes differ: a stay does not begin before the one before it in the same space has ended.
_TAKE = """
INSERT INTO space_stays (space_id, class_id, reservation_id, shared_permit_id, during, promised_until)
SELECT %(space)s, %(class)s, %(reservation)s, %(permit)s, tstzrange(greatest(%(since)s, (
           SELECT max(upper(during)) FROM space_stays WHERE space_id = %(space)s AND left_at IS NOT NULL)), NULL),
       %(until)s
"""

_END = """
UPDATE space_stays SET left_at = %(at)s,
       during = tstzrange(lower(during), greatest(%(at)s, lower(during) + interval '1 second'))
WHERE left_at IS NULL AND (reservation_id = %(reservation)s OR id = %(stay)s)
"""

_UNLINK = "UPDATE reservations SET visit_id = NULL, arrived_at = NULL WHERE id = %s"
_LINK = "UPDATE reservations SET visit_id = %s WHERE id = %s"

_DEPARTED = """
INSERT INTO departures (lot_id, reservation_id, promised_at, kept_until, left_at) VALUES (%s, %s, %s, %s, %s)
ON CONFLICT (reservation_id) DO NOTHING
"""

_COVER_UNTIL = """
UPDATE permits SET valid_until = greatest(%(until)s, valid_from + interval '1 second') WHERE code = %(code)s
"""

_SPACE = "SELECT code FROM spaces WHERE id = %s"

_TERMS = """
SELECT a.terms, l.code FROM space_classes c JOIN sharing_agreements a ON a.id = c.agreement_id JOIN lots l ON l.id = c.lot_id
WHERE c.id = %s
"""

# With the reservation that the visit belongs to already, if any.
_VISITS_INSIDE = """
SELECT DISTINCT ON (w.id) w.id, v.id, v.entered_at, (SELECT o.id FROM reservations o
    WHERE o.plate = r.plate AND o.visit_id = v.id AND o.state = 'arrived' LIMIT 1) FROM unnest(%s::bigint[]) AS w (id)
JOIN reservations r ON r.id = w.id
JOIN visits v ON v.vehicle = r.plate AND v.lot_id = r.lot_id AND v.state = 'open' AND v.entered_at < r.until_at
ORDER BY w.id, v.entered_at DESC
"""


@dataclass(frozen=True, slots=True)
class PermitOpening:
    """An opening that a permit has drawn."""

    permit_id: int
    code: str
    user_id: int
    plate: str
    lot_id: int
    class_id: int
    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class PermitStay:
    """A permit's car in a space."""

    stay_id: int
    permit_id: int
    plate: str
    lot_id: int
    promised_until: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class VisitInside:
    """An open visit; `of`: the reservation that it belongs to already."""

    visit_id: int
    entered_at: datetime
    of: int | None = None


@dataclass(frozen=True, slots=True)
class LotClass:
    """A class of a lot: its windows as they are written, its spaces."""

    id: int
    windows: object
    spaces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ExpectedCar:
    """A promise whose car is not inside; without a reservation it is a permit's."""

    reservation_id: int | None
    class_id: int
    arrive_at: datetime
    until_at: datetime
    depart_at: datetime


def of_visits(
    connection: Connection[Any], plates: Collection[str], visits: Collection[int], since: datetime
) -> list[Reservation]:
    """Promises of vehicles that are not over before `since`, and those of visits; not locked."""
    values = {"plates": list(plates), "visits": list(visits), "since": since}
    return [reservation_of(row) for row in connection.execute(_OF_VISITS, values).fetchall()]


def lock(connection: Connection[Any], ids: Collection[int]) -> list[Reservation]:
    """Reservations by id, locked in this order until the caller's transaction ends."""
    return [reservation_of(row) for row in connection.execute(_LOCK, (sorted(ids),)).fetchall()] if ids else []


def openings_of_permits(
    connection: Connection[Any], plates: Collection[str], since: datetime, until: datetime
) -> list[PermitOpening]:
    """Openings that active permits of vehicles have drawn within a stretch of time."""
    values = {"plates": list(plates), "since": since, "until": until}
    return [PermitOpening(*row) for row in connection.execute(_PERMITS, values).fetchall()]


def permit_stays(connection: Connection[Any], plates: Collection[str]) -> list[PermitStay]:
    """Cars of permits that stand in a space."""
    return [PermitStay(*row) for row in connection.execute(_LEFT_BY_PERMIT, (list(plates),)).fetchall()]


def classes_of_lot(connection: Connection[Any], lot_id: int, too: Sequence[int] = ()) -> list[LotClass]:
    """Classes of a lot with their spaces; those of the ids in `too` also where they are no longer in force."""
    rows = connection.execute(_CLASSES, {"lot": lot_id, "too": list(too)}).fetchall()
    return [LotClass(number, windows, tuple(spaces)) for number, windows, spaces in rows]


def inside(connection: Connection[Any], lot_id: int) -> list[tuple[int, datetime, datetime]]:
    """Space, promised end with its buffer, and without it, of every guest in a lot."""
    return connection.execute(_INSIDE, (lot_id,)).fetchall()


def to_come(connection: Connection[Any], lot_id: int, now: datetime, until: datetime) -> list[ExpectedCar]:
    """Promises of a lot that begin before `until`, by arrival."""
    values = {"lot": lot_id, "now": now, "until": until}
    return [ExpectedCar(*row) for row in connection.execute(_TO_COME, values).fetchall()]


def take_space(
    connection: Connection[Any],
    space_id: int,
    class_id: int,
    stretch: tuple[datetime, datetime],
    *,
    reservation_id: int | None = None,
    permit_id: int | None = None,
) -> None:
    """A car stands in a space from the first moment on, and is promised it until the second.

    Raises:
        psycopg.errors.ExclusionViolation: another car stands there.
    """
    values = {
        "space": space_id,
        "class": class_id,
        "reservation": reservation_id,
        "permit": permit_id,
        "since": stretch[0],
        "until": stretch[1],
    }
    connection.execute(_TAKE, values)


def leave_space(
    connection: Connection[Any], at: datetime, *, reservation_id: int | None = None, stay_id: int | None = None
) -> None:
    """The car of a reservation, or of a stay, has left its space; where it stands in none, nothing changes."""
    connection.execute(_END, {"at": at, "reservation": reservation_id, "stay": stay_id})


def unlink(connection: Connection[Any], reservation_id: int) -> None:
    """Takes the visit off a reservation: it was another car's."""
    connection.execute(_UNLINK, (reservation_id,))


def link(connection: Connection[Any], reservation_id: int, visit_id: int) -> None:
    """Says which visit a reservation is about."""
    connection.execute(_LINK, (visit_id, reservation_id))


def departed(
    connection: Connection[Any],
    lot_id: int,
    times: tuple[datetime, datetime, datetime],
    reservation_id: int | None = None,
) -> None:
    """Keeps when a car left, beside its promised end and the end of the buffer: (promised, kept until, left)."""
    connection.execute(_DEPARTED, (lot_id, reservation_id, *times))


def terms_of(connection: Connection[Any], class_id: int) -> tuple[Terms, str]:
    """Terms of a class's agreement, in force or not, and the code of its lot."""
    row = connection.execute(_TERMS, (class_id,)).fetchone()
    if row is None:
        raise LookupError(f"There is no class {class_id}.")  # a foreign key says there is
    return read_terms(row[0]), str(row[1])


def cover_until(connection: Connection[Any], code: str, until: datetime) -> None:
    """A promise's visit is covered until its end and no longer: what the stay costs is captured of the hold."""
    connection.execute(_COVER_UNTIL, {"code": code, "until": until})


def visits_inside(connection: Connection[Any], ids: Collection[int]) -> dict[int, VisitInside]:
    """Of reservations: the open visit of their vehicle in their lot; those without one are left out."""
    rows = connection.execute(_VISITS_INSIDE, (list(ids),)).fetchall() if ids else []
    return {number: VisitInside(*visit) for number, *visit in rows}


def space_code(connection: Connection[Any], space_id: int) -> str | None:
    """What a space is called by in its lot."""
    row = connection.execute(_SPACE, (space_id,)).fetchone()
    return None if row is None else str(row[0])
