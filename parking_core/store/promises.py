"""Promises as they are watched: what is due, what was broken, whether capacity and money agree. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.store.reservations import COLUMNS, reservation_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

    from parking_core.reservations import Reservation, ViolationKind

# By id, and each taken by one worker: another one passes over it.
_TAKE = f"""
SELECT {COLUMNS} FROM reservations WHERE id = %s FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # the columns are a constant

_DUE = "SELECT id FROM reservations WHERE state = 'granted' AND arrive_at <= %s AND id > %s ORDER BY id LIMIT %s"
_LATE = """
SELECT id FROM reservations WHERE state = 'arrived' AND lateness <> 'violation' AND depart_at <= %s AND id > %s ORDER BY id LIMIT %s
"""
_WAITED = "SELECT id FROM reservations WHERE state = 'waiting' AND arrive_at <= %s ORDER BY id LIMIT %s"

# Lots where a car is past its time, and those where a promise begins soon.
_TROUBLED = """
SELECT DISTINCT c.lot_id FROM space_stays s JOIN space_classes c ON c.id = s.class_id
WHERE s.left_at IS NULL AND s.promised_until <= %(now)s
  AND EXISTS (SELECT FROM reservations r WHERE r.lot_id = c.lot_id AND r.state = 'granted' AND r.arrive_at < %(until)s)
ORDER BY 1
"""

_VIOLATE = """
INSERT INTO violations (key, user_id, reservation_id, kind, at, detail) VALUES (%s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO NOTHING
"""

_FORGIVE = (
    "UPDATE violations SET withdrawn_at = %s WHERE key = %s AND withdrawn_at IS NULL AND at >= %s RETURNING user_id"
)

# The car that has been late for longest and has let nobody down yet.
_LET_DOWN = """
INSERT INTO let_downs (reservation_id, lot_id, late_id, at, at_barrier)
SELECT %(id)s, %(lot)s, (
    SELECT r.id FROM space_stays s JOIN reservations r ON r.id = s.reservation_id
    WHERE r.lot_id = %(lot)s AND s.left_at IS NULL AND s.promised_until <= %(now)s
      AND NOT EXISTS (SELECT FROM let_downs l WHERE l.late_id = r.id)
    ORDER BY r.depart_at, r.id LIMIT 1), %(now)s, %(at_barrier)s
ON CONFLICT (reservation_id) DO NOTHING
"""

# Holds of promises that are over: none, as every ending lets go in its own transaction.
_ORPHANS = """
SELECT h.key FROM holds h JOIN reservations r ON r.hold_key = h.key
WHERE h.state = 'placed' AND h.key LIKE 'reservation:%%'
  AND r.state IN ('cancelled', 'lapsed', 'moved', 'withdrawn', 'refused', 'completed')
UNION ALL
SELECT h.key FROM holds h
WHERE h.state = 'placed' AND h.key LIKE 'reservation:%%'
  AND NOT EXISTS (SELECT FROM reservations r WHERE r.hold_key = h.key)
ORDER BY 1
"""

# Holds of cars inside that would expire before they leave.
_ENDING_HOLDS = """
SELECT r.id FROM reservations r JOIN holds h ON h.key = r.hold_key
WHERE r.state = 'arrived' AND h.state = 'placed' AND h.expires_at <= %s ORDER BY r.id LIMIT %s
"""

_EXPECTED_PERMITS = """
SELECT p.id, p.code, p.user_id, p.plate, c.lot_id, d.class_id, d.since, d.until, v.id, v.entered_at
FROM permit_draws d JOIN shared_permits p ON p.id = d.shared_permit_id AND p.state = 'active'
JOIN space_classes c ON c.id = d.class_id
JOIN visits v ON v.vehicle = p.plate AND v.lot_id = c.lot_id AND v.state = 'open'
WHERE d.state = 'drawn' AND d.since > %(since)s AND d.since <= %(now)s
  AND NOT EXISTS (SELECT FROM space_stays s WHERE s.shared_permit_id = p.id AND s.left_at IS NULL)
"""

