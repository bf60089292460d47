"""`/v1/lots/{lot}/quote`: what a stay costs, and why; the engine that charges answers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import msgspec
from fastapi import APIRouter, Request, Response  # noqa: TC002  # FastAPI reads the annotations of the route
from msgspec import Meta

from api.answers import Answer
from api.board import encode
from api.lots import LotPath  # noqa: TC001  # same: the document is made from it
from api.openapi import operation
from api.query import InvalidQueryError, ParameterProblem, parse_query
from api.state import NotLoadedError
from api.words import Words
from parking_core.errors import InvalidInputError, NotFoundError, ServiceUnavailableError
from parking_core.flows.price_visits import color_in_tariffs
from parking_core.plates import PlateColor, color_of
from parking_core.tariffs import Stay, price

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from api.state import ApiState
    from parking_core.flows.price_visits import KnownTariff
    from parking_core.tariffs import ChargeLine

LONGEST_STAY = timedelta(days=31)  # pricing it takes milliseconds, which other answers wait for
_FARTHEST = timedelta(days=731)  # an entry beyond is a slip of the keyboard
_MINUTE = timedelta(minutes=1)


class NoTariffError(NotFoundError):
    """A lot that charges nothing, as far as the platform knows."""

    code = "no_tariff"


class UnreadableTariffError(ServiceUnavailableError):
    """A version that this release cannot read; the client has done nothing wrong."""

    code = "tariff_unreadable"


class QuoteQuery(msgspec.Struct, frozen=True):
    """Which stay; times are RFC 3339 with an offset."""

    entry: Annotated[datetime, Meta(tz=True, description="When the vehicle enters: its tariff is the one of then.")]
    exit: Annotated[datetime, Meta(tz=True, description="When it leaves; without: now.")] | None = None
    plate_color: (
        Annotated[str, Meta(max_length=20, description="A colour in English or Chinese, or its national code.")] | None
    ) = None
    vehicle_class: (
        Annotated[int, Meta(ge=0, le=99, description="Class of the vehicle (1: up to seven seats).")] | None
    ) = None


class QuotedTariff(msgspec.Struct, frozen=True):
    """The version that the quote stands on."""

    code: str
    version: int
    name: Words


class QuoteLine(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """One reason of the amount. What takes away is negative; free time is shown with 0."""

    rule: str
    from_: str
    until: str
    units: Annotated[int, Meta(description="Started units; 0 where the line counts none.")]
    unit_price_fen: int
    amount_fen: int
    text: Words

    @classmethod
    def of(cls, line: ChargeLine, zone: ZoneInfo) -> QuoteLine:
        """The line as people read it, in the tariff's time zone: the form of `charges.lines`."""
        return cls(
            line.rule,
            line.from_at.astimezone(zone).isoformat(timespec="seconds"),
            line.until_at.astimezone(zone).isoformat(timespec="seconds"),
            line.units,
            line.unit_price_fen,
            line.amount_fen,
            Words(line.text_zh, line.text_en),
        )


class Quote(msgspec.Struct, frozen=True):
    """What a stay costs: the sum of its lines."""

    lot: str
    tariff: QuotedTariff
    entry: str
    exit: str
    duration_min: Annotated[int, Meta(description="Whole minutes.")]
    amount_fen: int
    currency: str
    lines: list[QuoteLine]
    notes: Annotated[list[Words], Meta(description="What a driver should know beside the lines.")]


_NOT_THE_BILL = Words(
    "未计入停车许可、优惠券和此前的停放。",
    "Permits, coupons and earlier stays of the vehicle are not taken into account.",
)


