"""Schedules: hours that come again, by kind of day or weekday (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parking_core.errors import InvalidInputError
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from datetime import date

    from parking_core.places import OpeningWindow

DAY_MINUTES = 1440
Day = DayKind | int  # a kind of day, or an ISO weekday from 1 (Monday) to 7 (Sunday)
EVERY_DAY: frozenset[Day] = frozenset(DayKind)
_ORDER: dict[Day, int] = {day: place for place, day in enumerate((*DayKind, *range(1, 8)))}


@dataclass(frozen=True, slots=True, order=True)
class Hours:
    """From a time of day until another, in wall-clock minutes, half-open.

    Not after `from_minute`, `until_minute` is of the next day. With `until_workday` it is of the first workday after
    the day on which the hours begin, however many days off lie between.
    """

    from_minute: int  # 0 to 1439
    until_minute: int  # 1 to 1440, which is midnight
    until_workday: bool = False

    def __post_init__(self) -> None:
        if not (0 <= self.from_minute < DAY_MINUTES and 0 < self.until_minute <= DAY_MINUTES):
            raise InvalidInputError(
                f"Hours are from minute {self.from_minute} until {self.until_minute}; give 0 to 1439 and 1 to 1440."
            )

    @property
    def overnight(self) -> bool:
        """Whether they end on the next day (not: on the next workday)."""
        return self.until_minute <= self.from_minute and not self.until_workday


ALL_DAY = Hours(0, DAY_MINUTES)


@dataclass(frozen=True, slots=True)
class Window:
    """Hours that begin on these days; a date counts when its kind or its weekday is named."""

    days: frozenset[Day]
    hours: Hours

    def __post_init__(self) -> None:
        if not self.days or not self.days <= _ORDER.keys():
            raise InvalidInputError(f"Days are {set(self.days)!r}; give kinds of days or ISO weekdays, 1 to 7.")


@dataclass(frozen=True, slots=True)
class Schedule:
    """When a space may be stood on. Two schedules that say the same in another order are equal.

    Args:
        windows: the hours that come again; none: never, but for exceptions.
        exceptions: what holds instead on a date, all of it from midnight to midnight; no hours: closed.
        no_movement: when cars may stand but neither enter nor leave.
        valid_from, valid_through: first and last date; None: unlimited.
        runs_on: an opening that ends at the midnight before a day with overnight hours runs on until these end in
            the morning; False: it ends at midnight.

    Raises:
        InvalidInputError: it ends before it begins, or a date has two exceptions.
    """

    windows: tuple[Window, ...]
    exceptions: tuple[tuple[date, tuple[Hours, ...]], ...] = ()
    no_movement: tuple[Window, ...] = ()
    valid_from: date | None = None
    valid_through: date | None = None
    runs_on: bool = True

    def __post_init__(self) -> None:
        if self.valid_from and self.valid_through and self.valid_through < self.valid_from:
            raise InvalidInputError(f"The schedule ends on {self.valid_through}, before it begins, {self.valid_from}.")
        exceptions = {day: tuple(sorted(set(hours))) for day, hours in self.exceptions}
        if len(exceptions) < len(self.exceptions):
            raise InvalidInputError("A date has two exceptions; give each date once, with all its hours.")
        object.__setattr__(self, "windows", _in_order(self.windows))
        object.__setattr__(self, "no_movement", _in_order(self.no_movement))
        object.__setattr__(self, "exceptions", tuple(sorted(exceptions.items())))

    @property
    def by_day_kind(self) -> bool:
        """Whether it needs the work calendar: weekdays, dates and hours of every day do not."""
        windows = (*self.windows, *self.no_movement)
        every = [*(window.hours for window in windows), *(each for _, hours in self.exceptions for each in hours)]
        by_kind = any(window.days & EVERY_DAY and not window.days >= EVERY_DAY for window in windows)
        return by_kind or any(hours.until_workday for hours in every)


def _in_order(windows: tuple[Window, ...]) -> tuple[Window, ...]:
    """One window for all days of the same hours, in the order in which people read them."""
    days: dict[Hours, frozenset[Day]] = {}
    for window in windows:
        days[window.hours] = days.get(window.hours, frozenset()) | window.days
    whole = [Window(of, hours) for hours, of in days.items()]
    return tuple(sorted(whole, key=lambda window: (_ORDER[in_order(window.days)[0]], window.hours)))


def in_order(days: frozenset[Day]) -> list[Day]:
    """Kinds of days first, then weekdays from Monday on."""
    return sorted(days, key=_ORDER.__getitem__)


def schedule_of_opening(opening: tuple[OpeningWindow, ...] | None) -> Schedule:
    """A lot's opening hours (parking_core.places) as a schedule, to the letter: nothing runs on beyond midnight."""
    if opening is None:
        return Schedule((Window(EVERY_DAY, ALL_DAY),), runs_on=False)
    windows = (
        Window(frozenset(each.days), Hours(each.from_minute % DAY_MINUTES, each.until_minute or DAY_MINUTES))
        for each in opening
    )
    return Schedule(tuple(windows), runs_on=False)
