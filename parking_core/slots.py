"""The grid that shared capacity is counted on: slots of 5 minutes, 288 a UTC day (pure).

In China a UTC day runs from 08:00 to 08:00, so that a night of off-peak sharing is one row; days of 23 or 25 hours do not
exist. A promise takes every slot that it touches.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

SLOT_MIN: Final = 5
SLOTS: Final = 24 * 60 // SLOT_MIN  # of a day
_SLOT_S: Final = SLOT_MIN * 60
_EPOCH: Final = date(1970, 1, 1).toordinal()


class DaySlots(NamedTuple):
    """The part of a stretch of time that lies in one day: slots [first, until), counted from 0."""

    day: date
    first: int
    until: int


def slot_of(at: datetime) -> int:
    """Number of the slot that holds a moment, since the epoch."""
    return int(at.timestamp()) // _SLOT_S


def slots_of(begins: datetime, ends: datetime) -> Iterator[DaySlots]:
    """The slots that [begins, ends) touches, day by day; none where it is empty."""
    if begins >= ends:
        return
    first, until = slot_of(begins), -(-int(-(-ends.timestamp() // 1)) // _SLOT_S)
    while first < until:
        day, begin = divmod(first, SLOTS)
        end = min(until - day * SLOTS, SLOTS)
        yield DaySlots(date.fromordinal(_EPOCH + day), begin, end)
        first = (day + 1) * SLOTS


def begins_of(day: date, slot: int = 0) -> datetime:
    """The moment at which a slot of a day begins."""
    return datetime.combine(day, time(), UTC) + timedelta(minutes=slot * SLOT_MIN)


def day_of(at: datetime) -> date:
    """The day whose rows hold a moment."""
    return at.astimezone(UTC).date()


def minute_of(at: datetime, t0: datetime) -> int:
    """Whole minutes from `t0` to a moment, rounded down."""
    return int((at - t0).total_seconds() // 60)
