"""What rollups follow from: states before a stretch, events, silences, opening hours. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.occupancy import BAY, BUCKET_US, EVENT, NEVER, SILENCE, UNKNOWN, state_digest
from parking_core.store.binary_rows import moment, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

# A space's state as `lot_closings.states` packs it.
SPACE_STATE = np.dtype([("space_id", "<i4"), ("state", "i1"), ("since_us", "<i8"), ("last_us", "<i8")])

_SPACES = "COPY (SELECT lot_id, id FROM spaces WHERE lot_id = ANY (%(lots)s)) TO STDOUT (FORMAT BINARY)"

# Statistics never know the newest rows, and a planner that expects one row joins the wrong way round: every look into a
# large table is a LATERAL one by its index, which `OFFSET 0` keeps from being planned otherwise. The bounds are literals
# in a COPY, so that other chunks are left out.

# The states at the end of the bucket before each stretch, where they are still those of its rollup.
_CLOSINGS = """
SELECT wanted.lot_id, closing.states
FROM unnest(%(lots)s::integer[], %(buckets)s::timestamptz[]) AS wanted (lot_id, bucket)
CROSS JOIN LATERAL (
    SELECT digest, states FROM lot_closings
    WHERE lot_id = wanted.lot_id AND bucket = wanted.bucket AND bucket BETWEEN %(first)s AND %(last)s OFFSET 0) AS closing
CROSS JOIN LATERAL (
    SELECT closing_digest FROM lot_rollups_5m
    WHERE lot_id = wanted.lot_id AND bucket = wanted.bucket AND bucket BETWEEN %(first)s AND %(last)s OFFSET 0) AS rollup
