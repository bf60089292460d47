"""Finds record numbers that a lane has used and nobody has received, names them, and notes those that come late.

The numbers of a lane are gapless, so a hole is known as soon as a later record arrives. A lane that falls silent shows
in the comparison of its hour totals instead. A hole is a difference once it is older than GRACE: a record that is only
overtaken on its way is no finding.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

from parking_core.lane_numbers import follow, spaces
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.store import differences, lane_gaps
from parking_core.store.lanes import all_lanes

if TYPE_CHECKING:
    from datetime import datetime, tzinfo

    from psycopg import Connection

    from parking_core.lane_numbers import Leap
    from parking_core.lanes import Lane
    from parking_core.store.lane_gaps import GapRun

GRACE: Final = timedelta(minutes=2)  # a lane sends again within a minute what the broker has not acknowledged
MOST_NAMED: Final = 50  # numbers in a difference's detail; all of them are in lane_gaps


@dataclass(frozen=True, slots=True)
class GapReport:
    """What one look found."""

    missing: int = 0  # numbers found missing now
    filled: int = 0  # numbers that came late
    named: int = 0  # gaps that became differences
    settled: int = 0  # differences whose records have all come
    leaps: int = 0  # counts that began anew, or leapt farther than a gap can be


def watch_lane_gaps(connection: Connection[Any], now: datetime, time_zone: str = "Asia/Shanghai") -> GapReport:
    """Looks at the numbers that came since the last look, in one transaction. Looking again finds nothing new."""
    zone = ZoneInfo(time_zone)
    with connection.transaction():
        lanes = all_lanes(connection)
        missing, leaps = _follow(connection, lanes)
        filled = lane_gaps.fill_gaps(connection, now)
        ripe = lane_gaps.take_ripe(connection, now, now - GRACE)
        runs = lane_gaps.gap_runs(connection, ripe | filled.named_runs)
        differences.open_all(connection, [_missing(run, zone) for run in runs if run.missing])
        differences.open_all(
            connection,
            [_leapt(lanes[device], leap, zone) for device, leap in leaps if leap.below is not None],
        )
        whole = [_key(run.device_id, run.first) for run in runs if not run.missing]
        settled = differences.end(connection, whole, DifferenceState.SETTLED, "All missing records came late.")
    return GapReport(missing, filled.numbers, len(ripe), settled, len(leaps))


def _follow(connection: Connection[Any], lanes: dict[int, Lane]) -> tuple[int, list[tuple[int, Leap]]]:
    """Takes up new numbers; gives how many are missing between them, and the leaps with their lanes."""
    runs = lane_gaps.runs_of_lanes(connection)
    new = lane_gaps.received_in(connection, {device: spaces(runs.get(device, [])) for device in lanes})
    followed = {device: follow(runs.get(device, []), numbers) for device, numbers in new.items()}
    if not followed:
        return 0, []
    lane_gaps.keep_runs(connection, {device: one.runs for device, one in followed.items()})
    gaps = [(device, gap) for device, one in followed.items() for gap in one.gaps]
    lane_gaps.open_gaps(connection, gaps)
    missing = sum(gap.last - gap.first + 1 for _, gap in gaps)
    return missing, [(device, leap) for device, one in followed.items() for leap in one.leaps]


def _key(device_id: int, first: int) -> str:
    return f"{DifferenceName.RECORD_MISSING.value}:{device_id}:{first}"


def _missing(run: GapRun, zone: tzinfo) -> Difference:
    local = run.occurred_at.astimezone(zone)
    return Difference(
        key=_key(run.device_id, run.first),
        name=DifferenceName.RECORD_MISSING,
        day=local.date(),
        lot_id=run.lot_id,
        device_id=run.device_id,
        hour_at=local.replace(minute=0, second=0, microsecond=0),
        records=len(run.missing),
        detail={"lane": run.lane, "record_nos": list(run.missing[:MOST_NAMED])},
    )


def _leapt(lane: Lane, leap: Leap, zone: tzinfo) -> Difference:
    """A leap upwards is told once, as a range: how many records there were in it nobody knows."""
    first = (leap.below or 0) + 1
    local = leap.to.occurred_at.astimezone(zone)
    return Difference(
        key=_key(lane.device_id, first),
        name=DifferenceName.RECORD_MISSING,
        day=local.date(),
        lot_id=lane.lot_id,
        device_id=lane.device_id,
        hour_at=local.replace(minute=0, second=0, microsecond=0),
        detail={"lane": lane.code, "from": first, "until": leap.to.record_no - 1, "leap": True},
    )
