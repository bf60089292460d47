"""All that a decision about a request looks at, asked in one go. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.slots import day_of
from parking_core.store import capacity
from parking_core.store.reservations import OF_KEY, PERSON, PersonNow, reservation_of

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Ask, Reservation
    from parking_core.store.capacity import Capacity, Wanted

# Two requests of one person wait for each other here, so that none overlooks the other.
_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('reserving', %s))"

_VERSION = "SELECT version FROM sharing_version"

_BONUS = "SELECT bonus_fen FROM demand_bonuses WHERE day = %s AND user_group = %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What is known at the moment of a decision."""

    version: int  # of the offer: another one than the caller's means that he looked at the wrong classes
    known: Reservation | None  # what the person asked for under this key before
    person: PersonNow
    capacity: Capacity
    bonus_fen: float  # what a floor of acceptance adds for the group


def look(
    connection: Connection[Any],
    user_id: int,
    key: str,
    ask: Ask,
    wanted: Wanted,
    *,
    no_shows_since: datetime,
    lock: bool,
) -> Sight:
    """Looks, and makes further requests of the person wait until the caller's transaction ends.

    With `lock` nobody can take the capacity until then either.
    """
    limits = {
        "user_id": user_id,
        "plate": ask.plate,
        "arrive_at": ask.arrive_at,
        "depart_at": ask.depart_at,
        "since": no_shows_since,
    }
    with connection.pipeline():
        connection.execute(_TAKE_TURN, (user_id,))
        version = connection.execute(_VERSION)
        known = connection.execute(OF_KEY, (user_id, key))
        person = connection.execute(PERSON, limits)
        left = capacity.send_for(connection, wanted, lock=lock)
        bonus = connection.execute(_BONUS, (day_of(ask.arrive_at), ask.group))
        before, now, more = known.fetchone(), person.fetchone(), bonus.fetchone()
        return Sight(
            version=(version.fetchone() or (0,))[0],
            known=None if before is None else reservation_of(before),
            person=PersonNow(*now) if now else PersonNow(0, 0, overlaps=False),
            capacity=capacity.received(left, wanted),
            bonus_fen=float(more[0]) if more else 0.0,
        )
