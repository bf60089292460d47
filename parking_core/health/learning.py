"""What is ordinary for each bay and each device, learned from their own past and lent by the district's where it is short.

Days on which a device was in doubt teach nothing. Rates are shrunk towards the district's: (own + weight * district's) /
(days + weight), so that a device of yesterday is judged like an ordinary one, and one of a month by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Columns = np.ndarray[Any, np.dtype[np.void]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

# Sums of a bay's clean days; ordered by (space_id, device_id).
BAY_PAST = np.dtype(
    [
        ("device_id", "i4"),
        ("space_id", "i4"),
        ("days", "i4"),
        ("changes", "i8"),
        ("flickers", "i8"),
        ("measured", "i8"),
        ("repeats", "i8"),
        ("activity", "f8"),  # of its lot: changes of an ordinary bay in the same days
        ("calm_free", "f8"),  # the longest of all days
        ("calm_taken", "f8"),
    ]
)
CALM = np.dtype([("device_id", "i4"), ("space_id", "i4"), ("calm_taken", "f8")])  # of one bay and day

# Of a device's clean days; ordered by device_id. NaN: it never said.
DEVICE_PAST = np.dtype(
    [
        ("device_id", "i4"),
        ("days", "i4"),
        ("quiet_s", "i4"),
        ("missing", "i8"),
        ("messages", "i8"),
        ("rssi_dbm", "f8"),  # median of its days
        ("recent_dbm", "f8"),  # mean of the last three: a single reading is weather
    ]
)
BATTERY = np.dtype([("device_id", "i4"), ("day", "i4"), ("battery_v", "f8")])

# A bay as it is judged; ordered by (space_id, device_id).
BAY_USUAL = np.dtype(
    [
        ("device_id", "i4"),
        ("space_id", "i4"),
        ("days", "i4"),
        ("changes", "f8"),
        ("activity", "f8"),  # changes of an ordinary bay of its lot, in the same days
        ("calm_free", "f8"),  # surprise of the longest time that it was free
        ("calm_taken", "f8"),  # and occupied
        ("same", "f8"),  # part of its messages that measure what the one before did
        ("flickers", "f8"),  # a day
    ]
)

_RATE_WEIGHT: Final = 4.0  # changes of an ordinary bay, lent to each
_MOST_PART: Final = 0.999  # of the days, that a calm can be
_SAME_WEIGHT: Final = 20.0  # messages
_FLICKER_WEIGHT: Final = 5.0  # days
_STAYS_A_DAY: Final = 1 / 10_000  # bays and days on which so long a stay came to an end: it was no fault
_TREND_DAYS: Final = 7  # a cell is level for years and then falls: older days would hide it
_LEAST_DAYS: Final = 5  # of battery readings for a trend
_POOL_BEFORE: Final = 0.05  # where no device has a past yet: rather too patient


@dataclass(frozen=True, slots=True)
class Pool:
    """What is ordinary in the district: for devices that are new, and for what is rare."""

    calm_taken: float = 0.0  # surprise of a stay that few bays come out of in a day
    same: float = _POOL_BEFORE
    flickers: float = _POOL_BEFORE


@dataclass(frozen=True, slots=True)
class Usual:
    """What was learned."""

    bays: Columns  # BAY_USUAL
    devices: Columns  # DEVICE_PAST
    volts_a_day: Columns  # device_id, slope
    pool: Pool


SLOPE = np.dtype([("device_id", "i4"), ("slope", "f8")])


def learn(bays: Columns, calms: Columns, devices: Columns, batteries: Columns) -> Usual:
    """From BAY_PAST, CALM (the long ones; all that were left out are shorter), DEVICE_PAST and BATTERY."""
    pool = Pool(
        same=_ratio(bays["repeats"].sum(), bays["measured"].sum(), _POOL_BEFORE),
        flickers=_ratio(bays["flickers"].sum(), bays["days"].sum(), _POOL_BEFORE),
    )
    usual = np.zeros(len(bays), BAY_USUAL)
    for name in ("device_id", "space_id", "days"):
        usual[name] = bays[name]
    usual["changes"], usual["activity"] = bays["changes"], bays["activity"]
    for name in ("calm_free", "calm_taken"):
        usual[name] = surprise(bays[name], usual["changes"], usual["activity"])
    usual["same"] = (bays["repeats"] + _SAME_WEIGHT * pool.same) / (bays["measured"] + _SAME_WEIGHT)
    usual["flickers"] = (bays["flickers"] + _FLICKER_WEIGHT * pool.flickers) / (bays["days"] + _FLICKER_WEIGHT)
    bay_days = int(bays["days"].sum())
    rare = _rare_stay(calms, usual, bay_days)
    return Usual(usual, devices, slopes(batteries), Pool(rare, pool.same, pool.flickers))


def surprise(calm: Floats, changes: Floats, activity: Floats) -> Floats:
    """How little a calm is by chance: -ln of the probability that none of a bay's changes fell into it.

    Each of n changes falls into a part f of the lot's activity with probability f, so all miss it with (1 - f)^n. The calm itself
    is a part of the activity: a bay that stands still does not thereby become one that hardly ever changes.

    Args:
        calm: changes of an ordinary bay of the lot meanwhile.
        changes: of the bay in its known days.
        activity: changes of an ordinary bay of the lot in all these days, the calm's with them.
    """
    part = np.clip(calm / (activity + _RATE_WEIGHT), 0, _MOST_PART)
    return np.asarray((changes + _RATE_WEIGHT) * -np.log1p(-part))


def row_of(keys: Columns, space: Integers, device: Integers) -> Integers:
    """Rows of bays among `keys` (ordered by space and device); -1: not there."""
    known = (keys["space_id"].astype(np.int64) << 32) + keys["device_id"]
    wanted = (space.astype(np.int64) << 32) + device
    return _found(known, wanted)


def row_of_device(keys: Columns, device: Integers) -> Integers:
    """Rows of devices among `keys` (ordered by device); -1: not there."""
    return _found(keys["device_id"].astype(np.int64), device.astype(np.int64))


def _found(known: Integers, wanted: Integers) -> Integers:
    if not len(known):
        return np.full(len(wanted), -1, np.int64)
    place = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    return np.where(known[place] == wanted, place, -1)


def slopes(batteries: Columns) -> Columns:
    """Volts a day of each device by the median of the slopes between its newest days (Theil 1950, Sen 1968)."""
    batteries = batteries[batteries["day"] > batteries["day"].max(initial=0) - _TREND_DAYS]
    devices, rows = np.unique(batteries["device_id"], return_inverse=True)
    days, columns = np.unique(batteries["day"], return_inverse=True)
    volts = np.full((len(devices), len(days)), np.nan)
    volts[rows, columns] = batteries["battery_v"]
    enough = np.count_nonzero(~np.isnan(volts), axis=1) >= _LEAST_DAYS
    found = np.zeros(int(enough.sum()), SLOPE)
    found["device_id"] = devices[enough]
    volts = volts[enough]
    if len(found):
        first, second = np.triu_indices(len(days), 1)
        steps = (volts[:, second] - volts[:, first]) / (days[second] - days[first])
        found["slope"] = np.nanmedian(steps, axis=1)
    return found


def _rare_stay(calms: Columns, usual: Columns, bay_days: int) -> float:
    """Surprise of a stay of which `_STAYS_A_DAY` are longer."""
    place = row_of(usual, calms["space_id"], calms["device_id"])
    of_bay = usual[place[place >= 0]]
    lengths = np.sort(surprise(calms["calm_taken"][place >= 0], of_bay["changes"], of_bay["activity"]))[::-1]
    if not len(lengths):
        return 0.0
    return float(lengths[min(len(lengths) - 1, int(bay_days * _STAYS_A_DAY))])


def _ratio(part: float, whole: float, otherwise: float) -> float:
    return float(part / whole) if whole else otherwise
