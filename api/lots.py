"""`/v1/lots`: every lot by pages, one lot, its spaces, what it did."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Mapping  # noqa: TC003  # msgspec reads the annotations of answers
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import psycopg
from fastapi import APIRouter, Path, Request, Response
from msgspec import Meta

from api.answers import answer
from api.availability import Crs, LotAvailability, lot_pieces, lot_tail, page_head
from api.board import SPACE_STATES, Board, LotStatus, SpaceState, encode, moment
from api.cursors import Cursor, decode_cursor, encode_cursor
from api.openapi import operation
from api.query import InvalidQueryError, ParameterProblem, parse_query
from api.words import Words
from parking_core.calendar import describe_opening
from parking_core.errors import NotFoundError, ServiceUnavailableError
from parking_core.places import to_gcj02
from parking_core.store.lots import lot_history
from parking_core.windows import describe_schedule, parse_schedule, sentence_en, sentence_zh

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from api.state import ApiState
    from parking_core.visits import LaneCount

_LONGEST_HISTORY = {"5m": timedelta(days=31), "1h": timedelta(days=731)}  # about 9,000 and 17,500 buckets
LotPath = Annotated[str, Path(description="The lot's code, else its id.")]  # only the document reads it

CrsParameter = Annotated[Crs, Meta(description="Coordinates of the answer; gcj02 is what Chinese maps draw on.")]


class LotsQuery(msgspec.Struct, frozen=True):
    """Which lots, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=500, description="Lots a page.")] = 100
    kind: Literal["off_street", "on_street"] | None = None
    area: Annotated[str, Meta(max_length=200, description="Code of the area.")] | None = None
    operator: Annotated[str, Meta(max_length=200, description="Code of the operator.")] | None = None
    status: LotStatus | None = None
    shared: Annotated[bool, Meta(description="Shares spaces off-peak.")] | None = None
    etc: Annotated[bool, Meta(description="Has an ETC lane.")] | None = None
    time_limited: Annotated[bool, Meta(description="Bays are legal only at certain hours.")] | None = None
    crs: CrsParameter = "wgs84"


class CrsQuery(msgspec.Struct, frozen=True):
    """Coordinates of the answer."""

    crs: CrsParameter = "wgs84"


