"""What a driver's app says to the API about reservations, and what it hears."""

from __future__ import annotations

import asyncio
import math
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from api.reservation_words import WORDS
from parking_core.people import Role, digest_of
from parking_core.reservations import Refusal
from parking_core.sharing import Terms
from tests.sharing_stage import SharingStage, at, request, sharing_stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import httpx
    import psycopg

pytestmark = pytest.mark.services


@pytest.fixture
def play(db: psycopg.Connection[Any], database_url: str) -> Callable[[Callable[[SharingStage], Awaitable[None]]], None]:
    """Runs a test over the application."""

    def run(scene: Callable[[SharingStage], Awaitable[None]]) -> None:
        async def whole() -> None:
            async with sharing_stage(db, database_url, origins=("https://app.example",)) as on:
                await scene(on)

        asyncio.run(whole())

    return run


def _fields(answer: httpx.Response) -> set[str]:
    assert answer.status_code == 422, answer.text
    return {each["field"] for each in answer.json()["errors"]}


def test_a_grant_says_all_that_a_driver_needs(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([2])
        on.town.person()
        answer = await on.ask()
        found = answer.json()
        assert answer.status_code == 201, answer.text
        assert answer.headers["location"] == f"/v1/reservations/{found['code']}"
        assert answer.headers["cache-control"] == "no-store"
        assert (found["state"], found["plate"], found["group"]) == ("granted", "苏B12345", "any")
        assert found["lot"]["code"] == "S01"
        assert (found["price_fen"], found["held_fen"], found["currency"]) == (400, 20_400, "CNY")
        assert (found["arrive_at"], found["depart_at"]) == ("2026-11-23T19:00:00+08:00", "2026-11-23T21:00:00+08:00")
        rules = found["rules"]
        assert rules["opens_at"] == "2026-11-23T18:45:00+08:00"
        assert rules["charged_from"] == "2026-11-23T21:10:00+08:00"
        assert found["arrive_at"] < rules["kept_until"] <= found["depart_at"]
        assert "11-23 18:45" in rules["text"]["zh"]
        assert "200 yuan at most" in rules["text"]["en"]
        one = (await on.http.get(f"/v1/reservations/{found['code']}", headers=on.as_person())).json()
        assert [event["kind"] for event in one.pop("events")] == ["asked", "granted"]
        assert one == {name: value for name, value in found.items() if name != "events"}, "read back it is the same"

    play(scene)


def test_a_refusal_gives_reasons_and_alternatives_that_can_be_asked_for_as_they_are(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        near, far = on.town.lot([1]), on.town.lot([1])
        on.town.person()
        on.town.person("u2", "苏B22222")
        assert (await on.ask(walk_m=50)).json()["lot"]["code"] == near
        refused = await on.ask(by="u2", plate="苏B22222", walk_m=50)
        assert refused.status_code == 200
        found = refused.json()
        assert (found["state"], found["refusal"]["reason"], found["lot"]) == ("refused", "full", None)
        assert found["refusal"]["text"] == {"zh": WORDS[Refusal.FULL].zh, "en": WORDS[Refusal.FULL].en}
        alternatives = found["refusal"]["alternatives"]
        assert alternatives[0]["lot"]["code"] == far
        times = {(each["lot"]["code"], each["arrive_at"]) for each in alternatives}
        assert len(times) == len(alternatives) > 1, "another lot, and another time"
        for number, each in enumerate(alternatives):
            wanted = await on.ask(each["request"], by="u2", key=f"instead-{number}")
            assert wanted.status_code == 201, wanted.text
            got = wanted.json()
            assert (got["lot"], got["arrive_at"], got["price_fen"]) == (
                each["lot"],
                each["arrive_at"],
                each["price_fen"],
            )
            cancelled = await on.http.post(f"/v1/reservations/{got['code']}/cancel", headers=on.as_person("u2"))
            assert cancelled.json()["state"] == "cancelled"

    play(scene)


def test_the_same_key_is_the_same_answer_and_never_two_spaces(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([5])
        person = on.town.person()
        answers = await asyncio.gather(*(on.ask() for _ in range(12)))
        assert {answer.status_code for answer in answers} == {201}
        assert len({answer.json()["code"] for answer in answers}) == 1
        assert on.town.rows("SELECT count(*) FROM reservations") == [(1,)]
        other = await on.ask(depart_at=at(4))
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        refused = await on.ask(key="k2")
        again = await on.ask(key="k2")
        assert refused.json() == again.json()
        assert refused.json()["refusal"]["reason"] == "plate_expected"
        on.clock.ahead = timedelta(minutes=30)
        assert (await on.ask()).json()["code"] == answers[0].json()["code"]
        on.town.db.execute("DELETE FROM user_plates")
        on.api.identity.remember(digest_of(on.town.tokens["u1"]) or b"", person, -math.inf)  # known too long ago
        assert (await on.ask()).json()["code"] == answers[0].json()["code"]
        assert _fields(await on.ask(key="k3")) == {"plate"}

    play(scene)


def test_every_bad_field_is_named(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1])
        on.town.person("u1", "苏B12345", "patient")
        wrong = {"lat": 91, "lon": "x", "arrive_at": "2026-11-23T19:00:00", "plate": 7, "walk_m": 5}
        assert _fields(await on.ask(wrong)) == {"lat", "lon", "arrive_at", "depart_at", "plate", "walk_m"}
        assert _fields(await on.ask(walkm=100)) == {"walkm"}
        assert _fields(await on.ask(plate="苏B99999", group="resident", depart_at=at(1))) == {
            "plate",
            "group",
            "depart_at",
        }
        assert _fields(await on.ask(lat=None)) == {"lat"}
        assert _fields(await on.ask(lat=None, lon=None)) == {"lat"}
        assert _fields(await on.ask(lat=None, lon=None, lot="nowhere")) == {"lot"}
        assert _fields(await on.ask(lot="a\0b", group="\0", instead_of="R-1\0")) == {"lot", "group", "instead_of"}
        assert _fields(await on.ask(arrive_at="0001-01-01T00:00:00+08:00")) == {"arrive_at"}
        assert _fields(await on.ask(depart_at="9999-12-31T23:59:59-12:00")) == {"depart_at"}
        assert _fields(await on.ask(key="a b")) == {"Idempotency-Key"}
        bare = await on.http.post("/v1/reservations", json=request(), headers=on.as_person())
        assert _fields(bare) == {"Idempotency-Key"}
        assert on.town.rows("SELECT count(*) FROM reservations") == [(0,)]
        good = await on.ask(lat=None, lon=None, lot="S01", group="patient", plate="苏b·12345")
        assert (good.status_code, good.json()["lot"]["code"], good.json()["walk_m"]) == (201, "S01", 0)

    play(scene)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"x"', b'{"plate": "\\ud800"}', b"[" * 20_000, b"\xff"])
def test_what_is_no_json_object_is_said_so(play: Any, body: bytes) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.person()
        headers = on.as_person() | {"Idempotency-Key": "k", "Content-Type": "application/json"}
        answer = await on.http.post("/v1/reservations", content=body, headers=headers)
        assert answer.status_code == 422, answer.text
        assert answer.json()["code"] == "invalid_fields"
        headers["Content-Type"] = "text/plain"
        other = await on.http.post("/v1/reservations", content=body, headers=headers)
        assert (other.status_code, other.json()["code"]) == (415, "unsupported_media_type")

    play(scene)


def test_reservations_of_others_do_not_exist(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1])
        on.town.person()
        on.town.person("u2", "苏B22222")
        code = (await on.ask()).json()["code"]
        for name in (code, code.lower(), "R-0000000000", "R-%00", "x" * 300):
            for path, method in ((f"/v1/reservations/{name}", "GET"), (f"/v1/reservations/{name}/cancel", "POST")):
                answer = await on.http.request(method, path, headers=on.as_person("u2"))
                assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), answer.text
        assert on.town.standing(code).state == "granted"
        listed = (await on.http.get("/v1/reservations", headers=on.as_person("u2"))).json()
        assert listed == {"reservations": [], "next": None}

    play(scene)


