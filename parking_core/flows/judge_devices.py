"""Closes days that are over, and says which devices lie now.

    bay_days of yesterday ─┬─► the day's courses ─► activity of lots ─► calm ─► (over) bay_days, lot_days, device_days
    occupancy_events ──────┘                             │
    usual, learned from 28 days ─────────────────────────┼─► rules ─► device_conditions ─► one work item a device
    device_liveness, device_vitals, lane_counts ─────────┘

The running day is computed anew in each pass and kept nowhere: nothing of it can be half written. A day is closed some
time after midnight, so that what was underway at midnight belongs to it; what comes later still than that counts for the
state of its bay, not for what is learned. After a standstill the days are closed one after the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.health import bay_rules, device_rules
from parking_core.health.activity import HOUR_US, LotClock, LotDays, activity_of
from parking_core.health.activity import usual as usual_activity
from parking_core.health.conditions import DOUBTFUL, NEVER, Condition
from parking_core.health.days import follow, lot_changes, measure_calm
from parking_core.health.learning import row_of, row_of_device
from parking_core.store import conditions, health_now, health_past
from parking_core.work_calendar import DayKind, WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.health.conditions import Finding
    from parking_core.health.learning import Usual
    from parking_core.store.conditions import Applied

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

LEARN_DAYS: Final = 28  # four of each weekday
KEEP_DAYS: Final = 100  # for the plots of a device's page
_NIGHT: Final = timedelta(minutes=20)  # after midnight, then a day is closed
_LEAST_MESSAGES: Final = 3  # for a verdict on a clock
_KINDS: Final = {kind: number for number, kind in enumerate(DayKind)}
_CALENDAR: Final = WorkCalendar()


@dataclass(frozen=True, slots=True)
class Past:
    """What is known before a running day begins; it holds until the day is closed.

    Attributes:
        day: the running day.
        bays: BAY_DAY as the day before ended.
        devices: of the day before.
        lot_days: of the LEARN_DAYS days before.
        lots: ids, ascending.
    """

    day: date
    begins_us: int
    bays: Columns
    devices: Columns
    lot_days: LotDays
    usual: Usual
    lots: Integers


@dataclass(frozen=True, slots=True)
class Judged:
    """One pass: how many devices and messages were looked at, what was found and what it changed."""

    devices: int
    messages: int
    findings: list[Finding]
    applied: Applied


@dataclass(frozen=True, slots=True)
class _Day:
    """A day so far."""

    rows: Columns  # BAY_DAY
    lot: Integers  # row of each bay's lot
    messages: int
    lot_days: LotDays  # that day alone
    clock: LotClock  # through that day


def running_day(now: datetime, zone: ZoneInfo) -> date:
    """The local day that is not closed yet."""
    return (now.astimezone(zone) - _NIGHT).date()


def close_days(connection: Connection[Any], now: datetime, zone: ZoneInfo) -> int:
    """Closes the days that are over, one transaction each; gives their number."""
    today = running_day(now, zone)
    earliest = today - timedelta(days=LEARN_DAYS)
    closed = 0
    while (day := _next_day(connection, earliest, today, zone)) is not None:
        with connection.transaction():
            past = load_past(connection, day, zone)
            done = _follow_day(connection, past, _begin_us(day + timedelta(days=1), zone))
            already = conditions.open_conditions(connection)
            doubtful = sorted({device for one in DOUBTFUL for device in already[one]})
            health_past.close_day(
                connection,
                day,
                done.rows,
                lots=past.lots,
                of_lots=done.lot_days,
                doubtful=doubtful,
                silent=sorted(already[Condition.SILENT]),
            )
            health_past.drop_before(connection, day - timedelta(days=KEEP_DAYS))
        closed += 1
    return closed


def load_past(connection: Connection[Any], day: date, zone: ZoneInfo) -> Past:
    """What was known before a day, from the days that are closed."""
    days = [day - timedelta(days=back) for back in range(LEARN_DAYS, 0, -1)]
    lots = health_now.lots(connection)
    return Past(
        day,
        _begin_us(day, zone),
        health_past.bays(connection, days[-1]),
        health_past.day_before(connection, days[-1]),
        health_past.lot_days(connection, days, lots, _kind),
        health_past.usual(connection, days[0], day),
        lots,
    )


def judge_devices(connection: Connection[Any], past: Past, now: datetime) -> Judged:
    """Looks at the running day and applies what is found, in one transaction."""
    now_us = int(now.timestamp() * 1_000_000)
    with connection.transaction():
        day = _follow_day(connection, past, now_us)
        devices = _devices_now(connection, past, day)
        findings = _find(connection, past, day, devices, now_us)
        findings = _with_codes(connection, findings)
        applied = conditions.apply(connection, findings, now)
        _doubt(connection, findings, past)
    return Judged(len(devices), day.messages, findings, applied)


def _next_day(connection: Connection[Any], earliest: date, today: date, zone: ZoneInfo) -> date | None:
    """The oldest day that is over and not closed; a day is not missed while the worker stands still."""
    last = health_past.last_day(connection)
    if last is None:
        first_us = health_now.first_event_us(connection, _begin_us(earliest, zone))
        if first_us is None:
            return None
        last = datetime.fromtimestamp(first_us / 1e6, zone).date() - timedelta(days=1)
    day = max(last + timedelta(days=1), earliest)
    return day if day < today else None


def _follow_day(connection: Connection[Any], past: Past, until_us: int) -> _Day:
    events = health_now.events(connection, past.begins_us, until_us)
    spaces, lot_ids = health_now.lots_of_spaces(connection)
    courses = follow(events, past.bays[np.isin(past.bays["space_id"], spaces)])
    lot = np.searchsorted(past.lots, lot_ids[np.searchsorted(spaces, courses.bays["space_id"])])
    lots = len(past.lots)
    changes = lot_changes(courses, lot, lots, past.begins_us)
    watched = np.bincount(lot, minlength=lots).astype(np.float64)
    expected = usual_activity(past.lot_days, _kind(past.day))
    activity = activity_of(changes, watched, expected, past.lot_days, (until_us - past.begins_us) / HOUR_US)
    today = LotDays(changes[None], watched[None], np.array([_kind(past.day)]), activity[None])
    first_us = past.begins_us - LEARN_DAYS * 24 * HOUR_US
    clock = LotClock.of(first_us, np.concatenate([past.lot_days.activity, today.activity]))
    return _Day(measure_calm(courses, lot, clock), lot, len(events), today, clock)


def _devices_now(connection: Connection[Any], past: Past, day: _Day) -> Columns:
    """DEVICE rows with what the running day and the one before say of them."""
    devices = health_now.devices(connection)
    before = row_of_device(past.devices, devices["device_id"])
    known = before >= 0
    yesterday = past.devices[before[known]]
    devices["missing"][~known] = 0
    devices["missing"][known] += yesterday["missing"] - yesterday["missing_total"]
    devices["messages"][known] = yesterday["messages"]
    of_bay = row_of_device(devices, day.rows["device_id"])
    rows, of_bay = day.rows[of_bay >= 0], of_bay[of_bay >= 0]
    np.add.at(devices["messages"], of_bay, rows["messages"])
    np.add.at(devices["suspects"], of_bay, rows["suspects"])
    devices["clock_us"][of_bay] = NEVER  # a single message may have been underway for hours
    _set_clocks(devices, past.bays)
    _set_clocks(devices, rows)
    return devices


def _set_clocks(devices: Columns, rows: Columns) -> None:
    """The offset of those that said enough."""
    of_bay = row_of_device(devices, rows["device_id"])
    told = (of_bay >= 0) & (rows["clock_us"] != NEVER) & (rows["messages"] >= _LEAST_MESSAGES)
    devices["clock_us"][of_bay[told]] = rows["clock_us"][told]
    devices["clock_at_us"][of_bay[told]] = rows["last_us"][told]


def _find(connection: Connection[Any], past: Past, day: _Day, devices: Columns, now_us: int) -> list[Finding]:
    already, usual = conditions.open_conditions(connection), past.usual
    bays = _bays_now(past, day, devices)
    return [
        *device_rules.silent(devices, usual, now_us),
        *device_rules.clock(devices, already[Condition.CLOCK], now_us),
        *device_rules.battery(devices, usual, already[Condition.BATTERY]),
        *device_rules.signal(devices, usual, already[Condition.SIGNAL], now_us),
        *device_rules.missing(devices, usual, already[Condition.MISSING], now_us),
        *device_rules.measurement(devices, now_us),
        *device_rules.flooding(devices, now_us),
        *bay_rules.stuck(bays, usual),
        *bay_rules.frozen(bays, already[Condition.FROZEN]),
        *bay_rules.flapping(bays, already[Condition.FLAPPING], past.begins_us),
        *bay_rules.contradicted(bays, now_us),
        *bay_rules.implausible(bays, _inside(connection, past.lots, now_us), now_us),
    ]


def _bays_now(past: Past, day: _Day, devices: Columns) -> bay_rules.Bays:
    """Bays whose devices are in use."""
    of_device = row_of_device(devices, day.rows["device_id"])
    rows, lot = day.rows[of_device >= 0], day.lot[of_device >= 0]
    heard_us = np.maximum(devices["heard_us"][of_device[of_device >= 0]], rows["last_us"])
    before = row_of(past.bays, rows["space_id"], rows["device_id"])
    flickers = np.where(before >= 0, past.bays["flickers"][before] if len(past.bays) else 0, 0)
    return bay_rules.stand(rows, lot, heard_us, flickers, usual=past.usual, clock=day.clock)


def _inside(connection: Connection[Any], lots: Integers, now_us: int) -> Integers:
    """Vehicles inside by lane counts, by lot row; -1: nobody counts."""
    inside = np.full(len(lots), -1, np.int64)
    for lot_id, number in health_now.lanes_inside(connection, datetime.fromtimestamp(now_us / 1e6, UTC)):
        inside[np.searchsorted(lots, lot_id)] = number
    return inside


def _with_codes(connection: Connection[Any], findings: list[Finding]) -> list[Finding]:
    """Evidence that names bays and devices as people do."""
    lists = {
        name: sorted({finding.evidence[f"{name}_id"] for finding in findings if f"{name}_id" in finding.evidence})
        for name in ("space", "device")
    }
    codes: dict[str, Mapping[int, str]] = {
        "space": health_now.space_codes(connection, lists["space"]),
        "device": health_now.device_codes(connection, lists["device"]),
    }

    def named(evidence: Mapping[str, Any]) -> dict[str, Any]:
        names = {name: codes[name].get(evidence[f"{name}_id"]) for name in codes if f"{name}_id" in evidence}
        return names | {key: value for key, value in evidence.items() if not key.endswith("_id")}

    return [replace(finding, evidence=named(finding.evidence)) for finding in findings]


def _doubt(connection: Connection[Any], findings: list[Finding], past: Past) -> None:
    """Closed days on which a device was already wrong teach nothing."""
    bays: dict[int, date] = {}
    silent: dict[int, date] = {}
    for finding in findings:
        if finding.condition in DOUBTFUL and finding.since_us < past.begins_us:
            days = (past.begins_us - finding.since_us) // (24 * HOUR_US) + 1
            day = past.day - timedelta(days=min(int(days), LEARN_DAYS))
            bays[finding.device_id] = min(day, bays.get(finding.device_id, day))
            if finding.condition is Condition.SILENT:
                silent[finding.device_id] = day
    health_past.doubt(connection, bays, silent)


def _kind(day: date) -> int:
    return _KINDS[_CALENDAR.day_kind(day)]


def _begin_us(day: date, zone: ZoneInfo) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()) * 1_000_000
