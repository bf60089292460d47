"""Demand of shared spaces, what its floors of acceptance add, and what became of it. Nothing here commits.

`demand_records` writes what was asked; here it is read, for forecasts and for planners, and forgotten when it is old.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.demand import Demand
from parking_core.slots import begins_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime

    from psycopg import Connection

LONGEST_STAY: Final = timedelta(days=8)  # no policy promises longer stays; the index finds arrivals, not departures

_TOUCHING = """
SELECT extract(epoch FROM asked_at)::bigint, floor(extract(epoch FROM arrive_at))::bigint,
       ceil(extract(epoch FROM depart_at))::bigint, lat, lon, walk_m, user_group
FROM asked_demand
WHERE arrive_at >= %(earliest)s AND arrive_at < %(until)s AND depart_at > %(since)s ORDER BY id
"""

_BEGAN = "SELECT min(asked_at) FROM asked_demand"

# Of the promises that touch a day; those that were moved count where they are now.
_SERVED = """
SELECT user_group, count(*)::int FROM reservations
WHERE state IN ('granted', 'arrived', 'completed') AND arrive_at >= %(earliest)s AND arrive_at < %(until)s
  AND depart_at > %(since)s
GROUP BY user_group
"""

_NEWEST = "SELECT coalesce(max(id), 0)::bigint FROM asked_demand"

_SINCE = """
SELECT (arrive_at AT TIME ZONE 'UTC')::date, count(*)::int FROM asked_demand WHERE id > %s AND id <= %s GROUP BY 1
"""

_BONUSES = """
INSERT INTO demand_bonuses (day, user_group, bonus_fen, solved_at)
SELECT %s, user_group, bonus, %s FROM unnest(%s::text[], %s::real[]) AS b (user_group, bonus)
ON CONFLICT (day, user_group) DO UPDATE SET bonus_fen = excluded.bonus_fen, solved_at = excluded.solved_at
"""

# A floor that the district gave up leaves no bonus behind.
_GIVEN_UP = "DELETE FROM demand_bonuses WHERE day = %s AND NOT user_group = ANY(%s)"

_BONUS = "SELECT bonus_fen FROM demand_bonuses WHERE day = %s AND user_group = %s"

_DROP_ASKED = "DELETE FROM asked_demand WHERE arrive_at < %s"
_DROP_REFUSED = "DELETE FROM refused_demand WHERE arrive_at < %s"
_DROP_BONUSES = "DELETE FROM demand_bonuses WHERE day < %s"


def touching(connection: Connection[Any], day: date) -> Demand:
    """Everything that was asked for of which the stay touches a UTC day."""
    rows = connection.execute(_TOUCHING, _span(day)).fetchall()
    asked, arrive, depart, lat, lon, walk, group = zip(*rows, strict=True) if rows else ((),) * 7
    return Demand(
        asked=np.array(asked, np.int64),
        arrive=np.array(arrive, np.int64),
        depart=np.array(depart, np.int64),
        lat=np.array(lat, np.float64),
        lon=np.array(lon, np.float64),
        walk_m=np.array(walk, np.int32),
        group=np.array(group, np.str_),
    )


def served(connection: Connection[Any], day: date) -> dict[str, int]:
    """Promises of which the stay touches a UTC day, by the group that asked."""
    return dict(connection.execute(_SERVED, _span(day)).fetchall())


def began_at(connection: Connection[Any]) -> datetime | None:
    """When the first request was made that is still known; None: nobody asked yet."""
    row = connection.execute(_BEGAN).fetchone()
    found: datetime | None = row[0] if row else None
    return found


def newest(connection: Connection[Any]) -> int:
    """A number that moves with every request."""
    row = connection.execute(_NEWEST).fetchone()
    return int(row[0]) if row else 0


def asked_between(connection: Connection[Any], after: int, until: int) -> dict[date, int]:
    """How many asked between two numbers of `newest`, by the UTC day of the arrival."""
    return dict(connection.execute(_SINCE, (after, until)).fetchall())


def keep_bonuses(connection: Connection[Any], day: date, bonus_fen: Mapping[str, float], now: datetime) -> None:
    """What requests of a day that arrive in it gain by their group, fen; groups without a floor are left out."""
    groups = sorted(bonus_fen)
    connection.execute(_GIVEN_UP, (day, groups))
    connection.execute(_BONUSES, (day, now, groups, [bonus_fen[group] for group in groups]))


def bonus(connection: Connection[Any], day: date, group: str) -> float:
    """Fen that a floor of acceptance adds to a request of a group that arrives in a UTC day; 0 where there is none."""
    row = connection.execute(_BONUS, (day, group)).fetchone()
    return float(row[0]) if row else 0.0


def drop_before(connection: Connection[Any], before: datetime) -> int:
    """Forgets demand of stays that began before; gives how many rows went."""
    gone = sum(connection.execute(query, (before,)).rowcount for query in (_DROP_ASKED, _DROP_REFUSED))
    connection.execute(_DROP_BONUSES, (before.date(),))
    return gone


def _span(day: date) -> dict[str, datetime]:
    since = begins_of(day)
    return {"earliest": since - LONGEST_STAY, "since": since, "until": since + timedelta(days=1)}