WHERE closing.digest = rollup.closing_digest
"""

# The same from history: a space's last event, and when its present stay was seen to begin: at the first event that says
# occupied after the last one that said free.
_OPENING_STATES = """
COPY (
    SELECT space.id, newest.occupied, newest.occurred_at, coalesce(arrival.occurred_at, '-infinity')
    FROM unnest(%(lots)s::integer[], %(starts)s::timestamptz[]) AS stretch (lot_id, start_at)
    JOIN spaces AS space ON space.lot_id = stretch.lot_id
    CROSS JOIN LATERAL (
        SELECT occurred_at, occupied FROM occupancy_events
        WHERE space_id = space.id AND occurred_at < stretch.start_at AND occurred_at < %(latest)s
        ORDER BY occurred_at DESC, seq DESC, occupied DESC LIMIT 1) AS newest
    LEFT JOIN LATERAL (
        SELECT occurred_at, seq FROM occupancy_events
        WHERE newest.occupied AND space_id = space.id AND NOT occupied
          AND occurred_at < stretch.start_at AND occurred_at < %(latest)s
        ORDER BY occurred_at DESC, seq DESC LIMIT 1) AS left_free ON true
    LEFT JOIN LATERAL (
        SELECT occurred_at FROM occupancy_events
        WHERE space_id = space.id AND occupied AND (occurred_at, seq) >= (left_free.occurred_at, left_free.seq)
          AND occurred_at >= left_free.occurred_at AND occurred_at < stretch.start_at AND occurred_at < %(latest)s
        ORDER BY occurred_at, seq LIMIT 1) AS arrival ON true
) TO STDOUT (FORMAT BINARY)
"""

_EVENTS = """
COPY (
    SELECT space.id, event.occurred_at, event.seq, event.occupied
    FROM unnest(%(lots)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS stretch (lot_id, start_at, end_at)
    JOIN spaces AS space ON space.lot_id = stretch.lot_id
    CROSS JOIN LATERAL (
        SELECT occurred_at, seq, occupied FROM occupancy_events
        WHERE space_id = space.id AND occurred_at >= stretch.start_at AND occurred_at < stretch.end_at
          AND occurred_at >= %(earliest)s AND occurred_at < %(latest)s OFFSET 0) AS event
) TO STDOUT (FORMAT BINARY)
"""

_SILENCES = """
COPY (
    SELECT space.id, silence.began_at, coalesce(silence.ended_at, %(now)s)
    FROM unnest(%(lots)s::integer[], %(starts)s::timestamptz[], %(ends)s::timestamptz[])
        AS stretch (lot_id, start_at, end_at)
    JOIN spaces AS space ON space.lot_id = stretch.lot_id
    CROSS JOIN LATERAL (
        SELECT began_at, ended_at FROM space_silences
        WHERE space_id = space.id AND began_at < stretch.end_at AND (ended_at > stretch.start_at OR ended_at IS NULL)
        OFFSET 0) AS silence
) TO STDOUT (FORMAT BINARY)
"""

_OPENING_HOURS = "SELECT id, opening FROM lots WHERE id = ANY (%(lots)s) AND opening IS NOT NULL"

_KEEP_CLOSING = """
INSERT INTO lot_closings (lot_id, bucket, digest, states) VALUES (%s, %s, %s, %s)
ON CONFLICT (lot_id, bucket) DO UPDATE SET digest = excluded.digest, states = excluded.states
"""


def bounds_of(stretches: Columns) -> dict[str, object]:
    """Parameters of a statement over stretches: lots, starts, ends, and the bounds of all of them."""
    starts = stretches["start_us"]
    ends = starts + stretches["buckets"].astype(np.int64) * BUCKET_US
    return {
        "lots": stretches["lot_id"].tolist(),
        "starts": [moment(start) for start in starts],
        "ends": [moment(end) for end in ends],
        "earliest": moment(starts.min()),
        "latest": moment(ends.max()),
    }


def read_bays(connection: Connection, stretches: Columns) -> Columns:
    """BAY rows of all spaces of the lots, each with its state before its stretch."""
    rows = read_rows(
        connection, _SPACES, {"lots": stretches["lot_id"].tolist()}, [("lot_id", "i4"), ("space_id", "i4")]
    )
    order = np.argsort(stretches["lot_id"])
    stretch = order[np.searchsorted(stretches["lot_id"], rows["lot_id"], sorter=order)]
    bays = np.zeros(len(rows), BAY)
    bays["stretch"], bays["space_id"] = stretch, rows["space_id"]
    bays["state"], bays["since_us"], bays["last_us"] = UNKNOWN, NEVER, NEVER
    bays = bays[np.lexsort((bays["space_id"], bays["stretch"]))]
    closed = _read_closings(connection, stretches)
    missing = stretches[~np.isin(stretches["lot_id"], list(closed))]
    states = [np.frombuffer(packed, SPACE_STATE) for packed in closed.values()]
    if len(missing):
        states.append(_read_opening_states(connection, missing))
    _fill(bays, np.concatenate(states))
    return bays


def _fill(bays: Columns, states: Columns) -> None:
    order = np.argsort(bays["space_id"])
    place = np.searchsorted(bays["space_id"], states["space_id"], sorter=order)
    inside = place < len(bays)
    states, place = states[inside], order[place[inside]]
    same = bays["space_id"][place] == states["space_id"]  # a space may have left the lot
    for name in ("state", "since_us", "last_us"):
        bays[name][place[same]] = states[name][same]


def _read_closings(connection: Connection, stretches: Columns) -> dict[int, bytes]:
    buckets = [moment(start - BUCKET_US) for start in stretches["start_us"]]
    parameters = {
        "lots": stretches["lot_id"].tolist(),
        "buckets": buckets,
        "first": min(buckets),
        "last": max(buckets),
    }
    return dict(connection.execute(_CLOSINGS, parameters).fetchall())


def _read_opening_states(connection: Connection, stretches: Columns) -> Columns:
    bounds = bounds_of(stretches)
    bounds["latest"] = moment(stretches["start_us"].max())
    fields = [("space_id", "i4"), ("occupied", "?"), ("last_us", "at"), ("since_us", "at")]
    rows = read_rows(connection, _OPENING_STATES, bounds, fields)
    states = np.empty(len(rows), SPACE_STATE)
    for name, values in (("space_id", rows["space_id"]), ("state", rows["occupied"]), ("last_us", rows["last_us"])):
        states[name] = values
    states["since_us"] = np.maximum(rows["since_us"], NEVER)
    return states


def read_events(connection: Connection, stretches: Columns, bays: Columns) -> Columns:
    """EVENT rows within the stretches."""
    fields = [("space_id", "i4"), ("at_us", "at"), ("seq", "i8"), ("occupied", "?")]
    rows = read_rows(connection, _EVENTS, bounds_of(stretches), fields)
    return _with_bay(rows, bays, np.empty(len(rows), EVENT), ("at_us", "seq", "occupied"))


def read_silences(connection: Connection, stretches: Columns, bays: Columns, now_us: int) -> Columns:
    """SILENCE rows that touch the stretches; an open one lasts until now."""
    fields = [("space_id", "i4"), ("began_us", "at"), ("ended_us", "at")]
    rows = read_rows(connection, _SILENCES, bounds_of(stretches) | {"now": moment(now_us)}, fields)
    return _with_bay(rows, bays, np.empty(len(rows), SILENCE), ("began_us", "ended_us"))


def _with_bay(rows: Columns, bays: Columns, target: Columns, names: tuple[str, ...]) -> Columns:
    order = np.argsort(bays["space_id"])
    place = np.searchsorted(bays["space_id"], rows["space_id"], sorter=order)
    if np.any(place >= len(bays)):
        raise ValueError("A space entered the registry within the transaction.")
    target["bay"] = order[place]
    for name in names:
        target[name] = rows[name]
    return target


def read_opening_hours(connection: Connection, lot_ids: list[int]) -> Mapping[int, object]:
    """Opening hours, as the registry has them, of the lots that are not always open."""
    return dict(connection.execute(_OPENING_HOURS, {"lots": lot_ids}).fetchall())


def keep_closings(connection: Connection, stretches: Columns, bays: Columns, until_us: Integers) -> None:
    """Keeps the states (BAY) of each stretch at `until_us`, the end of a bucket."""
    digests = state_digest(bays, len(stretches))
    edges = np.searchsorted(bays["stretch"], np.arange(len(stretches) + 1))
    packed = np.empty(len(bays), SPACE_STATE)
    for name in ("space_id", "state", "since_us", "last_us"):
        packed[name] = bays[name]
    with connection.cursor() as cursor:
        cursor.executemany(
            _KEEP_CLOSING,
            [
                (int(lot), moment(until - BUCKET_US), int(digest), packed[edges[i] : edges[i + 1]].tobytes())
                for i, (lot, until, digest) in enumerate(zip(stretches["lot_id"], until_us, digests, strict=True))
            ],
        )
