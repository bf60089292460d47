"""A parsed tariff made quick: prices multiplied out, windows of a day in order, texts ready (pure).

A document has few plans and few vehicle rules; every combination is compiled once, when the document is parsed, so that
a quote only looks up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from parking_core.tariffs import explanation
from parking_core.tariffs.document import ANY_DAY, DAY_MINUTES, Band, minute_of_day
from parking_core.tariffs.local_days import LocalDays
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from parking_core.tariffs.document import (
        Cap,
        ClockSpan,
        FreePeriod,
        Plan,
        PlateColor,
        Rate,
        TariffDocument,
        VehicleRule,
        Window,
    )
    from parking_core.tariffs.explanation import Reason

FOREVER: Final = 1 << 60
_HOUR_MINUTES = 60


class Step(NamedTuple):
    """A band of a rate in a window: below `until` charged minutes, `price_fen` a started unit of `unit` minutes.

    unit 0: the whole band costs the price once.
    """

    key: tuple[str, int]  # rate and band: what is charged once is charged once in all windows of the rate
    until: int
    unit: int
    price_fen: int
    reason: Reason


class Segment(NamedTuple):
    """A window's part of one day, minutes since midnight."""

    begins: int
    ends: int
    window: str
    rate: str
    steps: tuple[Step, ...]  # empty: free of charge
    per_window: bool  # bands count the time since the window began
    after_midnight: bool  # belongs to the window that began the day before
    free_reason: Reason


class CapRule(NamedTuple):
    """A cap with its amount for the vehicle."""

    cap: Cap
    max_fen: int
    minutes: int  # of its period; 0 where that is not a number of hours
    reason: Reason


@dataclass(frozen=True, slots=True)
class CompiledPlan:
    """A plan for one kind of vehicle."""

    segments: Mapping[DayKind, tuple[Segment, ...]]
    every_day: tuple[Segment, ...] | None  # the same windows on all days: no calendar is asked
    splits: bool
    free: FreePeriod | None
    free_reason: Reason
    restart_minutes: int  # 0: never
    free_again: bool
    caps: tuple[CapRule, ...]  # in the order of application: the smaller periods first


@dataclass(frozen=True, slots=True)
class Span:
    """A part of every day."""

    begins: int
    ends: int

    def holds_entry(self, minute: int) -> bool:
        """Whether an entry at this minute of the day lies in it."""
        if self.begins < self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends

    def holds_exit(self, minute: int) -> bool:
        """Whether the last minute of a stay that ends at this minute of the day lies in it."""
        return self.holds_entry((minute - 1) % DAY_MINUTES)


@dataclass(frozen=True, slots=True)
class CompiledChoice:
    """A plan and the stays that it is for; None: no condition of that kind."""

    plan: str
    entered_in: Span | None
    left_in: Span | None
    at_most: int
    entered_on: frozenset[DayKind] | None
    plate_colors: frozenset[PlateColor] | None
    vehicle_classes: frozenset[int] | None


@dataclass(frozen=True, slots=True)
class Tariff:
    """A document that was found valid, ready to price stays. Made by `parse_tariff` alone."""

    document: TariffDocument
    days: LocalDays
    plans: Mapping[tuple[str, int], CompiledPlan]  # by plan and place of the vehicle rule; -1: no rule
    choices: tuple[CompiledChoice, ...]
    lookback: timedelta  # how far before the entry earlier stays matter


# A night lies in a day, a day in a rolling period, a visit holds them all: what a smaller period takes away no longer
# weighs on the larger ones.
_CAP_ORDER = ("window", "day", "from_entry", "rolling", "visit")


def compile_tariff(document: TariffDocument) -> Tariff:
    """The quick form of a valid document."""
    rules: list[tuple[int, VehicleRule | None]] = [(-1, None), *enumerate(document.vehicles)]
    plans = {
        (name, number): _plan(document, plan, rule) for name, plan in document.plans.items() for number, rule in rules
    }
    return Tariff(
        document,
        LocalDays(ZoneInfo(document.time_zone)),
        plans,
        tuple(_choice(document, place) for place in range(len(document.choices))),
        timedelta(hours=max((hours for plan in document.plans.values() for hours in _looks_back(plan)), default=0)),
    )


