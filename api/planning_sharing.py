"""`/v1/planning`: what the district's planners see of shared parking, and the policy that decides who gets the spaces.

Demand is told by cells of 250 m and hours of the day, over whole local dates, and only where at least five requests came
together (K of parking_core.suppression); the rest is in `suppressed`.
"""

from __future__ import annotations

import csv
import io
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from fastapi import APIRouter, Request, Response
from msgspec import Meta

from api.board import encode
from api.bodies import FieldProblem, InvalidBodyError, read_body
from api.identity import identify
from api.openapi import operation
from api.query import InvalidQueryError, ParameterProblem, parse_query
from api.reservations import now_of
from api.years import check_fields, check_parameters
from parking_core.people import Role
from parking_core.sharing import AllocationPolicy, read_policy
from parking_core.store import planning, rounds
from parking_core.suppression import K, told

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from api.state import ApiState
    from parking_core.store.planning import Decided, RefusedCount

_FRESH: Final = {"Cache-Control": "no-store"}
_LONGEST_DAYS: Final = 366
_LONGEST_USE_DAYS: Final = 14
_SENTENCES: Final = {
    401: "No token, or one that nobody has.",
    403: "The account is neither a planner's nor the district's, or only the district may that.",
    409: "Another policy begins at the same moment.",
    415: "The body is not JSON.",
    422: "Fields or parameters cannot be used; `errors` or `detail` says why.",
    429: "Too many requests; `Retry-After` says when to ask again.",
    503: "Not ready; `Retry-After` says when to ask again.",
}


class DatesQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Local dates; without: the last week."""

    from_: Annotated[date, Meta(description="The first.")] | None = None
    until: Annotated[date, Meta(description="The day after the last.")] | None = None
    format: Literal["json", "csv"] = "json"


class RoundsQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Local dates; without: the last week."""

    from_: Annotated[date, Meta(description="The first.")] | None = None
    until: Annotated[date, Meta(description="The day after the last.")] | None = None
    limit: Annotated[int, Meta(ge=1, le=1000)] = 100


class RefusedCell(msgspec.Struct, frozen=True):
    """Refused requests of a cell and an hour of the day."""

    lat: float
    lon: float
    hour: Annotated[int, Meta(description="Local, of the arrival: 0 to 23.")]
    refused: int
    reasons: dict[str, int]
    groups: dict[str, int]