# Slots from a moment on in which what is left is not what is offered less what is promised.
_AUDIT = """
WITH promised AS (
    SELECT class_id, arrive_at AS since, until_at AS until FROM reservations
    WHERE state IN ('granted', 'arrived') AND until_at > %(since)s
    UNION ALL
    SELECT class_id, since, until FROM permit_draws WHERE state = 'drawn' AND until > %(since)s
), taken AS (
    SELECT class_id, slot, count(*) AS promises FROM promised CROSS JOIN LATERAL generate_series(
        greatest(floor(extract(epoch FROM since) / 300), ceil(extract(epoch FROM %(since)s::timestamptz) / 300))::bigint,
        ceil(extract(epoch FROM until) / 300)::bigint - 1) AS slot
    GROUP BY 1, 2
), rows AS (
    SELECT d.class_id, (d.day - date '1970-01-01')::bigint * 288 + s.n - 1 AS slot, s.offered, s.free
    FROM capacity_days d CROSS JOIN LATERAL unnest(d.offered, d.free) WITH ORDINALITY AS s (offered, free, n)
    WHERE d.day >= (%(since)s AT TIME ZONE 'UTC')::date
)
SELECT coalesce(r.class_id, t.class_id), to_timestamp(coalesce(r.slot, t.slot) * 300), coalesce(r.offered, 0)::int,
       coalesce(r.free, 0)::int, coalesce(t.promises, 0)::int
FROM rows r FULL JOIN taken t ON t.class_id = r.class_id AND t.slot = r.slot
WHERE coalesce(r.slot, t.slot) >= ceil(extract(epoch FROM %(since)s::timestamptz) / 300)
  AND coalesce(r.free, 0) <> coalesce(r.offered, 0) - coalesce(t.promises, 0)
ORDER BY 1, 2 LIMIT %(most)s
"""


@dataclass(frozen=True, slots=True)
class CapacityDifference:
    """A slot in which the rows say something else than the promises."""

    class_id: int
    at: datetime  # its first moment
    offered: int
    free: int
    promises: int


def take(connection: Connection[Any], reservation_id: int) -> Reservation | None:
    """A reservation, locked until the caller's transaction ends; None: somebody else has it."""
    row = connection.execute(_TAKE, (reservation_id,)).fetchone()
    return None if row is None else reservation_of(row)


def due(connection: Connection[Any], before: datetime, after_id: int, limit: int) -> list[int]:
    """Promises whose time has begun and whose car has not come: ids above one."""
    return [number for (number,) in connection.execute(_DUE, (before, after_id, limit)).fetchall()]


def late(connection: Connection[Any], before: datetime, after_id: int, limit: int) -> list[int]:
    """Promises whose car is inside, whose end is not after `before` and that have a step to take: ids above one."""
    return [number for (number,) in connection.execute(_LATE, (before, after_id, limit)).fetchall()]


def waited(connection: Connection[Any], now: datetime, limit: int) -> list[int]:
    """Requests that wait for a round although their time has begun."""
    return [number for (number,) in connection.execute(_WAITED, (now, limit)).fetchall()]


def troubled_lots(connection: Connection[Any], now: datetime, until: datetime) -> list[int]:
    """Lots in which a car is past its time and a promise begins before `until`."""
    return [lot for (lot,) in connection.execute(_TROUBLED, {"now": now, "until": until}).fetchall()]


def violate(
    connection: Connection[Any], reservation: Reservation, kind: ViolationKind, at: datetime, detail: Mapping[str, Any]
) -> None:
    """Keeps a violation; found again it is the same one."""
    key = f"{kind.value}:{reservation.code}"
    values = (key, reservation.user_id, reservation.id, kind.value, at, Jsonb(dict(detail)))
    connection.execute(_VIOLATE, values)


def forgive(
    connection: Connection[Any], reservation: Reservation, kind: ViolationKind, now: datetime, *, since: datetime
) -> bool:
    """Takes a violation back that was found at `since` or later; False: there is none."""
    key = f"{kind.value}:{reservation.code}"
    return connection.execute(_FORGIVE, (now, key, since)).fetchone() is not None


def let_down(connection: Connection[Any], reservation: Reservation, now: datetime, *, at_barrier: bool) -> None:
    """Keeps that a promise was broken, and whose lateness broke it."""
    values = {"id": reservation.id, "lot": reservation.lot_id, "now": now, "at_barrier": at_barrier}
    connection.execute(_LET_DOWN, values)


def orphan_holds(connection: Connection[Any]) -> list[str]:
    """Keys of holds that wait although their reservation is over."""
    return [key for (key,) in connection.execute(_ORPHANS).fetchall()]


def ending_holds(connection: Connection[Any], before: datetime, limit: int) -> list[int]:
    """Reservations whose car is inside and whose hold expires by `before`."""
    return [number for (number,) in connection.execute(_ENDING_HOLDS, (before, limit)).fetchall()]


def permits_inside(connection: Connection[Any], now: datetime, back: timedelta) -> Sequence[tuple[Any, ...]]:
    """Openings of permits that began within the last `back` and whose car is in the lot, without a space.

    The columns of PermitOpening, then the visit and when it began.
    """
    return connection.execute(_EXPECTED_PERMITS, {"since": now - back, "now": now}).fetchall()


def audit_capacity(connection: Connection[Any], since: datetime, most: int = 100) -> list[CapacityDifference]:
    """Slots from the first that begins at `since` or later in which rows and promises disagree; none where all is well."""
    rows = connection.execute(_AUDIT, {"since": since, "most": most}).fetchall()
    return [CapacityDifference(*row) for row in rows]
