"""Durable silences: the intervals in which nothing was known of a space because its sensors were silent.

Nothing here commits.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.occupancy import BUCKET_US
from parking_core.store.binary_rows import EPOCH, read_rows
from parking_core.store.live_state import SPACE_IN_LOT

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    Columns = np.ndarray[Any, np.dtype[np.void]]

# The gateway writes an occupancy reading's sign of life only when the durable one is older than a tenth of the rhythm:
# a device that is heard in its rhythm may seem silent for 1.1 of it. Waiting that long is never early, and 10 % late.
GRACE = 1.1

# Devices that were never heard have no row in device_liveness, or one of the epoch when only their last will came: their
# spaces are unknown from the beginning. A silence since 1970 would mark six million buckets dirty.
# Spaces whose devices are all overdue, by far the fewest: only these are looked at with all their devices.
_BEGIN = """
WITH overdue AS MATERIALIZED (
    SELECT device.id, device.space_id
    FROM device_liveness AS liveness JOIN devices AS device ON device.id = liveness.device_id
    WHERE liveness.last_heard_at + device.expected_interval_s * %(grace)s < %(now)s
      AND liveness.last_heard_at > TIMESTAMPTZ 'epoch'  -- `offline` alone: the broker spoke, the device was never heard
), suspect AS (
    SELECT space_id FROM overdue WHERE space_id IS NOT NULL
    UNION
    SELECT bound.space_id FROM overdue JOIN device_spaces AS bound ON bound.device_id = overdue.id
    EXCEPT
    SELECT space_id FROM space_silences WHERE ended_at IS NULL
), watching AS (
    SELECT device.space_id, device.id FROM suspect JOIN devices AS device USING (space_id)
    UNION
    SELECT bound.space_id, bound.device_id FROM suspect JOIN device_spaces AS bound USING (space_id)
), silent AS (
    SELECT watching.space_id, max(last_heard_at + device.expected_interval_s * INTERVAL '1 second') AS began_at
    FROM watching
    JOIN device_liveness AS liveness ON liveness.device_id = watching.id
    JOIN devices AS device ON device.id = watching.id
    GROUP BY watching.space_id
    HAVING max(last_heard_at + device.expected_interval_s * %(grace)s) < %(now)s
), begun AS (
    INSERT INTO space_silences (space_id, began_at) SELECT space_id, began_at FROM silent
    ON CONFLICT (space_id, began_at) DO UPDATE SET ended_at = NULL
    RETURNING space_id, began_at
)
SELECT begun.space_id, space.lot_id, begun.began_at FROM begun JOIN spaces AS space ON space.id = begun.space_id
"""

# Heard again: by the durable sign of life of any device of the space.
_END = """
WITH watching AS (
    SELECT silence.space_id, device.id
    FROM space_silences AS silence JOIN devices AS device USING (space_id) WHERE silence.ended_at IS NULL
    UNION
    SELECT silence.space_id, bound.device_id
    FROM space_silences AS silence JOIN device_spaces AS bound USING (space_id) WHERE silence.ended_at IS NULL
), heard AS (
    SELECT watching.space_id, max(liveness.last_heard_at) AS heard_at
    FROM watching
    JOIN device_liveness AS liveness ON liveness.device_id = watching.id
    JOIN devices AS device ON device.id = watching.id
    WHERE liveness.last_heard_at + device.expected_interval_s * %(grace)s >= %(now)s
    GROUP BY watching.space_id
), ended AS (
    UPDATE space_silences AS silence SET ended_at = greatest(silence.began_at, heard.heard_at)
    FROM heard WHERE heard.space_id = silence.space_id AND silence.ended_at IS NULL
    RETURNING silence.space_id, silence.ended_at
)
SELECT ended.space_id, space.lot_id, ended.ended_at FROM ended JOIN spaces AS space ON space.id = ended.space_id
"""

# Of the given spaces those that nobody watches who was ever heard: their device was taken away, or replaced by one that
# has not spoken yet. What is shown of them is what the old one said last.
_BEGIN_UNWATCHED = """
WITH begun AS (
    INSERT INTO space_silences (space_id, began_at)
    SELECT space.id, %(now)s FROM spaces AS space
    WHERE space.id = ANY (%(spaces)s)
      AND NOT EXISTS (SELECT FROM space_silences WHERE space_id = space.id AND ended_at IS NULL)
      AND NOT EXISTS (SELECT FROM devices AS device JOIN device_liveness AS liveness ON liveness.device_id = device.id
                      WHERE device.space_id = space.id AND liveness.last_heard_at > TIMESTAMPTZ 'epoch')
      AND NOT EXISTS (SELECT FROM device_spaces AS bound JOIN device_liveness AS liveness USING (device_id)
                      WHERE bound.space_id = space.id AND liveness.last_heard_at > TIMESTAMPTZ 'epoch')
    ON CONFLICT (space_id, began_at) DO NOTHING
    RETURNING space_id, began_at
)
SELECT begun.space_id, space.lot_id, begun.began_at FROM begun JOIN spaces AS space ON space.id = begun.space_id
"""

_MARK_DIRTY = """
INSERT INTO dirty_buckets (lot_id, bucket)
SELECT lot_id, generate_series(from_at, %(until)s::timestamptz, %(step)s)
FROM unnest(%(lots)s::integer[], %(from)s::timestamptz[]) AS changed (lot_id, from_at)
"""

_OPEN = """
COPY (
    SELECT silence.space_id, space.lot_id
    FROM space_silences AS silence JOIN spaces AS space ON space.id = silence.space_id
    WHERE silence.ended_at IS NULL
) TO STDOUT (FORMAT BINARY)
"""

_LOTS_OF = "COPY (SELECT id, lot_id FROM spaces WHERE id = ANY (%(spaces)s)) TO STDOUT (FORMAT BINARY)"

_DROP = "DELETE FROM space_silences WHERE ended_at < %s"

_LOCK = 7_201_003  # advisory lock of a session: who holds it decides silence
_LEAD = "SELECT pg_try_advisory_lock(%s)"


def try_to_lead(connection: Connection) -> bool:
    """Whether this session is the one that decides silence; it stays so until the connection ends."""
    row = connection.execute(_LEAD, (_LOCK,)).fetchone()
    return row is not None and bool(row[0])


def begin_silences(connection: Connection, now: datetime) -> Columns:
    """Opens a silence for each space all of whose devices are overdue; gives those spaces (SPACE_IN_LOT)."""
    return _changed(connection, _BEGIN, now)


def begin_unwatched(connection: Connection, space_ids: Iterable[int], now: datetime) -> Columns:
    """Opens a silence for each of these spaces that no device watches which was ever heard; gives those (SPACE_IN_LOT)."""
    return _changed(connection, _BEGIN_UNWATCHED, now, spaces=list(space_ids))


def end_silences(connection: Connection, now: datetime) -> Columns:
    """Closes the silences of spaces that were heard again; gives those spaces (SPACE_IN_LOT)."""
    return _changed(connection, _END, now)


def _changed(connection: Connection, statement: str, now: datetime, **other: object) -> Columns:
    parameters = {"now": now, "grace": timedelta(seconds=GRACE), **other}
    rows = connection.execute(statement.encode(), parameters).fetchall()
    _mark_dirty(connection, ((lot, at) for _, lot, at in rows), now)
    spaces = np.zeros(len(rows), SPACE_IN_LOT)
    spaces["space_id"], spaces["lot_id"] = [row[0] for row in rows], [row[1] for row in rows]
    return spaces


def _mark_dirty(connection: Connection, changes: Iterable[tuple[int, datetime]], now: datetime) -> None:
    """Unknown minutes change from there until now: these buckets are computed again, the next ones anyway."""
    earliest: dict[int, datetime] = {}
    for lot, at in changes:
        earliest[lot] = min(at, earliest.get(lot, at))
    if not earliest:
        return
    step = timedelta(microseconds=BUCKET_US)
    connection.execute(
        _MARK_DIRTY,
        {
            "lots": list(earliest),
            "from": [at - (at - EPOCH) % step for at in earliest.values()],
            "until": now,
            "step": step,
        },
    )


def open_silences(connection: Connection) -> Columns:
    """Spaces (SPACE_IN_LOT) that are silent now."""
    return _in_lots(read_rows(connection, _OPEN, {}, [("space_id", "i4"), ("lot_id", "i4")]))


def with_lots(connection: Connection, space_ids: Iterable[int]) -> Columns:
    """The given spaces with their lots (SPACE_IN_LOT)."""
    parameters = {"spaces": list(space_ids)}
    return _in_lots(read_rows(connection, _LOTS_OF, parameters, [("space_id", "i4"), ("lot_id", "i4")]))


def _in_lots(rows: Columns) -> Columns:
    spaces = np.zeros(len(rows), SPACE_IN_LOT)
    spaces["space_id"], spaces["lot_id"] = rows["space_id"], rows["lot_id"]
    return spaces


def drop_silences(connection: Connection, before: datetime) -> int:
    """Deletes silences that ended before; gives their number."""
    return connection.execute(_DROP, (before,)).rowcount
