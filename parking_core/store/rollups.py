"""Rollups in the store: what is dirty, the rows, and how far they are complete. Nothing here commits."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.occupancy import BUCKET_US, DWELL_CLASSES, HOUR_US
from parking_core.store.binary_rows import EPOCH, moment, read_rows, write_rows
from parking_core.store.rollup_sources import bounds_of

if TYPE_CHECKING:
    from psycopg import Connection

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

_LOCK = 7_201_002  # advisory lock: one bite at a time, whoever takes it

# A (lot, bucket) in one number that sorts by lot, then time.
_LOT_SHIFT = 32

_TAKE_DIRTY = """
COPY (
    WITH taken AS (
        DELETE FROM dirty_buckets WHERE ctid = ANY (ARRAY (
            SELECT ctid FROM dirty_buckets WHERE bucket < %(before)s LIMIT %(limit)s))
        RETURNING lot_id, bucket)
    SELECT lot_id, bucket FROM taken
    WHERE bucket >= (SELECT floor_at FROM history_floor) GROUP BY lot_id, bucket
) TO STDOUT (FORMAT BINARY)
"""

_WAITING = "SELECT count(*) FROM (SELECT FROM dirty_buckets WHERE bucket < %(before)s LIMIT %(limit)s) AS waiting"

_UNFINISHED = """
COPY (
    SELECT lot_id, complete_until FROM rollup_frontiers WHERE complete_until <= %(until)s
) TO STDOUT (FORMAT BINARY)
"""

_STORED = """
COPY (
    SELECT stretch.lot_id, rollup.bucket, coalesce(rollup.closing_digest, 0), rollup.closing_digest IS NOT NULL
    FROM unnest(%(lots)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS stretch (lot_id, start_at, end_at)
    CROSS JOIN LATERAL (
        SELECT bucket, closing_digest FROM lot_rollups_5m
        WHERE lot_id = stretch.lot_id AND bucket >= stretch.start_at AND bucket < stretch.end_at
          AND bucket >= %(earliest)s AND bucket < %(latest)s OFFSET 0) AS rollup
) TO STDOUT (FORMAT BINARY)
"""

_MEASURES = (
    *("spaces", "occupied_min", "unknown_min", "closed_min", "full_min"),
    *("arrivals", "departures", "dwell_count", "dwell_sum_s", "dwell_histogram"),
)
_STAGE = """
CREATE TEMPORARY TABLE IF NOT EXISTS rollup_stage (
    lot_id integer, bucket timestamptz, spaces integer,
    occupied_min double precision, unknown_min double precision, closed_min double precision, full_min double precision,
    arrivals integer, departures integer, dwell_count integer, dwell_sum_s double precision, dwell_histogram integer[],
    closing_digest bigint, complete boolean
) ON COMMIT DELETE ROWS
"""
_COPY_STAGE = "COPY rollup_stage FROM STDIN (FORMAT BINARY)"
_STAGE_FIELDS = (
    *(("lot_id", "i4"), ("bucket", "at"), ("spaces", "i4")),
    *((name, "f8") for name in ("occupied_min", "unknown_min", "closed_min", "full_min")),
    *((name, "i4") for name in ("arrivals", "departures", "dwell_count")),
    *(("dwell_sum_s", "f8"), ("dwell_histogram", f"i4[{DWELL_CLASSES}]")),
    *(("closing_digest", "i8"), ("complete", "?")),
)
_TAKE_OVER = f"""
INSERT INTO lot_rollups_5m (lot_id, bucket, {", ".join(_MEASURES)}, closing_digest)
SELECT lot_id, bucket, {", ".join(_MEASURES)}, CASE WHEN complete THEN closing_digest END FROM rollup_stage
ON CONFLICT (lot_id, bucket) DO UPDATE SET
    {", ".join(f"{name} = excluded.{name}" for name in (*_MEASURES, "closing_digest"))}
"""  # noqa: S608  # the names are the constants above

# An hour is the sum of its five minutes.
_HOURS = f"""
INSERT INTO lot_rollups_1h (lot_id, bucket, {", ".join(_MEASURES)})
SELECT hour.lot_id, hour.start_at, max(spaces), {", ".join(f"sum({name})" for name in _MEASURES[1:-1])},
       ARRAY[{", ".join(f"sum(dwell_histogram[{place}])" for place in range(1, DWELL_CLASSES + 1))}]::integer[]
FROM unnest(%(lots)s::integer[], %(hours)s::timestamptz[]) AS hour (lot_id, start_at)
CROSS JOIN LATERAL (
    SELECT * FROM lot_rollups_5m
    WHERE lot_id = hour.lot_id AND bucket >= hour.start_at AND bucket < hour.start_at + INTERVAL '1 hour'
      AND bucket >= %(earliest)s AND bucket < %(latest)s OFFSET 0) AS rollup
GROUP BY hour.lot_id, hour.start_at
ON CONFLICT (lot_id, bucket) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in _MEASURES)}
"""  # noqa: S608  # the names are the constants above

_MOVE_FRONTIERS = """
INSERT INTO rollup_frontiers (lot_id, complete_until)
SELECT * FROM unnest(%(lots)s::integer[], %(until)s::timestamptz[])
ON CONFLICT (lot_id) DO UPDATE SET complete_until = excluded.complete_until
WHERE rollup_frontiers.complete_until < excluded.complete_until
"""
_REST = """
DELETE FROM rollup_frontiers AS frontier
USING unnest(%(lots)s::integer[], %(until)s::timestamptz[]) AS rest (lot_id, until)
WHERE frontier.lot_id = rest.lot_id AND frontier.complete_until < rest.until
"""
_NEXT_ROWS = """
SELECT wanted.lot_id, (SELECT min(bucket) FROM lot_rollups_5m
                       WHERE lot_id = wanted.lot_id AND bucket >= wanted.after AND bucket >= %(earliest)s)
