"""`/v1/permits`: recurring permits of shared lots for drivers; `/v1/operator/permits`: the operator decides on them.

An application is sent with an Idempotency-Key: the same key again gets the same answer. Permits of others do not exist for
a driver, and those of other operators' lots do not exist for an operator.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.board import encode
from api.bodies import FieldProblem, InvalidBodyError, idempotency_key, read_body
from api.cursors import Cursor, encode_cursor, number_of
from api.identity import identify
from api.openapi import operation
from api.permit_views import (
    PERMIT_CODE,
    GiveBack,
    PermitApplication,
    PermitPage,
    PermitRefusing,
    PermitView,
    PermitViewer,
)
from api.query import parse_query
from api.reservations import foreign_fields, now_of
from api.years import far_fields
from parking_core.errors import ForbiddenError, NotFoundError
from parking_core.flows import share_permits as flows
from parking_core.people import Role
from parking_core.plates import normal
from parking_core.reservations import PermitState
from parking_core.share_permits import PermitAsk
from parking_core.store import share_permits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from api.state import ApiState
    from parking_core.people import Person
    from parking_core.share_permits import SharedPermit

PermitPath = Annotated[str, Path(description="The permit's code.")]  # only the document reads it
_CODE: Final = re.compile(PERMIT_CODE, re.ASCII)
_FRESH: Final = {"Cache-Control": "no-store"}
_STATUS: Final = {PermitState.REFUSED.value: 200, PermitState.APPLIED.value: 202}  # all others: 201
_APPLIED: Final = {
    201: "Granted: every opening that is known by now is promised.",
    200: "Refused; `refusal` says why and what instead.",
    202: "The operator decides; its first month's price is held.",
}
_KEY: Final = {"Idempotency-Key": "Up to 128 characters, new for every new application: the same key, the same answer."}
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    403: "The account's role may not.",
    404: "You have no such permit, or no such lot shares spaces.",
    409: "The key was used for another application, or the permit is past that.",
    415: "The body is not JSON.",
    422: "Fields or parameters cannot be used; `errors` lists each.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready; `Retry-After` says when to ask again.",
}
PERMIT_SCHEMAS: Final = (PermitApplication, GiveBack, PermitRefusing, PermitView, PermitPage)


class PermitsQuery(msgspec.Struct, frozen=True):
    """Which permits, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Permits a page.")] = 50


class OperatorPermitsQuery(PermitsQuery, frozen=True):
    """Which permits of the operator's lots, by pages."""

    state: Literal[tuple(state.value for state in PermitState)] | None = None  # type: ignore[valid-type]  # of the enum


async def _apply(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.DRIVER)
    key, body = idempotency_key(request), await read_body(PermitApplication, request)
    foreign = foreign_fields(person, body.plate, body.group)
    _check(body, foreign)
    ask = PermitAsk(
        plate=normal(body.plate) or "",
        group=body.group,
        first_day=body.first_day,
        months=body.months,
        lot=body.lot,
        class_code=body.space_class,
        lat=body.lat,
        lon=body.lon,
        walk_m=body.walk_m,
    )
    now = now_of(api)

    def flow(connection: Connection[Any]) -> PermitView:
        if foreign and share_permits.of_key(connection, person.id, key) is None:
            raise InvalidBodyError(*foreign)
        made = flows.apply(connection, api.sharing.offers, person, ask, key=key, now=now)
        return PermitViewer(connection, api.snapshot.zone, own=True).whole(made, now)

    view = await api.sharing.run(flow)
    return _answer(view, _STATUS.get(view.state, 201), {"Location": f"/v1/permits/{view.code}"})