class OpeningHours(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Weekly hours in local time; `until` not after `from`: the next day."""

    days: list[int]
    from_: str
    until: str


class LegalWindows(msgspec.Struct, frozen=True):
    """When bays may be stood on at all, by the work calendar; `/standing` answers for a stay."""

    text: Words
    document: Annotated[Mapping[str, Any], Meta(description="Recurring windows as their publisher wrote them.")]


class LaneFigures(msgspec.Struct, frozen=True):
    """What a lot's lanes say: vehicles that entered and have not left."""

    inside: int
    drift: Annotated[int, Meta(description="`inside` minus the spaces that sensors see occupied.")] | None
    as_of: Annotated[str, Meta(description="When they were counted.")]


class LotDetail(LotAvailability, frozen=True, kw_only=True):
    """A lot with everything that is registered of it."""

    address: str
    area: str | None
    operator: str | None
    shared: bool
    etc_lanes: int
    time_limited: bool
    opening: Annotated[list[OpeningHours], Meta(description="Without: always open.")] | None
    height_limit_m: float | None
    legal_windows: Annotated[LegalWindows | None, Meta(description="null: legal at any time.")]
    lanes: Annotated[LaneFigures, Meta(description="null where vehicles do not pass lanes, or nobody counts.")] | None


class LotPage(msgspec.Struct, frozen=True):
    """Lots by code."""

    as_of: str | None
    stale: bool
    lots: list[LotDetail]
    next: Annotated[str, Meta(description="`cursor` of the next page; null on the last.")] | None


class SpacesQuery(msgspec.Struct, frozen=True):
    """Which spaces of the lot, by pages."""

    cursor: Cursor | None = None
    limit: Annotated[int, Meta(ge=1, le=2000, description="Spaces a page.")] = 500
    state: SpaceState | None = None
    crs: CrsParameter = "wgs84"


class SpaceAvailability(msgspec.Struct, frozen=True):
    """One space."""

    id: int
    code: str
    kind: str
    level: str
    lat: float | None
    lon: float | None
    state: SpaceState
    changed_at: str | None


class SpacePage(msgspec.Struct, frozen=True):
    """Spaces of one lot by code."""

    as_of: str | None
    stale: bool
    lot: str
    spaces: list[SpaceAvailability]
    next: str | None


class HistoryQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Which stretch of time; without: the last day."""

    from_: Annotated[datetime, Meta(tz=True, description="RFC 3339, first bucket not before it.")] | None = None
    until: Annotated[datetime, Meta(tz=True, description="RFC 3339, exclusive; without: now.")] | None = None
    step: Annotated[Literal["5m", "1h"], Meta(description="31 days of 5m, two years of 1h at most.")] = "1h"


class HistoryBucket(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What the lot did from `from` on for one step; occupied and unknown in space-minutes, closed and full in minutes."""

    from_: datetime
    spaces: int
    occupied_min: float
    unknown_min: float
    closed_min: float
    full_min: float
    arrivals: int
    departures: int
    dwell_count: Annotated[int, Meta(description="Stays that ended in the bucket.")]
    dwell_sum_s: float


class History(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """What a lot did, oldest first; buckets that nobody computed are left out."""

    lot: str
    step: str
    from_: str
    until: str
    buckets: list[HistoryBucket]


def _detail(board: Board, row: int, zone: ZoneInfo) -> bytes:
    lot = board.lots[row]
    facts = {
        "address": lot.address,
        "area": lot.area,
        "operator": lot.operator,
        "shared": lot.shared,
        "etc_lanes": lot.etc_lanes,
        "time_limited": lot.time_limited,
        "opening": describe_opening(lot.opening),
        "height_limit_m": lot.height_limit_m,
        "legal_windows": None if lot.legal_windows is None else _legal_windows(lot.legal_windows),
        "lanes": _lane_figures(board.lane_count(row), zone),
    }
    return b"," + encode(facts)[1:-1]


@lru_cache(maxsize=1024)
def _legal_windows(document: str) -> LegalWindows:
    schedule = parse_schedule(msgspec.json.decode(document))
    return LegalWindows(Words(sentence_zh(schedule), sentence_en(schedule)), describe_schedule(schedule))


def _lane_figures(count: LaneCount | None, zone: ZoneInfo) -> LaneFigures | None:
    if count is None:
        return None
    return LaneFigures(count.inside, count.drift, count.counted_at.astimezone(zone).isoformat(timespec="seconds"))


def _matches(board: Board, row: int, query: LotsQuery) -> bool:
    lot = board.lots[row]
    wanted = (
        (query.kind, lot.kind),
        (query.area, lot.area),
        (query.operator, lot.operator),
        (query.shared, lot.shared),
        (query.etc, lot.etc_lanes > 0),
        (query.time_limited, lot.time_limited),
    )
    return all(asked is None or asked == fact for asked, fact in wanted) and (
        query.status is None or query.status == board.status(row)
    )


def row_of(board: Board, lot: str) -> int:
    """Row of a lot by its code, else by its id.

    Raises:
        NotFoundError: there is none.
    """
    row = board.find(lot)
    if row is None:
        raise NotFoundError(f"There is no lot with the code or id {lot[:100]!r}.")
    return row


def _lot_page(api: ApiState, request: Request) -> Response:
    query = parse_query(LotsQuery, request.scope["query_string"])
    board = api.board()
    first = bisect_right(board.codes, decode_cursor(query.cursor)) if query.cursor else 0
    rows: list[int] = []
    cursor = None
    for row in range(first, len(board.lots)):
        if _matches(board, row, query):
            if len(rows) == query.limit:
                cursor = encode_cursor(board.codes[rows[-1]])
                break
            rows.append(row)
    pieces = [
        piece + _detail(board, row, api.snapshot.zone)
        for piece, row in zip(lot_pieces(board, rows, None, query.crs), rows, strict=True)
    ]
    head, tail, end = page_head(api.snapshot), lot_tail(api.snapshot), b'],"next":%b}' % encode(cursor)
    body = head + ((tail + b",").join(pieces) + tail if pieces else b"") + end
    facts = b"".join([*pieces, end, b"stale" if api.snapshot.stale() else b""])
    return answer(request, body, facts=facts, as_of=api.snapshot.as_of())


def _one_lot(api: ApiState, request: Request, lot: str) -> Response:
    query = parse_query(CrsQuery, request.scope["query_string"])
    board = api.board()
    row = row_of(board, lot)
    piece = lot_pieces(board, [row], None, query.crs)[0] + _detail(board, row, api.snapshot.zone)
    facts = piece + (b"stale" if api.snapshot.stale() else b"")
    return answer(request, piece + lot_tail(api.snapshot), facts=facts, as_of=api.snapshot.as_of())


def _space_page(api: ApiState, request: Request, lot: str) -> Response:
    query = parse_query(SpacesQuery, request.scope["query_string"])
    board = api.board()
    row = row_of(board, lot)
    after = decode_cursor(query.cursor) if query.cursor else None
    found: list[SpaceAvailability] = []
    cursor = None
    for index in range(board.first_space[row], board.end_space[row]):
        space = board.registry.spaces[index]
        state = SPACE_STATES[board.space_state[index]]
        if (after is not None and space.code <= after) or (query.state is not None and query.state != state):
            continue
        if len(found) == query.limit:
            cursor = encode_cursor(found[-1].code)
            break
        lat, lon = space.lat, space.lon
        if query.crs == "gcj02" and lat is not None and lon is not None:
            lat, lon = (round(float(degrees), 7) for degrees in to_gcj02(lat, lon))
        changed = moment(int(board.space_changed_us[index]), api.snapshot.zone)
        found.append(SpaceAvailability(space.id, space.code, space.kind, space.level, lat, lon, state, changed))
    stale = api.snapshot.stale()
    page = SpacePage(api.snapshot.as_of(), stale, board.lots[row].code, found, cursor)
    facts = encode((page.lot, found, cursor, stale))
    return answer(request, encode(page), facts=facts, as_of=api.snapshot.as_of())


def _stretch(query: HistoryQuery, now: datetime) -> tuple[datetime, datetime]:
    until = query.until or now
    try:
        begins = query.from_ or until - timedelta(days=1)
        too_long = until - begins > _LONGEST_HISTORY[query.step]
    except OverflowError:
        raise InvalidQueryError(ParameterProblem("until", "It lies outside the calendar.")) from None
    if begins >= until:
        raise InvalidQueryError(ParameterProblem("from", "It is not before until."))
    if too_long:
        days = _LONGEST_HISTORY[query.step].days
        raise InvalidQueryError(ParameterProblem("from", f"At step {query.step} it may lie {days} days before until."))
    return begins, until


async def _history(api: ApiState, request: Request, name: str) -> Response:
    query = parse_query(HistoryQuery, request.scope["query_string"])
    board = api.board()
    lot = board.lots[row_of(board, name)]
    begins, until = _stretch(query, datetime.fromtimestamp(api.clock() / 1e6, UTC))
    if api.database is None:
        raise ServiceUnavailableError("This process has no database; history is not offered.")
    try:
        async with api.database.connection() as connection:
            buckets = await lot_history(connection, lot.id, begins_at=begins, ends_at=until, hourly=query.step == "1h")
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError("The database does not answer; history waits for it.") from error
    zone = api.snapshot.zone
    shown = [
        HistoryBucket(begins_at.astimezone(zone), *figures) for begins_at, *figures in map(dataclasses.astuple, buckets)
    ]
    begins_text, until_text = (stamp.astimezone(zone).isoformat(timespec="seconds") for stamp in (begins, until))
    body = encode(History(lot.code, query.step, begins_text, until_text, shown))
    return answer(request, body, facts=body, as_of=None, cache=b"max-age=60")


def lot_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""

    @router.get(
        "/v1/lots",
        tags=["lots"],
        **operation(LotPage, query=LotsQuery, errors=(422, 503)),
        summary="Every lot by pages",
    )
    async def lots(request: Request) -> Response:
        """By code; `next` is the cursor of the next page."""
        return _lot_page(api, request)

    @router.get(
        "/v1/lots/{lot}",
        tags=["lots"],
        **operation(LotDetail, query=CrsQuery, errors=(404, 422, 503)),
        summary="One lot",
    )
    async def lot(request: Request, lot: LotPath) -> Response:
        """By code, else by id."""
        return _one_lot(api, request, lot)

    @router.get(
        "/v1/lots/{lot}/spaces",
        tags=["lots"],
        **operation(SpacePage, query=SpacesQuery, errors=(404, 422, 503)),
        summary="Spaces of a lot",
    )
    async def spaces(request: Request, lot: LotPath) -> Response:
        """By code; a silent space is unknown."""
        return _space_page(api, request, lot)

    @router.get(
        "/v1/lots/{lot}/history",
        tags=["lots"],
        **operation(History, query=HistoryQuery, errors=(404, 422, 503)),
        summary="What a lot did",
    )
    async def history(request: Request, lot: LotPath) -> Response:
        """Buckets that were computed; late events correct them."""
        return await _history(api, request, lot)
