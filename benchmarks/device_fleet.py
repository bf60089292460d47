"""A fleet of occupancy sensors that lives through days, some of them with a fault from a moment on.

Bays fill and empty by the use of their lot, each at its own pace; one car in a hundred stays for days; one lot in a
hundred is closed on a day. Half of the sensors speak over radio: three messages in a hundred are lost, and the network
gives the time. The others number their messages, keep them until they are taken, and their clocks are a second or two off.
Every sensor repeats its state in its rhythm, with what it measures.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from simulators.profiles import STEP_S, rates

if TYPE_CHECKING:
    from simulators.district import Use

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

DAY_US: Final = 86_400_000_000
_STEPS: Final = 86_400 // STEP_S
_USES: Final[tuple[Use, ...]] = ("office", "residential", "shopping", "hospital", "school", "on_street")
CLOCK_AHEAD_US: Final = 51_000_000  # a real sensor's clock
_LONG_STAY: Final = 0.0022  # of arrivals: 11 a thousand bays and days, as in Burgdorf (433 stays of a day in 39,843)
_CLOSED: Final = 0.01  # of lots and days
_LOST: Final = 0.03  # of radio messages
_LATE: Final = 0.02  # of the others
_LATE_MEAN_S: Final = 600.0
_PASSING: Final = 0.003  # of arrivals: somebody drives over the bay, a stay of seconds
_FLAPS_A_DAY: Final = 40
_NEW_V, _FADING_V_A_DAY, _FAILING_V_A_DAY = 3.6, 0.0004, 0.15

MESSAGE = np.dtype(
    [
        ("device", "i4"),  # position in the fleet
        ("at_us", "i8"),
        ("received_us", "i8"),
        ("seq", "i8"),
        ("occupied", "?"),
        ("battery_v", "f8"),
        ("rssi_dbm", "f8"),
        ("temperature_c", "f8"),
    ]
)


class Fault(IntEnum):
    """What is done to a device."""

    NONE = 0
    STUCK = 1
    FROZEN = 2
    FLAPPING = 3
    SILENT = 4
    CLOCK = 5
    BATTERY = 6


@dataclass(frozen=True, slots=True)
class LivedDay:
    """Messages in order of receipt, and how many each device numbered that nobody received."""

    messages: Columns
    missing: Integers


class Fleet:
    """Sensors of `lots` lots, a bay each, from a local midnight on."""

    def __init__(self, lot_of_bay: Integers, begins_us: int, seed: int) -> None:
        self._rng = rng = np.random.default_rng(seed)
        number = len(lot_of_bay)
        self._lot, self._begins_us = lot_of_bay, begins_us
        self._use = rng.integers(0, len(_USES), int(lot_of_bay.max()) + 1)[lot_of_bay]
        self._pace = rng.lognormal(0, 0.5, number)
        self._interval_us = rng.choice([2, 4, 6], number) * 3_600_000_000
        self._phase_us = (rng.random(number) * self._interval_us).astype(np.int64)
        self._radio = rng.random(number) < 0.5
        self._warm = rng.random(number) < 0.5  # measures the temperature
        self._skew_us = np.where(self._radio, 0, rng.normal(0, 1.5e6, number)).astype(np.int64)
        self._rssi = rng.uniform(-102, -60, number)
        self._volts = _NEW_V + rng.normal(0, 0.03, number)
        self._occupied = rng.random(number) < 0.5
        self._last_told = self._occupied.astype(np.int64)
        self._stays_until_us = np.zeros(number, np.int64)
        self._seq = np.zeros(number, np.int64)
        self.fault = np.zeros(number, np.int64)
        self.from_us = np.full(number, np.iinfo(np.int64).max)
        self.interval_s = self._interval_us // 1_000_000

    def break_some(self, each: int, first_us: int, last_us: int) -> None:
        """Gives `each` devices every fault, from moments between `first_us` and `last_us` on."""
        chosen = self._rng.permutation(len(self.fault))[: each * (len(Fault) - 1)]
        self.fault[chosen] = np.repeat(np.arange(1, len(Fault)), each)
        self.from_us[chosen] = self._rng.integers(first_us, last_us, len(chosen))

    def mend(self) -> None:
        """Repairs every device, and gives those with an empty battery a new one."""
        self.fault[:] = Fault.NONE

    def live(self, day: int, *, day_off: bool) -> LivedDay:
        """The next day; days must be lived in order."""
        begins_us = self._begins_us + day * DAY_US
        device, at_us, kind = self._happenings(begins_us, day_off=day_off)
        order = np.lexsort((at_us, device))
        device, at_us, kind = device[order], at_us[order], kind[order]
        said = self._said(device, kind)
        messages = self._measure(device, at_us, said)
        return self._send(messages)

    def _happenings(self, begins_us: int, *, day_off: bool) -> tuple[Integers, Integers, Integers]:
        """What sensors notice: device, moment, and 1 or 0 for what they see; -1: they repeat what they said last."""
        said = [*self._changes(begins_us, day_off=day_off), self._rhythm(begins_us), self._flaps(begins_us)]
        device, at_us, kind = (np.concatenate([part[column] for part in said]) for column in range(3))
        fault, broken = self.fault[device], at_us >= self.from_us[device]
        unseen = broken & np.isin(fault, (Fault.STUCK, Fault.FROZEN)) & (kind >= 0)
        gone = broken & (fault == Fault.SILENT)
        kept = ~(unseen | gone)
        return device[kept], at_us[kept], kind[kept]

    def _changes(self, begins_us: int, *, day_off: bool) -> list[tuple[Integers, Integers, Integers]]:
        rng, number = self._rng, len(self._lot)
        closed = rng.random(int(self._lot.max()) + 1) < _CLOSED
        steps = []
        for step in range(_STEPS):
            table = np.array([rates(use, step, 1.0, day_off=day_off) for use in _USES])[self._use]
            rate = np.where(self._occupied, table[:, 1], table[:, 0]) * self._pace
            step_us = begins_us + step * STEP_S * 1_000_000
            stays = self._occupied & (self._stays_until_us > step_us)
            moves = (rng.random(number) < -np.expm1(-rate * STEP_S)) & ~stays & ~closed[self._lot]
            bay = np.flatnonzero(moves)
            at_us = step_us + rng.integers(0, STEP_S * 1_000_000, len(bay))
            arrives = ~self._occupied[bay]
            self._occupied[bay] = arrives
            longer = bay[arrives & (rng.random(len(bay)) < _LONG_STAY)]
            self._stays_until_us[longer] = step_us + (
                (1 + rng.exponential(np.where(rng.random(len(longer)) < 0.9, 1, 3))) * DAY_US
            ).astype(np.int64)
            steps.append((bay, at_us, arrives.astype(np.int64)))
            passing = bay[arrives & (rng.random(len(bay)) < _PASSING)]
            before_us = step_us - rng.integers(5_000_000, 60_000_000, len(passing))
            steps += [
                (passing, before_us, np.ones(len(passing), np.int64)),
                (passing, before_us + 2_000_000, np.zeros(len(passing), np.int64)),
            ]
        return steps

    def _rhythm(self, begins_us: int) -> tuple[Integers, Integers, Integers]:
        turns = np.arange(int(DAY_US // self._interval_us.min()))
        first = -((self._phase_us - begins_us) // self._interval_us)  # beat of the day
        beats: Integers = self._phase_us[:, None] + (first[:, None] + turns) * self._interval_us[:, None]
        device, turn = np.nonzero(beats < begins_us + DAY_US)
        return device, beats[device, turn], np.full(len(device), -1)

    def _flaps(self, begins_us: int) -> tuple[Integers, Integers, Integers]:
        """Pairs a second apart that turn the state and turn it back; -2 turns what was said last."""
        broken = np.flatnonzero((self.fault == Fault.FLAPPING) & (self.from_us < begins_us + DAY_US))
        device = np.repeat(broken, _FLAPS_A_DAY)
        at_us = begins_us + self._rng.integers(0, DAY_US - 2_000_000, len(device))
        late = at_us >= self.from_us[device]
        device, at_us = device[late], at_us[late]
        return (
            np.repeat(device, 2),
            np.add.outer(at_us, np.array([0, 1_000_000])).ravel(),
            np.full(2 * len(device), -2, np.int64),
        )

    def _said(self, device: Integers, kind: Integers) -> Integers:
        """The state that each message tells, message by message of a device."""
        said = np.zeros(len(device), np.int64)
        last = self._last_told.tolist()
        for row, (one, what) in enumerate(zip(device.tolist(), kind.tolist(), strict=True)):
            state = last[one] if what == -1 else 1 - last[one] if what == -2 else what
            said[row] = last[one] = state
        self._last_told = np.array(last, np.int64)
        return said

    def _measure(self, device: Integers, at_us: Integers, said: Integers) -> Columns:
        rng, number = self._rng, len(device)
        messages = np.zeros(number, MESSAGE)
        messages["device"], messages["at_us"], messages["occupied"] = device, at_us, said == 1
        days = (at_us - self._begins_us) / DAY_US
        warmth = 12 + 6 * np.sin(2 * np.pi * (days - 0.3)) + 2 * np.sin(days / 3)
        messages["temperature_c"] = np.where(
            self._warm[device], np.round(warmth + rng.normal(0, 0.4, number), 1), np.nan
        )
        fading = self._rssi[device] + rng.normal(0, 3, number) - 8 * said
        messages["rssi_dbm"] = np.round(fading)
        failing = (self.fault[device] == Fault.BATTERY) & (at_us >= self.from_us[device])
        fallen = np.where(failing, (at_us - self.from_us[device]) / DAY_US * _FAILING_V_A_DAY, 0)
        volts = self._volts[device] - days * _FADING_V_A_DAY - fallen + 0.002 * (warmth - 12)
        messages["battery_v"] = np.round(volts + rng.normal(0, 0.005, number), 3)
        same = (self.fault[device] == Fault.FROZEN) & (at_us >= self.from_us[device])
        messages["temperature_c"][same & self._warm[device]] = 11.3
        messages["rssi_dbm"][same], messages["battery_v"][same] = -77, 3.571
        return messages

    def _send(self, messages: Columns) -> LivedDay:
        rng, device = self._rng, messages["device"]
        counts = np.bincount(device, minlength=len(self._lot))
        begins = np.cumsum(counts) - counts
        messages["seq"] = self._seq[device] + np.arange(len(device)) - begins[device] + 1
        self._seq += counts
        radio = self._radio[device]
        lost = radio & (rng.random(len(device)) < _LOST)
        late = ~radio & (rng.random(len(device)) < _LATE)
        underway_us = (rng.uniform(0.05, 1.0, len(device)) + late * rng.exponential(_LATE_MEAN_S, len(device))) * 1e6
        messages["received_us"] = messages["at_us"] + underway_us.astype(np.int64)
        ahead = (self.fault[device] == Fault.CLOCK) & (messages["at_us"] >= self.from_us[device])
        messages["at_us"] += np.where(radio & ~ahead, underway_us.astype(np.int64), self._skew_us[device])
        messages["at_us"] += ahead * CLOCK_AHEAD_US
        missing = np.bincount(device[lost], minlength=len(self._lot))
        kept = messages[~lost]
        return LivedDay(kept[np.argsort(kept["received_us"], kind="stable")], missing)