def _looks_back(plan: Plan) -> Iterable[int]:
    if plan.free is not None:
        yield plan.free.not_within_hours or 0
    for cap in plan.caps:
        if cap.over == "rolling":
            yield 2 * (cap.hours or 0)  # the stay before may have begun in the hours before those
        elif cap.earlier_stays:
            yield 48  # hours: a day's first stay may have begun the day before


def _choice(document: TariffDocument, place: int) -> CompiledChoice:
    choice = document.choices[place]
    when = choice.when
    on = None if when.entered_on is None else frozenset(k for name in when.entered_on for k in kinds_of(document, name))
    return CompiledChoice(
        choice.plan,
        _span(when.entered_in),
        _span(when.left_in),
        when.at_most_minutes or FOREVER,
        on,
        None if when.plate_colors is None else frozenset(when.plate_colors),
        None if when.vehicle_classes is None else frozenset(when.vehicle_classes),
    )


def _span(span: ClockSpan | None) -> Span | None:
    return None if span is None else Span(minute_of_day(span.begins), minute_of_day(span.until))


def kinds_of(document: TariffDocument, name: str) -> tuple[DayKind, ...]:
    """Day kinds that a key of `windows` or `entered_on` stands for."""
    if name == ANY_DAY:
        return tuple(DayKind)
    return tuple(DayKind(kind) for kind in document.day_groups.get(name, (name,)))


def _plan(document: TariffDocument, plan: Plan, vehicle: VehicleRule | None) -> CompiledPlan:
    percent = 100 if vehicle is None else vehicle.percent
    cap_percent = 100 if vehicle is None or vehicle.caps == "same" else vehicle.percent
    by_kind = {
        kind: _segments(document, windows, percent, vehicle)
        for name, windows in plan.windows.items()
        for kind in kinds_of(document, name)
    }
    caps = sorted(plan.caps, key=lambda cap: _CAP_ORDER.index(cap.over))
    return CompiledPlan(
        segments=by_kind,
        every_day=by_kind[DayKind.WORKDAY] if ANY_DAY in plan.windows else None,
        splits=plan.straddle == "split",
        free=plan.free,
        free_reason=explanation.of_free_period(plan.free.minutes if plan.free else 0),
        restart_minutes=plan.restart.after_hours * _HOUR_MINUTES if plan.restart else 0,
        free_again=plan.restart is not None and plan.restart.free_again,
        caps=tuple(_cap(cap, cap.max_fen * cap_percent // 100) for cap in caps),
    )


def _cap(cap: Cap, max_fen: int) -> CapRule:
    return CapRule(cap, max_fen, (cap.hours or 0) * _HOUR_MINUTES, explanation.of_cap(cap, max_fen))


def _segments(
    document: TariffDocument, windows: tuple[Window, ...], percent: int, vehicle: VehicleRule | None
) -> tuple[Segment, ...]:
    parts = []
    for window in windows:
        rate = document.rates[window.rate]
        named = explanation.of_window(window, vehicle)
        steps = _steps(window.rate, rate, percent, named)
        for begins, ends, after_midnight in parts_of(window):
            parts.append(
                Segment(
                    begins,
                    ends,
                    window.name,
                    window.rate,
                    steps,
                    rate.count_from == "window",
                    after_midnight,
                    explanation.of_free_window(named),
                )
            )
    return tuple(sorted(parts))


def parts_of(window: Window) -> list[tuple[int, int, bool]]:
    """A window's parts of one day in minutes since midnight, and whether they are those after midnight."""
    begins, ends = minute_of_day(window.begins), minute_of_day(window.until)
    if begins < ends:
        return [(begins, ends, False)]
    after = [(0, ends, True)] if ends else []
    return [*after, (begins, DAY_MINUTES, False)]


def bands_of(rate: Rate) -> tuple[Band, ...]:
    """The bands of a rate, however it is written; none where it is free."""
    if rate.free:
        return ()
    return rate.bands or (Band(price_fen=rate.price_fen or 0, unit_minutes=rate.unit_minutes),)


def _steps(name: str, rate: Rate, percent: int, named: tuple[str, str]) -> tuple[Step, ...]:
    steps = []
    begins = 0
    for place, band in enumerate(bands_of(rate)):
        price = band.price_fen * percent // 100
        until = FOREVER if band.until_minutes is None else band.until_minutes
        reason = explanation.of_band(f"rate.{name}.{place}", named, band, begins, price)
        steps.append(Step((name, place), until, band.unit_minutes or 0, price, reason))
        begins = until
    return tuple(steps)
