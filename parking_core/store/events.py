"""History of occupancy: binary COPY straight into the hypertable, or by way of a staging table where rows may repeat."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import AsyncConnection

    from parking_core.readings import Readings

_COLUMNS = (
    "space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect, battery_v, rssi_dbm, temperature_c"
)

_COPY_EVENTS = f"COPY occupancy_events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"

_CREATE_STAGING = """
CREATE TEMPORARY TABLE IF NOT EXISTS staged_events (
    space_id integer, device_id integer, occurred_at timestamptz, received_at timestamptz, seq bigint,
    occupied boolean, clock_suspect boolean, battery_v real, rssi_dbm real, temperature_c real
) ON COMMIT DELETE ROWS
"""

_COPY_STAGING = f"COPY staged_events ({_COLUMNS}) FROM STDIN (FORMAT BINARY)"

# Inserts what history does not hold yet; a message that was delivered twice changes nothing.
_UNSTAGE = """
INSERT INTO occupancy_events (
    space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect, battery_v, rssi_dbm, temperature_c
)
SELECT
    space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect, battery_v, rssi_dbm, temperature_c
FROM staged_events
ON CONFLICT (space_id, occurred_at, seq, occupied, device_id) DO NOTHING
"""

_CLEAR_STAGING = "DELETE FROM staged_events"

# Of readings with a device time that cannot be believed: those that neither the ledger nor history knows.
_ENTER_LEDGER = """
INSERT INTO clock_ledger (device_id, space_id, raw_occurred_us, seq, occupied, received_at)
SELECT r.device_id, r.space_id, r.raw_us, r.seq, r.occupied,
       timestamptz 'epoch' + r.received_us * interval '1 microsecond'
FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::bool[], %s::bigint[])
    AS r (device_id, space_id, raw_us, seq, occupied, received_us)
WHERE NOT EXISTS (
    SELECT FROM occupancy_events e
    WHERE e.space_id = r.space_id AND e.device_id = r.device_id AND e.seq = r.seq AND e.occupied = r.occupied
      AND e.occurred_at = timestamptz 'epoch' + r.raw_us * interval '1 microsecond' AND NOT e.clock_suspect
)
ON CONFLICT DO NOTHING
RETURNING device_id, space_id, raw_occurred_us, seq, occupied
"""

_IN_LEDGER = """
SELECT l.device_id, l.space_id, l.raw_occurred_us, l.seq, l.occupied
FROM clock_ledger l
JOIN unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::bool[])
    AS r (device_id, space_id, raw_us, seq, occupied)
  ON l.device_id = r.device_id AND l.space_id = r.space_id AND l.raw_occurred_us = r.raw_us
 AND l.seq = r.seq AND l.occupied = r.occupied
"""

_KNOWN = """
SELECT EXISTS (
    SELECT FROM occupancy_events e
    WHERE e.space_id = r.space_id AND e.device_id = r.device_id AND e.seq = r.seq AND e.occupied = r.occupied
      AND e.occurred_at = timestamptz 'epoch' + r.occurred_us * interval '1 microsecond'
)
FROM unnest(%s::int[], %s::int[], %s::bigint[], %s::bigint[], %s::bool[])
    WITH ORDINALITY AS r (device_id, space_id, occurred_us, seq, occupied, row)
