"""When a schedule is open, and whether a car may stand (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import takewhile
from typing import TYPE_CHECKING

from parking_core.errors import InvalidInputError
from parking_core.tariffs import Interval
from parking_core.tariffs.local_days import LocalDays, minute_of, moment
from parking_core.windows.schedule import DAY_MINUTES, Day, Hours, Schedule
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from parking_core.work_calendar import DayKinds

_LONGEST_BREAK_DAYS = 60  # days off in a row; the longest that was ever announced has ten
_LOOK_AHEAD = timedelta(days=15), timedelta(days=400)  # nearly every stretch ends within the first

_days_of = lru_cache(maxsize=64)(LocalDays)  # by time zone


class Reason(StrEnum):
    """Why a car may stand or not."""

    ALLOWED = "allowed"
    NOT_VALID = "not_valid"  # before the schedule's first date or after its last
    EXCEPTION = "exception"  # closed then, on a date with hours of its own
    CLOSED = "closed"
    NO_ENTRY = "no_entry"  # open, but nobody may drive in then
    TOO_LONG = "too_long"  # it would have to be gone earlier
    NO_EXIT = "no_exit"  # nobody may drive out then


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a car may stand from one moment to another.

    until: the latest moment at which it may leave if it stands there from the beginning on; None: it may not stand
        there at the beginning, or there is no end within 400 days.
    next_opening: where it may not, the next moment at which one may drive in, within 400 days.
    """

    allowed: bool
    reason: Reason
    until: datetime | None
    next_opening: datetime | None


def openings(
    schedule: Schedule, calendar: DayKinds, zone: ZoneInfo, since: datetime, until: datetime
) -> tuple[Interval, ...]:
    """Stretches in which the schedule is open, in order, joined where they touch, cut to `since` and `until` (aware).

    Times of day are wall-clock time in `zone`. Where the clock is put forward, a time that it never shows is the
    moment of the change; where it is put back, a time that it shows twice is the first of the two.
    """
    first, last = minute_of(since), minute_of(until)
    stretches = []
    for begins, ends in _Walk(schedule, calendar, zone).spans(first, last):
        begins_at = moment(begins) if begins > first else max(moment(begins), since)
        ends_at = moment(ends) if ends <= last else until
        if ends > first and begins_at < ends_at:
            stretches.append(Interval(begins_at, ends_at))
    return tuple(stretches)


def may_stand(schedule: Schedule, calendar: DayKinds, zone: ZoneInfo, begins: datetime, ends: datetime) -> Verdict:
    """Whether a car may stand from `begins` to `ends` (aware), and until when.

    Raises:
        InvalidInputError: it does not end after it begins.
    """
    if ends <= begins:
        raise InvalidInputError(f"The stay ends at {ends}; that is not after {begins}, when it begins.")
    days = begins.astimezone(zone).date()
    for reach in _LOOK_AHEAD:
        horizon = ends + reach
        stretches = openings(schedule, calendar, zone, begins, horizon)
        quiet = _quiet(schedule, calendar, zone, begins, horizon)
        verdict = _verdict(stretches, quiet, begins, ends)
        endless = bool(stretches) and stretches[0].begins_at == begins and stretches[0].ends_at == horizon
        if not endless and (verdict.allowed or verdict.next_opening is not None):
            break
    until = None if endless and verdict.until == horizon else verdict.until
    reason = _why_closed(schedule, days) if verdict.reason is Reason.CLOSED else verdict.reason
    return Verdict(verdict.allowed, reason, until, verdict.next_opening)


def _quiet(
    schedule: Schedule, calendar: DayKinds, zone: ZoneInfo, since: datetime, until: datetime
) -> tuple[Interval, ...]:
    """When nobody may drive in or out."""
    if not schedule.no_movement:
        return ()
    return openings(Schedule(schedule.no_movement, runs_on=False), calendar, zone, since, until)


def _verdict(stretches: tuple[Interval, ...], quiet: tuple[Interval, ...], begins: datetime, ends: datetime) -> Verdict:
    """The verdict on stretches that are cut to the beginning of the stay."""
    if not stretches or stretches[0].begins_at > begins:
        return Verdict(False, Reason.CLOSED, None, _next_entry(stretches, quiet, begins))  # noqa: FBT003  # its name is in the class
    here = stretches[0]
    until = next((each.begins_at for each in quiet if each.begins_at < here.ends_at < each.ends_at), here.ends_at)
    if any(each.begins_at <= begins < each.ends_at for each in quiet):
        return Verdict(False, Reason.NO_ENTRY, None, _next_entry(stretches, quiet, begins))  # noqa: FBT003  # its name is in the class
    if ends > until:
        reason = Reason.TOO_LONG
    elif any(each.begins_at < ends < each.ends_at for each in quiet):
        reason = Reason.NO_EXIT
    else:
        return Verdict(True, Reason.ALLOWED, until, None)  # noqa: FBT003  # its name is in the class
    return Verdict(False, reason, until, _next_entry(stretches[1:], quiet, begins))  # noqa: FBT003  # its name is in the class


def _next_entry(stretches: tuple[Interval, ...], quiet: tuple[Interval, ...], after: datetime) -> datetime | None:
    """The first moment later than `after` that lies in a stretch and at which one may drive in."""
    for stretch in stretches:
        at = stretch.begins_at
        for each in quiet:
            if each.begins_at <= at < each.ends_at:
                at = each.ends_at
        if after < at < stretch.ends_at:
            return at
    return None


