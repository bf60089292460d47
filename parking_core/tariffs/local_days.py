"""Local days as minutes since the epoch, and how the clock runs on them (pure).

Wall-clock time decides which window holds. On a day of 23 or 25 hours an hour is skipped, or comes twice and both times
its own window holds; China has had none since 1991, but a tariff's time zone is its own.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo


EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MINUTE = timedelta(minutes=1)
_DAY_MINUTES = 1440
_EPOCH_ORDINAL = EPOCH.toordinal()
_MOST_REMEMBERED = 20_000  # days; more are forgotten again


def minute_of(at: datetime) -> int:
    """Whole minutes since the epoch at or before `at` (aware)."""
    return (at - EPOCH) // _MINUTE


def moment(minute: int) -> datetime:
    """The UTC moment of a minute since the epoch."""
    return EPOCH + timedelta(minutes=minute)


class LocalDays:
    """The days of a time zone; a day that was asked for is remembered."""

    def __init__(self, zone: ZoneInfo) -> None:
        self.zone = zone
        self._begins: dict[int, int] = {}

    def ordinal(self, minute: int) -> int:
        """The local date of a minute, as its proleptic ordinal."""
        return moment(minute).astimezone(self.zone).toordinal()

    def date(self, minute: int) -> date:
        """The local date of a minute."""
        return moment(minute).astimezone(self.zone).date()

    def minute_of_day(self, minute: int) -> int:
        """Wall-clock minutes since midnight."""
        local = moment(minute).astimezone(self.zone)
        return local.hour * 60 + local.minute

    def begins(self, ordinal: int) -> int:
        """The minute at which a local day begins."""
        known = self._begins.get(ordinal)
        if known is None:
            if len(self._begins) >= _MOST_REMEMBERED:
                self._begins.clear()
            day = date.fromordinal(ordinal)
            known = minute_of(datetime(day.year, day.month, day.day, tzinfo=self.zone))
            self._begins[ordinal] = known
        return known

    def stretches(self, ordinal: int) -> list[tuple[int, int, int]]:
        """Parts of a local day as (begins, ends, minute at which 00:00 would lie); several where the clock changes."""
        begins, ends = self.begins(ordinal), self.begins(ordinal + 1)
        if ends - begins == _DAY_MINUTES:
            return [(begins, ends, begins)]
        midnight = (ordinal - _EPOCH_ORDINAL) * _DAY_MINUTES
        return [(since, until, midnight - offset) for since, until, offset in self._offsets(begins, ends)]

    def _offsets(self, begins: int, ends: int) -> list[tuple[int, int, int]]:
        """Parts of a day with one offset from UTC each (minutes), found by halving."""
        first, last = self._offset(begins), self._offset(ends - 1)
        if first == last:
            return [(begins, ends, first)]
        low, high = begins, ends - 1
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._offset(middle) == first else (low, middle)
        return [(begins, high, first), (high, ends, last)]

    def _offset(self, minute: int) -> int:
        offset = moment(minute).astimezone(self.zone).utcoffset()
        return (offset or timedelta()) // _MINUTE
