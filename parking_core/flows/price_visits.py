"""What stays cost, in bulk: one look at the tables for a batch, then the engine, stay by stay.

    stays ─► versions that hold at their entries ─► permits, coupons, earlier stays ─► engine ─► bills

The one way to a price: charges of visits, answers to lanes and comparisons after the fact all come from here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from parking_core import charge_lines
from parking_core.errors import InvalidInputError
from parking_core.permits import LocalHours, PermitBook, Presence
from parking_core.plates import PlateForm, form_of
from parking_core.store import earlier_stays, permits, tariffs
from parking_core.tariffs import Bill, PlateColor, SpecialVehicle, Stay, Tariff, parse_tariff, price
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.store.earlier_stays import ChargedStay
    from parking_core.store.tariffs import StoredTariff
    from parking_core.tariffs import Coupon, Interval, Payment
    from parking_core.work_calendar import DayKinds

# Plates of vehicles on duty (GA 36): police, the fire and rescue service (应急), armed police and the military.
_SPECIAL = {
    PlateForm.POLICE: SpecialVehicle.POLICE,
    PlateForm.EMERGENCY: SpecialVehicle.FIRE,
    PlateForm.ARMED_POLICE: SpecialVehicle.MILITARY,
    PlateForm.MILITARY: SpecialVehicle.MILITARY,
}
_COLORS = {color.value: color for color in PlateColor} | {"plain_green": PlateColor.OTHER}


@dataclass(frozen=True, slots=True, kw_only=True)
class ToPrice:
    """A stay to be priced. Times aware; without an exit it is priced as if it ended at the moment of the question."""

    lot_id: int
    vehicle: str  # plate in the one form, or what stands for it
    entered_at: datetime
    exited_at: datetime | None = None
    visit_id: int | None = None
    plate_color: str | None = None  # word of parking_core.plates.PlateColor
    vehicle_class: int | None = None
    payments: tuple[Payment, ...] = ()  # of this stay so far


@dataclass(frozen=True, slots=True)
class KnownTariff:
    """A version, parsed."""

    id: int
    code: str
    version: int
    tariff: Tariff
    zone: ZoneInfo


@dataclass(frozen=True, slots=True)
class Priced:
    """What a stay costs, and by which version. Without a tariff the lot charges nothing: an empty bill."""

    asked: ToPrice
    known: KnownTariff | None
    bill: Bill
    coupons: tuple[str, ...] = ()  # codes of those that took something off

    @property
    def tariff_id(self) -> int | None:
        """Id of the version; None: the lot had no tariff when the vehicle entered."""
        return None if self.known is None else self.known.id

    @property
    def code(self) -> str | None:
        """Code of the tariff."""
        return None if self.known is None else self.known.code

    @property
    def version(self) -> int | None:
        """Number of the version."""
        return None if self.known is None else self.known.version

    def lines(self) -> list[dict[str, Any]]:
        """The bill's lines as `charges.lines` holds them."""
        return [] if self.known is None else [charge_lines.as_record(line, self.known.zone) for line in self.bill.lines]


class PriceDesk:
    """What pricing needs again and again: parsed versions, which never change, and the work calendar."""

    def __init__(self, calendar: DayKinds | None = None) -> None:
        self.calendar = calendar or WorkCalendar()
        self._known: dict[int, KnownTariff] = {}

    def know(self, stored: StoredTariff) -> KnownTariff:
        """A version, parsed once.

        Raises:
            InvalidInputError: its document cannot be read, though it could when it was published.
        """
        known = self._known.get(stored.id)
        if known is None:
            tariff = parse_tariff(stored.document)
            if not isinstance(tariff, Tariff):
                problems = "; ".join(str(problem) for problem in tariff)
                raise InvalidInputError(
                    f"Tariff {stored.code} version {stored.version} cannot be read any more ({problems}); "
                    "run the platform's version that published it, or publish the next version."
                )
            zone = ZoneInfo(tariff.document.time_zone)
            known = self._known[stored.id] = KnownTariff(stored.id, stored.code, stored.version, tariff, zone)
        return known

    def look_up(self, connection: Connection[Any], ids: Iterable[int | None]) -> dict[int, KnownTariff]:
        """These versions; only unknown ones are read from the database."""
        wanted = {number for number in ids if number is not None}
        missing = wanted - self._known.keys()
        for stored in tariffs.versions(connection, missing) if missing else ():
            self.know(stored)
        return {number: self._known[number] for number in wanted}


def color_in_tariffs(color: str | None) -> PlateColor | None:
    """A colour of parking_core.plates as tariffs know it; None: it is unknown, and no rule about colours fits."""
    return _COLORS.get(color or "")