def test_only_drivers_reserve(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.person("p", role=Role.PLANNER)
        assert (await on.ask(by="p")).status_code == 403
        assert (await on.http.post("/v1/reservations", json=request())).status_code == 401
        assert (await on.http.get("/v1/me")).status_code == 401
        assert (await on.http.get("/v1/me", headers=on.as_person("p"))).json()["role"] == "planner"

    play(scene)


def test_a_promise_is_given_back_once(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1])
        on.town.person()
        before = on.town.free("S01-A")
        code = (await on.ask()).json()["code"]
        answers = await asyncio.gather(
            *(on.http.post(f"/v1/reservations/{code}/cancel", headers=on.as_person()) for _ in range(6))
        )
        assert [(answer.status_code, answer.json()["state"]) for answer in answers] == [(200, "cancelled")] * 6
        assert on.town.free("S01-A") == before
        assert on.town.rows("SELECT state FROM holds") == [("released",)]
        assert on.town.rows("SELECT count(*) FROM reservation_events WHERE kind = 'cancelled'") == [(1,)]
        again = await on.ask()
        assert (again.json()["code"], again.json()["state"]) == (code, "cancelled"), "the key has been used"
        assert (await on.ask(key="k2")).status_code == 201

    play(scene)


def test_a_promise_that_is_used_cannot_be_given_back(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1])
        on.town.person()
        code = (await on.ask()).json()["code"]
        on.town.db.execute("UPDATE reservations SET state = 'arrived', arrived_at = arrive_at WHERE code = %s", (code,))
        refused = await on.http.post(f"/v1/reservations/{code}/cancel", headers=on.as_person())
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")

    play(scene)


