"""Sharing agreements as operators and the district see them, and what they send."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from api.bodies import FieldProblem, InvalidBodyError
from api.words import Words
from api.years import check_fields
from parking_core.flows.plan_classes import ProposedClass
from parking_core.flows.suspend_sharing import FOREVER
from parking_core.plates import masked
from parking_core.slots import begins_of, slot_of
from parking_core.tariffs import Interval
from parking_core.windows import parse_schedule, sentence_en, sentence_zh

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from parking_core.flows.suspend_sharing import TakenBack
    from parking_core.openings import Spaces
    from parking_core.store.agreements import Agreement, AgreementEvent, ClassRow
    from parking_core.store.suspensions import Suspension
    from parking_core.windows import Advice

AgreementCode = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", description="What you call it.")]
_Terms = Annotated[dict[str, Any], Meta(description="What is left out is as usual in the district.")]
_HOUR = timedelta(hours=1)


class ClassWish(msgspec.Struct, frozen=True):
    """Spaces with the same windows: named by their codes, or so many of the lot's ordinary ones."""

    windows: Annotated[
        dict[str, Any], Meta(description="Recurring hours on the work calendar, and exceptions by date.")
    ]
    spaces: list[str] = []
    quota: int | None = None

    def proposed(self) -> ProposedClass:
        """In the domain's words."""
        return ProposedClass(self.windows, tuple(self.spaces), self.quota)


class AgreementWish(msgspec.Struct, frozen=True):
    """A proposal: a lot's spaces in classes, and on which terms."""

    code: AgreementCode
    lot: str
    classes: list[ClassWish]
    terms: _Terms = {}


class AgreementChange(msgspec.Struct, frozen=True):
    """Other terms, other classes, or both; all classes are replaced."""

    terms: _Terms | None = None
    classes: list[ClassWish] | None = None


class StateWish(msgspec.Struct, frozen=True):
    """Which state the agreement is to reach."""

    state: Literal["signed", "published", "suspended", "terminated"]
    since: (
        Annotated[datetime, Meta(tz=True, description="Of a termination: when the owner has his spaces back.")] | None
    ) = None
    override_notice: Annotated[bool, Meta(description="The district allows a shorter notice.")] = False


class SuspensionWish(msgspec.Struct, frozen=True):
    """A stretch that the owner takes back: a date, or from when until when."""

    reason: Annotated[str, Meta(min_length=1, max_length=200)]
    date: Annotated[date, Meta(description="All of a local date.")] | None = None
    since: Annotated[datetime, Meta(tz=True)] | None = None
    until: Annotated[datetime, Meta(tz=True)] | None = None
    override_notice: Annotated[bool, Meta(description="The district allows a shorter notice.")] = False

    def stretch(self, zone: ZoneInfo) -> Interval:
        """What is to be taken back.

        Raises:
            InvalidBodyError: neither a date nor a stretch, or both, or far away.
        """
        check_fields(date=self.date, since=self.since, until=self.until)
        if self.date is not None and self.since is None and self.until is None:
            begins = datetime.combine(self.date, time(), zone)
            return Interval(begins, datetime.combine(self.date + timedelta(days=1), time(), zone))
        if self.date is None and self.since is not None and self.until is not None:
            return Interval(self.since, self.until)
        raise InvalidBodyError(FieldProblem("since", "Give since and until, or a date alone."))


class ClassView(msgspec.Struct, frozen=True):
    """A class: what is counted together."""

    code: str
    windows: dict[str, Any]
    hours: Words
    spaces: list[str]
    named: Annotated[list[str], Meta(description="Those that the owner named; the others were picked for his quota.")]


class AdviceView(msgspec.Struct, frozen=True):
    """What the owner should know about his windows; they work anyway."""

    code: str
    classes: Annotated[list[int], Meta(description="Places in the list that was sent, from 1 on.")]
    text: Words


class AgreementEventView(msgspec.Struct, frozen=True):
    """One thing that happened to an agreement."""

    kind: str
    at: str
    by: str
    detail: dict[str, Any]


class InsideView(msgspec.Struct, frozen=True):
    """A car that is in the lot and stays beyond the beginning of what was taken back: call the driver."""

    code: Annotated[str, Meta(description="Of the reservation or the permit.")]
    plate: Annotated[str, Meta(description="Masked.")]
    arrive_at: str
    depart_at: str


