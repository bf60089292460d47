"""Frames that were counted, and the sessions they belong to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

from parking_core.frames import Session

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

FrameKey: TypeAlias = tuple[int, str, int]  # device id, session, counter
SessionKey: TypeAlias = tuple[int, str]  # device id, session

# Locked by device and name, as everywhere: two gateways that record frames of the same devices take turns.
_SESSIONS: Final = """
SELECT device_id, session, (extract(epoch FROM begun_at) * 1000000)::bigint,
       (extract(epoch FROM newest_at) * 1000000)::bigint, highest, forgotten_below
FROM device_sessions WHERE device_id = ANY(%s) ORDER BY device_id, session FOR UPDATE
"""

_INSERT: Final = """
INSERT INTO device_frames (device_id, session, counter, received_at)
SELECT f.device_id, f.session, f.counter, timestamptz 'epoch' + f.received_us * interval '1 microsecond'
FROM unnest(%s::int[], %s::text[], %s::bigint[], %s::bigint[]) AS f (device_id, session, counter, received_us)
ORDER BY f.device_id, f.session, f.counter
ON CONFLICT DO NOTHING RETURNING device_id, session, counter
"""

_PUT_SESSIONS: Final = """
INSERT INTO device_sessions AS known (device_id, session, begun_at, newest_at, highest)
SELECT s.device_id, s.session, timestamptz 'epoch' + s.begun_us * interval '1 microsecond',
       timestamptz 'epoch' + s.newest_us * interval '1 microsecond', s.highest
FROM unnest(%s::int[], %s::text[], %s::bigint[], %s::bigint[], %s::bigint[])
    AS s (device_id, session, begun_us, newest_us, highest)
WHERE EXISTS (SELECT FROM devices WHERE id = s.device_id)  -- it may have been removed a moment ago
ORDER BY s.device_id, s.session
ON CONFLICT (device_id, session) DO UPDATE SET
    begun_at = least(known.begun_at, excluded.begun_at),
    newest_at = greatest(known.newest_at, excluded.newest_at),
    highest = greatest(known.highest, excluded.highest)
RETURNING device_id, session, xmax = 0 AS is_new
"""

# What is forgotten was counted, or is lost: nothing below can be counted any more.
_FORGET: Final = """
WITH gone AS (
    DELETE FROM device_frames WHERE received_at < %(before)s RETURNING device_id, session, counter
), below AS (
    SELECT device_id, session, max(counter) + 1 AS counter FROM gone GROUP BY device_id, session
), told AS (
    UPDATE device_sessions AS s SET forgotten_below = greatest(s.forgotten_below, below.counter)
    FROM below WHERE s.device_id = below.device_id AND s.session = below.session
)
SELECT count(*) FROM gone
"""


async def sessions(connection: AsyncConnection[Any], device_ids: Iterable[int]) -> dict[SessionKey, Session]:
    """Sessions of these devices, locked until the transaction ends; by device, then by name."""
    rows = await (await connection.execute(_SESSIONS, (sorted(set(device_ids)),))).fetchall()
    return {(row[0], row[1]): Session(*row[1:]) for row in rows}


async def insert(connection: AsyncConnection[Any], frames: Mapping[FrameKey, int]) -> set[FrameKey]:
    """Lists frames (key -> receipt in microseconds); gives those that were not listed."""
    keys = list(frames)
    columns = (
        [key[0] for key in keys],
        [key[1] for key in keys],
        [key[2] for key in keys],
        [frames[key] for key in keys],
    )
    return {(row[0], row[1], row[2]) for row in await (await connection.execute(_INSERT, columns)).fetchall()}


async def put_sessions(connection: AsyncConnection[Any], changed: Sequence[tuple[int, Session]]) -> set[SessionKey]:
    """Writes sessions (device id, session); gives those that are new."""
    columns = (
        [device_id for device_id, _ in changed],
        [session.name for _, session in changed],
        [session.begun_us for _, session in changed],
        [session.newest_us for _, session in changed],
        [session.highest for _, session in changed],
    )
    rows = await (await connection.execute(_PUT_SESSIONS, columns)).fetchall()
    return {(row[0], row[1]) for row in rows if row[2]}


def forget(connection: Connection[Any], before: datetime) -> int:
    """Drops frames received before from the list; gives their number. They still count once."""
    row = connection.execute(_FORGET, {"before": before}).fetchone()
    return 0 if row is None else int(row[0])
