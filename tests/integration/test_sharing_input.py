"""Whatever is sent to the routes of shared parking is answered by a problem document that is not the server's fault."""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.people import Role
from parking_core.sharing import AllocationPolicy
from tests.shared_town import NIGHTS
from tests.sharing_stage import SharingStage, request, sharing_stage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

NUL = "a\x00b"
EDGES = ("0001-01-01", "0001-01-07", "9999-12-31", "9999-12-25")
MOMENTS = (
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00Z",
    "9999-12-31T23:59:59-14:00",
    "9999-06-01T00:00:00Z",
    "2600-01-01T00:00:00Z",
)
ODD: tuple[Any, ...] = (
    None,
    True,
    0,
    -1,
    2**31,
    2**63,
    10**30,
    0.5,
    1e308,
    -1e308,
    "",
    "x",
    NUL,
    "\U0001f697",
    "9" * 5000,
    [],
    [[]],
    {},
    {"": None},
    [NUL],
    {NUL: NUL},
    *EDGES,
    *MOMENTS,
)
_KEYS = itertools.count()
AGREEMENTS = "/v1/operator/agreements"
POLICY = "/v1/planning/allocation-policy"
RAW = (b"", b"{", b"\xff\xfe", b"NaN", b'{"a": NaN}', b"[" * 5000, b'"\\ud800"', b'{"a": 1e999}')
CHANGES = (
    ("POST", "/v1/reservations", "u1", request()),
    ("POST", "/v1/permits", "u1", {"plate": "苏B12345", "lot": "S01", "first_day": "2026-12-01", "months": 1}),
    ("POST", "/v1/permits/P-0000000000/give-back", "u1", {"at": "2026-12-01T00:00:00Z"}),
    ("POST", "/v1/me/notices/seen", "u1", {"until": 1}),
    (
        "POST",
        AGREEMENTS,
        "op",
        {"code": "A-9", "lot": "X09", "terms": {"notice_h": 0}, "classes": [{"windows": NIGHTS, "quota": 1}]},
    ),
    ("PATCH", f"{AGREEMENTS}/A-S01", "op", {"terms": {}, "classes": [{"windows": NIGHTS, "spaces": ["A000"]}]}),
    ("PUT", f"{AGREEMENTS}/A-S01/state", "di", {"state": "terminated", "since": "2026-12-24T00:00:00Z"}),
    (
        "POST",
        f"{AGREEMENTS}/A-S01/suspensions",
        "di",
        {"reason": "x", "date": "2026-12-24", "since": None, "until": None},
    ),
    (
        "POST",
        f"{AGREEMENTS}/A-S01/suspensions",
        "di",
        {"reason": "x", "since": "2026-12-24T00:00:00Z", "until": "2026-12-25T00:00:00Z", "override_notice": False},
    ),
    ("POST", "/v1/operator/permits/P-0000000000/refuse", "op", {"why": "x"}),
    ("PUT", POLICY, "di", {"policy": AllocationPolicy().document()}),
    ("PUT", POLICY, "di", {"policy": {}, "valid_from": "2026-12-24T00:00:00Z"}),
)
READS = (
    ("/v1/reservations", "u1", ("cursor", "limit", "state", "active")),
    ("/v1/permits", "u1", ("cursor", "limit")),
    ("/v1/me/notices", "u1", ("cursor", "limit", "unseen")),
    (AGREEMENTS, "op", ("cursor", "limit", "state")),
    (f"{AGREEMENTS}/A-S01/calendar", "op", ("from", "days")),
    ("/v1/operator/permits", "op", ("cursor", "limit", "state")),
    ("/v1/planning/refused-demand", "di", ("from", "until", "format")),
    ("/v1/planning/allocation-rounds", "di", ("from", "until", "limit")),
    ("/v1/planning/sharing-use", "di", ("from", "until", "format")),
)


def _cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _variants(document: Any) -> Iterator[Any]:
    """The document with each of its values, at any depth, in turn replaced."""
    yield from ODD
    if isinstance(document, dict):
        for name, value in document.items():
            yield {key: each for key, each in document.items() if key != name}
            for changed in _variants(value):
                yield document | {name: changed}
    elif isinstance(document, list):
        for place, value in enumerate(document):
            for changed in _variants(value):
                yield [*document[:place], changed, *document[place + 1 :]]


async def _at(stage: SharingStage, method: str, path: str, who: str, **more: Any) -> int:
    stage.api.identity.accounts._levels.clear()
    headers = stage.as_person(who) | {"If-Match": '"1"', "Content-Type": "application/json"} | more.pop("headers", {})
    if method == "POST" and path in {"/v1/reservations", "/v1/permits"}:
        headers.setdefault("Idempotency-Key", f"k{next(_KEYS)}")
    answer = await stage.http.request(method, path, headers=headers, **more)
    if answer.is_error:
        document = answer.json()
        assert answer.headers["content-type"].startswith("application/problem+json")
        assert document["status"] == answer.status_code
    return answer.status_code


