"""Native devices' vitals are noted rarely, and of the reading that tells most of the clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from gateway.native_vitals import EVERY_US, MOST, NativeVitals
from gateway.sorting import Sorting
from gateway.validate import Validator
from parking_core.frames import Vitals
from parking_core.topics import Kind, device_topic
from tests.builders import NOON_US, WINDOW, a_message, a_payload, a_registry, readings

if TYPE_CHECKING:
    from gateway.sorting import Sorted

SECOND_US = 1_000_000


def found(*rows: dict[str, Any], state: bool = False) -> Sorted:
    sorting = Sorting()
    if state:
        sorting.state_rows = set(range(len(rows)))
    return sorting.finish(readings(*rows))


def test_a_device_is_noted_once_in_five_minutes() -> None:
    native = NativeVitals()
    first = native.due(found({"battery_v": 3.5, "rssi_dbm": -70}))
    assert first == [Vitals(device_id=7, at_us=NOON_US, battery_v=3.5, rssi_dbm=-70.0, clock_offset_s=0.0)]
    assert native.due(found({})), "not durable yet: it is due again"
    native.noted(first)
    assert native.due(found({"received_us": NOON_US + EVERY_US - 1})) == []
    (again,) = native.due(found({"received_us": NOON_US + EVERY_US}))
    assert again.battery_v is None


def test_the_clock_is_told_by_the_message_that_was_underway_shortest() -> None:
    rows = [{"occurred_us": NOON_US + offset * SECOND_US} for offset in (-3600, 51, -7)]
    (vitals,) = NativeVitals().due(found(*rows))
    assert vitals.clock_offset_s == pytest.approx(51.0)


def test_a_batch_notes_so_many_devices_and_no_more() -> None:
    rows = [{"device_id": device} for device in range(1, MOST + 50)]
    assert len(NativeVitals().due(found(*rows))) == MOST


def test_what_tells_of_itself_is_not_noted_twice() -> None:
    assert NativeVitals().due(found({}, state=True)) == []


def test_a_heartbeat_tells_the_clock() -> None:
    topic = device_topic("l1", "d7", Kind.HEARTBEAT)
    message = a_message(msgspec.json.encode({"at": NOON_US // 1000 + 51_000}), topic=topic)
    native = NativeVitals()
    (vitals,) = native.due(Validator(a_registry(), WINDOW).sort([message]))
    assert vitals == Vitals(device_id=7, at_us=NOON_US, clock_offset_s=51.0)
    native.noted([vitals])
    assert native.due(Validator(a_registry(), WINDOW).sort([a_message(a_payload(battery_v=3.6))])) == []