class RefusedDemand(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Demand that was not served: where and when."""

    from_: str
    until: str
    cell_m: int
    least: Annotated[int, Meta(description="Cells and hours with fewer requests are not told.")]
    refused: Annotated[int, Meta(description="All of them, when they are at least so many.")]
    suppressed: Annotated[int, Meta(description="Of them in cells and hours that are not told.")]
    cells: list[RefusedCell]


class RoundView(msgspec.Struct, frozen=True):
    """A round of the allocator. Money in fen."""

    kind: str
    at: str
    since: str
    until: str
    requests: int
    served: int
    value_fen: int
    upper_bound_fen: Annotated[int, Meta(description="Certified: no allocation would have been worth more.")]
    gap: float
    seconds: float
    fairness: Annotated[dict[str, Any], Meta(description="What floors cost, and a report for each group.")]


class RoundList(msgspec.Struct, frozen=True):
    """Rounds, the newest first."""

    rounds: list[RoundView]


class UseView(msgspec.Struct, frozen=True):
    """Space-hours of a lot in an hour."""

    lot: str
    hour: str
    offered: float
    promised: float
    used: float


class SharingUse(msgspec.Struct, frozen=True):
    """What was offered, promised and used."""

    hours: list[UseView]


class PolicyDecision(msgspec.Struct, frozen=True):
    """A policy, who decided it and since when it counts."""

    policy: dict[str, Any]
    valid_from: str | None
    by: str | None


class PolicyList(msgspec.Struct, frozen=True):
    """The policy in force and those to come."""

    in_force: PolicyDecision
    planned: list[PolicyDecision]


class PolicyWish(msgspec.Struct, frozen=True):
    """A policy to count from a moment on; what it leaves out is as usual."""

    policy: dict[str, Any]
    valid_from: Annotated[datetime, Meta(tz=True, description="Without: from now on.")] | None = None


PLANNING_SCHEMAS: Final = (RefusedDemand, RoundList, SharingUse, PolicyList, PolicyWish)


def _span(
    api: ApiState, query: DatesQuery | RoundsQuery, now: datetime, longest_days: int
) -> tuple[datetime, datetime]:
    """The moments of local dates.

    Raises:
        InvalidQueryError: they are too many, none, or far away.
    """
    check_parameters(from_=query.from_, until=query.until)
    zone = api.snapshot.zone
    until = query.until or now.astimezone(zone).date() + timedelta(days=1)
    since = query.from_ or until - timedelta(days=7)
    if not timedelta() < until - since <= timedelta(days=longest_days):
        raise InvalidQueryError(ParameterProblem("from", f"Give 1 to {longest_days} days before `until`."))
    return datetime.combine(since, time(), zone), datetime.combine(until, time(), zone)


def _text(api: ApiState, at: datetime) -> str:
    return at.astimezone(api.snapshot.zone).isoformat(timespec="seconds")


def _answer(view: msgspec.Struct) -> Response:
    return Response(encode(view), 200, _FRESH, media_type="application/json")


def _csv(names: Sequence[str], rows: Iterable[Sequence[object]]) -> Response:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    writer.writerows(rows)
    return Response(text.getvalue(), 200, _FRESH, media_type="text/csv; charset=utf-8")


def refused_cells(counts: Iterable[RefusedCount]) -> tuple[list[RefusedCell], int, int]:
    """Cells and hours that may be told, how many requests there were, and how many are not told."""
    places: dict[tuple[float, float, int], list[RefusedCount]] = {}
    for each in counts:
        places.setdefault((each.lat, each.lon, each.hour), []).append(each)
    cells, total, hidden = [], 0, 0
    for (lat, lon, hour), mine in places.items():
        count = sum(each.count for each in mine)
        total += count
        if count < K:
            hidden += count
            continue
        reasons: dict[str, int] = {}
        groups: dict[str, int] = {}
        for each in mine:
            reasons[each.reason] = reasons.get(each.reason, 0) + each.count
            groups[each.group] = groups.get(each.group, 0) + each.count
        cells.append(RefusedCell(round(lat, 5), round(lon, 5), hour, count, told(reasons), told(groups)))
    if 0 < hidden < K and cells:  # what is hidden must not be a small number either
        smallest = min(cells, key=lambda each: each.refused)
        cells.remove(smallest)
        hidden += smallest.refused
    return cells, total, hidden


async def _refused(api: ApiState, request: Request) -> Response:
    await identify(api, request, Role.PLANNER, Role.DISTRICT)
    query = parse_query(DatesQuery, request.scope["query_string"])
    since, until = _span(api, query, now_of(api), _LONGEST_DAYS)
    zone = api.snapshot.zone
    counts = await api.sharing.run(lambda connection: planning.refused(connection, since, until, zone))
    cells, total, hidden = refused_cells(counts)
    if query.format == "csv":
        names = ("lat", "lon", "hour", "refused", "by", "name", "count")
        rows = [
            (cell.lat, cell.lon, cell.hour, cell.refused, by, name, count)
            for cell in cells
            for by, of in (("reason", cell.reasons), ("group", cell.groups))
            for name, count in of.items()
        ]
        return _csv(names, rows)
    told_total = total if total >= K else 0
    return _answer(
        RefusedDemand(
            _text(api, since),
            _text(api, until),
            planning.CELL_M,
            K,
            told_total,
            hidden if told_total else 0,
            cells,
        )
    )


async def _rounds(api: ApiState, request: Request) -> Response:
    await identify(api, request, Role.PLANNER, Role.DISTRICT)
    query = parse_query(RoundsQuery, request.scope["query_string"])
    since, until = _span(api, query, now_of(api), _LONGEST_DAYS)
    found = await api.sharing.run(lambda connection: rounds.read(connection, since, until, query.limit))
    views = [
        RoundView(
            each.kind,
            _text(api, each.at),
            _text(api, each.since),
            _text(api, each.until),
            each.requests,
            each.served,
            each.value_fen,
            each.upper_bound_fen,
            each.gap,
            each.seconds,
            dict(each.fairness),
        )
        for each in found
    ]
    return _answer(RoundList(views))


async def _use(api: ApiState, request: Request) -> Response:
    await identify(api, request, Role.PLANNER, Role.DISTRICT)
    query, now = parse_query(DatesQuery, request.scope["query_string"]), now_of(api)
    since, until = _span(api, query, now, _LONGEST_USE_DAYS)
    found = await api.sharing.run(lambda connection: planning.use(connection, since, until, now))
    views = [
        UseView(
            each.lot,
            _text(api, datetime.fromtimestamp(each.hour, UTC)),
            round(each.offered, 3),
            round(each.promised, 3),
            round(each.used, 3),
        )
        for each in found
    ]
    if query.format == "csv":
        return _csv(UseView.__struct_fields__, (msgspec.structs.astuple(view) for view in views))
    return _answer(SharingUse(views))


def _decision(api: ApiState, decided: Decided) -> PolicyDecision:
    return PolicyDecision(decided.policy.document(), _text(api, decided.valid_from), decided.by)


def _policy_list(api: ApiState, found: Sequence[Decided], now: datetime) -> PolicyList:
    usual = PolicyDecision(AllocationPolicy().document(), None, None)
    current = [_decision(api, each) for each in found if each.valid_from <= now]
    return PolicyList(
        current[-1] if current else usual, [_decision(api, each) for each in found if each.valid_from > now]
    )


async def _policy(api: ApiState, request: Request) -> Response:
    await identify(api, request, Role.PLANNER, Role.DISTRICT)
    now = now_of(api)
    found = await api.sharing.run(lambda connection: planning.policies(connection, now))
    return _answer(_policy_list(api, found, now))


async def _decide(api: ApiState, request: Request) -> Response:
    person, now = await identify(api, request, Role.DISTRICT), now_of(api)
    wish = await read_body(PolicyWish, request)
    check_fields(valid_from=wish.valid_from)
    valid_from = wish.valid_from or now
    if valid_from < now:
        raise InvalidBodyError(FieldProblem("valid_from", "It is over; what was decided by then stays decided."))
    decided = planning.Decided(read_policy(wish.policy), valid_from, f"{person.role.value}:{person.code}")

    def flow(connection: Connection[Any]) -> list[Decided]:
        with connection.transaction():
            planning.decide_policy(connection, decided)
            return planning.policies(connection, now)

    return _answer(_policy_list(api, await api.sharing.run(flow), now))


def planning_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""
    known: dict[str, Any] = {"sentences": _SENTENCES, "conditional": False, "personal": True}
    reading = (401, 403, 422, 429, 503)

    @router.get(
        "/v1/planning/refused-demand",
        tags=["planning"],
        **operation(RefusedDemand, query=DatesQuery, errors=reading, **known),
        summary="Demand that was refused: where and when",
    )
    async def refused(request: Request) -> Response:
        """By cells of 250 m and local hours of the day, with reasons and groups; fewer than five are not told."""
        return await _refused(api, request)

    @router.get(
        "/v1/planning/allocation-rounds",
        tags=["planning"],
        **operation(RoundList, query=RoundsQuery, errors=reading, **known),
        summary="Rounds of the allocator",
    )
    async def held(request: Request) -> Response:
        """Value, certified bound, gap, and what floors of acceptance cost."""
        return await _rounds(api, request)

    @router.get(
        "/v1/planning/sharing-use",
        tags=["planning"],
        **operation(SharingUse, query=DatesQuery, errors=reading, **known),
        summary="Space-hours offered, promised and used",
    )
    async def use(request: Request) -> Response:
        """By lot and hour, of the last week and what is ahead; 14 days at once."""
        return await _use(api, request)

    @router.get(
        "/v1/planning/allocation-policy",
        tags=["planning"],
        **operation(PolicyList, errors=(401, 403, 429, 503), **known),
        summary="The policy in force, and those to come",
    )
    async def policy(request: Request) -> Response:
        """Floors, caps, buffers, what counts as value."""
        return await _policy(api, request)

    @router.put(
        "/v1/planning/allocation-policy",
        tags=["planning"],
        **operation(PolicyList, body=PolicyWish, errors=(401, 403, 409, 415, 422, 429, 503), **known),
        summary="Decide a policy",
    )
    async def decide(request: Request) -> Response:
        """Only the district; earlier ones are kept with who decided them."""
        return await _decide(api, request)
