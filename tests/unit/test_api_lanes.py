"""Lots without bay sensors have their figures from lanes, the others a drift; a count that is too old says nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from api.snapshot import LANES_STALE_AFTER_US
from parking_core.visits import LaneCount
from tests.unit.api_builders import NOW_US, STATES, Clock, change, district, fetch, image, loaded_api

if TYPE_CHECKING:
    from api.state import ApiState

NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)
BARE = 2  # lot L02 with three spaces; that they have sensors is not what these tests are about


def count(inside: int, *, sensors: bool = False, drift: int | None = None, at: datetime = NOW) -> LaneCount:
    return LaneCount(inside, sensors, drift, at)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(clock: Clock) -> ApiState:
    return loaded_api(clock)


def figures(api: ApiState, lot: str = "L02") -> dict[str, Any]:
    found: dict[str, Any] = fetch(api, f"/v1/lots/{lot}").json()
    return {name: found[name] for name in ("capacity", "free", "occupied", "unknown", "source", "lanes")}


def test_a_lot_without_lanes_has_its_figures_from_sensors(api: ApiState) -> None:
    assert figures(api) == {
        "capacity": 3,
        "free": 0,
        "occupied": 3,
        "unknown": 0,
        "source": "sensors",
        "lanes": None,
    }


@pytest.mark.parametrize(("inside", "free", "occupied"), [(0, 3, 0), (1, 2, 1), (3, 0, 3), (9, 0, 3)])
def test_without_sensors_what_is_not_inside_is_free(api: ApiState, inside: int, free: int, occupied: int) -> None:
    api.snapshot.count_lanes({BARE: count(inside)})
    assert figures(api) == {
        "capacity": 3,
        "free": free,
        "occupied": occupied,
        "unknown": 0,
        "source": "lanes",
        "lanes": {"inside": inside, "drift": None, "as_of": "2026-11-18T19:06:40+08:00"},
    }


def test_with_sensors_the_lanes_only_give_the_drift(api: ApiState) -> None:
    api.snapshot.count_lanes({BARE: count(5, sensors=True, drift=2)})
    assert figures(api) == {
        "capacity": 3,
        "free": 0,
        "occupied": 3,
        "unknown": 0,
        "source": "sensors",
        "lanes": {"inside": 5, "drift": 2, "as_of": "2026-11-18T19:06:40+08:00"},
    }


def test_the_list_and_availability_say_the_same(api: ApiState) -> None:
    api.snapshot.count_lanes({BARE: count(1)})
    listed = {lot["code"]: lot for lot in fetch(api, "/v1/lots").json()["lots"]}
    near = {lot["code"]: lot for lot in fetch(api, "/v1/availability").json()["lots"]}
    assert listed["L02"]["lanes"]["inside"] == 1
    assert (listed["L02"]["free"], near["L02"]["free"]) == (2, 2)
    assert (near["L02"]["source"], near["L01"]["source"]) == ("lanes", "sensors")
    assert listed["L01"]["lanes"] is None


def test_silence_never_means_free(api: ApiState, clock: Clock) -> None:
    """Sensors of this lot are silent, and the worker that counts is gone."""
    api.snapshot.install(district(), image({**STATES, 21: None, 22: None, 23: None}))
    api.snapshot.count_lanes({BARE: count(1)})
    assert figures(api)["free"] == 2
    clock.now_us += LANES_STALE_AFTER_US
    api.snapshot.count_lanes()
    assert figures(api)["free"] == 2
    clock.now_us += 1
    api.snapshot.count_lanes()
    found = figures(api)
    assert (found["free"], found["unknown"], found["source"], found["lanes"]) == (0, 3, "sensors", None)


def test_counts_outlive_a_new_registry_and_unknown_lots_are_passed_over(api: ApiState) -> None:
    api.snapshot.count_lanes({BARE: count(1), 99: count(7)})
    api.snapshot.install(replace(district(), version=2), image(STATES))
    assert figures(api)["source"] == "lanes"


def test_only_what_moved_is_a_new_version(api: ApiState) -> None:
    api.snapshot.count_lanes({BARE: count(1)})
    version = api.snapshot.version
    later = NOW + timedelta(seconds=30)
    api.snapshot.count_lanes({BARE: count(1, at=later)})
    assert api.snapshot.version == version
    assert figures(api)["lanes"]["as_of"] == "2026-11-18T19:07:10+08:00"
    api.snapshot.apply(change(b"1795000000001-0", lots={1: (2, 2)}))
    assert figures(api)["occupied"] == 1
    api.snapshot.count_lanes({BARE: count(2, at=later)})
    assert api.snapshot.version == version + 2


def test_a_client_that_holds_the_answer_learns_of_a_new_count(api: ApiState) -> None:
    api.snapshot.count_lanes({BARE: count(1)})
    held = fetch(api, "/v1/availability").headers["etag"]
    assert fetch(api, "/v1/availability", headers={"if-none-match": held}).status_code == 304
    api.snapshot.count_lanes({BARE: count(2)})
    assert fetch(api, "/v1/availability", headers={"if-none-match": held}).status_code == 200
