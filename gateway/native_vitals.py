"""What native devices tell of themselves beside their readings, written rarely: a minute's traffic pays for a few rows.

A device's battery, signal and clock change over days, so one note in five minutes says all. A batch takes so many
devices at most; the others are noted with one of their next messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.frames import Vitals

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.sorting import Sorted

EVERY_US: Final = 300_000_000
MOST: Final = 32  # devices of a batch: 256 took 5 ms of a batch of 4,096 messages, whose other statements take 13


class NativeVitals:
    """Knows when each device was noted last."""

    def __init__(self) -> None:
        self._noted_us = np.zeros(1, "i8")

    def due(self, found: Sorted) -> list[Vitals]:
        """What to note of a batch: of each device due, the reading that was underway shortest, or its heartbeat.

        A device's time less its receipt is its clock's error less the time underway, so the largest is nearest.
        """
        told = [
            Vitals(device_id=device_id, at_us=at_us, clock_offset_s=offset_us / 1e6)
            for device_id, at_us, offset_us in found.clocks
            if self._is_due(device_id, at_us)
        ]
        readings = found.readings
        if len(readings):
            ids = readings["device_id"]
            self._make_room(int(ids.max()))
            late = readings["received_us"] - self._noted_us[ids] >= EVERY_US
            late[list(found.frame_rows)] = False  # they tell by themselves
            late[list(found.state_rows)] = False
            if late.any():
                told += _least_underway(readings[late])
        return told[:MOST]

    def noted(self, told: Iterable[Vitals]) -> None:
        """These are durable."""
        for vitals in told:
            self._make_room(vitals.device_id)
            self._noted_us[vitals.device_id] = max(self._noted_us[vitals.device_id], vitals.at_us)

    def _is_due(self, device_id: int, at_us: int) -> bool:
        self._make_room(device_id)
        return bool(at_us - self._noted_us[device_id] >= EVERY_US)

    def _make_room(self, device_id: int) -> None:
        if device_id >= len(self._noted_us):
            more = device_id + 1 - len(self._noted_us)
            self._noted_us = np.append(self._noted_us, np.zeros(more + len(self._noted_us) // 2, "i8"))


def _least_underway(readings: np.ndarray[Any, np.dtype[np.void]]) -> list[Vitals]:
    offset_us = readings["occurred_us"] - readings["received_us"]
    order = np.lexsort((offset_us, readings["device_id"]))
    ids = readings["device_id"][order]
    last = order[np.append(ids[1:] != ids[:-1], True)][:MOST]
    return [
        Vitals(
            device_id=int(reading["device_id"]),
            at_us=int(reading["received_us"]),
            battery_v=_said(reading["battery_v"]),
            temperature_c=_said(reading["temperature_c"]),
            rssi_dbm=_said(reading["rssi_dbm"]),
            clock_offset_s=int(offset) / 1e6,
        )
        for reading, offset in zip(readings[last], offset_us[last], strict=True)
    ]


def _said(value: np.float32) -> float | None:
    return None if np.isnan(value) else float(value)