def _check(body: PermitApplication, foreign: Sequence[FieldProblem]) -> None:
    """What a struct cannot say of its fields. What is not the person's may have been his when the key was new.

    Raises:
        InvalidBodyError: names every field that cannot be used.
    """
    problems = []
    if (body.lat is None) != (body.lon is None):
        problems.append(FieldProblem("lat" if body.lat is None else "lon", "Give lat and lon together."))
    if body.lat is None and body.lon is None and body.lot is None:
        problems.append(FieldProblem("lat", "Say where: give lat and lon, or lot."))
    problems += far_fields(first_day=body.first_day)
    if problems:
        raise InvalidBodyError(*problems, *foreign)


def _read(connection: Connection[Any], person: Person, code: str) -> SharedPermit:
    found = share_permits.find(connection, code) if _CODE.fullmatch(code) else None
    if found is None or found.user_id != person.id:
        raise NotFoundError(f"You have no permit {code[:40]!r}; `GET /v1/permits` lists yours.")
    return found


async def _one(api: ApiState, request: Request, code: str) -> Response:
    person, now = await identify(api, request, Role.DRIVER), now_of(api)

    def flow(connection: Connection[Any]) -> PermitView:
        return PermitViewer(connection, api.snapshot.zone, own=True).whole(_read(connection, person, code), now)

    return _answer(await api.sharing.run(flow))


def _page(viewer: PermitViewer, found: Sequence[SharedPermit], limit: int) -> PermitPage:
    shown = found[:limit]
    more = encode_cursor(str(shown[-1].id)) if len(found) > limit else None
    return PermitPage(viewer.views(shown), more)


async def _list(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.DRIVER)
    query = parse_query(PermitsQuery, request.scope["query_string"])
    before = number_of(query.cursor) if query.cursor else None

    def flow(connection: Connection[Any]) -> PermitPage:
        found = share_permits.of_person(connection, person.id, query.limit + 1, before=before)
        return _page(PermitViewer(connection, api.snapshot.zone, own=True), found, query.limit)

    return _answer(await api.sharing.run(flow))


async def _withdraw(api: ApiState, request: Request, code: str) -> Response:
    person, now = await identify(api, request, Role.DRIVER), now_of(api)

    def flow(connection: Connection[Any]) -> PermitView:
        flows.withdraw(connection, person.id, _read(connection, person, code).code, now, zone=api.snapshot.zone)
        return PermitViewer(connection, api.snapshot.zone, own=True).whole(_read(connection, person, code), now)

    return _answer(await api.sharing.run(flow))


async def _give_back(api: ApiState, request: Request, code: str) -> Response:
    person, now = await identify(api, request, Role.DRIVER), now_of(api)
    body = await read_body(GiveBack, request)

    def flow(connection: Connection[Any]) -> PermitView:
        flows.give_back(connection, person.id, _read(connection, person, code).code, body.at, now)
        return PermitViewer(connection, api.snapshot.zone, own=True).whole(_read(connection, person, code), now)

    return _answer(await api.sharing.run(flow))


async def _operator(api: ApiState, request: Request) -> tuple[Person, int]:
    """Staff of an operator, and whose."""
    person = await identify(api, request, Role.OPERATOR)
    if person.operator_id is None:
        raise ForbiddenError("The account belongs to no operator; the district can change that.")
    return person, person.operator_id


async def _of_operator(api: ApiState, request: Request) -> Response:
    _, operator_id = await _operator(api, request)
    query = parse_query(OperatorPermitsQuery, request.scope["query_string"])
    before = number_of(query.cursor) if query.cursor else None

    def flow(connection: Connection[Any]) -> PermitPage:
        found = share_permits.of_operator(connection, operator_id, query.limit + 1, state=query.state, before=before)
        return _page(PermitViewer(connection, api.snapshot.zone, own=False), found, query.limit)

    return _answer(await api.sharing.run(flow))


async def _decide(api: ApiState, request: Request, code: str, *, approved: bool) -> Response:
    person, _ = await _operator(api, request)
    why = "" if approved else (await read_body(PermitRefusing, request)).why
    now = now_of(api)

    def flow(connection: Connection[Any]) -> PermitView:
        if approved:
            decided = flows.approve(connection, api.sharing.offers, person, code, now)
        else:
            decided = flows.refuse(connection, api.sharing.offers, person, code, now, why=why)
        return PermitViewer(connection, api.snapshot.zone, own=False).whole(decided, now)

    return _answer(await api.sharing.run(flow))


