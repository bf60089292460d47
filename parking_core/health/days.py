"""One local day of every bay, folded from its events: what it did, and how it stands at the end (pure).

    day before ─┬─► in order ─► changes ─► a lot's activity (activity.py) ─► the longest calm of each bay
    events ─────┘

What counts
    order      one bay's events by (occurred_at, seq, free before occupied), as rollups do
    change     an event that says another state than the one before; the first one ever is none
    flicker    a change within FLICKER_US of the one before: stays, or gaps between stays, of a second
    repeat     the same measurements as the message before, to the last digit
    calm       between two changes: how often an ordinary bay of the lot would have changed meanwhile
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.health.activity import HOUR_US, HOURS
from parking_core.health.conditions import NEVER

if TYPE_CHECKING:
    from parking_core.health.activity import LotClock

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]

FLICKER_US: Final = 5_000_000  # nobody parks and leaves within this; firmware faults made stays of one second
_QUARTER_FROM_TOP: Final = 0.75  # of (device time - receipt): what was delivered late lies below

EVENT = np.dtype(
    [
        ("device_id", "i4"),
        ("space_id", "i4"),
        ("at_us", "i8"),
        ("received_us", "i8"),
        ("seq", "i8"),
        ("occupied", "?"),
        ("suspect", "?"),  # its device time was none, receipt stands in
        ("measured", "i8"),  # fingerprint of what it measured beside; 0: nothing
    ]
)

# A bay as one device watches it, on one day. Rows are ordered by (space_id, device_id).
BAY_DAY = np.dtype(
    [
        ("device_id", "i4"),
        ("space_id", "i4"),
        ("messages", "i4"),
        ("changes", "i4"),
        ("flickers", "i4"),
        ("measured", "i4"),  # messages with measurements
        ("repeats", "i4"),  # of these, the same as the one before
        ("suspects", "i4"),  # messages whose device time could not be used
        ("calm_free", "f8"),  # longest that ended on the day with a car's arrival
        ("calm_taken", "f8"),  # with a departure
        ("clock_us", "i8"),  # device time less receipt of its promptest quarter; NEVER: not known
        # how it stands at the end of the day
        ("run", "i4"),  # messages in a row with the same measurements
        ("print", "i8"),  # these measurements
        ("run_us", "i8"),  # when the run began
        ("occupied", "?"),
        ("changed_us", "i8"),  # last change, or its first event
        ("last_us", "i8"),
    ]
)

_ENDS: Final = ("run", "print", "run_us", "occupied", "changed_us", "last_us")


@dataclass(frozen=True, slots=True)
class Courses:
    """A day's events in order, with what each one changed; `bays` are BAY_DAY rows without the calm."""

    bays: Columns
    bay: Integers  # of each change
    change_us: Integers
    before_us: Integers  # the change before it; NEVER: nobody saw any
    arrives: Flags  # the bay was free before it
    flicker: Flags


def follow(events: Columns, before: Columns) -> Courses:
    """Folds the events (EVENT) of one day onto the day before (BAY_DAY)."""
    bays = _bays_of(events, before)
    if not len(events):
        none = np.zeros(0, np.int64)
        return Courses(bays, none, none, none, np.zeros(0, np.bool_), np.zeros(0, np.bool_))
    keys = _key(bays["space_id"], bays["device_id"])
    bay = np.searchsorted(keys, _key(events["space_id"], events["device_id"]))
    order = np.lexsort((events["occupied"], events["seq"], events["at_us"], bay))
    events, bay = events[order], bay[order]
    first = np.append(True, bay[1:] != bay[:-1])
    known = bays["last_us"][bay] != NEVER
    occupied = np.append(False, events["occupied"][:-1])
    occupied[first] = bays["occupied"][bay[first]]
    changed = (events["occupied"] != occupied) & (known | ~first)
    starts = first & ~known  # a bay that is seen for the first time: its calm begins here
    changes = np.flatnonzero(changed)
    before_us = _moment_before(events["at_us"], bay, changed | starts, bays)
    flicker = events["at_us"][changes] - before_us[changes] <= FLICKER_US
    _count(bays, events, bay, changes, flicker)
    _compare_measurements(bays, events, bay)
    _take_ends(bays, events, bay, changed | starts)
    _read_clocks(bays, events, bay)
    arrives = events["occupied"][changes]
    return Courses(bays, bay[changes], events["at_us"][changes], before_us[changes], arrives, flicker)


