"""Openings of permits as rows, and what of classes they are drawn from. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.share_permits import Draw, DrawState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from psycopg import Connection

_COLUMNS = "d.shared_permit_id, d.class_id, d.since, d.until, d.state, d.reservation_id"

_DAYS = "SELECT max(day) FROM capacity_days WHERE class_id = %s AND day >= %s"

_ADD = """
INSERT INTO permit_draws (shared_permit_id, class_id, since, until, state) VALUES (%s, %s, %s, %s, %s)
"""

_OF_PERMIT = f"""
SELECT {_COLUMNS} FROM permit_draws d WHERE d.shared_permit_id = %s AND d.until > %s ORDER BY d.since
"""  # noqa: S608  # the columns are the constant above

_TO_RESOLVE = f"""
SELECT {_COLUMNS} FROM permit_draws d
WHERE d.class_id = ANY(%(classes)s) AND d.state = 'drawn' AND d.since < %(until)s AND d.until > %(since)s
ORDER BY d.shared_permit_id, d.since
"""  # noqa: S608  # the columns are the constant above

_STAND = """
UPDATE permit_draws SET state = %(state)s, until = %(until)s, reservation_id = coalesce(%(reservation)s, reservation_id)
WHERE shared_permit_id = %(permit)s AND since = %(since)s
"""

_COUNT = """
SELECT count(*)::int FROM permit_draws WHERE shared_permit_id = %s AND state = %s AND since >= %s AND since < %s
"""

# A reservation that stood for openings and could not be kept either.
_LOST_ELSEWHERE = f"""
SELECT {_COLUMNS} FROM permit_draws d JOIN reservations r ON r.id = d.reservation_id
WHERE d.state = 'moved' AND r.state = 'withdrawn' ORDER BY d.shared_permit_id, d.since LIMIT %s
"""  # noqa: S608  # the columns are the constant above

_MOVE_ON = "UPDATE permit_draws SET reservation_id = %s WHERE reservation_id = %s AND state = 'moved'"

_STANDS_FOR = "SELECT EXISTS (SELECT FROM permit_draws WHERE reservation_id = %s AND state = 'moved')"

_AT = f"""
SELECT {_COLUMNS} FROM permit_draws d JOIN shared_permits s ON s.id = d.shared_permit_id
WHERE s.lot_id = %s AND s.plate = %s AND d.state = 'drawn' AND d.since <= %s AND d.until > %s ORDER BY d.since LIMIT 1
"""  # noqa: S608  # the columns are the constant above

_INSIDE = "SELECT EXISTS (SELECT FROM space_stays WHERE shared_permit_id = %s AND left_at IS NULL)"


def last_day(connection: Connection[Any], class_id: int, since: date) -> date | None:
    """The last day on which a class's capacity is known, not before a day."""
    row = connection.execute(_DAYS, (class_id, since)).fetchone()
    return None if row is None else row[0]


def add(connection: Connection[Any], draw: Draw) -> None:
    """Adds an opening."""
    connection.execute(_ADD, (draw.permit_id, draw.class_id, draw.since, draw.until, draw.state.value))


def of_permit(connection: Connection[Any], permit_id: int, since: datetime) -> list[Draw]:
    """Openings of a permit that end after a moment, in order."""
    return [_draw(row) for row in connection.execute(_OF_PERMIT, (permit_id, since))]


def to_resolve(connection: Connection[Any], class_ids: Sequence[int], since: datetime, until: datetime) -> list[Draw]:
    """Openings that still take space of classes at some moment of a stretch of time, by permit."""
    values = {"classes": list(class_ids), "since": since, "until": until}
    return [_draw(row) for row in connection.execute(_TO_RESOLVE, values)]


def stand(connection: Connection[Any], draw: Draw) -> None:
    """Stores state and end of an opening whose permit is locked."""
    values = {
        "permit": draw.permit_id,
        "since": draw.since,
        "until": draw.until,
        "state": draw.state.value,
        "reservation": draw.reservation_id,
    }
    connection.execute(_STAND, values)


def count(connection: Connection[Any], permit_id: int, state: DrawState, begins: datetime, ends: datetime) -> int:
    """How many openings in a state began, or begin, within a stretch of time."""
    row = connection.execute(_COUNT, (permit_id, state.value, begins, ends)).fetchone()
    return int(row[0]) if row else 0


def lost_elsewhere(connection: Connection[Any], most: int) -> list[Draw]:
    """Openings that were moved, and whose reservation was withdrawn since."""
    return [_draw(row) for row in connection.execute(_LOST_ELSEWHERE, (most,))]


def move_on(connection: Connection[Any], reservation_id: int, to: int) -> None:
    """Another reservation stands for openings from now on; those of promises that stand for none are none."""
    connection.execute(_MOVE_ON, (to, reservation_id))


def stands_for(connection: Connection[Any], reservation_id: int) -> bool:
    """Whether a reservation stands for openings of a permit that were moved to it."""
    row = connection.execute(_STANDS_FOR, (reservation_id,)).fetchone()
    return bool(row and row[0])


def at(connection: Connection[Any], lot_id: int, plate: str, moment: datetime) -> Draw | None:
    """The opening under which a car may stand in a lot at a moment."""
    row = connection.execute(_AT, (lot_id, plate, moment, moment)).fetchone()
    return None if row is None else _draw(row)


def is_inside(connection: Connection[Any], permit_id: int) -> bool:
    """Whether the permit's car stands on a shared space."""
    row = connection.execute(_INSIDE, (permit_id,)).fetchone()
    return bool(row and row[0])


def _draw(row: Sequence[Any]) -> Draw:
    permit_id, class_id, since, until, state, reservation_id = row
    return Draw(permit_id, class_id, since, until, DrawState(state), reservation_id)