def price_visits(
    connection: Connection[Any], wanted: Sequence[ToPrice], now: datetime, desk: PriceDesk | None = None
) -> list[Priced]:
    """Bills of stays, in their order; nothing is written.

    The tariff is the one that held for the lot when the vehicle entered. Permits cover by `parking_core.permits`. One
    coupon counts a visit: the one it has already, else the one that ends first; it must be valid at the exit. What
    earlier stays paid is what their newest charges say, or this very batch: it prices stays in the order of entry.
    An exit that two lanes' clocks put before the entry makes a stay of no length.
    """
    if not wanted:
        return []
    desk = desk or PriceDesk()
    held = tariffs.holding(connection, [one.lot_id for one in wanted], [one.entered_at for one in wanted])
    known = desk.look_up(connection, held)
    questions = [
        _Question(one, max(one.exited_at or now, one.entered_at), None if number is None else known[number])
        for one, number in zip(wanted, held, strict=True)
    ]
    covered = _covered(connection, questions, desk.calendar)
    coupons = permits.coupons_of(
        connection,
        [one.lot_id for one in wanted],
        [one.vehicle for one in wanted],
        [one.visit_id for one in wanted],
        [question.until for question in questions],
    )
    earlier = _earlier(connection, questions)
    bills: dict[int, Priced] = {}
    by_visit: dict[int, Priced] = {}
    for number in sorted(range(len(questions)), key=lambda place: questions[place].asked.entered_at):
        before = _in_this_batch(earlier.get(number, ()), by_visit)
        priced = _price(questions[number], desk, covered[number], coupons.get(number, ())[:1], before)
        bills[number] = priced
        if priced.asked.visit_id is not None:
            by_visit[priced.asked.visit_id] = priced
    return [bills[number] for number in range(len(questions))]


def use_coupons(connection: Connection[Any], priced: Iterable[Priced], void: Iterable[int] = ()) -> list[str]:
    """Marks the coupons of visits that were charged; gives those that were free until now. The caller's transaction.

    A coupon that a visit no longer uses is free again: the stay costs nothing now, or the visit is one of `void`.
    """
    visits, used = list(void), list[tuple[str, int]]()
    for one in priced:
        if one.asked.visit_id is not None:
            visits.append(one.asked.visit_id)
            used += [(code, one.asked.visit_id) for code in one.coupons]
    if visits:
        permits.release_coupons(connection, visits, [code for code, _ in used])
    return permits.use_coupons(connection, used) if used else []


@dataclass(frozen=True, slots=True)
class _Question:
    asked: ToPrice
    until: datetime  # exit, or the moment of the question
    known: KnownTariff | None


def _covered(
    connection: Connection[Any], questions: Sequence[_Question], calendar: DayKinds
) -> list[tuple[Interval, ...]]:
    """Parts that permits pay for, by question; none where the lot has no tariff: nothing is charged there."""
    span = min(each.asked.entered_at for each in questions), max(each.until for each in questions)
    lots = [each.asked.lot_id for each in questions]
    found = permits.permits_of(connection, lots, [each.asked.vehicle for each in questions], span)
    if not found:
        return [()] * len(questions)
    book = PermitBook(found, permits.presences(connection, found, span))
    return [
        ()
        if each.known is None
        else book.covered(
            each.asked.lot_id,
            Presence(each.asked.vehicle, each.asked.entered_at, each.until),
            LocalHours(each.known.zone, calendar),  # windows mean the hours that the lot's tariff means
        )
        for each in questions
    ]


def _earlier(connection: Connection[Any], questions: Sequence[_Question]) -> dict[int, list[ChargedStay]]:
    """By place of the question: stays that its tariff looks back on."""
    places, asked = [], []
    for place, each in enumerate(questions):
        if each.known is None or not each.known.tariff.lookback:
            continue
        since = each.asked.entered_at - each.known.tariff.lookback
        places.append(place)
        asked.append(
            earlier_stays.LookBack(
                each.asked.lot_id, each.asked.vehicle, each.asked.entered_at, since, each.asked.visit_id
            )
        )
    if not asked:
        return {}
    found = earlier_stays.earlier_stays(connection, asked)
    return {
        places[position]: [one for one in stays if one.tariff in (None, _code(questions[places[position]]))]
        for position, stays in found.items()
    }


def _code(question: _Question) -> str | None:
    return None if question.known is None else question.known.code


def _in_this_batch(earlier: Iterable[ChargedStay], by_visit: dict[int, Priced]) -> list[ChargedStay]:
    """The stays with what this batch has just found them to cost."""
    return [
        replace(one, stay=replace(one.stay, paid_fen=by_visit[one.visit_id].bill.total_fen))
        if one.visit_id in by_visit
        else one
        for one in earlier
    ]


def _price(
    question: _Question,
    desk: PriceDesk,
    covered: tuple[Interval, ...],
    coupons: Sequence[Coupon],
    earlier: Sequence[ChargedStay],
) -> Priced:
    asked, known = question.asked, question.known
    if known is None:
        return Priced(asked, None, Bill(0, ()))
    form = form_of(asked.vehicle)
    stay = Stay(
        entered_at=asked.entered_at,
        exited_at=question.until,
        plate_color=color_in_tariffs(asked.plate_color),
        vehicle_class=asked.vehicle_class,
        special=None if form is None else _SPECIAL.get(form),
        covered=covered,
        coupons=tuple(coupons),
        earlier=tuple(one.stay for one in earlier),
        payments=asked.payments,
    )
    bill = price(known.tariff, stay, desk.calendar)
    used = any(line.rule.startswith("coupon.") and line.amount_fen < 0 for line in bill.lines)
    return Priced(asked, known, bill, tuple(coupon.code for coupon in coupons) if used else ())
