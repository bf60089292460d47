"""`/v1/lots/{lot}/standing`: may a car stand here from t1 to t2, until when, and when again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Request, Response  # noqa: TC002  # FastAPI reads the annotations of the route
from msgspec import Meta

from api.answers import answer
from api.board import encode
from api.lots import LotPath, row_of
from api.openapi import operation
from api.query import InvalidQueryError, ParameterProblem, parse_query
from api.words import Words
from parking_core.windows import (
    Reason,
    may_stand,
    parse_schedule,
    schedule_of_opening,
    sentence_en,
    sentence_zh,
    verdict_en,
    verdict_zh,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from api.state import ApiState
    from parking_core.places import Lot
    from parking_core.windows import Schedule, Verdict

LONGEST_STAY = timedelta(days=31)
_FARTHEST = timedelta(days=731)  # the second year's holidays are not announced before the November in front of it
_SHORTEST = timedelta(minutes=1)  # windows count minutes


class Basis(StrEnum):
    """What decides."""

    LEGAL_WINDOWS = "legal_windows"
    OPENING = "opening"
    ALWAYS = "always"


class StandingQuery(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Which stay; times are RFC 3339 with an offset."""

    from_: Annotated[datetime, Meta(tz=True, description="When the car comes; without: now.")] | None = None
    until: (
        Annotated[datetime, Meta(tz=True, description="When it leaves; without: a minute, to learn how long it may.")]
        | None
    ) = None


class Standing(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """Whether a car may stand, until when, why not, and when again."""

    lot: str
    from_: str
    until: str
    allowed: bool
    reason: Reason
    stay_until: Annotated[
        str | None,
        Meta(description="The latest moment of leaving; null: it may not stand at the beginning, or without limit."),
    ]
    next_from: Annotated[
        str | None, Meta(description="Where it may not: the next moment to drive in, within 400 days.")
    ]
    basis: Annotated[Basis, Meta(description="Legal windows where the lot has any, else its opening hours.")]
    text: Words
    hours: Annotated[Words, Meta(description="All hours of the lot.")]
    notes: list[Words]


@lru_cache(maxsize=1024)
def _legal(document: str) -> Schedule:
    return parse_schedule(msgspec.json.decode(document))


def _hours_of(lot: Lot) -> tuple[Basis, Schedule]:
    """What says when a car may stand in a lot. Legality comes before opening hours, which know no work calendar."""
    if lot.legal_windows is not None:
        return Basis.LEGAL_WINDOWS, _legal(lot.legal_windows)
    return Basis.ALWAYS if lot.opening is None else Basis.OPENING, schedule_of_opening(lot.opening)


def _stay(query: StandingQuery, now: datetime) -> tuple[datetime, datetime]:
    """The stay that is asked about.

    Raises:
        InvalidQueryError: it does not end after it begins, is too long or too far away.
    """
    begins = query.from_ or now
    problems = []
    try:
        ends = query.until or begins + _SHORTEST
        length, away = ends - begins, abs(begins - now)
        begins, ends = begins.astimezone(UTC), ends.astimezone(UTC)
    except OverflowError:
        raise InvalidQueryError(ParameterProblem("from", "It lies outside the calendar.")) from None
    if length <= timedelta():
        problems.append(ParameterProblem("until", "It is not after from."))
    if length > LONGEST_STAY:
        problems.append(ParameterProblem("until", f"It may lie {LONGEST_STAY.days} days after from."))
    if away > _FARTHEST:
        problems.append(ParameterProblem("from", f"It may lie {_FARTHEST.days} days from now."))
    if problems:
        raise InvalidQueryError(*problems)
    return begins, ends


def _unannounced(api: ApiState, moments: Iterable[datetime | None], zone: ZoneInfo) -> list[Words]:
    """A sentence for each year that the answer reaches into and whose holidays nobody has announced."""
    years = sorted({moment.astimezone(zone).year for moment in moments if moment is not None})
    return [
        Words(
            f"{year}年节假日安排尚未公布，暂按普通周历判断；公布后请重新查询。",  # noqa: RUF001  # Chinese punctuation is meant
            f"The holidays of {year} are not announced yet; plain weekdays were used, so ask again once they are.",
        )
        for year in range(years[0], years[-1] + 1)
        if not api.prices.calendar.is_announced(year)
    ]


def _standing(api: ApiState, request: Request, name: str) -> Response:
    # A plus sign of an offset is often sent as it is; no parameter of this route can hold a blank.
    query = parse_query(StandingQuery, request.scope["query_string"].replace(b"+", b"%2B"))
    board = api.board()
    lot, zone = board.lots[row_of(board, name)], api.snapshot.zone
    begins, ends = _stay(query, datetime.fromtimestamp(api.clock() / 1e6, UTC))
    basis, schedule = _hours_of(lot)
    verdict = may_stand(schedule, api.prices.calendar, zone, begins, ends)
    reached = (begins, ends, verdict.until, verdict.next_opening)
    body = encode(
        Standing(
            lot=lot.code,
            from_=_local(begins, zone),
            until=_local(ends, zone),
            allowed=verdict.allowed,
            reason=verdict.reason,
            stay_until=None if verdict.until is None else _local(verdict.until, zone),
            next_from=None if verdict.next_opening is None else _local(verdict.next_opening, zone),
            basis=basis,
            text=_text(verdict, zone),
            hours=Words(sentence_zh(schedule), sentence_en(schedule)),
            notes=_unannounced(api, reached, zone) if schedule.by_day_kind else [],
        )
    )
    return answer(request, body, facts=body, as_of=None, cache=b"no-cache")  # hours may be changed at any moment


def _text(verdict: Verdict, zone: ZoneInfo) -> Words:
    return Words(verdict_zh(verdict, zone), verdict_en(verdict, zone))


def _local(at: datetime, zone: ZoneInfo) -> str:
    return at.astimezone(zone).isoformat(timespec="seconds")


def standing_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""

    @router.get(
        "/v1/lots/{lot}/standing",
        tags=["lots"],
        **operation(Standing, query=StandingQuery, errors=(404, 422, 503)),
        summary="May a car stand here, and until when",
    )
    async def standing(request: Request, lot: LotPath) -> Response:
        """By the legal windows of the lot on the work calendar, else by its opening hours; nothing is promised."""
        return _standing(api, request, lot)
