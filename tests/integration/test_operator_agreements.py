"""Agreements through HTTP: from the proposal to the termination, by whom, and against whom that has seen an older version."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from api.application import create_app
from api.sharing_desk import SharingDesk
from api.state import ApiState, HttpSettings
from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.resolve_suspensions import Resolved, resolve_suspensions
from parking_core.people import Role
from parking_core.reservations import ReservationState
from parking_core.sharing import Terms
from tests.shared_town import EVENING, NIGHTS, ZONE, SharedTown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import psycopg

PLACE = "/v1/operator/agreements"
ALWAYS = {"windows": [{"days": ["any_day"], "from": "00:00", "until": "24:00"}]}
ODD = {"windows": [{"days": ["any_day"], "from": "18:10", "until": "07:00"}]}


class Office:
    """The application in this process, and people who talk to it."""

    def __init__(self, http: httpx.AsyncClient, town: SharedTown) -> None:
        self._http, self.town = http, town

    async def ask(
        self, who: str, method: str, path: str = "", *, body: object = None, version: int | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.town.tokens.get(who, who)}"}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        found = await self._http.request(method, PLACE + path, json=body, headers=headers)
        if found.is_success and "version" in found.json():
            assert found.headers.get("etag", f'"{found.json()["version"]}"') == f'"{found.json()["version"]}"'
        return found.status_code, found.json()

    async def reach(self, state: str, version: int, who: str = "op", **more: Any) -> tuple[int, Any]:
        return await self.ask(who, "PUT", "/A-1/state", body={"state": state, **more}, version=version)

    async def publish(self) -> int:
        """Proposes A-1 for lot X01 and publishes it; gives its version."""
        assert (await self.ask("op", "POST", body=wish()))[0] == 201
        assert (await self.reach("signed", 1))[0] == 200
        status, found = await self.reach("published", 2)
        assert (status, found["state"], found["version"]) == (200, "published", 3)
        return 3


def wish(**more: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "code": "A-1",
        "lot": "X01",
        "terms": {"notice_h": 0},
        "classes": [{"windows": ALWAYS, "quota": 2}, {"windows": NIGHTS, "spaces": ["B1"]}],
    }
    return found | more


@pytest.fixture
def town(db: psycopg.Connection[Any]) -> SharedTown:
    """Lot X01 of op1 with five spaces, one of them for wheelchairs; X02 of op2."""
    found = SharedTown(db)
    for lot, owner in (("X01", "op1"), ("X02", "op2")):
        db.execute(
            "INSERT INTO lots (code, name, kind, operator_id, lat, lon)"
            " SELECT %s, %s, 'off_street', id, 31.5, 120.3 FROM operators WHERE code = %s",
            (lot, lot, owner),
        )
        db.execute(
            "WITH barrier AS (INSERT INTO devices (code, lot_id, family) SELECT %s, id, 'lane' FROM lots WHERE code = %s"
            " RETURNING id) INSERT INTO lanes (device_id, direction) SELECT id, 'both' FROM barrier",
            (f"{lot}-B1", lot),
        )
        for space, kind in (("A1", "accessible"), ("A2", "standard"), ("A3", "standard"), ("B1", "standard")):
            db.execute(
                "INSERT INTO spaces (lot_id, code, kind) SELECT id, %s, %s FROM lots WHERE code = %s",
                (space, kind, lot),
            )
    accounts: tuple[tuple[str, Role, str | None], ...] = (
        ("op", Role.OPERATOR, "op1"),
        ("other", Role.OPERATOR, "op2"),
        ("boss", Role.DISTRICT, None),
        ("driver", Role.DRIVER, None),
    )
    for code, role, operator in accounts:
        found.person(code, f"苏B{code.upper():0>5}"[:7], role=role, operator=operator)
    return found


@pytest.fixture
def play(town: SharedTown, database_url: str) -> Callable[[Callable[[Office], Awaitable[None]]], None]:
    """Plays a scene in the office on Monday evening."""

    async def scene(work: Callable[[Office], Awaitable[None]]) -> None:
        pool = AsyncConnectionPool(database_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True})
        desk = SharingDesk(OffersInForce(ZONE, "hold:acq"), database_url)
        api = ApiState.build(HttpSettings(), clock=lambda: int(EVENING.timestamp() * 1e6), database=pool, sharing=desk)
        transport = httpx.ASGITransport(app=create_app(api))
        async with pool, desk, httpx.AsyncClient(transport=transport, base_url="http://office") as http:
            await work(Office(http, town))

    return lambda work: asyncio.run(scene(work))


def test_a_proposal_says_what_was_picked_and_how_its_windows_serve_more(play: Any) -> None:
    async def scene(office: Office) -> None:
        classes = [
            {"windows": ODD, "quota": 1},
            {"windows": NIGHTS, "spaces": ["A1"]},
            {"windows": NIGHTS, "quota": 1},
        ]
        status, found = await office.ask("op", "POST", body=wish(classes=classes))
        assert (status, found["state"], found["version"]) == (201, "negotiating", 1)
        assert [(each["code"], each["spaces"], each["named"]) for each in found["classes"]] == [
            ("A", ["A2"], []),
            ("B", ["A1", "A3"], ["A1"]),
        ]
        assert found["terms"]["notice_h"] == 0
        assert found["terms"]["permit_fen_per_month"] == Terms().permit_fen_per_month
        advice = {each["code"]: each for each in found["advice"]}
        assert set(advice) == {"merged", "off_grid", "differ_at_both_ends"}
        assert advice["merged"]["classes"] == [2, 3]
        assert "18:10" in advice["off_grid"]["text"]["en"]
        assert await office.ask("op", "POST", body=wish(classes=classes)) == (200, found)
        status, refused = await office.ask("op", "POST", body=wish())
        assert (status, refused["code"]) == (409, "conflict")
        status, refused = await office.ask("op", "POST", body=wish(code="A-2"))
        assert (status, "shared by agreement A-1" in refused["detail"]) == (409, True)

    play(scene)


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        ([{"windows": NIGHTS, "spaces": ["A2"]}, {"windows": ALWAYS, "spaces": ["A2"]}], "more than once"),
        ([{"windows": NIGHTS, "spaces": ["Z9"]}], "no space Z9"),
        ([{"windows": NIGHTS, "quota": 4}], "only 3 ordinary ones left"),
        ([{"windows": NIGHTS, "quota": 0}], "at least one"),
        ([{"windows": NIGHTS}], "either the spaces by their codes, or a quota"),
        ([{"windows": {"windows": [{"days": [9], "from": "x", "until": "07:00"}]}, "quota": 1}], "Class 1: The sched"),
        ([], "give 1 to"),
    ],
)
def test_classes_that_cannot_be_are_refused_with_a_sentence(play: Any, classes: object, said: str) -> None:
    async def scene(office: Office) -> None:
        status, refused = await office.ask("op", "POST", body=wish(classes=classes))
        assert (status, said in refused["detail"]) == (422, True), refused
        assert office.town.rows("SELECT FROM sharing_agreements") == []

    play(scene)


def test_terms_and_windows_change_while_they_are_negotiated_by_who_has_seen_the_newest(play: Any) -> None:
    async def scene(office: Office) -> None:
        await office.ask("op", "POST", body=wish())
        change = {"terms": {"notice_h": 48}, "classes": [{"windows": NIGHTS, "spaces": ["A2", "A3"]}]}
        status, found = await office.ask("op", "PATCH", "/A-1", body=change, version=1)
        assert (status, found["version"], found["terms"]["notice_h"]) == (200, 3, 48)
        assert [(each["code"], each["spaces"]) for each in found["classes"]] == [("A", ["A2", "A3"])]
        assert [each["kind"] for each in found["events"]] == ["negotiating", "terms", "windows"]
        assert (await office.ask("op", "PATCH", "/A-1", body=change, version=1))[0] == 412
        assert (await office.ask("op", "PATCH", "/A-1", body=change))[0] == 422
        status, refused = await office.ask("op", "PATCH", "/A-1", body={"terms": {"notice": 1}}, version=3)
        assert (status, "no field 'notice'" in refused["detail"]) == (422, True)
        assert (await office.reach("published", 3))[0] == 409  # not signed
        assert (await office.reach("signed", 3))[0] == 200
        status, refused = await office.ask("op", "PATCH", "/A-1", body=change, version=4)
        assert (status, "only while it is negotiated" in refused["detail"]) == (409, True)

    play(scene)


def test_who_may_what(play: Any) -> None:
    async def scene(office: Office) -> None:
        assert (await office.ask("nobody", "GET"))[0] == 401
        assert (await office.ask("driver", "GET"))[0] == 403
        assert (await office.ask("other", "POST", body=wish()))[0] == 404  # not his lot
        await office.publish()
        assert (await office.ask("other", "GET", "/A-1"))[0] == 404
        assert (await office.reach("terminated", 3, "other"))[0] == 404
        suspension = {"reason": "exam", "date": "2026-11-30"}
        assert (await office.ask("other", "POST", "/A-1/suspensions", body=suspension))[0] == 404
        forced = suspension | {"override_notice": True}
        assert (await office.ask("op", "POST", "/A-1/suspensions", body=forced))[0] == 403
        assert (await office.ask("boss", "POST", "/A-1/suspensions", body=forced))[0] == 201
        for who, codes in (("op", ["A-1"]), ("other", []), ("boss", ["A-1"])):
            status, page = await office.ask(who, "GET")
            assert (status, [each["code"] for each in page["agreements"]], page["next"]) == (200, codes, None)

    play(scene)


def test_what_is_published_is_offered_at_once_and_shown_hour_by_hour(play: Any) -> None:
    async def scene(office: Office) -> None:
        await office.publish()
        town = office.town
        person = town.person("ann", "苏B00001")
        held = town.reserve(person, town.ask(person, 2, 2, lot="X01"))
        assert held.state is ReservationState.GRANTED
        status, found = await office.ask("op", "GET", "/A-1/calendar?from=2026-11-23&days=2")
        assert (status, found["version"]) == (200, 3)
        always, nights = found["classes"]
        today = always["days"][0]
        assert (today["date"], today["kind"], today["announced"]) == ("2026-11-23", "workday", True)
        assert len(today["hours"]) == 24
        assert sum(hour["promised"] for each in (always, nights) for hour in each["days"][0]["hours"]) >= 2
        assert nights["days"][0]["openings"] == [
            {"from": "2026-11-23T00:00:00+08:00", "until": "2026-11-23T08:00:00+08:00"},
            {"from": "2026-11-23T18:00:00+08:00", "until": "2026-11-24T00:00:00+08:00"},
        ]
        assert [hour["offered"] for hour in nights["days"][1]["hours"]][6:20] == [1, 1] + [0] * 10 + [1, 1]
        assert all(
            hour["free"] <= hour["offered"]
            for each in (always, nights)
            for day in each["days"]
            for hour in day["hours"]
        )

    play(scene)


@pytest.mark.parametrize(
    "without", ["DELETE FROM lanes", "UPDATE lanes SET direction = 'exit'", "UPDATE devices SET enabled = false"]
)
def test_without_a_lane_that_lets_cars_in_nothing_is_published(play: Any, without: str) -> None:
    async def scene(office: Office) -> None:
        office.town.db.execute(without)
        assert (await office.ask("op", "POST", body=wish()))[0] == 201
        assert (await office.reach("signed", 1))[0] == 200
        status, refused = await office.reach("published", 2)
        assert (status, refused["code"]) == (409, "conflict")
        assert "Lot X01 has no enabled lane that lets cars in" in refused["detail"]
        assert (await office.ask("op", "GET", "/A-1"))[1]["state"] == "signed"

    play(scene)


def test_suspended_it_promises_nothing_and_published_again_it_does(play: Any) -> None:
    async def scene(office: Office) -> None:
        await office.publish()
        town, person = office.town, office.town.person("ann", "苏B00001")
        assert (await office.reach("suspended", 3))[0] == 200
        assert town.reserve(person, town.ask(person, lot="X01")).state is ReservationState.REFUSED
        assert (await office.reach("suspended", 3))[0] == 200  # sent again
        assert (await office.reach("published", 4))[0] == 200
        assert town.reserve(person, town.ask(person, lot="X01")).state is ReservationState.GRANTED

    play(scene)


def test_a_date_is_taken_back_and_its_drivers_are_answered(play: Any) -> None:
    async def scene(office: Office) -> None:
        await office.publish()
        town, person = office.town, office.town.person("ann", "苏B00001")
        held = town.granted(person, 20, 2, lot="X01")
        body = {"reason": "exam", "date": "2026-11-24"}
        status, found = await office.ask("op", "POST", "/A-1/suspensions", body=body)
        assert (status, found["affected"], found["short_notice"], found["inside"]) == (201, 1, False, [])
        assert found["since"] == "2026-11-24T00:00:00+08:00"
        status, again = await office.ask("op", "POST", "/A-1/suspensions", body=body)
        assert (status, again["id"]) == (200, found["id"])
        assert resolve_suspensions(town.db, town.offers, EVENING) == Resolved(refunded=1)
        assert town.standing(held.code).state is ReservationState.WITHDRAWN
        status, listed = await office.ask("op", "GET", "/A-1/suspensions")
        assert [(each["affected"], each["refunded"]) for each in listed["suspensions"]] == [(1, 1)]
        _, shown = await office.ask("op", "GET", "/A-1/calendar?from=2026-11-24&days=1")
        (day,) = shown["classes"][0]["days"]
        assert day["suspended"] == [{"from": "2026-11-24T00:00:00+08:00", "until": "2026-11-25T00:00:00+08:00"}]
        assert {hour["offered"] for hour in day["hours"]} == {0}

    play(scene)


def test_an_end_resolves_every_promise_after_the_notice_and_frees_the_lot_for_another(play: Any) -> None:
    async def scene(office: Office) -> None:
        await office.publish()
        town, person = office.town, office.town.person("ann", "苏B00001")
        kept, lost = town.granted(person, 1, 1, lot="X01"), town.granted(person, 30, 1, lot="X01")
        since = "2026-11-24T18:00:00+08:00"
        status, found = await office.reach("terminated", 3, since=since)
        assert (status, found["state"]) == (200, "terminated")
        assert (found["taken_back"]["since"], found["taken_back"]["until"]) == (since, None)
        assert found["taken_back"]["affected"] == 1
        assert resolve_suspensions(town.db, town.offers, EVENING) == Resolved(refunded=1)
        assert town.standing(lost.code).state is ReservationState.WITHDRAWN
        assert town.standing(kept.code).state is ReservationState.GRANTED
        other = town.person("bob", "苏B00002")
        assert town.reserve(other, town.ask(other, lot="X01")).state is ReservationState.REFUSED
        assert (await office.ask("op", "POST", body=wish(code="A-2")))[0] == 201

    play(scene)


@pytest.mark.parametrize(
    "body",
    [
        {"reason": "exam"},
        {"reason": "exam", "date": "2026-11-24", "since": "2026-11-24T00:00:00+08:00"},
        {"reason": "exam", "since": "2026-11-24T00:00:00+08:00"},
        {"reason": "exam", "since": "2026-11-24T00:00:00", "until": "2026-11-25T00:00:00"},
        {"reason": "", "date": "2026-11-24"},
        {"reason": "exam", "date": "2026-11-01"},
    ],
)
def test_a_stretch_that_is_none_is_refused(play: Any, body: object) -> None:
    async def scene(office: Office) -> None:
        await office.publish()
        assert (await office.ask("op", "POST", "/A-1/suspensions", body=body))[0] == 422

    play(scene)
