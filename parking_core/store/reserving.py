"""All that a decision about a request looks at, in as few statements as may be. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError
from parking_core.slots import day_of
from parking_core.store import capacity
from parking_core.store.reservations import COLUMNS, PersonNow, reservation_of

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Ask, Reservation
    from parking_core.store.capacity import Capacity, Wanted

# Two requests of one person, or for one car, wait for each other here, so that none overlooks the other.
_TAKE_TURN = """
SELECT pg_advisory_xact_lock(hashtextextended('reserving', %s)), pg_advisory_xact_lock(hashtextextended(%s, -1))
"""

# Of the person: promises that stand (but for those in place of an opening of his permit, which he did not ask for), missed
# ones that still count, and whether the car is promised a space for some of that time already; and what he asked for under
# this key before.
_SIGHT = f"""
SELECT v.version,
       (SELECT count(*)::int FROM reservations r WHERE user_id = %(user_id)s AND state IN ('waiting', 'granted', 'arrived')
            AND NOT EXISTS (SELECT FROM permit_draws d WHERE d.reservation_id = r.id AND d.state = 'moved')),
       (SELECT count(*)::int FROM violations WHERE user_id = %(user_id)s AND kind = 'no_show' AND withdrawn_at IS NULL
            AND at > %(since)s),
       (SELECT EXISTS (SELECT FROM reservations WHERE plate = %(plate)s AND state IN ('waiting', 'granted', 'arrived')
            AND arrive_at < %(depart_at)s AND depart_at > %(arrive_at)s)),
       (SELECT bonus_fen FROM demand_bonuses WHERE day = %(day)s AND user_group = %(group)s),
       {COLUMNS}
FROM sharing_version v LEFT JOIN reservations ON user_id = %(user_id)s AND idempotency_key = %(key)s
"""  # noqa: S608  # the columns are a constant


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
    """Looks, and makes further requests of the person, or for the car, wait until the caller's transaction ends.

    With `lock` nobody can take the capacity until then either.
    """
    values = {
        "user_id": user_id,
        "key": key,
        "plate": ask.plate,
        "group": ask.group,
        "arrive_at": ask.arrive_at,
        "depart_at": ask.depart_at,
        "day": day_of(ask.arrive_at),
        "since": no_shows_since,
    }
    connection.execute(_TAKE_TURN, (user_id, ask.plate))
    row = connection.execute(_SIGHT, values).fetchone()
    if row is None:
        raise NotFoundError("The database has no version of what is shared; `parking migrate` makes it.")
    version, active, no_shows, overlaps, bonus, *known = row
    return Sight(
        version=version,
        known=None if known[0] is None else reservation_of(known),
        person=PersonNow(active, no_shows, overlaps=overlaps),
        capacity=capacity.read(connection, wanted.classes, wanted.first_day, wanted.days, part=wanted.part, lock=lock),
        bonus_fen=bonus or 0.0,
    )
