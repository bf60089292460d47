"""Simulated drivers who reserve: accounts that outlast a demo, wishes that the API can read."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import psycopg

from api.reservation_views import ReservationRequest
from onebox.demo_drivers import DRIVERS, simulated_drivers
from onebox.home import Home
from parking_core.people import digest_of
from simulators.district import DistrictSize, generate_district
from simulators.reserving import ReservationCounts, ReservingDriver, _Person, reserve_spaces

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SMALL = DistrictSize(lots=40)


def test_drivers_keep_their_accounts_and_get_new_tokens_when_the_file_is_gone(
    database_url: str, tmp_path: Path
) -> None:
    home = Home.from_environ({"PARKING_HOME": str(tmp_path / "home")})
    home.root.mkdir(parents=True)
    first = simulated_drivers(home, database_url)
    assert simulated_drivers(home, database_url) == first
    [file] = home.root.glob("*.json")
    assert file.stat().st_mode & 0o077 == 0
    file.unlink()
    again = simulated_drivers(home, database_url)
    assert {one.plate for one in again} == {one.plate for one in first}
    assert not {one.token for one in again} & {one.token for one in first}
    with psycopg.connect(database_url) as connection:
        digests = {bytes(row[0]) for row in connection.execute("SELECT token_digest FROM user_accounts")}
    assert digests == {digest_of(one.token) for one in again}
    assert len(again) == DRIVERS


def test_what_a_driver_wishes_can_be_read_by_the_api() -> None:
    district = generate_district(SMALL)
    driver = ReservingDriver("t", "苏B12345", ("patient",))
    now = datetime.now(UTC)
    for seed in range(50):
        person = _Person(httpx.AsyncClient(), district, driver, ReservationCounts(), random.Random(seed))
        wish = msgspec.json.decode(msgspec.json.encode(person.wish(now)), type=ReservationRequest)
        assert now < wish.arrive_at < wish.depart_at


def test_a_refused_driver_takes_the_alternative_as_the_answer_words_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[dict[str, Any]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        body = msgspec.json.decode(request.content) if request.content else {}
        sent.append(body)
        if "lot" in body:
            return httpx.Response(201, json={"state": "granted", "code": "R-2"})
        refusal = {"reason": "full", "alternatives": [{"request": body | {"lot": "S01", "instead_of": "R-1"}}]}
        return httpx.Response(200, json={"state": "refused", "code": "R-1", "refusal": refusal})

    counts, stop = ReservationCounts(), asyncio.Event()
    plain = httpx.AsyncClient
    monkeypatch.setattr("simulators.reserving._ASKS_EVERY_S", (0.0, 0.01))
    monkeypatch.setattr(
        "simulators.reserving.httpx.AsyncClient",
        lambda **options: plain(transport=httpx.MockTransport(answer), **options),
    )

    async def run() -> None:
        asyncio.get_running_loop().call_later(1.0, stop.set)
        await reserve_spaces("http://test", generate_district(SMALL), [ReservingDriver("t", "苏B12345")], stop, counts)

    asyncio.run(run())
    assert counts.refused["full"] >= counts.alternatives > 0
    assert counts.granted == counts.alternatives
    assert counts.failures == 0
    assert any(body.get("instead_of") == "R-1" for body in sent)
