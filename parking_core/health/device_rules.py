"""What is wrong with a device itself (pure).

silent       not heard for twice its own longest quiet, or, while nobody knows that, for its registered interval
clock        device time less receipt
battery      low by its own word or its volts; or empty soon, by the trend of its days
signal       weaker than networks receive, or much weaker than it was
missing      numbers that nobody received
measurement  a field that decoders set aside
flooding     more than anybody reads
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.health.conditions import NEVER, Condition, Finding
from parking_core.health.learning import row_of_device

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from parking_core.health.learning import Usual

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

# A device as it is now, ordered by device_id. NEVER and NaN: it never said.
DEVICE = np.dtype(
    [
        ("device_id", "i4"),
        ("lot_id", "i4"),
        ("interval_s", "i4"),  # as registered
        ("heard_us", "i8"),
        ("messages", "i8"),  # of today and the day before
        ("missing", "i8"),  # same
        ("battery_v", "f8"),
        ("battery_percent", "f8"),
        ("battery_low", "?"),  # says so itself
        ("battery_us", "i8"),
        ("rssi_dbm", "f8"),
        ("clock_us", "i8"),  # device time less receipt
        ("clock_at_us", "i8"),
        ("suspects", "i8"),  # messages of today whose device time could not be used
        ("quarantined_us", "i8"),
        ("flood_us", "i8"),
        ("left_out", "i8"),
    ]
)

_SECOND_US: Final = 1_000_000
_DAY_US: Final = 86_400 * _SECOND_US
_LEAST_DAYS: Final = 5
_QUIET_MARGIN: Final = 2.0
_LEAST_QUIET_S: Final = 900.0
_GRACE: Final = 1.1  # of the registered interval: signs of life are written when they are a tenth of it old
_CLOCK_US: Final = (5 * _SECOND_US, 10 * _SECOND_US)  # over below, wrong above: tariffs turn by the minute
_SUSPECTS: Final = 3
# Lithium thionyl chloride cells rest at 3.6 V and sensors brown out at about 2.6 V under load.
_LOW_V: Final = (3.1, 2.9)  # over above, low below
_EMPTY_V: Final = 2.7
_LOW_PERCENT: Final = (25.0, 15.0)
_SOON_DAYS: Final = (60.0, 30.0)  # the time a replacement takes to be planned
_WEAK_DBM: Final = (-112.0, -117.0)  # LoRa at 125 kHz is received down to about -123 (SF7) and -137 (SF12)
_WEAKER_DB: Final = (10.0, 18.0)  # a car above the sensor takes 10 to 15 dB, a flooded pit more
_MISSING_SHARE: Final = (0.05, 0.1)
_LEAST_MISSING: Final = 10
_MISSING_MARGIN: Final = 3.0  # times what is usual for it
_FLOOD_OVER_US: Final = 900 * _SECOND_US


def silent(devices: Columns, usual: Usual, now_us: int) -> list[Finding]:
    """Not heard for longer than ever before."""
    limit = quiet_limits(devices, usual)
    quiet_s = (now_us - devices["heard_us"]) / _SECOND_US
    on = (devices["heard_us"] != NEVER) & (quiet_s > limit)
    return _findings(
        Condition.SILENT,
        devices,
        on,
        devices["heard_us"],
        lambda row: {"quiet_s": int(quiet_s[row]), "limit_s": int(limit[row])},
    )


def quiet_limits(devices: Columns, usual: Usual) -> Floats:
    """Seconds after which each device counts as silent."""
    known, place = _known(devices, usual)
    limit = devices["interval_s"] * _GRACE
    limit[known] = np.maximum(_LEAST_QUIET_S, _QUIET_MARGIN * usual.devices["quiet_s"][place[known]])
    return limit


def clock(devices: Columns, already: Collection[int], now_us: int) -> list[Finding]:
    """Ahead or behind by more than seconds, or by so much that its time cannot be used."""
    off = np.abs(devices["clock_us"])
    told = (devices["clock_us"] != NEVER) & (now_us - devices["clock_at_us"] < 2 * _DAY_US)
    on = told & (off > _between(devices, already, _CLOCK_US))
    on |= devices["suspects"] >= _SUSPECTS
    return _findings(
        Condition.CLOCK,
        devices,
        on,
        np.where(told, devices["clock_at_us"], now_us),
        lambda row: (
            {"ahead_s": round(int(devices["clock_us"][row]) / _SECOND_US, 1)}
            if told[row]
            else {"unusable_times": int(devices["suspects"][row])}
        ),
    )


def battery(devices: Columns, usual: Usual, already: Collection[int]) -> list[Finding]:
    """Low now, or empty within the time that a replacement takes."""
    volts, percent = devices["battery_v"], devices["battery_percent"]
    left = days_left(devices, usual)
    on = devices["battery_low"] | (volts < _between(devices, already, _LOW_V))
    on |= percent < _between(devices, already, _LOW_PERCENT)
    on |= left < _between(devices, already, _SOON_DAYS)
    return _findings(
        Condition.BATTERY,
        devices,
        on,
        devices["battery_us"],
        lambda row: {
            name: round(float(value), 2)
            for name, value in (("battery_v", volts[row]), ("percent", percent[row]), ("days_left", left[row]))
            if np.isfinite(value)
        },
    )


def days_left(devices: Columns, usual: Usual) -> Floats:
    """Days until the battery is empty by its own trend; infinite where it does not fall or nobody knows."""
    place = row_of_device(usual.volts_a_day, devices["device_id"])
    slope = np.zeros(len(devices))
    slope[place >= 0] = usual.volts_a_day["slope"][place[place >= 0]]
    falls = slope < 0
    left = np.full(len(devices), np.inf)
    left[falls] = np.maximum(0, devices["battery_v"][falls] - _EMPTY_V) / -slope[falls]
    return np.where(np.isnan(left), np.inf, left)


def signal(devices: Columns, usual: Usual, already: Collection[int], now_us: int) -> list[Finding]:
    """Hardly received, or much weaker than it was."""
    known, place = _known(devices, usual)
    before, recent = np.full((2, len(devices)), np.nan)
    before[known], recent[known] = (usual.devices[name][place[known]] for name in ("rssi_dbm", "recent_dbm"))
    rssi = np.maximum(devices["rssi_dbm"], recent)  # both are weak; NaN where one is not known
    on = (rssi < _between(devices, already, _WEAK_DBM)) | (before - rssi > _between(devices, already, _WEAKER_DB))
    return _findings(
        Condition.SIGNAL,
        devices,
        on,
        np.full(len(devices), now_us),
        lambda row: {
            name: round(float(value))
            for name, value in (("rssi_dbm", rssi[row]), ("usually_dbm", before[row]))
            if np.isfinite(value)
        },
    )


def missing(devices: Columns, usual: Usual, already: Collection[int], now_us: int) -> list[Finding]:
    """Numbers that were skipped today and the day before, as a part of all."""
    lost = np.maximum(devices["missing"], 0)
    share = lost / np.maximum(lost + devices["messages"], 1)
    known, place = _known(devices, usual)
    before = np.zeros(len(devices))
    past = usual.devices[place[known]]
    before[known] = past["missing"] / np.maximum(past["missing"] + past["messages"], 1)
    limit = np.maximum(_between(devices, already, _MISSING_SHARE), _MISSING_MARGIN * before)
    on = (lost >= _LEAST_MISSING) & (share > limit)
    return _findings(
        Condition.MISSING,
        devices,
        on,
        np.full(len(devices), now_us),
        lambda row: {
            "missing": int(lost[row]),
            "share": round(float(share[row]), 3),
            "limit": round(float(limit[row]), 3),
        },
    )


def measurement(devices: Columns, now_us: int) -> list[Finding]:
    """A field was set aside within a day."""
    on = now_us - devices["quarantined_us"] < _DAY_US
    return _findings(Condition.MEASUREMENT, devices, on, devices["quarantined_us"], lambda _: {})


def flooding(devices: Columns, now_us: int) -> list[Finding]:
    """Messages were left out within a quarter of an hour."""
    on = now_us - devices["flood_us"] < _FLOOD_OVER_US
    return _findings(
        Condition.FLOODING, devices, on, devices["flood_us"], lambda row: {"left_out": int(devices["left_out"][row])}
    )


def _known(devices: Columns, usual: Usual) -> tuple[Flags, Integers]:
    """Which devices have a past of days, and their rows in it."""
    place = row_of_device(usual.devices, devices["device_id"])
    known = place >= 0
    known[known] = usual.devices["days"][place[known]] >= _LEAST_DAYS
    return known, place


def _between(devices: Columns, already: Collection[int], limits: tuple[float, float]) -> Floats:
    """The limit of each device: `limits` are where a condition is over, and where it begins."""
    over, begins = limits
    return np.where(np.isin(devices["device_id"], np.fromiter(already, np.int64, len(already))), over, begins)


def _findings(
    condition: Condition, devices: Columns, on: Flags, since_us: Integers, evidence: Callable[[int], dict[str, Any]]
) -> list[Finding]:
    return [
        Finding(int(devices["device_id"][row]), condition, int(since_us[row]), evidence(row))
        for row in np.flatnonzero(on).tolist()
    ]