def _why_closed(schedule: Schedule, day: date) -> Reason:
    if (schedule.valid_from and day < schedule.valid_from) or (schedule.valid_through and day > schedule.valid_through):
        return Reason.NOT_VALID
    return Reason.EXCEPTION if any(date_ == day for date_, _ in schedule.exceptions) else Reason.CLOSED


class _Walk:
    """A walk over local days that joins what a schedule opens."""

    def __init__(self, schedule: Schedule, calendar: DayKinds, zone: ZoneInfo) -> None:
        self._schedule = schedule
        self._kind = calendar.day_kind
        self._days = _days_of(zone)
        self._exceptions = dict(schedule.exceptions)
        self._known: dict[tuple[Day, int], _Usual] = {}
        self._by_weekday = any(type(day) is int for window in schedule.windows for day in window.days)
        self._far = any(window.hours.until_workday for window in schedule.windows) or any(
            hours.until_workday for _, each in schedule.exceptions for hours in each
        )

    def spans(self, first: int, last: int) -> list[list[int]]:
        """Joined spans of minutes since the epoch that may reach into `first` to `last`; some lie before or after."""
        schedule, days = self._schedule, self._days
        begins, ends = self._days_before(days.ordinal(first)), days.ordinal(last)
        if schedule.valid_from is not None:
            begins = max(begins, schedule.valid_from.toordinal())
        if schedule.valid_through is not None:
            ends = min(ends, schedule.valid_through.toordinal())
        spans: list[list[int]] = []
        here, after = days.begins(begins), days.begins(begins + 1)
        for ordinal in range(begins, ends + 1):
            beyond = days.begins(ordinal + 2)
            self._add(spans, ordinal, here, plain=beyond - here == 2 * DAY_MINUTES and after - here == DAY_MINUTES)
            here, after = after, beyond
        if schedule.valid_through is not None and spans:
            spans[-1][1] = min(spans[-1][1], days.begins(schedule.valid_through.toordinal() + 1))
        return spans

    def _days_before(self, ordinal: int) -> int:
        """The first day whose hours can reach a day: the one before, or the workday before."""
        earlier = ordinal - 1
        if self._far:
            past = range(earlier, earlier - _LONGEST_BREAK_DAYS, -1)
            earlier -= sum(1 for _ in takewhile(self._is_off, past))
        return earlier

    def _is_off(self, ordinal: int) -> bool:
        return self._kind(date.fromordinal(ordinal)) is not DayKind.WORKDAY

    def _add(self, spans: list[list[int]], ordinal: int, midnight: int, *, plain: bool) -> None:
        """What opens on a day, joined to what was open before; `plain`: it and the next day have 24 hours."""
        day = date.fromordinal(ordinal)
        exception = self._exceptions.get(day) if self._exceptions else None
        if exception is None:
            usual = self._usual(day)
            if usual.morning and spans and spans[-1][1] == midnight:
                spans[-1][1] = self._at(ordinal, usual.morning)
        else:  # it has the whole date: what runs in from the day before ends at midnight
            usual = _Usual(exception)
            if spans:
                spans[-1][1] = min(spans[-1][1], midnight)
        if plain and usual.minutes is not None:
            ranges = usual.minutes
        else:
            midnight = 0
            ranges = [(self._at(ordinal, each.from_minute), self._end(ordinal, each)) for each in usual.hours]
        for opening, closing in ranges:
            opens, closes = midnight + opening, midnight + closing
            if spans and opens <= spans[-1][1]:
                spans[-1][1] = max(spans[-1][1], closes)
            elif opens < closes:
                spans.append([opens, closes])

    def _usual(self, day: date) -> _Usual:
        """What holds on an ordinary date."""
        key = self._kind(day), day.isoweekday() if self._by_weekday else 0
        known = self._known.get(key)
        if known is None:
            hours = tuple(sorted(window.hours for window in self._schedule.windows if not window.days.isdisjoint(key)))
            known = self._known[key] = _Usual(hours, runs_on=self._schedule.runs_on)
        return known

    def _end(self, ordinal: int, hours: Hours) -> int:
        if hours.until_workday:
            ahead = range(ordinal + 1, ordinal + 1 + _LONGEST_BREAK_DAYS)
            return self._at(ordinal + 1 + sum(1 for _ in takewhile(self._is_off, ahead)), hours.until_minute)
        return self._at(ordinal + 1 if hours.overnight else ordinal, hours.until_minute)

    def _at(self, ordinal: int, minute: int) -> int:
        """The first minute of a local day at which its clock shows this time or a later one."""
        if minute == DAY_MINUTES:
            return self._days.begins(ordinal + 1)
        parts = self._days.stretches(ordinal)
        for begins, ends, midnight in parts:
            if midnight + minute < ends:
                return max(midnight + minute, begins)
        return parts[-1][1]


class _Usual:
    """Hours that hold on a date, by their beginning.

    morning: minute until which what ends at the midnight before runs on; 0: it does not.
    minutes: the hours as minutes from midnight where days have 24 hours; None: they need the calendar.
    """

    __slots__ = ("hours", "minutes", "morning")

    def __init__(self, hours: tuple[Hours, ...], *, runs_on: bool = False) -> None:
        self.hours = hours
        self.morning = max((each.until_minute for each in hours if each.overnight), default=0) if runs_on else 0
        self.minutes = None
        if not any(each.until_workday for each in hours):
            self.minutes = [
                (each.from_minute, each.until_minute + (DAY_MINUTES if each.overnight else 0)) for each in hours
            ]
