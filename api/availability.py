"""`GET /v1/availability`: lots by distance with their figures of the moment."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003  # msgspec reads the annotation at run time
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from fastapi import Request, Response  # noqa: TC002  # FastAPI reads annotations at run time
from msgspec import Meta

from api.answers import answer
from api.board import FigureSource, LotStatus, encode
from api.openapi import operation
from api.query import InvalidQueryError, ParameterProblem, parse_query
from parking_core.places import from_gcj02

if TYPE_CHECKING:
    from fastapi import APIRouter

    from api.board import Board
    from api.snapshot import Snapshot
    from api.state import ApiState

MOST_LOTS = 500  # a longer answer is what /v1/lots pages are for

Crs = Literal["wgs84", "gcj02"]


class AvailabilityQuery(msgspec.Struct, frozen=True):
    """Where to look, and how far."""

    lat: Annotated[float, Meta(ge=-90, le=90, description="Latitude in degrees; give it with `lon`.")] | None = None
    lon: Annotated[float, Meta(ge=-180, le=180, description="Longitude in degrees; give it with `lat`.")] | None = None
    radius_m: Annotated[float, Meta(gt=0, le=100_000, description="Metres around the point; without: any.")] | None = (
        None
    )
    limit: Annotated[int, Meta(ge=1, le=MOST_LOTS, description="At most this many lots.")] = 20
    crs: Annotated[Crs, Meta(description="Coordinates, asked and answered; gcj02 is what Chinese maps draw on.")] = (
        "wgs84"
    )
    arrive_at: (
        Annotated[
            datetime,
            Meta(tz=True, description="RFC 3339. Accepted; lots carry `at_arrival` once predictions exist, not yet."),
        ]
        | None
    ) = None
    stay_min: (
        Annotated[int, Meta(ge=1, le=43_200, description="Intended stay in minutes. Accepted, not used yet.")] | None
    ) = None


class LotAvailability(msgspec.Struct, frozen=True):
    """A lot and its figures. `free + occupied + unknown = capacity`; an unknown space is never free."""

    id: int
    code: str
    name: str
    kind: str
    lat: float
    lon: float
    distance_m: Annotated[int, Meta(description="Great circle, metres.")] | None
    capacity: Annotated[int, Meta(description="Spaces registered.")]
    free: int
    occupied: int
    unknown: Annotated[int, Meta(description="Spaces whose sensor is silent or never spoke.")]
    status: LotStatus
    source: Annotated[
        FigureSource,
        Meta(description="Bay sensors; or, where a lot has none, who entered through its lanes and has not left."),
    ]
    quality: (
        Annotated[float, Meta(ge=0, le=1, description="Part of the watched bays whose sensors nobody doubts.")] | None
    )
    changed_at: Annotated[str, Meta(description="When the figures moved last.")] | None
    as_of: Annotated[str, Meta(description="Everything received up to then is in the figures.")] | None
    age_s: Annotated[float, Meta(description="How long ago that was.")] | None


class Availability(msgspec.Struct, frozen=True):
    """Lots, nearest first; by code where no point was given."""

    as_of: str | None
    stale: Annotated[bool, Meta(description="The figures are older than 10 s; `age_s` says how old.")]
    lots: list[LotAvailability]


def lot_tail(snapshot: Snapshot) -> bytes:
    """The end of every lot's JSON object: up to when its figures hold."""
    age = snapshot.age_us()
    if age is None:
        return b',"as_of":null,"age_s":null}'
    return b',"as_of":%b,"age_s":%.1f}' % (encode(snapshot.as_of()), age / 1e6)


def page_head(snapshot: Snapshot) -> bytes:
    """The beginning of an answer that holds lots, up to the list's bracket."""
    stale = b"true" if snapshot.stale() else b"false"
    return b'{"as_of":%b,"stale":%b,"lots":[' % (encode(snapshot.as_of()), stale)


def lot_pieces(board: Board, rows: list[int], distances: list[float] | None, crs: Crs) -> list[bytes]:
    """Each lot's JSON object without its tail."""
    beginnings, figures = board.brief[crs], board.figures
    if distances is None:
        return [b"%bnull%b" % (beginnings[row], figures(row)) for row in rows]
    return [
        b"%b%d%b" % (beginnings[row], round(metres), figures(row)) for row, metres in zip(rows, distances, strict=True)
    ]


def select(board: Board, query: AvailabilityQuery) -> tuple[list[int], list[float] | None]:
    """Rows of the lots the query means, with their distances where it names a point.

    Raises:
        InvalidQueryError: half a point, or a radius without one.
    """
    if query.lat is None and query.lon is None:
        if query.radius_m is not None:
            raise InvalidQueryError(ParameterProblem("radius_m", "It needs a point; give lat and lon too."))
        return list(range(min(query.limit, len(board.lots)))), None
    if query.lat is None or query.lon is None:
        absent, given = ("lat", "lon") if query.lat is None else ("lon", "lat")
        raise InvalidQueryError(
            ParameterProblem(absent, f"It is missing while {given} is given; give both or neither.")
        )
    lat, lon = (query.lat, query.lon) if query.crs == "wgs84" else from_gcj02(query.lat, query.lon)
    return board.points.nearest(lat, lon, limit=query.limit, radius_m=query.radius_m)


def availability_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""

    @router.get(
        "/v1/availability",
        tags=["availability"],
        **operation(Availability, query=AvailabilityQuery, errors=(422, 503)),
        summary="Lots by distance with their figures of the moment",
    )
    async def availability(request: Request) -> Response:
        """Without a point: the first lots by code. Predictions for `arrive_at` are not part of the answer yet."""
        query = parse_query(AvailabilityQuery, request.scope["query_string"])
        board = api.board()
        rows, distances = select(board, query)
        pieces = lot_pieces(board, rows, distances, query.crs)
        head, tail = page_head(api.snapshot), lot_tail(api.snapshot)
        body = head + (tail + b",").join(pieces) + tail + b"]}" if pieces else head + b"]}"
        # Distances follow from the address, so the stamps say all that may differ between two answers.
        facts = b"".join([board.stamps[row] for row in rows]) + (b"stale" if api.snapshot.stale() else b"")
        return answer(request, body, facts=facts, as_of=api.snapshot.as_of())