def test_lists_go_by_pages(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([3])
        on.town.person()
        codes = [(await on.ask(key=f"k{n}", arrive_at=at(n), depart_at=at(n + 1))).json()["code"] for n in range(5)]
        seen: list[str] = []
        query = "?limit=2"
        while query:
            page = (await on.http.get(f"/v1/reservations{query}", headers=on.as_person())).json()
            seen += [one["code"] for one in page["reservations"]]
            query = f"?limit=2&cursor={page['next']}" if page["next"] else ""
        assert seen == codes[::-1]
        active = (await on.http.get("/v1/reservations?active=true", headers=on.as_person())).json()
        assert [one["state"] for one in active["reservations"]] == ["granted"] * 3, "as many as one may have"
        refused = (await on.http.get("/v1/reservations?state=refused", headers=on.as_person())).json()
        assert {one["refusal"]["reason"] for one in refused["reservations"]} == {"too_many_active"}
        for bad in ("cursor=!!", "cursor=LTE", "state=gone", "limit=0", "cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5"):
            answer = await on.http.get(f"/v1/reservations?{bad}", headers=on.as_person())
            assert answer.status_code == 422, bad

    play(scene)


def test_a_request_may_wait_for_the_round(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1])
        on.town.person()
        answer = await on.ask(wait_for_round=True, arrive_at=at(24), depart_at=at(26))
        assert answer.status_code == 202, answer.text
        assert (answer.json()["state"], answer.json()["lot"], answer.json()["rules"]) == ("waiting", None, None)
        cancelled = await on.http.post(f"/v1/reservations/{answer.json()['code']}/cancel", headers=on.as_person())
        assert cancelled.json()["state"] == "cancelled"

    play(scene)


def test_notices_are_told_and_marked_as_seen(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        on.town.lot([1], terms=Terms())
        on.town.person("u1", "苏B12345", "patient")
        on.town.person("u2", "苏B22222")
        code = (await on.ask()).json()["code"]
        await on.http.post(f"/v1/reservations/{code}/cancel", headers=on.as_person())
        me = (await on.http.get("/v1/me", headers=on.as_person())).json()
        assert me == {"code": "u1", "role": "driver", "groups": ["patient"], "plates": ["苏B12345"]}
        page = (await on.http.get("/v1/me/notices?limit=1", headers=on.as_person())).json()
        [newest] = page["notices"]
        assert (newest["kind"], newest["detail"]["reservation"]) == ("reservation_cancelled", code)
        older = (await on.http.get(f"/v1/me/notices?cursor={page['next']}", headers=on.as_person())).json()
        assert [one["kind"] for one in older["notices"]] == ["reservation_granted"]
        until = {"until": older["notices"][0]["id"]}
        for count in (1, 0):
            answer = await on.http.post("/v1/me/notices/seen", json=until, headers=on.as_person())
            assert answer.json() == {"seen": count}
        everything = {"until": newest["id"]}
        assert (await on.http.post("/v1/me/notices/seen", json=everything, headers=on.as_person("u2"))).json() == {
            "seen": 0
        }, "of others nothing is marked"
        unseen = (await on.http.get("/v1/me/notices?unseen=true", headers=on.as_person())).json()
        assert [one["id"] for one in unseen["notices"]] == [newest["id"]]
        huge = await on.http.post("/v1/me/notices/seen", json={"until": 10**30}, headers=on.as_person())
        assert huge.status_code == 422

    play(scene)


def test_web_pages_of_named_origins_may_ask(play: Any) -> None:
    async def scene(on: SharingStage) -> None:
        wanted = {
            "Origin": "https://app.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization,content-type,idempotency-key",
        }
        answer = await on.http.options("/v1/reservations", headers=wanted)
        assert answer.status_code == 200, answer.text
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        assert (await on.http.options("/v1/reservations", headers=wanted | {"Origin": "https://x"})).status_code == 400

    play(scene)


def test_every_refusal_has_words() -> None:
    assert set(WORDS) == set(Refusal)
    assert len({words.zh for words in WORDS.values()}) == len({words.en for words in WORDS.values()}) == len(WORDS)
