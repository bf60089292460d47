"""`/v1/permits` and `/v1/operator/permits` over a real database."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from psycopg_pool import AsyncConnectionPool

from api.application import create_app
from api.sharing_desk import SharingDesk
from api.state import ApiState, HttpSettings
from parking_core.sharing import Terms
from tests.permit_town import PermitTown
from tests.shared_town import EVENING, HOUR

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    import psycopg

    Talk = Callable[[Callable[..., Coroutine[Any, Any, httpx.Response]]], Coroutine[Any, Any, None]]

_TUESDAY = "2026-11-24"


@pytest.fixture
def permits(db: psycopg.Connection[Any]) -> PermitTown:
    return PermitTown(db)


def _talk(town: PermitTown, database_url: str, talk: Talk) -> None:
    """Lets `talk` send requests: say(who, method, path, body?, key?)."""

    async def run() -> None:
        database = AsyncConnectionPool(database_url, kwargs={"autocommit": True}, open=False)
        sharing = SharingDesk(town.offers, database_url)
        api = ApiState.build(HttpSettings(), lambda: int(EVENING.timestamp() * 1e6), database=database, sharing=sharing)
        transport = httpx.ASGITransport(create_app(api))
        async with database, sharing, httpx.AsyncClient(transport=transport, base_url="http://api") as client:

            async def say(
                who: str, method: str, path: str, body: dict[str, Any] | None = None, *, key: str | None = None
            ) -> httpx.Response:
                headers = {"Authorization": f"Bearer {town.tokens[who]}"} if who else {}
                return await client.request(
                    method, path, json=body, headers=headers | ({"Idempotency-Key": key} if key else {})
                )

            await talk(say)

    asyncio.run(run())


def test_a_driver_applies_looks_gives_back_and_withdraws(permits: PermitTown, database_url: str) -> None:
    permits.nights(2)
    permits.driver(1)
    permits.driver(2)
    body = {"plate": "苏B·30001", "first_day": _TUESDAY, "lot": "S01"}

    async def talk(say: Any) -> None:
        made = await say("p1", "POST", "/v1/permits", body, key="k")
        assert made.status_code == 201, made.text
        code = made.json()["code"]
        assert made.headers["location"] == f"/v1/permits/{code}"
        again = await say("p1", "POST", "/v1/permits", body, key="k")
        assert again.json() == made.json()
        one = (await say("p1", "GET", f"/v1/permits/{code}")).json()
        assert (one["state"], one["lot"], one["space_class"], one["plate"]) == ("active", "S01", "A", "苏B30001")
        assert one["valid_from"] == "2026-11-24T00:00:00+08:00"
        assert one["openings"][1] == {
            "since": "2026-11-24T18:00:00+08:00",
            "until": "2026-11-25T08:00:00+08:00",
            "state": "drawn",
        }
        assert [each["kind"] for each in one["events"]] == ["applied", "active"]
        at = (EVENING + timedelta(days=1)).isoformat()
        given = await say("p1", "POST", f"/v1/permits/{code}/give-back", {"at": at})
        assert given.json()["openings"][1]["state"] == "given_back"
        closed = (EVENING + 40 * HOUR).isoformat()
        assert (await say("p1", "POST", f"/v1/permits/{code}/give-back", {"at": closed})).status_code == 409
        for other in (
            await say("p2", "GET", f"/v1/permits/{code}"),
            await say("p2", "POST", f"/v1/permits/{code}/withdraw"),
            await say("p2", "POST", f"/v1/permits/{code}/give-back", {"at": at}),
            await say("p1", "GET", "/v1/permits/P-nothing"),
        ):
            assert (other.status_code, other.json()["code"]) == (404, "not_found")
        assert (await say("p2", "GET", "/v1/permits")).json() == {"permits": [], "next": None}
        assert (await say("p1", "POST", f"/v1/permits/{code}/withdraw")).json()["state"] == "withdrawn"

    _talk(permits, database_url, talk)
    permits.check_law()


def test_a_refusal_is_an_answer_with_reasons_and_alternatives(permits: PermitTown, database_url: str) -> None:
    permits.nights(2)
    permits.nights(2)
    permits.holder(1)
    permits.driver(2)
    body = {"plate": "苏B30002", "first_day": _TUESDAY, "lot": "S01"}

    async def talk(say: Any) -> None:
        made = await say("p2", "POST", "/v1/permits", body, key="k")
        assert made.status_code == 200
        refusal = made.json()["refusal"]
        assert refusal["reason"] == "permits_used_up"
        assert refusal["text"]["zh"]
        [other] = refusal["alternatives"]
        assert (other["lot"], other["price_fen_per_month"]) == ("S02", 20_000)
        taken = await say("p2", "POST", "/v1/permits", body | {"lot": other["lot"]}, key="k2")
        assert taken.status_code == 201
        first = (await say("p2", "GET", "/v1/permits?limit=1")).json()
        assert [each["state"] for each in first["permits"]] == ["active"]
        second = (await say("p2", "GET", f"/v1/permits?limit=1&cursor={first['next']}")).json()
        assert [each["state"] for each in second["permits"]] == ["refused"]
        assert second["next"] is None

    _talk(permits, database_url, talk)


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"plate": "苏B99999"}, ["plate"]),
        ({"lat": 31.5, "group": "patient"}, ["lon", "group"]),
        ({"lot": None}, ["lat"]),
        ({"months": 13}, ["months"]),
        ({"first_day": "2026-02-30"}, ["first_day"]),
        ({"first_day": "1700-01-01"}, ["first_day"]),
        ({"colour": "red"}, ["colour"]),
    ],
)
def test_every_bad_field_is_named(
    permits: PermitTown, database_url: str, change: dict[str, Any], fields: list[str]
) -> None:
    permits.nights(2)
    permits.driver(1)
    body = {"plate": "苏B30001", "first_day": _TUESDAY, "lot": "S01"} | change

    async def talk(say: Any) -> None:
        found = await say("p1", "POST", "/v1/permits", body, key="k")
        assert found.status_code == 422, found.text
        assert [
            error["parameter"] if "parameter" in error else error["field"] for error in found.json()["errors"]
        ] == fields
        assert "苏B99999" not in found.text

    _talk(permits, database_url, talk)


def test_who_may_not_is_turned_away(permits: PermitTown, database_url: str) -> None:
    permits.nights(2)
    permits.driver(1)
    permits.operator()
    body = {"plate": "苏B30001", "first_day": _TUESDAY, "lot": "S01"}

    async def talk(say: Any) -> None:
        assert (await say("", "GET", "/v1/permits")).status_code == 401
        assert (await say("staff-op1", "POST", "/v1/permits", body, key="k")).status_code == 403
        assert (await say("p1", "GET", "/v1/operator/permits")).status_code == 403
        assert (await say("p1", "POST", "/v1/permits", body)).status_code == 422  # no Idempotency-Key
        assert (await say("p1", "POST", "/v1/permits", body | {"lot": "S99"}, key="k")).status_code == 404

    _talk(permits, database_url, talk)
    assert permits.rows("SELECT FROM shared_permits") == []


def test_the_operator_decides_on_applications_for_his_own_lots(permits: PermitTown, database_url: str) -> None:
    permits.nights(4, terms=Terms(approve_permits=True))
    for number in (1, 2):
        permits.driver(number)
    for code in ("op1", "op2"):
        permits.operator(code)

    async def talk(say: Any) -> None:
        codes = []
        for number in (1, 2):
            body = {"plate": f"苏B3000{number}", "first_day": _TUESDAY, "lot": "S01"}
            made = await say(f"p{number}", "POST", "/v1/permits", body, key="k")
            assert made.status_code == 202
            codes.append(made.json()["code"])
        listed = (await say("staff-op1", "GET", "/v1/operator/permits?state=applied")).json()["permits"]
        assert [each["code"] for each in listed] == codes[::-1]
        assert all("*" in each["plate"] for each in listed)
        assert (await say("staff-op2", "GET", "/v1/operator/permits")).json()["permits"] == []
        path = "/v1/operator/permits"
        assert (await say("staff-op2", "POST", f"{path}/{codes[0]}/approve")).status_code == 404
        assert (await say("staff-op1", "POST", f"{path}/{codes[0]}/approve")).json()["state"] == "active"
        assert (await say("staff-op1", "POST", f"{path}/{codes[0]}/approve")).status_code == 409
        refused = await say("staff-op1", "POST", f"{path}/{codes[1]}/refuse", {"why": "Not this year."})
        assert refused.json()["refusal"]["why"] == "Not this year."
        told = (await say("p2", "GET", f"/v1/permits/{codes[1]}")).json()
        assert (told["state"], told["refusal"]["reason"]) == ("refused", "by_operator")

    _talk(permits, database_url, talk)
