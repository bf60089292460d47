"""What lots' promises teach: how late cars left and came, who was let down, day by day. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.lateness import Delays, Overruns

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from psycopg import Connection

# Minutes are rounded up: a car that leaves within the minute after its time is a minute late.
_DEPARTURES = """
SELECT lot_id, extract(hour FROM promised_at AT TIME ZONE %(zone)s)::int,
       ceil(extract(epoch FROM left_at - promised_at) / 60)::int
FROM departures WHERE promised_at >= %(since)s ORDER BY id
"""

_ARRIVALS = """
SELECT lot_id, extract(hour FROM arrive_at AT TIME ZONE %(zone)s)::int,
       ceil(extract(epoch FROM arrived_at - arrive_at) / 60)::int
FROM reservations WHERE arrived_at IS NOT NULL AND arrive_at >= %(since)s ORDER BY id
"""

_OVERRUNS = """
SELECT d.lot_id, count(*)::int,
       count(*) FILTER (WHERE EXISTS (SELECT FROM let_downs l WHERE l.late_id = d.reservation_id))::int
FROM departures d WHERE d.promised_at >= %(since)s AND d.left_at > d.kept_until GROUP BY d.lot_id
"""

_DAYS = """
WITH left_then AS (
    SELECT d.lot_id, (d.promised_at AT TIME ZONE %(zone)s)::date AS day, count(*)::int AS departures,
           (count(*) FILTER (WHERE d.left_at > d.kept_until))::int AS late,
           avg(b.expected_rate) AS expected
    FROM departures d LEFT JOIN lot_buffers b
      ON b.lot_id = d.lot_id AND b.hour = extract(hour FROM d.promised_at AT TIME ZONE %(zone)s)
    WHERE d.promised_at >= %(since)s AND d.promised_at < %(until)s GROUP BY 1, 2
), failed AS (
    SELECT lot_id, (at AT TIME ZONE %(zone)s)::date AS day, count(*)::int AS let_down FROM let_downs
    WHERE at >= %(since)s AND at < %(until)s GROUP BY 1, 2
)
SELECT lot_id, day, coalesce(departures, 0), coalesce(late, 0), coalesce(let_down, 0), expected
FROM left_then FULL JOIN failed USING (lot_id, day) ORDER BY 1, 2
"""

# Rates are those of the day itself; numbers may grow with records that come late.
_KEEP_DAY = """
INSERT INTO promise_days (lot_id, day, chosen_rate, expected_rate, departures, late, let_down)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (lot_id, day) DO UPDATE SET departures = excluded.departures, late = excluded.late,
    let_down = excluded.let_down
"""

_READ_DAYS = """
SELECT day, chosen_rate, expected_rate, departures, late, let_down FROM promise_days
WHERE lot_id = %s AND day >= %s AND day < %s ORDER BY day
"""


@dataclass(frozen=True, slots=True)
class DayFigures:
    """What happened to the promises of a lot's day; `expected_rate` None: nothing was learned before it."""

    lot_id: int
    day: date
    departures: int
    late: int  # beyond their buffer
    let_down: int
    expected_rate: float | None


@dataclass(frozen=True, slots=True)
class PromiseDay:
    """A day of a lot as its operator sees it: the rate that was chosen, the one expected, and what happened."""

    day: date
    chosen_rate: float
    expected_rate: float
    departures: int
    late: int
    let_down: int

    @property
    def seen_rate(self) -> float | None:
        """Of the departures those that let somebody down; None: there were none."""
        return self.let_down / self.departures if self.departures else None


def departures(connection: Connection[Any], since: datetime, zone: str) -> Delays:
    """How late cars left, by the local hour of their promised end."""
    return _delays(connection.execute(_DEPARTURES, {"since": since, "zone": zone}).fetchall())


def arrivals(connection: Connection[Any], since: datetime, zone: str) -> Delays:
    """How late those who came did come, by the local hour of their promised beginning."""
    return _delays(connection.execute(_ARRIVALS, {"since": since, "zone": zone}).fetchall())


def overruns(connection: Connection[Any], since: datetime) -> dict[int, Overruns]:
    """By lot: departures beyond their buffer, and those of them that let a driver down."""
    rows = connection.execute(_OVERRUNS, {"since": since}).fetchall()
    return {lot: Overruns(late, let_down) for lot, late, let_down in rows}


def days(connection: Connection[Any], since: datetime, until: datetime, zone: str) -> list[DayFigures]:
    """Figures of lots and local days within a stretch of time."""
    values = {"since": since, "until": until, "zone": zone}
    return [DayFigures(*row) for row in connection.execute(_DAYS, values).fetchall()]


def keep_day(connection: Connection[Any], figures: DayFigures, chosen_rate: float, expected_rate: float) -> None:
    """Keeps a day's figures; once kept, its rates stay."""
    values = (figures.lot_id, figures.day, chosen_rate, expected_rate)
    connection.execute(_KEEP_DAY, (*values, figures.departures, figures.late, figures.let_down))


def promise_days(connection: Connection[Any], lot_id: int, first: date, until: date) -> list[PromiseDay]:
    """Days of a lot in [first, until) that had promises, in order."""
    return [PromiseDay(*row) for row in connection.execute(_READ_DAYS, (lot_id, first, until)).fetchall()]


def _delays(rows: Sequence[tuple[int, int, int]]) -> Delays:
    columns = np.array(rows, np.int64).reshape(-1, 3).T
    return Delays(columns[0], columns[1], columns[2])