ORDER BY r.row
"""

_NEWEST_STATES = """
SELECT space.id, newest.occupied
FROM unnest(%s::int[]) AS space (id), LATERAL (
    SELECT occupied FROM occupancy_events WHERE space_id = space.id
    ORDER BY occurred_at DESC, seq DESC, occupied DESC LIMIT 1
) AS newest
"""

# One step in the primary key a device: DISTINCT would read the whole ledger every time.
_LEDGER_DEVICES = """
WITH RECURSIVE listed AS (
    (SELECT device_id FROM clock_ledger ORDER BY device_id LIMIT 1)
    UNION ALL
    SELECT (
        SELECT following.device_id FROM clock_ledger AS following
        WHERE following.device_id > listed.device_id ORDER BY following.device_id LIMIT 1
    )
    FROM listed WHERE listed.device_id IS NOT NULL
)
SELECT device_id FROM listed WHERE device_id IS NOT NULL
"""

_COPY_DIRTY = "COPY dirty_buckets (lot_id, bucket) FROM STDIN (FORMAT BINARY)"

POSTGRES_EPOCH_US = 946_684_800_000_000  # 2000-01-01, where binary timestamptz counts from
BUCKET_US = 300_000_000  # five minutes: the finest rollup

_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER = b"\xff\xff"
_OPTIONAL = ("battery_v", "rssi_dbm", "temperature_c")
_FIXED = (
    ("space_id", ">i4"),
    ("device_id", ">i4"),
    ("occurred_us", ">i8"),
    ("received_us", ">i8"),
    ("seq", ">i8"),
    ("occupied", "u1"),
    ("clock_suspect", "u1"),
)

LedgerKey = tuple[int, int, int, int, bool]


async def insert_new(connection: AsyncConnection[Any], readings: Readings) -> None:
    """Inserts readings that are believed to be new.

    Raises:
        psycopg.errors.UniqueViolation: one is not; the transaction is lost, use `insert_missing`.
    """
    await _copy(connection, _COPY_EVENTS, _event_rows(readings))


async def insert_missing(connection: AsyncConnection[Any], readings: Readings) -> int:
    """Inserts those readings that history does not hold yet; gives their number."""
    await connection.execute(_CREATE_STAGING)
    await _copy(connection, _COPY_STAGING, _event_rows(readings))
    inserted = (await connection.execute(_UNSTAGE)).rowcount
    await connection.execute(_CLEAR_STAGING)
    return inserted


async def enter_ledger(connection: AsyncConnection[Any], suspects: Readings) -> set[LedgerKey]:
    """Enters readings by what the device said; gives the keys of those not seen before."""
    cursor = await connection.execute(_ENTER_LEDGER, (*_ledger_columns(suspects), suspects["received_us"].tolist()))
    return set(await cursor.fetchall())


async def keys_in_ledger(connection: AsyncConnection[Any], readings: Readings) -> set[LedgerKey]:
    """Keys of those readings that had entered history by the ledger at an earlier receipt."""
    return set(await (await connection.execute(_IN_LEDGER, _ledger_columns(readings))).fetchall())


async def ledger_devices(connection: AsyncConnection[Any]) -> set[int]:
    """Devices that the ledger knows: only their readings need to be looked up in it."""
    return {device_id for (device_id,) in await (await connection.execute(_LEDGER_DEVICES)).fetchall()}


async def mark_dirty(connection: AsyncConnection[Any], readings: Readings) -> None:
    """Marks the five-minute buckets of the readings' lots for the next rollup."""
    touched = np.zeros(len(readings), [("lot_id", "i4"), ("start", "i8")])
    touched["lot_id"] = readings["lot_id"]
    touched["start"] = readings["occurred_us"] - readings["occurred_us"] % BUCKET_US - POSTGRES_EPOCH_US
    touched = np.unique(touched)
    rows = np.zeros(len(touched), [("n", ">i2"), ("l1", ">i4"), ("lot_id", ">i4"), ("l2", ">i4"), ("start", ">i8")])
    rows["n"], rows["l1"], rows["l2"] = 2, 4, 8
    rows["lot_id"], rows["start"] = touched["lot_id"], touched["start"]
    await _copy(connection, _COPY_DIRTY, rows.tobytes())


async def are_known(connection: AsyncConnection[Any], readings: Readings) -> list[bool]:
    """Whether history holds each of them, exactly so."""
    rows = await (await connection.execute(_KNOWN, _ledger_columns(readings))).fetchall()
    return [bool(row[0]) for row in rows]


async def newest_states(connection: AsyncConnection[Any], space_ids: Iterable[int]) -> dict[int, bool]:
    """Whether a vehicle stood in each space when it was last reported; a space without a report is left out."""
    return dict(await (await connection.execute(_NEWEST_STATES, (list(space_ids),))).fetchall())


def ledger_keys(readings: Readings) -> list[LedgerKey]:
    """What the ledger would call each reading."""
    return list(zip(*_ledger_columns(readings), strict=True))


def _ledger_columns(readings: Readings) -> tuple[list[Any], ...]:
    names = ("device_id", "space_id", "occurred_us", "seq", "occupied")
    return tuple(readings[name].tolist() for name in names)


async def _copy(connection: AsyncConnection[Any], statement: str, rows: bytes) -> None:
    async with connection.cursor() as cursor, cursor.copy(statement) as copy:
        await copy.write(_HEADER + rows + _TRAILER)


def _event_rows(readings: Readings) -> bytes:
    """Rows of a binary COPY.

    A NULL takes no bytes, so rows differ in length; those that leave the same fields out share one layout
    and are packed together. Their order does not matter to a set of rows.
    """
    present = np.zeros(len(readings), "u1")
    for bit, name in enumerate(_OPTIONAL):
        present |= (~np.isnan(readings[name])).astype("u1") << bit
    return b"".join(_packed(readings[present == pattern], int(pattern)) for pattern in np.unique(present))


def _packed(readings: Readings, present: int) -> bytes:
    fields: list[tuple[str, str]] = [("fields", ">i2")]
    for name, kind in _FIXED:
        fields += [(f"{name}_size", ">i4"), (name, kind)]
    for bit, name in enumerate(_OPTIONAL):
        fields.append((f"{name}_size", ">i4"))
        if present >> bit & 1:
            fields.append((name, ">f4"))
    rows = np.empty(len(readings), fields)
    rows["fields"] = len(_FIXED) + len(_OPTIONAL)
    for name, kind in _FIXED:
        rows[f"{name}_size"] = np.dtype(kind).itemsize
        rows[name] = readings[name]
    for bit, name in enumerate(_OPTIONAL):
        is_present = present >> bit & 1
        rows[f"{name}_size"] = 4 if is_present else -1
        if is_present:
            rows[name] = readings[name]
    rows["occurred_us"] -= POSTGRES_EPOCH_US
    rows["received_us"] -= POSTGRES_EPOCH_US
    return rows.tobytes()