FROM unnest(%(lots)s::integer[], %(after)s::timestamptz[]) AS wanted (lot_id, after)
"""


def bucket_keys(lot_ids: Any, bucket_us: Any) -> Integers:  # noqa: ANN401  # columns or single numbers
    """One sortable number for each (lot, bucket)."""
    return (np.asarray(lot_ids, np.int64) << _LOT_SHIFT) + np.asarray(bucket_us, np.int64) // BUCKET_US


def lots_of(keys: Integers) -> Integers:
    """Lots of bucket keys; moments before 1970 would belong to the lot before, and never get here."""
    return keys >> _LOT_SHIFT


def buckets_of(keys: Integers) -> Integers:
    """Starts of the buckets of bucket keys, microseconds."""
    return (keys & ((1 << _LOT_SHIFT) - 1)) * BUCKET_US


def claim(connection: Connection) -> bool:
    """Whether this transaction is the only one that computes rollups."""
    row = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,)).fetchone()
    return row is not None and bool(row[0])


def take_dirty(connection: Connection, before_us: int, limit: int) -> tuple[Integers, int]:
    """Keys of at most `limit` dirty rows, which are deleted, and how many rows there were (at most `limit` + 1).

    What lies before the floor of history is deleted and not given.
    """
    parameters = {"before": moment(before_us), "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_WAITING, {"before": moment(before_us), "limit": limit + 1})
        waiting = cursor.fetchone()
    rows = read_rows(connection, _TAKE_DIRTY, parameters, [("lot_id", "i4"), ("bucket", "at")])
    rows = rows[rows["bucket"] >= 0]
    return np.sort(bucket_keys(rows["lot_id"], rows["bucket"])), int(waiting[0]) if waiting else 0


def put_back(connection: Connection, keys: Integers) -> None:
    """Makes buckets dirty (again)."""
    if len(keys):
        fields = [("lot_id", "i4"), ("bucket", "at")]
        columns = {"lot_id": lots_of(keys), "bucket": buckets_of(keys)}
        write_rows(connection, "COPY dirty_buckets (lot_id, bucket) FROM STDIN (FORMAT BINARY)", fields, columns)


def unfinished(connection: Connection, now_us: int) -> Integers:
    """Keys of the first bucket of each followed lot that is over but not complete."""
    parameters = {"until": moment(now_us - BUCKET_US)}
    rows = read_rows(connection, _UNFINISHED, parameters, [("lot_id", "i4"), ("bucket", "at")])
    return np.sort(bucket_keys(rows["lot_id"], rows["bucket"]))


def read_stored(connection: Connection, stretches: Columns, keys: Integers) -> tuple[Flags, Flags, Integers]:
    """For each bucket key: is there a row, is it complete, and its closing digest."""
    fields = [("lot_id", "i4"), ("bucket", "at"), ("digest", "i8"), ("complete", "?")]
    rows = read_rows(connection, _STORED, bounds_of(stretches), fields)
    place = np.searchsorted(keys, bucket_keys(rows["lot_id"], rows["bucket"]))
    exists, complete, digests = np.zeros(len(keys), bool), np.zeros(len(keys), bool), np.zeros(len(keys), np.int64)
    exists[place], complete[place], digests[place] = True, rows["complete"], rows["digest"]
    return exists, complete, digests


def write_rollups(connection: Connection, rows: Columns) -> None:
    """Adds or replaces five-minute rows (ROLLUP), and their hours after them."""
    if not len(rows):
        return
    columns = {name: rows[name] for name in ("lot_id", "spaces", "arrivals", "departures", "dwell_count")}
    columns |= {f"{name}_min": rows[f"{name}_us"] / 60e6 for name in ("occupied", "unknown", "closed", "full")}
    columns |= {"bucket": rows["bucket_us"], "dwell_sum_s": rows["dwell_sum_us"] / 1e6}
    columns |= {"dwell_histogram": rows["dwell_histogram"], "closing_digest": rows["digest"]}
    connection.execute(_STAGE)
    connection.execute("DELETE FROM rollup_stage")  # an earlier round of the same transaction
    write_rows(connection, _COPY_STAGE, _STAGE_FIELDS, columns | {"complete": rows["elapsed_us"] == BUCKET_US})
    connection.execute(_TAKE_OVER)
    hours = np.unique(np.stack([rows["lot_id"], rows["bucket_us"] - rows["bucket_us"] % HOUR_US]), axis=1)
    connection.execute(
        _HOURS,
        {
            "lots": hours[0].tolist(),
            "hours": [moment(hour) for hour in hours[1]],
            "earliest": moment(hours[1].min()),
            "latest": moment(hours[1].max() + HOUR_US),
        },
    )


def move_frontiers(connection: Connection, lot_ids: Integers, until_us: Integers) -> None:
    """The lots' buckets are complete up to here; never moves back."""
    if len(lot_ids):
        connection.execute(_MOVE_FRONTIERS, _lots_and("until", lot_ids, until_us))


def rest(connection: Connection, lot_ids: Integers, until_us: Integers) -> Integers:
    """The lots are not followed from before `until_us`; gives the keys of their next rows from there, where there are any."""
    if not len(lot_ids):
        return np.zeros(0, np.int64)
    connection.execute(_REST, _lots_and("until", lot_ids, until_us))
    parameters = _lots_and("after", lot_ids, until_us) | {"earliest": moment(until_us.min())}
    found = [row for row in connection.execute(_NEXT_ROWS, parameters).fetchall() if row[1] is not None]
    later = [(at - EPOCH) // timedelta(microseconds=1) for _, at in found]
    return bucket_keys([lot for lot, _ in found], later)


def _lots_and(name: str, lot_ids: Integers, at_us: Integers) -> dict[str, object]:
    return {"lots": [int(lot) for lot in lot_ids], name: [moment(at) for at in at_us]}
