"""`/v1/operator/agreements`: operators share spaces of their lots, see what is promised of them, and take dates back.

An operator sees and changes agreements of his own lots; the others do not exist for him. The district may all, and alone may
override a notice. What changes an agreement names the version that was seen (If-Match); what takes dates back may be sent
again, the same stretch is the same suspension.
"""

from __future__ import annotations

import re
from datetime import date  # noqa: TC003  # msgspec reads the annotations of the query
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.agreement_calendar import calendar_of
from api.agreement_views import (
    AgreementChange,
    AgreementPage,
    AgreementView,
    AgreementWish,
    CalendarView,
    StateWish,
    SuspensionList,
    SuspensionView,
    SuspensionWish,
    agreement_view,
    suspension_view,
    taken_view,
)
from api.board import encode
from api.bodies import FieldProblem, InvalidBodyError, read_body
from api.cursors import Cursor, decode_cursor, encode_cursor
from api.identity import identify
from api.openapi import operation
from api.query import parse_query
from api.reservations import now_of
from api.years import check_fields, check_parameters
from parking_core.errors import ForbiddenError, NotFoundError
from parking_core.flows.agree_sharing import Agreed, Proposal, become, change, propose, terminate
from parking_core.flows.suspend_sharing import suspend_stretch
from parking_core.people import Role
from parking_core.sharing import AgreementState, read_terms
from parking_core.store import agreements, suspensions

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from api.state import ApiState
    from parking_core.people import Person
    from parking_core.store.agreements import Agreement

AgreementPath = Annotated[str, Path(description="The agreement's code.")]  # only the document reads it
_VERSION: Final = re.compile(r'(?:W/)?"(\d{1,9})"', re.ASCII)
_FRESH: Final = {"Cache-Control": "no-store"}
_IF_MATCH: Final = {"If-Match": "The `ETag` of the agreement as you have seen it."}
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    403: "The account is neither an operator's nor the district's, or only the district may that.",
    404: "You have no such agreement, or no such lot.",
    409: "The life cycle, the notice or another agreement is in the way; `code` and `detail` say which.",
    412: "It was changed meanwhile; read it again.",
    415: "The body is not JSON.",
    422: "Fields or parameters cannot be used; `errors` or `detail` says why.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready; `Retry-After` says when to ask again.",
}
_CREATED: Final = {201: "Negotiations have begun.", 200: "The same was proposed before; as it stands."}
_TAKEN: Final = {201: "Taken back from now on.", 200: "The same stretch was taken back before; as it stands."}

AGREEMENT_SCHEMAS: Final = (
    AgreementPage,
    AgreementView,
    AgreementWish,
    AgreementChange,
    StateWish,
    CalendarView,
    SuspensionList,
    SuspensionView,
    SuspensionWish,
)


class AgreementsQuery(msgspec.Struct, frozen=True):
    """Which agreements, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Agreements a page.")] = 50
    state: Literal["negotiating", "signed", "published", "suspended", "terminated"] | None = None


class CalendarQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Which local dates."""

    from_: Annotated[date, Meta(description="The first; without: today.")] | None = None
    days: Annotated[int, Meta(ge=1, le=62)] = 7


def _who(person: Person) -> str:
    return f"{person.role.value}:{person.code}"


def _seen(connection: Connection[Any], person: Person, code: str) -> Agreement:
    """The agreement, where the person may see it.

    Raises:
        NotFoundError: there is none, or it is another operator's.
    """
    found = agreements.find(connection, code)
    mine = person.role is Role.DISTRICT or (found is not None and _is_his(person, found.operator_id))
    if found is None or not mine:
        raise NotFoundError(f"You have no sharing agreement {code!r}; GET /v1/operator/agreements lists yours.")
    return found


def _is_his(person: Person, operator_id: int | None) -> bool:
    return operator_id is not None and person.operator_id == operator_id


def _version(request: Request) -> int:
    """The version that the client has seen.

    Raises:
        InvalidBodyError: If-Match names none.
    """
    match = _VERSION.fullmatch(request.headers.get("if-match", "").strip())
    if match is None:
        raise InvalidBodyError(FieldProblem("If-Match", 'Send the `ETag` of the agreement, such as "3".'))
    return int(match[1])


def _allow_override(person: Person, *, wanted: bool) -> None:
    if wanted and person.role is not Role.DISTRICT:
        raise ForbiddenError("Only the district may override the notice of an agreement; leave override_notice out.")


