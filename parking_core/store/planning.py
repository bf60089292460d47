"""What planners see of shared parking: refused demand, use of what is offered, policies. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from parking_core.errors import ConflictError
from parking_core.sharing import AllocationPolicy, read_policy

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

CELL_M: Final = 250
_DEGREE_M: Final = 111_195  # of latitude on the sphere of parking_core.places

# Cells are rows of the same latitude, in each of which degrees of longitude have the length of its middle.
_REFUSED = """
WITH near AS (
    SELECT floor(lat / %(step)s) AS row, lon, extract(hour FROM arrive_at AT TIME ZONE %(zone)s)::int AS hour, reason, user_group
    FROM refused_demand WHERE arrive_at >= %(since)s AND arrive_at < %(until)s
), placed AS (
    SELECT *, cos(radians((row + 0.5) * %(step)s)) AS narrow FROM near
)
SELECT (row + 0.5) * %(step)s, (floor(lon * narrow / %(step)s) + 0.5) * %(step)s / narrow, hour, reason, user_group,
       count(*)::int
FROM placed GROUP BY row, narrow, floor(lon * narrow / %(step)s), hour, reason, user_group ORDER BY 1, 2, 3, 4, 5
"""

_OFFERED = """
SELECT l.code, extract(epoch FROM d.day + (s.place - 1) / 12 * interval '1 hour')::bigint, sum(s.offered) / 12.0,
       sum(s.offered - s.free) / 12.0
FROM capacity_days d JOIN space_classes c ON c.id = d.class_id JOIN lots l ON l.id = c.lot_id
CROSS JOIN LATERAL unnest(d.offered, d.free) WITH ORDINALITY AS s (offered, free, place)
WHERE d.day BETWEEN (%(since)s AT TIME ZONE 'UTC')::date AND (%(until)s AT TIME ZONE 'UTC')::date
GROUP BY 1, 2 HAVING sum(s.offered) > 0
"""

_USED = """
SELECT l.code, extract(epoch FROM h.hour)::bigint,
       sum(extract(epoch FROM least(h.hour + interval '1 hour', coalesce(s.left_at, %(now)s)) - greatest(h.hour, lower(s.during))))
           / 3600.0
FROM space_stays s JOIN space_classes c ON c.id = s.class_id JOIN lots l ON l.id = c.lot_id
CROSS JOIN LATERAL generate_series(date_trunc('hour', greatest(lower(s.during), %(since)s)),
    least(coalesce(s.left_at, %(now)s), %(until)s) - interval '1 microsecond', interval '1 hour') AS h (hour)
WHERE s.during && tstzrange(%(since)s, %(until)s) OR (s.left_at IS NULL AND lower(s.during) < %(until)s)
GROUP BY 1, 2
"""

_POLICIES = """
SELECT document, valid_from, by FROM allocation_policies
WHERE valid_from >= (SELECT coalesce(max(valid_from), '-infinity') FROM allocation_policies WHERE valid_from <= %s)
ORDER BY valid_from
"""

_DECIDE = "INSERT INTO allocation_policies (document, valid_from, by) VALUES (%s, %s, %s)"


@dataclass(frozen=True, slots=True)
class RefusedCount:
    """Refused requests of a cell and a local hour of the day, for one reason and group."""

    lat: float
    lon: float
    hour: int
    reason: str
    group: str
    count: int


@dataclass(frozen=True, slots=True)
class HourUse:
    """Space-hours of a lot in an hour, which is seconds since the epoch."""

    lot: str
    hour: int
    offered: float
    promised: float
    used: float


@dataclass(frozen=True, slots=True)
class Decided:
    """A policy, since when it counts, and who decided it."""

    policy: AllocationPolicy
    valid_from: datetime
    by: str


def refused(connection: Connection[Any], since: datetime, until: datetime, zone: ZoneInfo) -> list[RefusedCount]:
    """Refused demand of arrivals in [since, until), counted by cell (its middle), hour, reason and group."""
    values = {"since": since, "until": until, "zone": zone.key, "step": CELL_M / _DEGREE_M}
    return [RefusedCount(*row) for row in connection.execute(_REFUSED, values)]


def use(connection: Connection[Any], since: datetime, until: datetime, now: datetime) -> list[HourUse]:
    """What lots offered, promised and had used in [since, until), full hours, by hour and lot."""
    values = {"since": since, "until": until, "now": now}
    begin, end = int(since.timestamp()), int(until.timestamp())
    found: dict[tuple[int, str], list[float]] = {}
    for lot, hour, offered, promised in connection.execute(_OFFERED, values):
        found[hour, lot] = [float(offered), float(promised), 0.0]
    for lot, hour, used in connection.execute(_USED, values):
        found.setdefault((hour, lot), [0.0, 0.0, 0.0])[2] = float(used)
    return [HourUse(lot, hour, *hours) for (hour, lot), hours in sorted(found.items()) if begin <= hour < end]


def policies(connection: Connection[Any], now: datetime) -> list[Decided]:
    """The policy in force, when one was decided, and those that are still to come."""
    return [Decided(read_policy(document), since, by) for document, since, by in connection.execute(_POLICIES, (now,))]


def decide_policy(connection: Connection[Any], decided: Decided) -> None:
    """Keeps a policy.

    Raises:
        ConflictError: another one begins at the same moment.
    """
    try:
        connection.execute(_DECIDE, (Jsonb(decided.policy.document()), decided.valid_from, decided.by))
    except UniqueViolation as error:
        raise ConflictError("Another policy begins at this moment; give another `valid_from`.") from error