def lot_changes(courses: Courses, lot: Integers, lots: int, begins_us: int) -> Floats:
    """Changes by lot and hour (lots, HOURS) without flicker; `lot` is the row of each bay's lot."""
    steady = ~courses.flicker
    hour = np.clip((courses.change_us[steady] - begins_us) // HOUR_US, 0, HOURS - 1)
    cell = lot[courses.bay[steady]] * HOURS + hour
    return np.bincount(cell, minlength=lots * HOURS).reshape(lots, HOURS).astype(np.float64)


def measure_calm(courses: Courses, lot: Integers, clock: LotClock) -> Columns:
    """The day's rows with the longest calm that ended on it."""
    bays = courses.bays
    seen = courses.before_us != NEVER
    of_lot = lot[courses.bay[seen]]
    calm = clock.at(of_lot, courses.change_us[seen]) - clock.at(of_lot, courses.before_us[seen])
    free = courses.arrives[seen]
    np.maximum.at(bays["calm_free"], courses.bay[seen][free], calm[free])
    np.maximum.at(bays["calm_taken"], courses.bay[seen][~free], calm[~free])
    return bays


def _key(space: Columns, device: Columns) -> Integers:
    return np.asarray((space.astype(np.int64) << 32) + device.astype(np.int64))


def _bays_of(events: Columns, before: Columns) -> Columns:
    """Rows of all bays that were ever seen, standing as at the end of the day before."""
    keys = np.union1d(_key(events["space_id"], events["device_id"]), _key(before["space_id"], before["device_id"]))
    bays = np.zeros(len(keys), BAY_DAY)
    bays["space_id"], bays["device_id"] = keys >> 32, keys & 0xFFFFFFFF
    for name in ("changed_us", "last_us", "run_us", "clock_us"):
        bays[name] = NEVER
    places = np.searchsorted(keys, _key(before["space_id"], before["device_id"]))
    for name in _ENDS:
        bays[name][places] = before[name]
    return bays


def _moment_before(at_us: Integers, bay: Integers, marks: Flags, bays: Columns) -> Integers:
    """For each event the newest marked moment of its bay before it, else the day before's."""
    position = np.arange(len(at_us))
    newest = np.maximum.accumulate(np.where(marks, position, -1))
    newest = np.append(-1, newest[:-1])
    begins = np.searchsorted(bay, bay, side="left")
    return np.where(newest >= begins, at_us[newest], bays["changed_us"][bay])


def _count(bays: Columns, events: Columns, bay: Integers, changes: Integers, flicker: Flags) -> None:
    number = len(bays)
    bays["messages"] = np.bincount(bay, minlength=number)
    bays["changes"] = np.bincount(bay[changes], minlength=number)
    bays["flickers"] = np.bincount(bay[changes[flicker]], minlength=number)
    bays["suspects"] = np.bincount(bay[events["suspect"]], minlength=number)


def _compare_measurements(bays: Columns, events: Columns, bay: Integers) -> None:
    """Runs of the same measurements; messages without any neither lengthen nor end one."""
    told = np.flatnonzero(events["measured"] != 0)
    if not len(told):
        return
    bay, prints = bay[told], events["measured"][told]
    leads = np.append(True, bay[1:] != bay[:-1])
    before = np.append(0, prints[:-1])
    before[leads] = bays["print"][bay[leads]]
    same = prints == before
    bays["measured"] = np.bincount(bay, minlength=len(bays))
    bays["repeats"] = np.bincount(bay[same], minlength=len(bays))
    position = np.arange(len(told))
    lead = np.maximum.accumulate(np.where(leads, position, 0))
    breaks = np.maximum.accumulate(np.where(same, -1, position))  # the last message that measured something new
    ends = np.flatnonzero(np.append(leads[1:], True))
    goes_on = breaks[ends] < lead[ends]  # since the day before
    at = bay[ends]
    bays["run"][at] = np.where(goes_on, bays["run"][at] + ends - lead[ends] + 1, ends - breaks[ends] + 1)
    bays["run_us"][at] = np.where(goes_on, bays["run_us"][at], events["at_us"][told][breaks[ends]])
    bays["print"][at] = prints[ends]


def _take_ends(bays: Columns, events: Columns, bay: Integers, marks: Flags) -> None:
    last = np.flatnonzero(np.append(bay[1:] != bay[:-1], True))
    bays["occupied"][bay[last]] = events["occupied"][last]
    bays["last_us"][bay[last]] = events["at_us"][last]
    marked = np.flatnonzero(marks)
    np.maximum.at(bays["changed_us"], bay[marked], events["at_us"][marked])


def _read_clocks(bays: Columns, events: Columns, bay: Integers) -> None:
    sound = np.flatnonzero(~events["suspect"])
    offset = events["at_us"][sound] - events["received_us"][sound]
    order = np.lexsort((offset, bay[sound]))
    number = np.bincount(bay[sound], minlength=len(bays))
    some = np.flatnonzero(number)
    place = (np.cumsum(number) - number + np.ceil((number - 1) * _QUARTER_FROM_TOP)).astype(np.int64)
    bays["clock_us"][some] = offset[order][place[some]]