class SuspensionView(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch that was taken back, and what became of the promises in it."""

    id: int
    since: str
    until: Annotated[str | None, Meta(description="null: without end.")]
    reason: str
    by: str
    announced_at: str
    affected: Annotated[int, Meta(description="Promises that met it when it was announced.")]
    moved: Annotated[int, Meta(description="To an equivalent that costs no more.")]
    refunded: int
    short_notice: Annotated[bool | None, Meta(description="Shorter than the terms say, by leave of the district.")]
    inside: list[InsideView] = []


class AgreementView(msgspec.Struct, frozen=True, kw_only=True):
    """An agreement."""

    code: str
    lot: str
    lot_name: str
    state: str
    version: Annotated[int, Meta(description="`ETag` of the answer; send it as `If-Match` with what changes it.")]
    terms: dict[str, Any]
    created_at: str
    changed_at: str
    classes: list[ClassView] | None = None
    advice: list[AdviceView] | None = None
    events: list[AgreementEventView] | None = None
    taken_back: Annotated[SuspensionView, Meta(description="What a termination does to promises.")] | None = None


class AgreementPage(msgspec.Struct, frozen=True):
    """Agreements by code."""

    agreements: list[AgreementView]
    next: Annotated[str, Meta(description="`cursor` of the next page; null on the last.")] | None


class SuspensionList(msgspec.Struct, frozen=True):
    """What of an agreement is taken back and not over, by its beginning."""

    suspensions: list[SuspensionView]


class HourView(msgspec.Struct, frozen=True):
    """An hour of a class: the most that is offered, the most that is promised, the least that is free."""

    offered: int
    promised: int
    free: int


class StretchView(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """From when until when."""

    from_: str
    until: str


class DayView(msgspec.Struct, frozen=True):
    """A class on a local date."""

    date: str
    kind: Annotated[str, Meta(description="workday, weekend or holiday.")]
    announced: Annotated[bool, Meta(description="Whether the holidays of the year are known; else by the weekday.")]
    openings: list[StretchView]
    suspended: list[StretchView]
    exception: Annotated[bool, Meta(description="The windows say something else for this very date.")]
    hours: Annotated[list[HourView], Meta(description="24, local.")]


class ClassCalendar(msgspec.Struct, frozen=True):
    """A class on some dates."""

    code: str
    spaces: int
    days: list[DayView]


class CalendarView(msgspec.Struct, frozen=True):
    """What an agreement offers, what of it is promised and what is free."""

    agreement: str
    version: int
    classes: list[ClassCalendar]


def text(at: datetime, zone: ZoneInfo) -> str:
    """A moment as it is written outside."""
    return at.astimezone(zone).isoformat(timespec="seconds")


def agreement_view(
    found: Agreement,
    zone: ZoneInfo,
    *,
    classes: Iterable[ClassRow] | None = None,
    advice: Iterable[Advice] | None = None,
    events: Iterable[AgreementEvent] | None = None,
    taken_back: TakenBack | None = None,
) -> AgreementView:
    """An agreement with as much as the answer says of it."""
    return AgreementView(
        code=found.code,
        lot=found.lot,
        lot_name=found.lot_name,
        state=found.state.value,
        version=found.version,
        terms=found.terms.document(),
        created_at=text(found.created_at, zone),
        changed_at=text(found.changed_at, zone),
        classes=None if classes is None else [_class(each) for each in classes],
        advice=None if advice is None else [_advice(each) for each in advice],
        events=None if events is None else [_event(each, zone) for each in events],
        taken_back=taken_view(taken_back, zone) if taken_back else None,
    )


def _class(row: ClassRow) -> ClassView:
    schedule = parse_schedule(row.windows)
    hours = Words(sentence_zh(schedule), sentence_en(schedule))
    return ClassView(row.code, dict(row.windows), hours, list(row.spaces), list(row.named))


def _advice(one: Advice) -> AdviceView:
    return AdviceView(one.code.value, [place + 1 for place in one.classes], Words(one.zh, one.en))


def _event(one: AgreementEvent, zone: ZoneInfo) -> AgreementEventView:
    return AgreementEventView(one.kind, text(one.at, zone), one.by, dict(one.detail))


def taken_view(taken: TakenBack, zone: ZoneInfo) -> SuspensionView:
    """What was just taken back; cars that are inside are named, their plates masked."""
    inside = [
        InsideView(each.code, masked(each.plate), text(each.arrive_at, zone), text(each.depart_at, zone))
        for each in taken.inside
    ]
    view = suspension_view(taken.suspension, zone)
    return msgspec.structs.replace(view, short_notice=taken.short if taken.new else None, inside=inside)


def suspension_view(one: Suspension, zone: ZoneInfo) -> SuspensionView:
    """A stretch that was taken back."""
    return SuspensionView(
        id=one.id,
        since=text(one.since, zone),
        until=None if one.until >= FOREVER else text(one.until, zone),
        reason=one.reason,
        by=one.by,
        announced_at=text(one.announced_at, zone),
        affected=one.affected,
        moved=one.moved,
        refunded=one.refunded,
        short_notice=None,
    )


def stretches_of(day: tuple[datetime, datetime], found: Iterable[Interval], zone: ZoneInfo) -> list[StretchView]:
    """The parts of stretches that lie in a day."""
    return [
        StretchView(text(max(each.begins_at, day[0]), zone), text(min(each.ends_at, day[1]), zone))
        for each in found
        if each.begins_at < day[1] and each.ends_at > day[0]
    ]


def hours_of(day: tuple[datetime, datetime], first_day: date, offered: Spaces, free: Spaces) -> list[HourView]:
    """A local day's hours from slots that begin with a UTC day; what is not known offers nothing."""
    begin, views = slot_of(begins_of(first_day)), []
    at = day[0]
    while at < day[1]:
        part = slice(max(slot_of(at) - begin, 0), max(slot_of(at + _HOUR) - begin, 0))
        spaces, left = offered[part], free[part]
        if len(spaces):
            views.append(HourView(int(spaces.max()), int((spaces - left).max()), int(left.min())))
        else:
            views.append(HourView(0, 0, 0))
        at += _HOUR
    return views