def _answer(view: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(view), status, {**_FRESH, **(headers or {})}, media_type="application/json")


def permit_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of drivers and of operators."""
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}
    _driver_routes(router, api, known)
    _operator_routes(router, api, known)


def _driver_routes(router: APIRouter, api: ApiState, known: dict[str, Any]) -> None:
    @router.post(
        "/v1/permits",
        tags=["permits"],
        **operation(
            PermitView,
            body=PermitApplication,
            errors=(401, 403, 404, 409, 415, 422, 429, 503),
            headers=_KEY,
            statuses=_APPLIED,
            **known,
        ),
        summary="Apply for a permit of a shared lot",
    )
    async def apply(request: Request) -> Response:
        """Granted or refused at once, unless the lot's operator decides; `refusal` names full openings and alternatives."""
        return await _apply(api, request)

    @router.get(
        "/v1/permits",
        tags=["permits"],
        **operation(PermitPage, query=PermitsQuery, errors=(401, 403, 422, 429, 503), **known),
        summary="Your permits",
    )
    async def listed(request: Request) -> Response:
        """The newest first, refused applications too."""
        return await _list(api, request)

    @router.get(
        "/v1/permits/{code}",
        tags=["permits"],
        **operation(PermitView, errors=(401, 403, 404, 429, 503), **known),
        summary="One of your permits",
    )
    async def one(request: Request, code: PermitPath) -> Response:
        """With its openings to come and all that happened to it."""
        return await _one(api, request, code)

    @router.post(
        "/v1/permits/{code}/withdraw",
        tags=["permits"],
        **operation(PermitView, errors=(401, 403, 404, 409, 429, 503), **known),
        summary="Withdraw from a permit",
    )
    async def withdraw(request: Request, code: PermitPath) -> Response:
        """From the next month on; at once and free of charge before it begins. Takes no body."""
        return await _withdraw(api, request, code)

    @router.post(
        "/v1/permits/{code}/give-back",
        tags=["permits"],
        **operation(PermitView, body=GiveBack, errors=(401, 403, 404, 409, 415, 422, 429, 503), **known),
        summary="Give an opening back",
    )
    async def give_back(request: Request, code: PermitPath) -> Response:
        """Tonight you do not come: others may have the space. Before the opening begins; nothing is paid back for it."""
        return await _give_back(api, request, code)


def _operator_routes(router: APIRouter, api: ApiState, known: dict[str, Any]) -> None:
    @router.get(
        "/v1/operator/permits",
        tags=["operators"],
        **operation(PermitPage, query=OperatorPermitsQuery, errors=(401, 403, 422, 429, 503), **known),
        summary="Permits of your lots",
    )
    async def of_operator(request: Request) -> Response:
        """The newest first; plates are masked."""
        return await _of_operator(api, request)

    @router.post(
        "/v1/operator/permits/{code}/approve",
        tags=["operators"],
        **operation(PermitView, errors=(401, 403, 404, 409, 429, 503), **known),
        summary="Approve an application",
    )
    async def approve(request: Request, code: PermitPath) -> Response:
        """It becomes a permit; where its class has no space any more it is refused, as `state` says. Takes no body."""
        return await _decide(api, request, code, approved=True)

    @router.post(
        "/v1/operator/permits/{code}/refuse",
        tags=["operators"],
        **operation(PermitView, body=PermitRefusing, errors=(401, 403, 404, 409, 415, 422, 429, 503), **known),
        summary="Refuse an application",
    )
    async def refuse(request: Request, code: PermitPath) -> Response:
        """The applicant reads why."""
        return await _decide(api, request, code, approved=False)
