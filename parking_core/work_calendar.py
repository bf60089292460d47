"""The work calendar: which kind of day a date is (pure).

Source: the State Council's yearly notice of holidays and make-up workdays, as the library chinesecalendar types it.
A HOLIDAY is every day of a holiday period as announced: the statutory days themselves, the weekdays that are taken in
exchange, and the Saturdays and Sundays that the notice counts into the period. A Saturday or Sunday that the notice
makes a working day (a make-up workday) is a WORKDAY; every other Saturday and Sunday is a WEEKEND.

A year whose notice is not known yet has plain weekdays and weekends, and `is_announced` says so. The notice comes in
the November before its year and may also move the last days of the December before.
"""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from chinese_calendar.constants import (  # type: ignore[import-untyped]  # the library ships no types
    holidays,
    workdays,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_SATURDAY = 5
_MOST_REMEMBERED = 50_000  # dates; whoever asks for quotes of all centuries must not fill the memory
_ANNOUNCED = frozenset(day.year for day in workdays)  # every notice since 2004 names make-up workdays


class DayKind(StrEnum):
    """What tariffs distinguish days by."""

    WORKDAY = "workday"
    WEEKEND = "weekend"
    HOLIDAY = "holiday"


class DayKinds(Protocol):
    """Whatever knows which kind of day a date is."""

    def day_kind(self, day: date, /) -> DayKind:
        """Kind of `day`, a date of the lot's own time zone."""
        ...


class PlainWeekdays:
    """Monday to Friday are workdays, the others weekend; for places without a work calendar."""

    def day_kind(self, day: date, /) -> DayKind:
        """Kind of `day` by its weekday alone."""
        return _by_weekday(day)


class WorkCalendar:
    """Kinds of days as announced, with own corrections on top; a date is worked out once, then remembered.

    Args:
        overrides: days that the district decides otherwise, or that were announced after the library was released.
    """

    def __init__(self, overrides: Mapping[date, DayKind] | None = None) -> None:
        self._overrides = dict(overrides or {})
        self._kinds = _Remembered(self._overrides)

    def day_kind(self, day: date, /) -> DayKind:
        """Kind of `day`, a date of the lot's own time zone; 0.1 us when it was asked before.

        Raises:
            TypeError: it is a moment; which date that is depends on a time zone.
        """
        return self._kinds[day]

    def is_announced(self, year: int) -> bool:
        """Whether the days of `year` are those of a notice: the library's, or own corrections in that year."""
        return year in _ANNOUNCED or any(day.year == year for day in self._overrides)


class _Remembered(dict[date, DayKind]):
    """Kinds by date; a date that is not there yet is worked out and kept."""

    def __init__(self, overrides: Mapping[date, DayKind]) -> None:
        super().__init__(overrides)
        self._overrides = overrides

    def __missing__(self, day: date) -> DayKind:
        if isinstance(day, datetime):
            raise TypeError(f"{day!r} is a moment; give the date of a time zone.")
        if len(self) >= _MOST_REMEMBERED:
            self.clear()
            self.update(self._overrides)
        if day in holidays:
            kind = DayKind.HOLIDAY
        elif day in workdays:
            kind = DayKind.WORKDAY
        else:
            kind = _by_weekday(day)
        return self.setdefault(day, kind)


def _by_weekday(day: date) -> DayKind:
    return DayKind.WEEKEND if day.weekday() >= _SATURDAY else DayKind.WORKDAY