def _staged(stage: SharingStage) -> None:
    town = stage.town
    town.lot([2])
    town.person("u1", "苏B12345")
    town.person("op", "苏B00001", role=Role.OPERATOR, operator="op1")
    town.person("di", "苏B00003", role=Role.DISTRICT)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: f"{change[0]} {change[1]}")
def test_bodies_of_any_kind(db: Connection[Any], database_url: str, change: tuple[str, str, str, Any]) -> None:
    method, path, who, usual = change

    async def run() -> None:
        bad = []
        async with sharing_stage(db, database_url) as stage:
            _staged(stage)
            for raw in [*RAW, *(json.dumps(each).encode() for each in _variants(usual))]:
                stage.clock.ahead += timedelta(seconds=1)
                status = await _at(stage, method, path, who, content=raw)
                # Whatever was taken must not be in the way of the next driver.
                if status >= 500 or (
                    status < 400 and (await stage.ask(key=f"then-{stage.clock()}")).status_code >= 500
                ):
                    bad.append((status, raw[:150]))
        assert not bad, "\n".join(map(str, bad))

    asyncio.run(run())


def test_queries_of_any_kind(db: Connection[Any], database_url: str) -> None:
    texts = ["", "0", "-1", "1e9", "9" * 30, "%00", "%ff", "%F0%9F%9A%97", "null", "true", "NaN", *EDGES, *MOMENTS]
    texts += [_cursor(text) for text in (NUL, "\x00", "9" * 18, "-5", "x" * 290, "苏", "1\n")]

    async def run() -> None:
        bad = []
        async with sharing_stage(db, database_url) as stage:
            _staged(stage)
            for path, who, names in READS:
                for name in names:
                    for text in texts:
                        status = await _at(stage, "GET", f"{path}?{name}={text}", who)
                        if status >= 500:
                            bad.append((path, name, text, status))
                if "until" in names:
                    for first in EDGES:
                        for last in EDGES:
                            status = await _at(stage, "GET", f"{path}?from={first}&until={last}", who)
                            if status >= 500:
                                bad.append((path, first, last, status))
        assert not bad, "\n".join(map(str, bad))

    asyncio.run(run())


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE"])
def test_addresses_and_methods_of_any_kind(db: Connection[Any], database_url: str, method: str) -> None:
    places = (
        "/v1/reservations/{}",
        "/v1/reservations/{}/cancel",
        "/v1/permits/{}",
        "/v1/permits/{}/withdraw",
        "/v1/operator/permits/{}/approve",
        "/v1/operator/agreements/{}",
        "/v1/operator/agreements/{}/calendar",
        "/v1/operator/agreements/{}/suspensions",
        "/v1/operator/agreements/{}/state",
    )
    names = ("%00", "a%00b", "%ff", "%F0%9F%9A%97", "x" * 4000, "..", "%2F", "%0a", "A-S01%00", "R-0000000000")

    async def run() -> None:
        bad = []
        async with sharing_stage(db, database_url) as stage:
            _staged(stage)
            for place in places:
                who = "op" if "operator" in place else "u1"
                for name in names:
                    answer = await stage.http.request(
                        method,
                        place.format(name),
                        headers=stage.as_person(who) | {"If-Match": '"1"'},
                        json={"state": "suspended", "reason": "x"},
                    )
                    if answer.status_code >= 500:
                        bad.append((method, place, name[:10], answer.status_code))
        assert not bad, "\n".join(map(str, bad))

    asyncio.run(run())


def test_headers_of_any_kind(db: Connection[Any], database_url: str) -> None:
    async def run() -> None:
        bad = []
        async with sharing_stage(db, database_url) as stage:
            _staged(stage)
            for value in (
                b"",
                b"x",
                b"\xff\xfe",
                b"Bearer",
                b"Bearer ",
                b"Bearer \xff",
                b"Bearer " + b"x" * 5000,
                b'"' + b"9" * 40 + b'"',
            ):
                for name in ("Authorization", "If-Match", "Idempotency-Key", "Content-Type", "If-None-Match"):
                    for method, path, who, usual in CHANGES:
                        status = await _at(
                            stage, method, path, who, content=json.dumps(usual).encode(), headers={name: value}
                        )
                        if status >= 500:
                            bad.append((method, path, name, value[:20], status))
        assert not bad, "\n".join(map(str, bad))

    asyncio.run(run())
