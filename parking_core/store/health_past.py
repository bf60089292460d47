"""Days that are over: written once, and summed up for learning. Nothing here commits."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.health.activity import HOURS, LotDays
from parking_core.health.days import BAY_DAY
from parking_core.health.learning import BATTERY, BAY_PAST, CALM, DEVICE_PAST, Usual, learn
from parking_core.store.binary_rows import read_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg import Connection

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

_WIRE_DAY = date(2000, 1, 1)  # a date in a binary COPY counts days from here
_LONG_CALM = 3.0  # changes: the rarest of the district's calms are far above

_BAY_FIELDS = [(name, "?" if BAY_DAY[name].kind == "b" else BAY_DAY[name].str[1:]) for name in BAY_DAY.names or ()]
_BAY_COLUMNS = ", ".join(name for name, _ in _BAY_FIELDS)

_LAST_DAY = "SELECT max(day) FROM lot_days"
_BAYS = f"COPY (SELECT {_BAY_COLUMNS} FROM bay_days WHERE day = %(day)s ORDER BY space_id, device_id) TO STDOUT (FORMAT BINARY)"  # noqa: S608  # names of our own columns
_KEEP_BAYS = f"COPY bay_days (day, {_BAY_COLUMNS}, doubtful) FROM STDIN (FORMAT BINARY)"

_LOT_DAYS = (
    "SELECT day, lot_id, bays, changes, activity FROM lot_days WHERE day >= %s AND day < %s ORDER BY day, lot_id"
)
_KEEP_LOT = "INSERT INTO lot_days (lot_id, day, bays, changes, activity) VALUES (%s, %s, %s, %s, %s)"

# What was missing is counted since registration: a day's is what came to it.
_KEEP_DEVICES = """
INSERT INTO device_days (device_id, day, messages, quiet_s, missing, missing_total, battery_v, rssi_dbm, clock_offset_s, doubtful)
SELECT d.id, %(day)s, coalesce(told.messages, 0), heard.quiet_s,
       greatest(0, heard.seq_missing - coalesce(before.missing_total, heard.seq_missing)), heard.seq_missing,
       v.battery_v, v.rssi_dbm, v.clock_offset_s, d.id = ANY (%(doubtful)s)
FROM devices d
JOIN device_liveness heard ON heard.device_id = d.id
LEFT JOIN device_vitals v ON v.device_id = d.id
LEFT JOIN (SELECT device_id, sum(messages)::integer AS messages FROM bay_days WHERE day = %(day)s GROUP BY device_id) told
       ON told.device_id = d.id
