"""`/v1/operator/work-items` and the days of a device: which devices lie, since when, and how one knows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.board import encode
from api.cursors import Cursor, encode_cursor, number_of
from api.device_views import DeviceDayList, DeviceDayView, WorkItemPage, work_item_view
from api.identity import identify
from api.openapi import operation
from api.query import parse_query
from parking_core.errors import NotFoundError
from parking_core.people import Role
from parking_core.store import conditions, device_pages

if TYPE_CHECKING:
    from psycopg import Connection

    from api.state import ApiState
    from parking_core.people import Person
    from parking_core.store.device_pages import DeviceDay

DevicePath = Annotated[str, Path(description="The device's code.")]  # only the document reads it
_FRESH: Final = {"Cache-Control": "no-store"}
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    403: "The account is neither an operator's nor the district's.",
    404: "You have no such device.",
    422: "Parameters cannot be used; `errors` or `detail` says why.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready; `Retry-After` says when to ask again.",
}


class WorkQuery(msgspec.Struct, frozen=True):
    """Which work, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=200, description="Items a page.")] = 50
    lot: Annotated[str, Meta(max_length=64)] | None = None
    device: Annotated[str, Meta(max_length=64)] | None = None
    closed: Annotated[bool, Meta(description="Those that have healed instead of those that are open.")] = False


class DaysQuery(msgspec.Struct, frozen=True):
    """How far back."""

    limit: Annotated[int, Meta(ge=1, le=100, description="Days.")] = 28


def _operator(person: Person) -> int | None:
    """Whose lots he sees; None: all."""
    return None if person.role is Role.DISTRICT else person.operator_id or -1


async def _work(api: ApiState, request: Request) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    query = parse_query(WorkQuery, request.scope["query_string"])
    before = number_of(query.cursor) if query.cursor else None
    found = await api.sharing.run(
        lambda connection: conditions.page(
            connection,
            most=query.limit + 1,
            before=before,
            closed=query.closed,
            lot=query.lot,
            device=query.device,
            operator_id=_operator(person),
        )
    )
    shown = found[: query.limit]
    more = encode_cursor(str(shown[-1].id)) if len(found) > query.limit else None
    page = WorkItemPage([work_item_view(item, api.snapshot.zone) for item in shown], more)
    return Response(encode(page), 200, _FRESH, media_type="application/json")


async def _days(api: ApiState, request: Request, code: str) -> Response:
    person = await identify(api, request, Role.OPERATOR, Role.DISTRICT)
    query = parse_query(DaysQuery, request.scope["query_string"])

    def look(connection: Connection[Any]) -> list[DeviceDay]:
        device_id = device_pages.owned(connection, code, _operator(person))
        if device_id is None:
            raise NotFoundError(f"You have no device {code!r}; GET /v1/operator/devices lists yours.")
        return device_pages.days(connection, device_id, query.limit)

    days = await api.sharing.run(look)
    shown = DeviceDayList([msgspec.convert(day, DeviceDayView, from_attributes=True) for day in days])
    return Response(encode(shown), 200, _FRESH, media_type="application/json")


def device_health_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}

    @router.get(
        "/v1/operator/work-items",
        tags=["devices"],
        **operation(WorkItemPage, query=WorkQuery, errors=(401, 403, 422, 429, 503), **known),
        summary="Devices that somebody has to see to",
    )
    async def work(request: Request) -> Response:
        """One item a device, with everything that is wrong with it; it closes by itself when all has healed."""
        return await _work(api, request)

    @router.get(
        "/v1/operator/devices/{device}/days",
        tags=["devices"],
        **operation(DeviceDayList, query=DaysQuery, errors=(401, 403, 404, 422, 429, 503), **known),
        summary="What a device did, day by day",
    )
    async def days(request: Request, device: DevicePath) -> Response:
        """From these days its own rhythm is learned."""
        return await _days(api, request, device)
