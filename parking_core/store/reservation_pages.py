"""Reservations and notices as their person sees them. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString

from parking_core.store.reservations import COLUMNS, reservation_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Reservation

_WIDTH: Final = len(COLUMNS.split(","))
_MINE: Final[LiteralString] = ", ".join(f"r.{name.strip()}" for name in COLUMNS.split(","))

# With the lot, the space where the car stands or stood, what stands in its place, what is held, and why it was refused.
_PAGE: Final[LiteralString] = f"""
SELECT {_MINE}, l.code, l.name, l.lat, l.lon, p.code, m.code, h.amount_fen,
       (SELECT e.detail FROM reservation_events e WHERE e.reservation_id = r.id AND e.kind = 'refused' ORDER BY e.id DESC LIMIT 1)
FROM reservations r
LEFT JOIN lots l ON l.id = r.lot_id
LEFT JOIN reservations m ON m.id = r.moved_to
LEFT JOIN holds h ON h.key = r.hold_key AND h.state = 'placed'
LEFT JOIN LATERAL (SELECT space_id FROM space_stays WHERE reservation_id = r.id ORDER BY id DESC LIMIT 1) s ON true
LEFT JOIN spaces p ON p.id = s.space_id
"""  # noqa: S608  # the columns are a constant
_ONE: Final[LiteralString] = f"{_PAGE} WHERE r.code = %s AND r.user_id = %s"
_LIST: Final[LiteralString] = f"""{_PAGE}
WHERE r.user_id = %(user_id)s AND (%(states)s::text[] IS NULL OR r.state = ANY(%(states)s))
  AND (%(before)s::bigint IS NULL OR r.id < %(before)s)
ORDER BY r.id DESC LIMIT %(limit)s
"""

_NOTICES = """
SELECT id, kind, at, detail, seen_at FROM user_notices
WHERE user_id = %(user_id)s AND (NOT %(unseen)s OR seen_at IS NULL) AND (%(before)s::bigint IS NULL OR id < %(before)s)
ORDER BY id DESC LIMIT %(limit)s
"""
_SEEN = "UPDATE user_notices SET seen_at = %s WHERE user_id = %s AND id <= %s AND seen_at IS NULL"


@dataclass(frozen=True, slots=True)
class PlaceOfLot:
    """Where a lot is."""

    code: str
    name: str
    lat: float
    lon: float


@dataclass(frozen=True, slots=True)
class SeenReservation:
    """A reservation with what its driver needs to know."""

    reservation: Reservation
    lot: PlaceOfLot | None = None
    space: str | None = None  # code, once the car is there
    moved_to: str | None = None  # code
    held_fen: int = 0
    refusal: Mapping[str, Any] | None = None  # detail of the event


@dataclass(frozen=True, slots=True)
class Notice:
    """What a person has to be told."""

    id: int
    kind: str
    at: datetime
    detail: Mapping[str, Any]
    seen_at: datetime | None


def one(connection: Connection[Any], user_id: int, code: str) -> SeenReservation | None:
    """A person's reservation by its code; None also where it is somebody else's."""
    row = connection.execute(_ONE, (code, user_id)).fetchone()
    return None if row is None else _seen(row)


def page(
    connection: Connection[Any], user_id: int, *, states: Sequence[str] | None, before: int | None, limit: int
) -> list[SeenReservation]:
    """A person's reservations, the newest first, those with ids below `before`; of some states or of all."""
    values = {"user_id": user_id, "states": list(states) if states else None, "before": before, "limit": limit}
    return [_seen(row) for row in connection.execute(_LIST, values)]


def notices(connection: Connection[Any], user_id: int, *, unseen: bool, before: int | None, limit: int) -> list[Notice]:
    """A person's notices, the newest first, those with ids below `before`."""
    values = {"user_id": user_id, "unseen": unseen, "before": before, "limit": limit}
    return [Notice(*row) for row in connection.execute(_NOTICES, values)]


def see_notices(connection: Connection[Any], user_id: int, until: int, now: datetime) -> int:
    """Marks a person's notices up to this one as seen; gives how many were not."""
    return connection.execute(_SEEN, (now, user_id, until)).rowcount


def _seen(row: Sequence[Any]) -> SeenReservation:
    code, name, lat, lon, space, moved_to, held, refusal = row[_WIDTH:]
    lot = None if code is None else PlaceOfLot(code, name, lat, lon)
    return SeenReservation(reservation_of(row[:_WIDTH]), lot, space, moved_to, held or 0, refusal)
