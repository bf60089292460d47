"""`/v1/reservations`: a driver asks for a shared space and is answered at once, sees his promises and gives them back.

What takes a space is sent with an Idempotency-Key: the same key again gets the same answer, whatever was lost on the way.
Reservations of others do not exist for a driver.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.board import encode
from api.bodies import FieldProblem, InvalidBodyError, idempotency_key, read_body
from api.cursors import Cursor, encode_cursor, number_of
from api.identity import identify
from api.openapi import operation
from api.query import parse_query
from api.reservation_views import (
    RESERVATION_CODE,
    EventView,
    ReservationPage,
    ReservationRequest,
    ReservationView,
    Viewer,
    whole_second,
)
from api.years import far_fields
from parking_core.errors import NotFoundError
from parking_core.flows.cancel_reservation import cancel_reservation
from parking_core.flows.reserve import reserve
from parking_core.people import Role
from parking_core.plates import normal
from parking_core.reservations import Ask, ReservationState
from parking_core.store import reservation_pages, reservations
from parking_core.store.reservation_pages import SeenReservation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from api.state import ApiState
    from parking_core.offers import Offer
    from parking_core.people import Person
    from parking_core.reservations import Reservation

ReservationPath = Annotated[str, Path(description="The reservation's code.")]  # only the document reads it
_CODE: Final = re.compile(RESERVATION_CODE, re.ASCII)
_FRESH: Final = {"Cache-Control": "no-store"}
_ACTIVE: Final = (ReservationState.WAITING, ReservationState.GRANTED, ReservationState.ARRIVED)
_STATUS: Final = {ReservationState.REFUSED: 200, ReservationState.WAITING: 202}  # all others: 201
_ASKED: Final = {
    201: "Granted: a space is promised.",
    200: "Refused; `refusal` says why and what would be granted instead.",
    202: "It waits for the round of the evening before.",
}
_KEY: Final = {"Idempotency-Key": "Up to 128 characters, new for every new request: the same key, the same answer."}
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    403: "The account is no driver's.",
    404: "You have no such reservation.",
    409: "The key was used for another request, or the reservation is past that.",
    415: "The body is not JSON.",
    422: "Fields or parameters cannot be used; `errors` lists each.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready; `Retry-After` says when to ask again.",
}


class ReservationsQuery(msgspec.Struct, frozen=True):
    """Which reservations, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Reservations a page.")] = 50
    state: Literal[tuple(state.value for state in ReservationState)] | None = None  # type: ignore[valid-type]  # of the enum
    active: Annotated[bool, Meta(description="Those that wait, are promised, or whose car is inside.")] = False


def now_of(api: ApiState) -> datetime:
    """The moment of a request."""
    return datetime.fromtimestamp(api.clock() / 1e6, UTC)


async def _ask(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.DRIVER)
    key, body = idempotency_key(request), await read_body(ReservationRequest, request)
    foreign = foreign_fields(person, body.plate, body.group)
    _check(body, foreign)
    now = now_of(api)

    def flow(connection: Connection[Any]) -> ReservationView:
        if foreign and reservations.of_key(connection, person.id, key) is None:
            raise InvalidBodyError(*foreign)
        offer, _ = api.sharing.offers.known(connection, now)
        made = reserve(connection, api.sharing.offers, person, _ask_of(body, offer), key=key, now=now)
        offer, _ = api.sharing.offers.known(connection, now)
        viewer = Viewer(offer, api.snapshot.zone)
        view = _fresh(connection, viewer, made) if made.asked_at == now else None
        return view or viewer.view(_read(connection, person, made.code))

    view = await api.sharing.run(flow)
    status = _STATUS.get(ReservationState(view.state), 201)
    return _answer(view, status, {"Location": f"/v1/reservations/{view.code}"})


def _fresh(connection: Connection[Any], viewer: Viewer, made: Reservation) -> ReservationView | None:
    """Of what was decided this moment, with as few looks at the database as possible; None: it takes a whole one."""
    match made.state:
        case ReservationState.GRANTED:
            return viewer.fresh(made)
        case ReservationState.REFUSED:
            return viewer.view(SeenReservation(made, refusal=reservations.events(connection, made.id)[-1].detail))
        case _:
            return None


def foreign_fields(person: Person, plate: str, group: str) -> list[FieldProblem]:
    """Fields of a body that name what is not the person's."""
    problems = []
    if normal(plate) not in person.plates:
        problems.append(FieldProblem("plate", "It is none of your plates; `GET /v1/me` lists them."))
    if not person.belongs_to(group):
        problems.append(FieldProblem("group", "You are not registered for it; `GET /v1/me` lists your groups."))
    return problems


