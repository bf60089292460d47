"""What tests are made of: districts, devices, messages and readings with defaults that no test needs to repeat."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from gateway.messages import RawMessage
from parking_core.districts import DeviceRecord, District, LotRecord, SpaceRecord
from parking_core.readings import READING, Reason, Rejection
from parking_core.settings import ClockWindow
from parking_core.store.devices import Device, DeviceRegistry
from parking_core.topics import Kind, device_topic

if TYPE_CHECKING:
    from parking_core.readings import Readings

NOON_US = 1_780_000_000_000_000  # an instant in 2026 at which the pure tests happen
WINDOW = ClockWindow(-7 * 86_400_000_000, 300_000_000)


def now_us() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


def a_district(*, lots: int = 2, spaces: int = 5, interval_s: int = 3600) -> District:
    """Lots `L1`, `L2`, ... with spaces `001`, ... and a device `L1-001` for each."""
    return District(name="test", lots=[a_lot(f"L{number}", spaces, interval_s) for number in range(1, lots + 1)])


def a_lot(code: str, spaces: int, interval_s: int = 3600) -> LotRecord:
    """A lot whose every space has a device."""
    bays = [f"{number:03}" for number in range(1, spaces + 1)]
    return LotRecord(
        code=code,
        name=code,
        kind="off_street",
        lat=31.53,
        lon=120.27,
        spaces=[SpaceRecord(bay) for bay in bays],
        devices=[DeviceRecord(f"{code}-{bay}", space=bay, expected_interval_s=interval_s) for bay in bays],
    )


def a_device(**other: Any) -> Device:
    """Device 7 `d7` of lot 1 `l1`, watching space 70 `s70` alone."""
    facts: dict[str, Any] = {
        "id": 7,
        "code": "d7",
        "lot_id": 1,
        "lot_code": "l1",
        "family": "native",
        "enabled": True,
        "expected_interval_s": 3600,
        "space_id": 70,
        "spaces": {"s70": 70},
        "clock_earliest_s": None,
        "clock_latest_s": None,
    }
    return Device(**(facts | other))


def a_registry(*devices: Device, foreign: frozenset[str] = frozenset()) -> DeviceRegistry:
    """Registry of these devices; `foreign` names spaces that nobody of them watches."""
    known = devices or (a_device(),)
    codes = frozenset(code for device in known for code in device.spaces)
    return DeviceRegistry(1, {device.code: device for device in known}, codes | foreign)


def a_payload(**fields: Any) -> bytes:
    """An occupancy message; `at` is noon unless given."""
    return msgspec.json.encode({"occupied": True, "at": NOON_US // 1000} | fields)


def a_message(payload: bytes | None = None, **other: Any) -> RawMessage:
    """An occupancy message of device `d7`, received at noon."""
    facts: dict[str, Any] = {
        "topic": device_topic("l1", "d7", Kind.OCCUPANCY),
        "payload": a_payload() if payload is None else payload,
        "packet_id": 1,
        "redelivered": False,
        "received_us": NOON_US,
        "connection": 1,
    }
    return RawMessage(**(facts | other))


def readings(*rows: dict[str, Any]) -> Readings:
    """READING rows; what a row leaves out is that of device 7 at noon, without measures."""
    columns = np.zeros(len(rows), READING)
    facts: dict[str, Any] = {
        "space_id": 70,
        "device_id": 7,
        "lot_id": 1,
        "occurred_us": NOON_US,
        "received_us": NOON_US,
        "battery_v": np.nan,
        "rssi_dbm": np.nan,
        "temperature_c": np.nan,
    }
    for number, row in enumerate(rows):
        for name, value in (facts | row).items():
            columns[name][number] = value
    return columns


def a_rejection(**other: Any) -> Rejection:
    """A truncated message of device `d7`."""
    facts: dict[str, Any] = {
        "topic": device_topic("l1", "d7", Kind.OCCUPANCY),
        "payload": b'{"occupied": tr',
        "received_us": NOON_US,
        "redelivered": False,
        "reason": Reason.MALFORMED,
        "detail": "Not JSON",
    }
    return Rejection(**(facts | other))
