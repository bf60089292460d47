"""Which signs of life must be durable before a message is acknowledged: enough for silence, few enough for the rate."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.registry import LIVENESS_RESOLUTION, RegistryView
from gateway.sorting import Sorted
from parking_core.readings import Sign
from parking_core.settings import Settings
from tests.builders import NOON_US, readings

SECOND_US = 1_000_000
RHYTHM_US = 3600 * SECOND_US
DUE_US = int(RHYTHM_US * LIVENESS_RESOLUTION)


def a_view() -> RegistryView:
    view = RegistryView(Settings(database_url="postgresql://d", redis_url="redis://r", mqtt_url="mqtt://m"))
    view._durable_us = np.full(10, NOON_US, "i8")
    view._resolution_us = np.full(10, DUE_US, "i8")
    return view


def heard(
    at_us: dict[int, int], *, explicit: frozenset[int] = frozenset(), online: dict[int, bool] | None = None
) -> Sorted:
    return Sorted(readings(), [], at_us, online or {}, explicit, [], [])


@pytest.mark.parametrize(("after_us", "is_due"), [(0, False), (DUE_US, False), (DUE_US + 1, True), (RHYTHM_US, True)])
def test_a_reading_is_a_durable_sign_once_a_tenth_of_the_rhythm(after_us: int, is_due: bool) -> None:  # noqa: FBT001  # an expectation of the table above
    signs = a_view().signs_to_record(heard({7: NOON_US + after_us}))
    assert signs == ([Sign(7, NOON_US + after_us)] if is_due else [])


def test_a_heartbeat_is_durable_at_once() -> None:
    signs = a_view().signs_to_record(heard({7: NOON_US + 1, 8: NOON_US + 1}, explicit=frozenset({7}), online={7: True}))
    assert signs == [Sign(7, NOON_US + 1, online=True)]


def test_what_has_become_durable_is_not_recorded_again() -> None:
    view, later_us = a_view(), NOON_US + 2 * DUE_US
    signs = view.signs_to_record(heard({7: later_us}))
    assert len(signs) == 1
    view.recorded(signs, frozenset({7}))
    assert view.signs_to_record(heard({7: later_us + DUE_US})) == []
    assert view.ledger_devices == {7}


def test_an_older_sign_never_sets_back_what_is_durable() -> None:
    view = a_view()
    view.recorded([Sign(7, NOON_US - RHYTHM_US)], frozenset())
    assert view.signs_to_record(heard({7: NOON_US + DUE_US})) == []


def test_a_device_that_the_view_does_not_know_yet_breaks_nothing() -> None:
    view = a_view()
    found = heard({99: NOON_US + RHYTHM_US})
    assert view.signs_to_record(found) == [Sign(99, NOON_US + RHYTHM_US)]
    view.recorded([Sign(99, NOON_US)], frozenset())


def test_nothing_heard_is_nothing_to_record() -> None:
    assert a_view().signs_to_record(heard({})) == []
