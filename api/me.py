"""`/v1/me`: who a token belongs to, and what the person has to be told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from api.board import encode
from api.bodies import read_body
from api.cursors import Cursor, encode_cursor, number_of
from api.identity import identify
from api.openapi import operation
from api.query import parse_query
from api.reservations import now_of
from parking_core.store import reservation_pages

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from api.state import ApiState

_FRESH: Final = {"Cache-Control": "no-store"}
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    415: "The body is not JSON.",
    422: "Fields or parameters cannot be used; `errors` lists each.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready; `Retry-After` says when to ask again.",
}


class Me(msgspec.Struct, frozen=True):
    """The account behind a token."""

    code: str
    role: str
    groups: list[str]
    plates: list[str]


class NoticesQuery(msgspec.Struct, frozen=True):
    """Which notices, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Notices a page.")] = 50
    unseen: Annotated[bool, Meta(description="Only those that were not seen yet.")] = False


class NoticeView(msgspec.Struct, frozen=True):
    """One thing that a person has to be told."""

    id: int
    kind: Annotated[str, Meta(description="reservation_granted, reservation_moved, overstay_warned, ...")]
    at: str
    detail: Annotated[dict[str, Any], Meta(description="Codes and figures that `kind` is about.")]
    seen_at: str | None


class NoticePage(msgspec.Struct, frozen=True):
    """Notices, the newest first."""

    notices: list[NoticeView]
    next: Annotated[str, Meta(description="`cursor` of the next page; null on the last.")] | None


class NoticesSeen(msgspec.Struct, frozen=True):
    """Up to which notice the person has seen them."""

    until: Annotated[int, Meta(ge=1, le=2**53, description="`id` of the newest that was shown.")]


class SeenCount(msgspec.Struct, frozen=True):
    """How many notices were not seen before."""

    seen: int


async def _me(api: ApiState, request: Request) -> Response:
    person = await identify(api, request)
    me = Me(person.code, person.role.value, sorted(person.groups), sorted(person.plates))
    return _answer(me)


async def _notices(api: ApiState, request: Request) -> Response:
    person = await identify(api, request)
    query = parse_query(NoticesQuery, request.scope["query_string"])
    before = number_of(query.cursor) if query.cursor else None

    def flow(connection: Connection[Any]) -> list[reservation_pages.Notice]:
        return reservation_pages.notices(
            connection, person.id, unseen=query.unseen, before=before, limit=query.limit + 1
        )

    found = await api.sharing.run(flow)
    shown = found[: query.limit]
    more = encode_cursor(str(shown[-1].id)) if len(found) > query.limit else None
    return _answer(NoticePage([_view(api, one) for one in shown], more))


def _view(api: ApiState, one: reservation_pages.Notice) -> NoticeView:
    def text(at: datetime) -> str:
        return at.astimezone(api.snapshot.zone).isoformat(timespec="seconds")

    return NoticeView(one.id, one.kind, text(one.at), dict(one.detail), text(one.seen_at) if one.seen_at else None)


async def _seen(api: ApiState, request: Request) -> Response:
    person, now = await identify(api, request), now_of(api)
    body = await read_body(NoticesSeen, request)
    count = await api.sharing.run(
        lambda connection: reservation_pages.see_notices(connection, person.id, body.until, now)
    )
    return _answer(SeenCount(count))


def _answer(view: msgspec.Struct) -> Response:
    return Response(encode(view), 200, _FRESH, media_type="application/json")


def me_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}

    @router.get(
        "/v1/me", tags=["me"], **operation(Me, errors=(401, 429, 503), **known), summary="The account of your token"
    )
    async def me(request: Request) -> Response:
        """Role, groups and plates."""
        return await _me(api, request)

    @router.get(
        "/v1/me/notices",
        tags=["me"],
        **operation(NoticePage, query=NoticesQuery, errors=(401, 422, 429, 503), **known),
        summary="What you have to be told",
    )
    async def notices(request: Request) -> Response:
        """The newest first: promises made, moved, ended; overstays; permits."""
        return await _notices(api, request)

    @router.post(
        "/v1/me/notices/seen",
        tags=["me"],
        **operation(SeenCount, body=NoticesSeen, errors=(401, 415, 422, 429, 503), **known),
        summary="Mark notices as seen",
    )
    async def seen(request: Request) -> Response:
        """All up to the one named; once more it changes nothing."""
        return await _seen(api, request)
