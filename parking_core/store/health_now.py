"""What devices did on the running day, and how they stand: sources of the rules. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.health.conditions import NEVER
from parking_core.health.days import EVENT
from parking_core.health.device_rules import DEVICE
from parking_core.store.binary_rows import moment, read_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

# By the index of each space: a day is a seventh of its chunk. A fingerprint of 0 says that nothing was measured.
_EVENTS = """
COPY (
    SELECT event.device_id, space.id, event.occurred_at, event.received_at, event.seq, event.occupied, event.clock_suspect,
           CASE WHEN event.rssi_dbm IS NULL AND event.temperature_c IS NULL THEN 0
                ELSE hash_record_extended(ROW(event.rssi_dbm, event.temperature_c, event.battery_v), 0) END
    FROM spaces AS space CROSS JOIN LATERAL (
        SELECT * FROM occupancy_events
        WHERE space_id = space.id AND occurred_at >= %(begins)s AND occurred_at < %(ends)s OFFSET 0) AS event
) TO STDOUT (FORMAT BINARY)
"""
_EVENT_FIELDS = [
    ("device_id", "i4"),
    ("space_id", "i4"),
    ("at_us", "at"),
    ("received_us", "at"),
    ("seq", "i8"),
    ("occupied", "?"),
    ("suspect", "?"),
    ("measured", "i8"),
]

_FIRST_EVENT = "SELECT min(occurred_at) FROM occupancy_events WHERE occurred_at >= %s"

_DEVICES = """
COPY (
    SELECT d.id, d.lot_id, d.expected_interval_s, coalesce(heard.last_heard_at, '-infinity'),
           coalesce(heard.seq_missing, 0),
           coalesce(v.battery_v, 'NaN')::double precision, coalesce(v.battery_percent, 'NaN')::double precision,
           coalesce(v.battery_state = 'low', false), coalesce(v.battery_at, '-infinity'),
           coalesce(v.rssi_dbm, 'NaN')::double precision,
           coalesce(v.clock_offset_s, 'NaN')::double precision, coalesce(v.clock_at, '-infinity'),
           coalesce(v.quarantined_at, '-infinity'), coalesce(f.newest_at, '-infinity'), coalesce(f.left_out, 0)
    FROM devices d
    LEFT JOIN device_liveness heard ON heard.device_id = d.id AND heard.last_heard_at > timestamptz 'epoch'
    LEFT JOIN device_vitals v ON v.device_id = d.id
    LEFT JOIN device_floods f ON f.device_id = d.id
    WHERE d.enabled ORDER BY d.id
) TO STDOUT (FORMAT BINARY)
"""
_DEVICE_FIELDS = [
    ("device_id", "i4"),
    ("lot_id", "i4"),
    ("interval_s", "i4"),
    ("heard_us", "at"),
    ("missing", "i8"),
    ("battery_v", "f8"),
    ("battery_percent", "f8"),
    ("battery_low", "?"),
    ("battery_us", "at"),
    ("rssi_dbm", "f8"),
    ("clock_s", "f8"),
    ("clock_at_us", "at"),
    ("quarantined_us", "at"),
    ("flood_us", "at"),
    ("left_out", "i8"),
]

# A count that nobody renewed for minutes is no count.
_INSIDE = (
    "SELECT lot_id, inside FROM lane_counts WHERE sensors AND counted_at > %s - interval '5 minutes' ORDER BY lot_id"
)

_LOTS = "COPY (SELECT id FROM lots ORDER BY id) TO STDOUT (FORMAT BINARY)"
_SPACE_LOTS = "COPY (SELECT id, lot_id FROM spaces ORDER BY id) TO STDOUT (FORMAT BINARY)"
_SPACE_CODES = "SELECT id, code FROM spaces WHERE id = ANY (%s)"
_DEVICE_CODES = "SELECT id, code FROM devices WHERE id = ANY (%s)"


def events(connection: Connection[Any], begins_us: int, ends_us: int) -> Columns:
    """EVENT rows of all bays in [begins, ends)."""
    bounds = {"begins": moment(begins_us), "ends": moment(ends_us)}
    return read_rows(connection, _EVENTS, bounds, _EVENT_FIELDS).astype(EVENT)


def first_event_us(connection: Connection[Any], since_us: int) -> int | None:
    """When the oldest event since a moment occurred; None: there is none."""
    row = connection.execute(_FIRST_EVENT, (moment(since_us),)).fetchone()
    return None if row is None or row[0] is None else int(row[0].timestamp() * 1_000_000)


def devices(connection: Connection[Any]) -> Columns:
    """DEVICE rows; `missing` since registration, `messages` and `suspects` not yet known."""
    rows = read_rows(connection, _DEVICES, {}, _DEVICE_FIELDS)
    found = np.zeros(len(rows), DEVICE)
    for name in set(DEVICE.names or ()) & set(rows.dtype.names or ()):
        found[name] = np.maximum(rows[name], NEVER) if name.endswith("_us") else rows[name]
    told = ~np.isnan(rows["clock_s"])
    found["clock_us"] = NEVER
    found["clock_us"][told] = (rows["clock_s"][told] * 1e6).astype(np.int64)
    return found


def lots(connection: Connection[Any]) -> Integers:
    """Ids of all lots, ascending."""
    return read_rows(connection, _LOTS, {}, [("id", "i4")])["id"].astype(np.int64)


def lots_of_spaces(connection: Connection[Any]) -> tuple[Integers, Integers]:
    """Ids of all spaces, ascending, and of the lot of each."""
    rows = read_rows(connection, _SPACE_LOTS, {}, [("id", "i4"), ("lot_id", "i4")])
    return rows["id"].astype(np.int64), rows["lot_id"].astype(np.int64)


def lanes_inside(connection: Connection[Any], now: datetime) -> list[tuple[int, int]]:
    """Lots that have lanes and sensors, with the vehicles inside by their lanes."""
    return connection.execute(_INSIDE, (now,)).fetchall()


def space_codes(connection: Connection[Any], ids: list[int]) -> Mapping[int, str]:
    """Codes of spaces by id."""
    return dict(connection.execute(_SPACE_CODES, (ids,)).fetchall())


def device_codes(connection: Connection[Any], ids: list[int]) -> Mapping[int, str]:
    """Codes of devices by id."""
    return dict(connection.execute(_DEVICE_CODES, (ids,)).fetchall())