def _check(body: ReservationRequest, foreign: Sequence[FieldProblem]) -> None:
    """What a struct cannot say of its fields. What is not the person's may have been his when the key was new.

    Raises:
        InvalidBodyError: names every field that cannot be used.
    """
    problems = []
    if (body.lat is None) != (body.lon is None):
        problems.append(FieldProblem("lat" if body.lat is None else "lon", "Give lat and lon together."))
    if body.lat is None and body.lon is None and body.lot is None:
        problems.append(FieldProblem("lat", "Say where: give lat and lon, or lot."))
    far = far_fields(arrive_at=body.arrive_at, depart_at=body.depart_at)
    problems += far
    if not far and whole_second(body.depart_at) <= whole_second(body.arrive_at):
        problems.append(FieldProblem("depart_at", "It is not after arrive_at."))
    if problems:
        raise InvalidBodyError(*problems, *foreign)


def _ask_of(body: ReservationRequest, offer: Offer) -> Ask:
    """The request in the domain's words; without a place it is the lot's.

    Raises:
        InvalidBodyError: no lot of this code shares spaces.
    """
    lat, lon = body.lat, body.lon
    if lat is None or lon is None:
        lot = next((lot for lot in offer.lots if lot.code == body.lot), None)
        if lot is None:
            raise InvalidBodyError(FieldProblem("lot", "No lot of this code shares spaces at present."))
        lat, lon = lot.lat, lot.lon
    return Ask(
        plate=normal(body.plate) or "",
        group=body.group,
        lat=lat,
        lon=lon,
        walk_m=body.walk_m,
        arrive_at=whole_second(body.arrive_at),
        depart_at=whole_second(body.depart_at),
        lot=body.lot,
        instead_of=body.instead_of,
        waits=body.wait_for_round,
    )


def _read(connection: Connection[Any], person: Person, code: str) -> SeenReservation:
    found = reservation_pages.one(connection, person.id, code) if _CODE.fullmatch(code) else None
    if found is None:
        raise NotFoundError(f"You have no reservation {code[:40]!r}; `GET /v1/reservations` lists yours.")
    return found


async def _one(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.DRIVER)

    def flow(connection: Connection[Any]) -> ReservationView:
        found = _read(connection, person, code)
        viewer = Viewer(api.sharing.offers.of(connection, now_of(api)), api.snapshot.zone)
        events = reservations.events(connection, found.reservation.id)
        return viewer.view(found, [EventView(event.kind.value, viewer.text(event.at)) for event in events])

    return _answer(await api.sharing.run(flow))


async def _list(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.DRIVER)
    query = parse_query(ReservationsQuery, request.scope["query_string"])
    before = number_of(query.cursor) if query.cursor else None
    states = [query.state] if query.state else [state.value for state in _ACTIVE] if query.active else None

    def flow(connection: Connection[Any]) -> ReservationPage:
        viewer = Viewer(api.sharing.offers.of(connection, now_of(api)), api.snapshot.zone)
        found = reservation_pages.page(connection, person.id, states=states, before=before, limit=query.limit + 1)
        shown = found[: query.limit]
        more = encode_cursor(str(shown[-1].reservation.id)) if len(found) > query.limit else None
        return ReservationPage([viewer.view(one) for one in shown], more)

    return _answer(await api.sharing.run(flow))


async def _cancel(api: ApiState, request: Request, code: str) -> Response:
    person, now = await identify(api, request, Role.DRIVER), now_of(api)

    def flow(connection: Connection[Any]) -> ReservationView:
        _read(connection, person, code)
        cancel_reservation(connection, person, code, now)
        viewer = Viewer(api.sharing.offers.of(connection, now), api.snapshot.zone)
        return viewer.view(_read(connection, person, code))

    return _answer(await api.sharing.run(flow))


def _answer(view: msgspec.Struct, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(encode(view), status, {**_FRESH, **(headers or {})}, media_type="application/json")


def reservation_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}

    @router.post(
        "/v1/reservations",
        tags=["reservations"],
        **operation(
            ReservationView,
            body=ReservationRequest,
            errors=(401, 403, 409, 415, 422, 429, 503),
            headers=_KEY,
            statuses=_ASKED,
            **known,
        ),
        summary="Ask for a shared space",
    )
    async def ask(request: Request) -> Response:
        """Granted for ever or refused at once; a grant names the lot, the barrier names the space."""
        return await _ask(api, request)

    @router.get(
        "/v1/reservations",
        tags=["reservations"],
        **operation(ReservationPage, query=ReservationsQuery, errors=(401, 403, 422, 429, 503), **known),
        summary="Your reservations",
    )
    async def listed(request: Request) -> Response:
        """The newest first, refusals too."""
        return await _list(api, request)

    @router.get(
        "/v1/reservations/{code}",
        tags=["reservations"],
        **operation(ReservationView, errors=(401, 403, 404, 429, 503), **known),
        summary="One of your reservations",
    )
    async def one(request: Request, code: ReservationPath) -> Response:
        """With all that happened to it."""
        return await _one(api, request, code)

    @router.post(
        "/v1/reservations/{code}/cancel",
        tags=["reservations"],
        **operation(ReservationView, errors=(401, 403, 404, 409, 429, 503), **known),
        summary="Give a reservation back",
    )
    async def cancel(request: Request, code: ReservationPath) -> Response:
        """Before the car is in the lot; free of charge. Once more it changes nothing. Takes no body."""
        return await _cancel(api, request, code)
