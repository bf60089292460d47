"""What planners read of shared parking through the API, and the district decides."""

from __future__ import annotations

import asyncio
import csv
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parking_core.flows.allocate_round import allocate_round
from parking_core.people import Role
from parking_core.slots import SLOTS
from parking_core.store import capacity, demand
from tests.shared_town import EVENING, HOSPITAL, HOUR
from tests.sharing_stage import SharingStage, sharing_stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

pytestmark = pytest.mark.services
_REFUSED = """
INSERT INTO refused_demand (asked_at, arrive_at, depart_at, lat, lon, user_group, reason, alternatives)
SELECT %s, %s, %s, %s, %s, %s, %s, 0 FROM generate_series(1, %s)
"""


@pytest.fixture
def play(db: psycopg.Connection[Any], database_url: str) -> Callable[[Callable[[SharingStage], Awaitable[None]]], None]:
    """Runs a test over the application, with a planner and somebody of the district."""

    def run(scene: Callable[[SharingStage], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with sharing_stage(db, database_url) as on:
                on.town.person("planner", "苏B00001", role=Role.PLANNER)
                on.town.person("district", "苏B00002", role=Role.DISTRICT)
                await scene(on)

        asyncio.run(whole())

    return run


def refused(
    on: SharingStage, count: int, *, east_m: float = 0, reason: str = "full", group: str = "any", hours: float = 1
) -> None:
    arrive = EVENING + hours * HOUR
    lon = HOSPITAL[1] + east_m / 94_900
    on.town.db.execute(_REFUSED, (EVENING, arrive, arrive + HOUR, HOSPITAL[0], lon, group, reason, count))


async def get(on: SharingStage, path: str, by: str = "planner") -> Any:
    answer = await on.http.get(f"/v1/planning/{path}", headers=on.as_person(by))
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_refused_demand_is_told_where_and_when_but_never_of_a_few(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        refused(on, 6, reason="full")
        refused(on, 3, reason="kept_for_others", group="patient")
        refused(on, 2, reason="past", group="resident", hours=1.5)
        refused(on, 4, east_m=2000)  # too few in their cell
        refused(on, 3, hours=4)  # and in their hour
        refused(on, 99, hours=24 * 9)  # another time
        found = await get(on, "refused-demand?from=2026-11-23&until=2026-11-24")
        assert (found["refused"], found["suppressed"], found["least"]) == (18, 7, 5)
        [cell] = found["cells"]
        assert (cell["hour"], cell["refused"]) == (19, 11)
        assert cell["reasons"] == {"full": 6, "other": 5}
        assert cell["groups"] == {"any": 6, "other": 5}
        assert abs(cell["lat"] - HOSPITAL[0]) * 111_195 <= 125.1
        assert abs(cell["lon"] - HOSPITAL[1]) * 94_900 <= 126
        assert (await get(on, "refused-demand?until=2026-11-20"))["cells"] == []
        headers = on.as_person("district")
        text = await on.http.get("/v1/planning/refused-demand?until=2026-11-24&format=csv", headers=headers)
        assert text.headers["content-type"].startswith("text/csv")
        rows = list(csv.DictReader(text.text.splitlines()))
        assert {(row["by"], row["name"], row["count"]) for row in rows} == {
            ("reason", "full", "6"),
            ("reason", "other", "5"),
            ("group", "any", "6"),
            ("group", "other", "5"),
        }

    play(scene)


def test_what_is_hidden_does_not_follow_from_the_total(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        refused(on, 9)
        refused(on, 5, hours=3)
        refused(on, 2, hours=5)
        found = await get(on, "refused-demand?until=2026-11-24")
        assert [cell["refused"] for cell in found["cells"]] == [9]
        assert (found["refused"], found["suppressed"]) == (16, 7)
        on.town.db.execute("DELETE FROM refused_demand")
        refused(on, 4)
        found = await get(on, "refused-demand?until=2026-11-24")
        assert (found["refused"], found["suppressed"], found["cells"]) == (0, 0, [])

    play(scene)


def test_rounds_are_told_with_bound_and_gap(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1])
        for number in range(2):
            person = on.town.person(f"u{number}", f"苏B1111{number}")
            on.town.reserve(person, on.town.ask(person, waits=True))
        allocate_round(on.town.db, on.town.offers, EVENING, until=EVENING + 30 * HOUR)
        [found] = (await get(on, "allocation-rounds?from=2026-11-23&until=2026-11-24"))["rounds"]
        assert (found["requests"], found["served"], found["gap"]) == (2, 1, 0.0)
        assert found["value_fen"] == found["upper_bound_fen"] > 0
        assert found["at"] == "2026-11-23T18:00:00+08:00"
        assert (await get(on, "allocation-rounds?until=2026-11-23"))["rounds"] == []

    play(scene)


def test_use_is_told_in_space_hours_by_lot_and_hour(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([3])
        person = on.town.person()
        promise = on.town.granted(person, 1.5, 2)
        class_id, space = on.town.classes["S01-A"], on.town.spaces["S01-A"][0]
        on.town.db.execute(
            "INSERT INTO space_stays (space_id, class_id, reservation_id, during, promised_until)"
            " VALUES (%s, %s, %s, tstzrange(%s, %s), %s)",
            (space, class_id, promise.id, promise.arrive_at, promise.until_at, promise.depart_at),
        )
        on.clock.ahead = 3 * HOUR  # 21:00
        found = (await get(on, "sharing-use?from=2026-11-23&until=2026-11-24"))["hours"]
        by_hour = {each["hour"][11:13]: (each["offered"], each["promised"], each["used"]) for each in found}
        assert by_hour["18"] == (3.0, 0.0, 0.0)
        assert by_hour["19"] == (3.0, 0.5, 0.5)
        assert by_hour["20"] == (3.0, 1.0, 1.0)
        assert by_hour["21"][2] == 0.0  # not yet
        assert len(by_hour) == 16  # from 08:00 on: that is where the town begins
        on.town.db.execute("UPDATE space_stays SET left_at = %s", (promise.arrive_at + HOUR,))
        found = (await get(on, "sharing-use?from=2026-11-23&until=2026-11-24"))["hours"]
        assert sum(each["used"] for each in found) == 1.0

    play(scene)


def test_the_district_decides_the_policy_and_planners_read_it(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        usual = await get(on, "allocation-policy")
        assert (usual["in_force"]["by"], usual["planned"]) == (None, [])
        place, headers = "/v1/planning/allocation-policy", on.as_person("district")
        wish = {"policy": {"floors": {"patient": 0.25}, "most_active": 2}}
        assert (await on.http.put(place, json=wish, headers=on.as_person("planner"))).status_code == 403
        found = await on.http.put(place, json=wish, headers=headers)
        assert found.status_code == 200, found.text
        assert found.json()["in_force"]["policy"]["floors"] == {"patient": 0.25}
        assert found.json()["in_force"]["by"] == "district:district"
        assert on.town.offers.of(on.town.db, EVENING).policy.most_active == 2
        later = wish | {"valid_from": "2026-12-01T00:00:00+08:00", "policy": {}}
        planned = (await on.http.put(place, json=later, headers=headers)).json()["planned"]
        assert [each["valid_from"] for each in planned] == ["2026-12-01T00:00:00+08:00"]
        assert (await on.http.put(place, json=later, headers=headers)).status_code == 409
        wrong: tuple[dict[str, Any], ...] = (
            {"policy": {"floors": {"patient": 2}}},
            {"policy": {"flors": {}}},
            {"policy": {"most_active": "many"}},
            wish | {"valid_from": "2026-11-01T00:00:00+08:00"},
            wish | {"valid_from": "2026-12-02T00:00:00"},
        )
        for bad in wrong:
            answer = await on.http.put(place, json=bad, headers=headers)
            assert answer.status_code == 422, (bad, answer.text)
        assert (await get(on, "allocation-policy"))["in_force"]["policy"]["most_active"] == 2

    play(scene)


@pytest.mark.parametrize("path", ["refused-demand", "allocation-rounds", "sharing-use", "allocation-policy"])
def test_only_planners_and_the_district_read_it(play: Any, path: str) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.person("u1")
        on.town.person("op", "苏B00003", role=Role.OPERATOR, operator="op1")
        for code in ("u1", "op"):
            assert (await on.http.get(f"/v1/planning/{path}", headers=on.as_person(code))).status_code == 403
        assert (await on.http.get(f"/v1/planning/{path}")).status_code == 401
        if path != "allocation-policy":
            bad = await on.http.get(f"/v1/planning/{path}?from=2020-01-01", headers=on.as_person("planner"))
            assert bad.status_code == 422
            bad = await on.http.get(f"/v1/planning/{path}?until=yesterday", headers=on.as_person("planner"))
            assert bad.status_code == 422

    play(scene)


def test_old_demand_is_forgotten(db: psycopg.Connection[Any]) -> None:
    for days in (181, 179):
        arrive = EVENING - timedelta(days=days)
        db.execute(_REFUSED, (arrive, arrive, arrive + HOUR, 31.5, 120.3, "any", "full", 2))
    assert demand.drop_before(db, EVENING - timedelta(days=180)) == 2
    assert db.execute("SELECT count(*) FROM refused_demand").fetchone() == (2,)


def test_a_class_of_half_a_day_is_offered_for_as_long(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([2])
        night = np.zeros(SLOTS, np.int16)
        night[-3:] = 2  # from 07:45 on
        capacity.offer(on.town.db, on.town.classes["S01-A"], {EVENING.date(): night})
        found = (await get(on, "sharing-use?from=2026-11-23&until=2026-11-25"))["hours"]
        first = found[0]
        assert (first["hour"], first["offered"]) == ("2026-11-24T07:00:00+08:00", 0.5)

    play(scene)
