"""Devices through HTTP: whose they are, their credentials, what they are told, and those that nobody registered."""

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
from parking_core.store.keeper import Keeper
from tests.integration.test_device_credentials import enters
from tests.integration.test_operator_agreements import town  # noqa: F401  # the fixture: lots X01 of op, X02 of other
from tests.shared_town import EVENING, ZONE, SharedTown

if TYPE_CHECKING:
    from collections.abc import Callable

    from onebox.services import RunningServices

pytestmark = pytest.mark.services

LANE, OTHERS = "X01-B1", "X02-B1"


@pytest.fixture
def play(town: SharedTown, database_url: str, services: RunningServices) -> Callable[[Any], None]:  # noqa: F811  # the fixture
    """Plays a scene in which people ask the API."""

    async def scene(work: Any) -> None:
        pool = AsyncConnectionPool(database_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True})
        desk = SharingDesk(OffersInForce(ZONE, "hold:acq"), database_url)
        api = ApiState.build(
            HttpSettings(),
            clock=lambda: int(EVENING.timestamp() * 1e6),
            database=pool,
            sharing=desk,
            keeper_url=services.mqtt_keeper_url,
        )
        transport = httpx.ASGITransport(app=create_app(api))
        async with pool, desk, httpx.AsyncClient(transport=transport, base_url="http://office") as http:

            async def ask(who: str, method: str, path: str, body: object = None, key: str = "k") -> tuple[int, Any]:
                headers = {"Authorization": f"Bearer {town.tokens.get(who, who)}", "Idempotency-Key": key}
                found = await http.request(method, f"/v1/operator{path}", json=body, headers=headers)
                return found.status_code, found.json()

            await work(ask)

    return lambda work: asyncio.run(scene(work))


@pytest.fixture(autouse=True)
def _forgotten(services: RunningServices) -> Any:
    yield
    Keeper(services.mqtt_keeper_url).expel([LANE, OTHERS])


def test_an_operator_sees_and_admits_his_own_devices_only(play: Any, services: RunningServices) -> None:
    async def scene(ask: Any) -> None:
        status, page = await ask("op", "GET", "/devices")
        assert (status, [each["code"] for each in page["devices"]]) == (200, [LANE])
        status, page = await ask("boss", "GET", "/devices?limit=1")
        assert (status, len(page["devices"])) == (200, 1)
        status, rest = await ask("boss", "GET", f"/devices?limit=1&cursor={page['next_cursor']}")
        assert [each["code"] for each in rest["devices"]] == [OTHERS]
        assert (await ask("op", "POST", f"/devices/{OTHERS}/credential"))[0] == 404
        assert (await ask("driver", "GET", "/devices"))[0] == 403
        assert (await ask("nobody", "GET", "/devices"))[0] == 401
        status, issued = await ask("op", "POST", f"/devices/{LANE}/credential")
        assert (status, issued["user_name"]) == (201, LANE)
        assert enters(services, LANE, issued["secret"])
        status, again = await ask("op", "POST", f"/devices/{LANE}/credential")
        assert not enters(services, LANE, issued["secret"])
        assert enters(services, LANE, again["secret"])
        assert (await ask("op", "POST", f"/devices/{LANE}/credential/revocation", {"reason": ""}))[0] == 422
        assert (await ask("op", "POST", f"/devices/{LANE}/credential/revocation", {"reason": "stolen"}))[0] == 200
        assert not enters(services, LANE, again["secret"])
        assert (await ask("op", "POST", f"/devices/{LANE}/credential/revocation", {"reason": "again"}))[0] == 409
        (shown,) = (await ask("op", "GET", "/devices"))[1]["devices"]
        assert shown["credential"] == "revoked"

    play(scene)


def test_an_order_is_given_once_and_its_outcome_is_seen(play: Any, town: SharedTown) -> None:  # noqa: F811  # the fixture
    async def scene(ask: Any) -> None:
        wish = {"kind": "lower_gate", "reason": "it hangs"}
        status, told = await ask("op", "POST", f"/devices/{LANE}/commands", wish, "k1")
        assert (status, told["kind"], told["state"]) == (202, "lower_gate", "queued")
        assert (await ask("op", "POST", f"/devices/{LANE}/commands", wish, "k1"))[0] == 409
        assert (await ask("op", "POST", f"/devices/{LANE}/commands", wish, ""))[0] == 422
        assert (await ask("op", "POST", f"/devices/{OTHERS}/commands", wish, "k2"))[0] == 404
        assert (await ask("op", "POST", f"/devices/{LANE}/commands", {"kind": "raise_lock", "reason": "x"}, "k3"))[
            0
        ] == 422
        assert (await ask("op", "POST", f"/devices/{LANE}/commands", {"kind": "tariff", "reason": "x"}, "k4"))[0] == 422
        status, listed = await ask("op", "GET", f"/devices/{LANE}/commands")
        assert (status, [each["id"] for each in listed["commands"]]) == (200, [told["id"]])

    play(scene)
    assert town.rows("SELECT payload ->> 'by', payload ->> 'why' FROM commands") == [("operator:op", "it hangs")]


def test_the_district_decides_on_unknown_devices(play: Any, town: SharedTown) -> None:  # noqa: F811  # the fixture
    for identity in ("00c0ffee000000aa", "00c0ffee000000bb"):
        town.db.execute(
            "INSERT INTO discoveries (network, identity, first_seen_at, last_seen_at, topic, sample)"
            " VALUES ('chirpstack', %s, now(), now(), 't', '\\x01ff')",
            (identity,),
        )

    async def scene(ask: Any) -> None:
        assert (await ask("op", "GET", "/discoveries"))[0] == 403
        status, listed = await ask("boss", "GET", "/discoveries")
        assert (status, {each["sample"] for each in listed["discoveries"]}) == (200, {"01ff"})
        wish = {"lot": "X01", "space": "A1", "family": "bosch", "model": "tps110", "code": "X01-A1"}
        assert await ask("boss", "POST", "/discoveries/00c0ffee000000aa/binding", wish) == (
            201,
            {"state": "bound", "device": "X01-A1"},
        )
        assert (await ask("boss", "POST", "/discoveries/00c0ffee000000aa/binding", wish))[0] == 409
        assert (await ask("boss", "POST", "/discoveries/nobody/refusal", {"reason": "x"}))[0] == 404
        assert (await ask("boss", "POST", "/discoveries/00c0ffee000000bb/refusal", {"reason": "x"}))[0] == 200
        assert (await ask("boss", "GET", "/discoveries"))[1] == {"discoveries": []}

    play(scene)
    assert town.rows("SELECT eui, family FROM devices WHERE code = 'X01-A1'") == [("00c0ffee000000aa", "bosch")]