LEFT JOIN device_days before ON before.device_id = d.id AND before.day = %(day)s::date - 1
"""
# In the order in which gateways take them.
_LOCK_LIVENESS = "SELECT FROM device_liveness WHERE quiet_s > 0 ORDER BY device_id FOR UPDATE"
_NEW_QUIET = "UPDATE device_liveness SET quiet_s = 0 WHERE quiet_s > 0"

_BAY_PAST = """
COPY (
    SELECT bay.device_id, bay.space_id, count(*)::integer, sum(bay.changes), sum(bay.flickers), sum(bay.measured),
           sum(bay.repeats), sum(lot.activity),
           max(bay.calm_free), max(bay.calm_taken)
    FROM bay_days bay JOIN spaces space ON space.id = bay.space_id
    JOIN (SELECT day, lot_id, (SELECT sum(hour) FROM unnest(activity) AS hour)::double precision AS activity
          FROM lot_days WHERE day >= %(first)s AND day < %(until)s) lot ON lot.lot_id = space.lot_id AND lot.day = bay.day
    WHERE bay.day >= %(first)s AND bay.day < %(until)s AND NOT bay.doubtful
    GROUP BY bay.space_id, bay.device_id ORDER BY bay.space_id, bay.device_id
) TO STDOUT (FORMAT BINARY)
"""
_CALMS = """
COPY (
    SELECT device_id, space_id, calm_taken FROM bay_days
    WHERE day >= %(first)s AND day < %(until)s AND NOT doubtful AND calm_taken > %(long)s
) TO STDOUT (FORMAT BINARY)
"""
_DEVICE_PAST = """
COPY (
    SELECT device_id, count(*)::integer, max(quiet_s), sum(missing), sum(messages),
           coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY rssi_dbm), 'NaN'),
           coalesce(avg(rssi_dbm) FILTER (WHERE day >= %(until)s::date - 3), 'NaN')
    FROM device_days WHERE day >= %(first)s AND day < %(until)s AND NOT doubtful
    GROUP BY device_id ORDER BY device_id
) TO STDOUT (FORMAT BINARY)
"""
_BATTERIES = """
COPY (
    SELECT device_id, day - %(first)s::date, battery_v::double precision FROM device_days
    WHERE day >= %(first)s AND day < %(until)s AND battery_v IS NOT NULL
) TO STDOUT (FORMAT BINARY)
"""
_DAY_BEFORE = """
COPY (
    SELECT device_id, messages::bigint, missing::bigint, missing_total
    FROM device_days WHERE day = %(day)s ORDER BY device_id
) TO STDOUT (FORMAT BINARY)
"""
DAY_BEFORE_FIELDS = [
    ("device_id", "i4"),
    ("messages", "i8"),
    ("missing", "i8"),
    ("missing_total", "i8"),
]

# What was found wrong since a day teaches nothing from that day on.
_DOUBT_BAYS = """
UPDATE bay_days SET doubtful = true
FROM unnest(%(devices)s::integer[], %(days)s::date[]) AS wrong (device_id, since)
WHERE bay_days.device_id = wrong.device_id AND bay_days.day >= wrong.since AND NOT bay_days.doubtful
"""
_DOUBT_DEVICES = """
UPDATE device_days SET doubtful = true
FROM unnest(%(devices)s::integer[], %(days)s::date[]) AS wrong (device_id, since)
WHERE device_days.device_id = wrong.device_id AND device_days.day >= wrong.since AND NOT device_days.doubtful
"""
_DROP = (
    "DELETE FROM bay_days WHERE day < %s",
    "DELETE FROM device_days WHERE day < %s",
    "DELETE FROM lot_days WHERE day < %s",
)


def last_day(connection: Connection[Any]) -> date | None:
    """The newest day that was closed."""
    row = connection.execute(_LAST_DAY).fetchone()
    return None if row is None else row[0]


def bays(connection: Connection[Any], day: date) -> Columns:
    """BAY_DAY rows as a day ended."""
    return read_rows(connection, _BAYS, {"day": day}, _BAY_FIELDS).astype(BAY_DAY)


def day_before(connection: Connection[Any], day: date) -> Columns:
    """What devices did on a day that is over (DAY_BEFORE_FIELDS), by device."""
    return read_rows(connection, _DAY_BEFORE, {"day": day}, DAY_BEFORE_FIELDS)


def lot_days(connection: Connection[Any], days: Sequence[date], lots: Integers, kind: Callable[[date], int]) -> LotDays:
    """What lots (ids, ascending) did on consecutive days; days and lots without a row did nothing."""
    changes = np.zeros((len(days), len(lots), HOURS))
    activity, watched = np.zeros_like(changes), np.zeros((len(days), len(lots)))
    row_of = {int(lot): row for row, lot in enumerate(lots)}
    if days:
        for day, lot, number, seen, active in connection.execute(
            _LOT_DAYS, (days[0], date.fromordinal(days[-1].toordinal() + 1))
        ):
            at = ((day - days[0]).days, row_of[lot])
            watched[at], changes[at], activity[at] = number, seen, active
    return LotDays(changes, watched, np.array([kind(day) for day in days], np.int64), activity)


def usual(connection: Connection[Any], first: date, until: date) -> Usual:
    """What was learned from the days in [first, until)."""
    span = {"first": first, "until": until, "long": _LONG_CALM}

    def read(copy: str, kind: np.dtype[np.void]) -> Columns:
        fields = [(name, kind[name].str[1:]) for name in kind.names or ()]
        return read_rows(connection, copy, span, fields)

    return learn(
        read(_BAY_PAST, BAY_PAST), read(_CALMS, CALM), read(_DEVICE_PAST, DEVICE_PAST), read(_BATTERIES, BATTERY)
    )


def close_day(
    connection: Connection[Any],
    day: date,
    rows: Columns,
    *,
    lots: Integers,
    of_lots: LotDays,
    doubtful: Sequence[int],
    silent: Sequence[int],
) -> None:
    """Keeps a day that is over: BAY_DAY rows, lots (one day), and devices as they stand; a new quiet begins.

    Bays of `doubtful` devices teach nothing, nor do `silent` ones of themselves.
    """
    columns = {name: rows[name] for name, _ in _BAY_FIELDS}
    columns["day"] = np.full(len(rows), (day - _WIRE_DAY).days)
    columns["doubtful"] = np.isin(rows["device_id"], np.array(doubtful, np.int64))
    write_rows(connection, _KEEP_BAYS, [("day", "i4"), *_BAY_FIELDS, ("doubtful", "?")], columns)
    connection.cursor().executemany(
        _KEEP_LOT,
        [
            (int(lot), day, int(watched), changes.astype(int).tolist(), activity.tolist())
            for lot, watched, changes, activity in zip(
                lots, of_lots.bays[-1], of_lots.changes[-1], of_lots.activity[-1], strict=True
            )
        ],
    )
    connection.execute(_KEEP_DEVICES, {"day": day, "doubtful": list(silent)})
    connection.execute(_LOCK_LIVENESS)
    connection.execute(_NEW_QUIET)


def doubt(connection: Connection[Any], bays: Mapping[int, date], devices: Mapping[int, date]) -> None:
    """Devices whose days teach nothing from a day on: of their bays, and of themselves."""
    for statement, since in ((_DOUBT_BAYS, bays), (_DOUBT_DEVICES, devices)):
        connection.execute(statement, {"devices": list(since), "days": list(since.values())})


def drop_before(connection: Connection[Any], day: date) -> int:
    """Deletes days before; gives the number of rows."""
    return sum(connection.execute(statement, (day,)).rowcount for statement in _DROP)