def _answer(view: msgspec.Struct, status: int = 200, headers: Mapping[str, str] = _FRESH) -> Response:
    return Response(encode(view), status, {**_FRESH, **headers}, media_type="application/json")


def _agreement(view: AgreementView, status: int = 200) -> Response:
    place = f"/v1/operator/agreements/{view.code}"
    return _answer(view, status, {"ETag": f'"{view.version}"', **({"Location": place} if status == 201 else {})})


async def _list(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    query = parse_query(AgreementsQuery, request.scope["query_string"])
    after = decode_cursor(query.cursor) if query.cursor else None
    operator_id = None if person.role is Role.DISTRICT else person.operator_id or -1
    state = AgreementState(query.state) if query.state else None
    found = await api.sharing.run(
        lambda connection: agreements.listed(
            connection, operator_id=operator_id, state=state, after=after, most=query.limit + 1
        )
    )
    shown = found[: query.limit]
    more = encode_cursor(shown[-1].code) if len(found) > query.limit else None
    return _answer(AgreementPage([agreement_view(each, api.snapshot.zone) for each in shown], more))


async def _propose(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    body = await read_body(AgreementWish, request)
    classes = tuple(each.proposed() for each in body.classes)
    proposal = Proposal(body.code, body.lot, read_terms(body.terms), classes)
    now, zone = now_of(api), api.snapshot.zone

    def flow(connection: Connection[Any]) -> tuple[AgreementView, bool]:
        lot = agreements.lot_spaces(connection, body.lot)
        if person.role is not Role.DISTRICT and not _is_his(person, lot.operator_id):
            raise NotFoundError(f"You run no lot {body.lot!r}.")
        agreed = propose(connection, proposal, now, by=_who(person), zone=zone)
        return _whole(connection, agreed, zone), agreed.new

    view, new = await api.sharing.run(flow)
    return _agreement(view, 201 if new else 200)


def _whole(connection: Connection[Any], agreed: Agreed, zone: ZoneInfo) -> AgreementView:
    found = agreed.agreement
    return agreement_view(
        found,
        zone,
        classes=agreements.classes_of(connection, found.id),
        advice=agreed.advice,
        events=agreements.events(connection, found.id),
        taken_back=agreed.taken_back,
    )


async def _show(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    zone = api.snapshot.zone
    view = await api.sharing.run(lambda connection: _whole(connection, Agreed(_seen(connection, person, code)), zone))
    return _agreement(view)


async def _change(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    version, body = _version(request), await read_body(AgreementChange, request)
    terms = None if body.terms is None else read_terms(body.terms)
    classes = None if body.classes is None else [each.proposed() for each in body.classes]
    now, zone = now_of(api), api.snapshot.zone

    def flow(connection: Connection[Any]) -> AgreementView:
        _seen(connection, person, code)
        agreed = change(connection, code, version, now, by=_who(person), zone=zone, terms=terms, classes=classes)
        return _whole(connection, agreed, zone)

    return _agreement(await api.sharing.run(flow))


async def _reach(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    version, body = _version(request), await read_body(StateWish, request)
    _allow_override(person, wanted=body.override_notice)
    check_fields(since=body.since)
    now, zone, by = now_of(api), api.snapshot.zone, _who(person)
    after = AgreementState(body.state)

    def flow(connection: Connection[Any]) -> AgreementView:
        _seen(connection, person, code)
        if after is AgreementState.TERMINATED:
            override = body.override_notice
            agreed = terminate(connection, code, version, now, by=by, zone=zone, since=body.since, override=override)
        else:
            agreed = become(connection, code, version, after, now, by=by, zone=zone)
        return _whole(connection, agreed, zone)

    return _agreement(await api.sharing.run(flow))


async def _calendar(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    query = parse_query(CalendarQuery, request.scope["query_string"])
    check_parameters(from_=query.from_)
    zone = api.snapshot.zone
    first = query.from_ or now_of(api).astimezone(zone).date()

    def flow(connection: Connection[Any]) -> CalendarView:
        return calendar_of(connection, _seen(connection, person, code), (first, query.days), zone)

    return _answer(await api.sharing.run(flow))


async def _suspend(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    body = await read_body(SuspensionWish, request)
    _allow_override(person, wanted=body.override_notice)
    now, zone = now_of(api), api.snapshot.zone
    stretch = body.stretch(zone)

    def flow(connection: Connection[Any]) -> tuple[SuspensionView, bool]:
        _seen(connection, person, code)
        taken = suspend_stretch(
            connection,
            code,
            stretch,
            now,
            reason=body.reason,
            by=_who(person),
            zone=zone,
            override=body.override_notice,
        )
        return taken_view(taken, zone), taken.new

    view, new = await api.sharing.run(flow)
    return _answer(view, 201 if new else 200)


async def _suspensions(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    now, zone = now_of(api), api.snapshot.zone

    def flow(connection: Connection[Any]) -> SuspensionList:
        found = suspensions.of_agreement(connection, _seen(connection, person, code).id, now)
        return SuspensionList([suspension_view(each, zone) for each in found])

    return _answer(await api.sharing.run(flow))


def agreement_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    place = "/v1/operator/agreements"
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}
    reading, changing = (401, 403, 404, 422, 429, 503), (401, 403, 404, 409, 412, 415, 422, 429, 503)
    taking = tuple(status for status in changing if status != 412)

    @router.get(
        place,
        tags=["agreements"],
        **operation(AgreementPage, query=AgreementsQuery, errors=(401, 403, 422, 429, 503), **known),
        summary="Sharing agreements of your lots",
    )
    async def listed(request: Request) -> Response:
        """By code; the district sees all."""
        return await _list(api, request)

    @router.post(
        place,
        tags=["agreements"],
        **operation(AgreementView, body=AgreementWish, errors=taking, statuses=_CREATED, **known),
        summary="Propose to share spaces",
    )
    async def propose_(request: Request) -> Response:
        """Classes with the same windows become one; `advice` says how the windows serve more cars."""
        return await _propose(api, request)

    _agreement_routes(router, api, place, known, (reading, changing))
    _suspension_routes(router, api, place, known, (reading, taking))


def _agreement_routes(
    router: APIRouter,
    api: ApiState,
    place: str,
    known: Mapping[str, Any],
    errors: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    reading, changing = errors

    @router.get(
        place + "/{agreement}",
        tags=["agreements"],
        **operation(AgreementView, errors=reading, **known),
        summary="An agreement with its classes and history",
    )
    async def show(request: Request, agreement: AgreementPath) -> Response:
        """`ETag` is its version."""
        return await _show(api, request, agreement)

    @router.patch(
        place + "/{agreement}",
        tags=["agreements"],
        **operation(AgreementView, body=AgreementChange, errors=changing, headers=_IF_MATCH, **known),
        summary="Change terms or windows while they are negotiated",
    )
    async def change_(request: Request, agreement: AgreementPath) -> Response:
        """Once it is signed they stand; single dates are taken back by suspensions."""
        return await _change(api, request, agreement)

    @router.put(
        place + "/{agreement}/state",
        tags=["agreements"],
        **operation(AgreementView, body=StateWish, errors=changing, headers=_IF_MATCH, **known),
        summary="Sign, publish, suspend, resume or terminate",
    )
    async def reach(request: Request, agreement: AgreementPath) -> Response:
        """`published` from `suspended` resumes; `terminated` moves or refunds every promise after the notice."""
        return await _reach(api, request, agreement)

    @router.get(
        place + "/{agreement}/calendar",
        tags=["agreements"],
        **operation(CalendarView, query=CalendarQuery, errors=reading, **known),
        summary="What is offered, promised and free",
    )
    async def calendar(request: Request, agreement: AgreementPath) -> Response:
        """By class, local date and hour, with openings, what was taken back, and exceptions."""
        return await _calendar(api, request, agreement)


def _suspension_routes(
    router: APIRouter,
    api: ApiState,
    place: str,
    known: Mapping[str, Any],
    errors: tuple[tuple[int, ...], tuple[int, ...]],
) -> None:
    @router.get(
        place + "/{agreement}/suspensions",
        tags=["agreements"],
        **operation(SuspensionList, errors=errors[0], **known),
        summary="What was taken back and is not over",
    )
    async def suspended(request: Request, agreement: AgreementPath) -> Response:
        """With how many promises were moved and refunded by now."""
        return await _suspensions(api, request, agreement)

    @router.post(
        place + "/{agreement}/suspensions",
        tags=["agreements"],
        **operation(SuspensionView, body=SuspensionWish, errors=errors[1], statuses=_TAKEN, **known),
        summary="Take back a date or a stretch",
    )
    async def suspend(request: Request, agreement: AgreementPath) -> Response:
        """Nothing is promised in it from then on; each promise that meets it is moved or refunded within seconds."""
        return await _suspend(api, request, agreement)
