"""Record numbers of lanes: which were received, which are missing. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.lane_numbers import Received, Run

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.lane_numbers import Gap

_RUNS = "SELECT device_id, first_record_no, last_record_no FROM lane_runs ORDER BY device_id, first_record_no"

# Numbers in given stretches: steps in the unique indexes, so that what was looked at before costs nothing.
_RECEIVED = """
SELECT stretch.device_id, event.record_no, event.occurred_at, event.received_at
FROM unnest(%(devices)s::int[], %(first)s::bigint[], %(last)s::bigint[]) AS stretch (device_id, first, last)
JOIN lane_events AS event
    ON event.device_id = stretch.device_id AND event.record_no BETWEEN stretch.first AND stretch.last
UNION ALL
SELECT stretch.device_id, again.record_no, again.occurred_at, again.received_at
FROM unnest(%(devices)s::int[], %(first)s::bigint[], %(last)s::bigint[]) AS stretch (device_id, first, last)
JOIN lane_repeats AS again
    ON again.device_id = stretch.device_id AND again.record_no BETWEEN stretch.first AND stretch.last
"""

_FORGET_RUNS = "DELETE FROM lane_runs WHERE device_id = ANY(%s)"
_KEEP_RUNS = """
INSERT INTO lane_runs (device_id, first_record_no, last_record_no)
SELECT * FROM unnest(%s::int[], %s::bigint[], %s::bigint[])
"""

_OPEN_GAPS = """
INSERT INTO lane_gaps (device_id, record_no, run_from, occurred_at, seen_at)
SELECT gap.device_id, record_no, gap.first, gap.occurred_at, gap.received_at
FROM unnest(%s::int[], %s::bigint[], %s::bigint[], %s::timestamptz[], %s::timestamptz[])
    AS gap (device_id, first, last, occurred_at, received_at), generate_series(gap.first, gap.last) AS record_no
ON CONFLICT (device_id, record_no) DO NOTHING
"""

_FILL = """
UPDATE lane_gaps AS gap SET filled_at = %(now)s
WHERE gap.filled_at IS NULL AND (
    EXISTS (SELECT FROM lane_events AS e WHERE e.device_id = gap.device_id AND e.record_no = gap.record_no)
    OR EXISTS (SELECT FROM lane_repeats AS r WHERE r.device_id = gap.device_id AND r.record_no = gap.record_no))
RETURNING gap.device_id, gap.run_from, gap.named_at
"""

_RIPE = """
UPDATE lane_gaps SET named_at = %(now)s
WHERE filled_at IS NULL AND named_at IS NULL AND seen_at <= %(before)s
RETURNING device_id, run_from
"""

_GAP_RUNS = """
SELECT gap.device_id, device.lot_id, device.code, gap.run_from, min(gap.occurred_at),
       coalesce(array_agg(gap.record_no ORDER BY gap.record_no) FILTER (WHERE gap.filled_at IS NULL), '{}')
FROM lane_gaps AS gap JOIN devices AS device ON device.id = gap.device_id
WHERE (gap.device_id, gap.run_from) IN (SELECT * FROM unnest(%s::int[], %s::bigint[]))
GROUP BY gap.device_id, device.lot_id, device.code, gap.run_from ORDER BY gap.device_id, gap.run_from
"""


@dataclass(frozen=True, slots=True)
class GapRun:
    """Neighbouring numbers that were found missing together, as they stand now."""

    device_id: int
    lot_id: int
    lane: str
    first: int
    occurred_at: datetime  # of the record after them
    missing: tuple[int, ...]  # still


@dataclass(frozen=True, slots=True)
class Filled:
    """Numbers that came late."""

    numbers: int
    named_runs: frozenset[tuple[int, int]]  # (device id, first number) of those that had been named


def runs_of_lanes(connection: Connection[Any]) -> dict[int, list[Run]]:
    """Runs of each lane that has any, in order."""
    runs: dict[int, list[Run]] = {}
    for device_id, first, last in connection.execute(_RUNS).fetchall():
        runs.setdefault(device_id, []).append(Run(first, last))
    return runs


def received_in(
    connection: Connection[Any], stretches: Mapping[int, Sequence[tuple[int, int]]]
) -> dict[int, list[Received]]:
    """Numbers that were received in the given stretches (first and last) of each lane, repeats included."""
    flat = [(device_id, first, last) for device_id, parts in stretches.items() for first, last in parts]
    columns = {
        "devices": [device_id for device_id, _, _ in flat],
        "first": [first for _, first, _ in flat],
        "last": [last for _, _, last in flat],
    }
    found: dict[int, list[Received]] = {}
    for device_id, record_no, occurred_at, received_at in connection.execute(_RECEIVED, columns).fetchall():
        found.setdefault(device_id, []).append(Received(record_no, occurred_at, received_at))
    return found


def keep_runs(connection: Connection[Any], runs: Mapping[int, Sequence[Run]]) -> None:
    """Replaces the runs of these lanes."""
    connection.execute(_FORGET_RUNS, (list(runs),))
    flat = [(device_id, run.first, run.last) for device_id, mine in runs.items() for run in mine]
    connection.execute(_KEEP_RUNS, _columns(flat, 3))


def open_gaps(connection: Connection[Any], gaps: Iterable[tuple[int, Gap]]) -> None:
    """Names the numbers of these gaps, each with its lane."""
    flat = [(device, gap.first, gap.last, gap.after.occurred_at, gap.after.received_at) for device, gap in gaps]
    if flat:
        connection.execute(_OPEN_GAPS, _columns(flat, 5))


def fill_gaps(connection: Connection[Any], now: datetime) -> Filled:
    """Notes which missing numbers have come meanwhile."""
    rows = connection.execute(_FILL, {"now": now}).fetchall()
    return Filled(len(rows), frozenset((device, run) for device, run, named_at in rows if named_at is not None))


def take_ripe(connection: Connection[Any], now: datetime, before: datetime) -> set[tuple[int, int]]:
    """(device id, first number) of gaps that are still open and were seen before then; each is given once."""
    return set(connection.execute(_RIPE, {"now": now, "before": before}).fetchall())


def gap_runs(connection: Connection[Any], named: Iterable[tuple[int, int]]) -> list[GapRun]:
    """These gaps, by (device id, first number), as they stand."""
    rows = connection.execute(_GAP_RUNS, _columns(list(named), 2)).fetchall()
    return [
        GapRun(device_id, lot_id, lane, first, occurred_at, tuple(missing))
        for device_id, lot_id, lane, first, occurred_at, missing in rows
    ]


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[list[Any]]:
    return [[row[place] for row in rows] for place in range(width)]