def _stay(query: QuoteQuery, now: datetime) -> Stay:
    """The stay that is asked about.

    Raises:
        InvalidQueryError: it ends before it begins, is too long or too far away, or its colour is none.
    """
    leaves = query.exit or now
    problems = []
    try:
        length, ahead = leaves - query.entry, query.entry - now
        entry, leaves = query.entry.astimezone(UTC), leaves.astimezone(UTC)
    except OverflowError:
        raise InvalidQueryError(ParameterProblem("entry", "It lies outside the calendar.")) from None
    if length < timedelta():
        said = "It is before entry." if query.exit else "It lies in the future; give an exit, too."
        problems.append(ParameterProblem("exit" if query.exit else "entry", said))
    if length > LONGEST_STAY:
        problems.append(ParameterProblem("exit", f"It may lie {LONGEST_STAY.days} days after entry."))
    if ahead > _FARTHEST:
        problems.append(ParameterProblem("entry", f"It may lie {_FARTHEST.days} days ahead."))
    color = color_of(query.plate_color)
    if query.plate_color and color is PlateColor.UNKNOWN and query.plate_color not in ("unknown", "未知"):
        words = ", ".join(each.value for each in PlateColor)
        problems.append(ParameterProblem("plate_color", f"It is no colour; give one of {words}, or a national code."))
    if problems:
        raise InvalidQueryError(*problems)
    return Stay(
        entered_at=entry,
        exited_at=leaves,
        plate_color=color_in_tariffs(color.value),
        vehicle_class=query.vehicle_class,
    )


def _notes(api: ApiState, known: KnownTariff, stay: Stay) -> list[Words]:
    document = known.tariff.document
    notes = [Words(document.note_zh or "", document.note_en or "")] if document.note_zh or document.note_en else []
    first, last = (moment.astimezone(known.zone).year for moment in (stay.entered_at, stay.exited_at))
    notes += [_unannounced(year) for year in range(first, last + 1) if not api.prices.calendar.is_announced(year)]
    return [*notes, _NOT_THE_BILL]


def _unannounced(year: int) -> Words:
    return Words(
        f"{year}年节假日安排尚未公布，暂按普通周历计算。",  # noqa: RUF001  # Chinese punctuation is meant
        f"The holidays of {year} are not announced yet; plain weekdays were used.",
    )


def _quote(api: ApiState, request: Request, name: str) -> Response:
    # A plus sign of an offset is often sent as it is; no parameter of this route can hold a blank.
    query = parse_query(QuoteQuery, request.scope["query_string"].replace(b"+", b"%2B"))
    if api.prices.numbers is None:
        raise NotLoadedError("Tariffs are not loaded yet; /readyz says what is missing.")
    found = api.prices.lot(name)
    if found is None:
        raise NotFoundError(f"There is no lot with the code or id {name[:100]!r}.")
    lot, code = found
    stay = _stay(query, datetime.fromtimestamp(api.clock() / 1e6, UTC))
    try:
        known = api.prices.holding(lot, stay.entered_at)
    except InvalidInputError as error:
        raise UnreadableTariffError(str(error)) from error
    if known is None:
        raise NoTariffError(
            f"Lot {code} has no tariff for who enters at {query.entry.isoformat()}: the platform cannot say what it costs."
        )
    bill = price(known.tariff, stay, api.prices.calendar)
    document = known.tariff.document
    quote = Quote(
        lot=code,
        tariff=QuotedTariff(known.code, known.version, Words(document.name_zh, document.name_en)),
        entry=stay.entered_at.astimezone(known.zone).isoformat(timespec="seconds"),
        exit=stay.exited_at.astimezone(known.zone).isoformat(timespec="seconds"),
        duration_min=(stay.exited_at - stay.entered_at) // _MINUTE,
        amount_fen=bill.total_fen,
        currency="CNY",
        lines=[QuoteLine.of(line, known.zone) for line in bill.lines],
        notes=_notes(api, known, stay),
    )
    body = encode(quote)
    headers = [
        (b"cache-control", b"no-cache"),  # a tariff may be published at any moment
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    return Answer(body, headers)


def quote_routes(router: APIRouter, api: ApiState) -> None:
    """Adds the routes of this file."""

    @router.get(
        "/v1/lots/{lot}/quote",
        tags=["lots"],
        **operation(Quote, query=QuoteQuery, errors=(404, 422, 503)),
        summary="What a stay costs",
    )
    async def quote(request: Request, lot: LotPath) -> Response:
        """By the tariff that holds at entry, line by line with the rule behind each; nothing is promised or kept."""
        return _quote(api, request, lot)
