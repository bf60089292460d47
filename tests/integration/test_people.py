"""Accounts: made, found by their token, ended; who may ask, how often, and what nobody ever sees."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pytest
from fastapi import Request, Response
from psycopg_pool import AsyncConnectionPool
from typer.testing import CliRunner

from api.application import create_app
from api.identity import identify
from api.identity_desk import KNOWN_S, IdentityDesk
from api.rates import Buckets
from api.state import ApiState, HttpSettings
from onebox.__main__ import application
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.keep_accounts import (
    Wanted,
    add_account,
    add_accounts,
    change_plates,
    disable_account,
    replace_token,
)
from parking_core.people import Person, Role, digest_of
from parking_core.store import people

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.services
NOW = datetime(2026, 11, 23, 10, tzinfo=UTC)


@contextlib.asynccontextmanager
async def _asked(
    database_url: str, *roles: Role, desk: IdentityDesk | None = None
) -> AsyncIterator[tuple[ApiState, httpx.AsyncClient]]:
    """An application with one more route, /v1/who, which says who asks."""
    pool = AsyncConnectionPool(database_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True})
    api = ApiState.build(HttpSettings(), clock=lambda: 0, database=pool)
    if desk is not None:
        object.__setattr__(api, "identity", desk)
    app = create_app(api)

    @app.router.get("/v1/who")
    async def who(request: Request) -> Response:
        person = await identify(api, request, *roles)
        return Response(f"{person.code} {' '.join(sorted(person.groups))}".strip())

    transport = httpx.ASGITransport(app)
    async with pool, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield api, client


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_an_account_is_found_by_its_token_and_by_nothing_else(db: psycopg.Connection[Any]) -> None:
    db.execute("INSERT INTO operators (code, name) VALUES ('op1', 'Operator 1')")
    issued = add_account(db, Wanted(groups=("patient", "resident"), plates=("苏B 12345", "苏b·12345", "苏BD12345")))
    staff = add_account(db, Wanted(role=Role.OPERATOR, code="staff", operator="op1"))
    person = people.by_code(db, issued.code)
    assert person is not None
    assert (person.role, person.groups) == (Role.DRIVER, frozenset({"patient", "resident"}))
    assert person.plates == {"苏B12345", "苏BD12345"}
    stored = db.execute("SELECT token_digest FROM user_accounts WHERE code = %s", (issued.code,)).fetchone()
    assert stored == (hashlib.sha256(issued.token.encode()).digest(),)
    rows = db.execute("SELECT to_jsonb(a)::text FROM user_accounts a").fetchall()
    assert not any(issued.token in text or staff.token in text for (text,) in rows)
    operator = people.by_code(db, "staff")
    assert operator is not None
    assert operator.operator_id is not None


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        (Wanted(code="taken"), "already"),
        (Wanted(code="a b"), "cannot be used"),
        (Wanted(groups=("any",)), "No group"),
        (Wanted(groups=("Big Ones",)), "No group"),
        (Wanted(plates=("hello",)), "No plate"),
        (Wanted(role=Role.OPERATOR), "operator"),
        (Wanted(operator="op1"), "operator"),
        (Wanted(role=Role.OPERATOR, operator="nobody"), "no operator 'nobody'"),
    ],
)
def test_accounts_that_cannot_be_are_refused_and_nothing_is_left_of_them(
    db: psycopg.Connection[Any], wanted: Wanted, said: str
) -> None:
    add_account(db, Wanted(code="taken"))
    with pytest.raises((InvalidInputError, NotFoundError), match=said):
        add_accounts(db, [Wanted(code="before"), wanted])
    assert [one.code for one in people.listed(db)] == ["taken"]


def test_plates_change_and_stay_few(db: psycopg.Connection[Any]) -> None:
    code = add_account(db, Wanted(plates=("苏B12345",))).code
    assert change_plates(db, code, add=["苏BD12345"], remove=["苏B·12345"]) == {"苏BD12345"}
    with pytest.raises(InvalidInputError, match="20 plates"):
        change_plates(db, code, add=[f"苏B{n:05}" for n in range(20)])
    assert change_plates(db, code) == {"苏BD12345"}, "all or nothing"
    with pytest.raises(NotFoundError):
        change_plates(db, "nobody", add=["苏B12345"])


def test_who_has_no_token_or_a_wrong_one_is_told_how_to_ask(db: psycopg.Connection[Any], database_url: str) -> None:
    token = add_account(db, Wanted(code="u1", groups=("patient",))).token

    async def run() -> None:
        async with _asked(database_url) as (_, client):
            nothing = await client.get("/v1/who")
            assert (nothing.status_code, nothing.json()["code"]) == (401, "unauthorized")
            assert nothing.headers["www-authenticate"] == 'Bearer realm="parking"'
            for wrong in (token[:-1] + "!", token.swapcase(), "x", "ä" * 43):
                refused = await client.get("/v1/who", headers={b"Authorization": f"Bearer {wrong}".encode()})
                assert (refused.status_code, refused.json()["code"]) == (401, "invalid_token")
                assert refused.headers["www-authenticate"] == 'Bearer realm="parking", error="invalid_token"'
                assert wrong not in refused.text
            assert (await client.get("/v1/who", headers={"Authorization": f"Basic {token}"})).status_code == 401
            assert (await client.get("/v1/who", headers={"Authorization": f"bearer {token}"})).text == "u1 patient"

    asyncio.run(run())


def test_a_role_that_may_not_is_forbidden(db: psycopg.Connection[Any], database_url: str) -> None:
    driver, planner = add_account(db, Wanted()).token, add_account(db, Wanted(role=Role.PLANNER, code="p")).token

    async def run() -> None:
        async with _asked(database_url, Role.PLANNER, Role.DISTRICT) as (_, client):
            refused = await client.get("/v1/who", headers=_bearer(driver))
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
            assert "planner or district" in refused.json()["detail"]
            assert (await client.get("/v1/who", headers=_bearer(planner))).text == "p"

    asyncio.run(run())


def test_a_disabled_account_and_a_replaced_token_end_within_seconds(
    db: psycopg.Connection[Any], database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = add_account(db, Wanted(code="u1")).token, add_account(db, Wanted(code="u2")).token
    elapsed = [1000.0]
    monkeypatch.setattr("api.identity.time.monotonic", lambda: elapsed[0])

    async def run() -> None:
        async with _asked(database_url) as (api, client):
            for token in (first, second):
                assert (await client.get("/v1/who", headers=_bearer(token))).status_code == 200
            assert len(api.identity) == 2
            disable_account(db, "u1", NOW)
            new = replace_token(db, "u2")
            elapsed[0] += KNOWN_S
            assert (await client.get("/v1/who", headers=_bearer(first))).status_code == 200, "known for 3 s"
            elapsed[0] += 0.1
            assert (await client.get("/v1/who", headers=_bearer(first))).status_code == 401
            assert (await client.get("/v1/who", headers=_bearer(second))).status_code == 401
            assert (await client.get("/v1/who", headers=_bearer(new))).text == "u2"

    asyncio.run(run())
    with pytest.raises(NotFoundError):
        replace_token(db, "u1")
    assert disable_account(db, "u1", datetime.now(UTC)) == NOW, "once is for ever"


def test_guessing_is_slow_and_does_not_lock_out_whom_we_know(db: psycopg.Connection[Any], database_url: str) -> None:
    known, other = add_account(db, Wanted(code="u1")).token, add_account(db, Wanted(code="u2")).token
    desk = IdentityDesk(strangers=Buckets(rate=0.001, burst=5))

    async def run() -> None:
        async with _asked(database_url, desk=desk) as (_, client):
            assert (await client.get("/v1/who", headers=_bearer(known))).status_code == 200
            guesses = [(await client.get("/v1/who", headers=_bearer("A" * 42 + str(n)))).status_code for n in range(9)]
            assert guesses == [401] * 5 + [429] * 4
            assert (await client.get("/v1/who", headers=_bearer(other))).status_code == 429, "not looked up any more"
            assert (await client.get("/v1/who", headers=_bearer(known))).status_code == 200

    asyncio.run(run())


def test_an_account_that_hammers_waits_alone(db: psycopg.Connection[Any], database_url: str) -> None:
    busy, calm = add_account(db, Wanted(code="u1")).token, add_account(db, Wanted(code="u2")).token
    desk = IdentityDesk(accounts=Buckets(rate=0.5, burst=3))

    async def run() -> None:
        async with _asked(database_url, desk=desk) as (_, client):
            answers = [await client.get("/v1/who", headers=_bearer(busy)) for _ in range(4)]
            assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
            assert answers[-1].headers["retry-after"] == "2"
            assert answers[-1].json()["code"] == "too_many_requests"
            assert (await client.get("/v1/who", headers=_bearer(calm))).status_code == 200

    asyncio.run(run())


def test_memory_of_accounts_is_bounded() -> None:
    desk = IdentityDesk()
    for number in range(5_100):
        desk.remember(number.to_bytes(32, "big"), Person(id=number, code=f"u{number}", role=Role.DRIVER), 0.0)
    assert len(desk) == 5_000
    assert desk.recall((5_099).to_bytes(32, "big"), 1.0) is not None
    assert desk.recall((0).to_bytes(32, "big"), 1.0) is None


def test_a_database_that_is_away_is_503(caplog: pytest.LogCaptureFixture) -> None:
    token = "A" * 43

    async def run() -> httpx.Response:
        pool = AsyncConnectionPool(
            "postgresql://nobody@127.0.0.1:1/none", min_size=0, max_size=1, timeout=0.1, open=False
        )
        api = ApiState.build(HttpSettings(), clock=lambda: 0, database=pool)
        app = create_app(api)

        @app.router.get("/v1/who")
        async def who(request: Request) -> Response:
            return Response((await identify(api, request)).code)

        async with pool, httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
            return await client.get("/v1/who", headers=_bearer(token))

    with caplog.at_level(logging.DEBUG):
        answer = asyncio.run(run())
    assert answer.status_code == 503
    assert token not in caplog.text


def test_the_command_makes_shows_once_and_ends(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE", "REDIS", "MQTT"):
        monkeypatch.setenv(f"PARKING_{name}_URL", database_url if name == "DATABASE" else f"{name.lower()}://none")
    run = CliRunner()
    app = application()

    def parking(*arguments: str) -> str:
        done = run.invoke(app, ["users", *arguments])
        assert done.exit_code == 0, (done.output, done.exception)
        return done.output

    made = json.loads(parking("add", "u1", "--group", "patient", "--plate", "苏B12345", "--json"))
    with psycopg.connect(database_url) as connection:
        digest = digest_of(made["token"])
        found = connection.execute("SELECT code FROM user_accounts WHERE token_digest = %s", (digest,)).fetchone()
    assert found == ("u1",)
    [listed] = [json.loads(line) for line in parking("list", "--json").splitlines()]
    assert (listed["code"], listed["groups"], listed["plates"]) == ("u1", ["patient"], ["苏B·**345"])
    assert made["token"] not in parking("list")
    assert "苏BD12345" in parking("plates", "u1", "--add", "苏BD12345")
    assert json.loads(parking("token", "u1", "--json"))["token"] != made["token"]
    assert "disabled since" in parking("disable", "u1")
    assert parking("list", "--json") == ""
    assert "u1" in parking("list", "--disabled")
    assert "shown once" in run.invoke(app, ["users", "--help"]).output


def test_many_drivers_are_made_in_one_go(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE", "REDIS", "MQTT"):
        monkeypatch.setenv(f"PARKING_{name}_URL", database_url if name == "DATABASE" else f"{name.lower()}://none")
    run, app, file = CliRunner(), application(), tmp_path / "drivers.json"
    wanted = ["users", "add-drivers", "200", "--to", str(file), "--group", "patient=0.5"]
    assert run.invoke(app, wanted).exit_code == 0
    drivers = json.loads(file.read_text("utf-8"))
    assert file.stat().st_mode & 0o077 == 0
    assert len({driver["token"] for driver in drivers}) == len({driver["plates"][0] for driver in drivers}) == 200
    assert 60 < sum(driver["groups"] == ["patient"] for driver in drivers) < 140
    again = run.invoke(app, wanted)
    assert isinstance(again.exception, InvalidInputError), "an existing file is kept"
    other = tmp_path / "other.json"
    taken = run.invoke(app, [*wanted[:4], str(other)])
    assert isinstance(taken.exception, InvalidInputError), "codes are taken"
    assert not other.exists()
    wrong = run.invoke(app, [*wanted[:4], str(other), "--group", "patient=2"])
    assert isinstance(wrong.exception, InvalidInputError)
