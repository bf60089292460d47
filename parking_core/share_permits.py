"""Recurring permits of shared lots: what is applied for, what its openings are, what they cost (facts and rules).

An opening is a stretch of the class's windows within a UTC day, the grid that capacity is counted on: a night from 18:00
to 08:00 is one, the Friday night before a weekend is one, the Saturday from 08:00 on the next. A permit draws its space
opening by opening, so that one of them can be given back, moved or refunded alone.

What a month costs is spread evenly over its openings: one that is lost through the owner, not through the holder, is
worth that part of the month's price. What becomes of the money of a month:

    lost through the owner (suspension, termination, too few spaces)    given back by openings
    given back by the holder, withdrawn                                 kept: he withdraws to the end of a paid month
    ended for violations                                                kept; later months are not charged

The published rule of Wuxi (2022: 200 yuan a month, more than three violations end a permit; ourjiangsu.com 2022-11-15)
names no refund; that of the last line is ours.
"""

from __future__ import annotations

import hashlib
import json
from calendar import monthrange
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from parking_core.slots import SLOTS, begins_of, day_of, slots_of
from parking_core.windows import openings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from zoneinfo import ZoneInfo

    import numpy as np
    from numpy.typing import NDArray

    from parking_core.reservations import PermitState
    from parking_core.windows import Schedule
    from parking_core.work_calendar import DayKinds

MOST_MONTHS: Final = 12
HELD_AHEAD: Final = timedelta(days=3)  # before a month begins its price is held: time to see that it cannot be


class PermitRefusal(StrEnum):
    """Why an application was refused. Stable codes; where a request for a stay has the same reason, the same word."""

    NO_LOT_NEARBY = "no_lot_nearby"
    NOT_ELIGIBLE = "not_eligible"
    NO_PERMITS = "no_permits"  # the owner shares single stays only
    NEVER_OPEN = "never_open"  # its windows are closed for all of the time
    PERMITS_USED_UP = "permits_used_up"  # of the class's spaces a part stays for single stays
    FULL = "full"  # some coming openings are promised already
    TOO_MANY_ACTIVE = "too_many_active"  # the car has a permit for some of that time
    PAST = "past"
    TOO_FAR_AHEAD = "too_far_ahead"
    SUSPENDED_PERSON = "suspended_person"  # too many violations
    BY_OPERATOR = "by_operator"
    NOT_DECIDED = "not_decided"  # nobody decided before it would have begun
    NOT_OFFERED = "not_offered"  # the owner ended the agreement meanwhile


class DrawState(StrEnum):
    """What became of an opening of a permit."""

    DRAWN = "drawn"
    GIVEN_BACK = "given_back"  # by the holder, or the permit ended
    MOVED = "moved"  # a reservation elsewhere stands for it
    REFUNDED = "refunded"  # lost through the owner


class Opening(NamedTuple):
    """A stretch of windows within a UTC day, [begins, ends)."""

    begins: datetime
    ends: datetime


class Month(NamedTuple):
    """A month of a permit, [begins, ends), from local midnight to local midnight."""

    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitAsk:
    """What is applied for. Coordinates WGS 84 degrees, walks in metres.

    lot, class_code: codes; None: the nearest within the walk that has a space.
    lat, lon: where the driver wants to go; None: to the lot.
    """

    plate: str  # in the one form of parking_core.plates
    group: str
    first_day: date  # local
    months: int
    lot: str | None = None
    class_code: str | None = None
    lat: float | None = None
    lon: float | None = None
    walk_m: int = 500

    def digest(self) -> bytes:
        """SHA-256 of what is applied for: under one idempotency key it is applied for once."""
        place = None if self.lat is None or self.lon is None else (f"{self.lat:.6f}", f"{self.lon:.6f}", self.walk_m)
        parts = (
            self.plate,
            self.group,
            self.first_day.isoformat(),
            self.months,
            self.lot,
            self.class_code,
            place,
        )
        return hashlib.sha256(json.dumps(parts).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedPermit:
    """A permit as it stands; `price_fen` is for a month."""

    id: int
    code: str
    user_id: int
    class_id: int | None  # None: refused, no class was in question
    lot_id: int | None
    plate: str
    group: str
    state: PermitState
    valid_from: datetime
    valid_until: datetime
    months: int
    first_day: date
    price_fen: int
    asked_at: datetime
    decided_at: datetime | None
    withdrawn_at: datetime | None
    ended_at: datetime | None
    request_digest: bytes


@dataclass(frozen=True, slots=True)
class Draw:
    """An opening of a permit as its space was taken: [since, until) is within what the owner offered."""

    permit_id: int
    class_id: int
    since: datetime
    until: datetime
    state: DrawState
    reservation_id: int | None = None

    def name(self, code: str) -> str:
        """What gates know it by."""
        return f"{code}/{self.since.astimezone(UTC):%Y-%m-%dT%H:%MZ}"


def months_of(first_day: date, months: int, zone: ZoneInfo) -> tuple[Month, ...]:
    """The months from a date on; one that begins on the 31st ends with the last day that the next month has."""
    bounds = [_midnight(_months_later(first_day, number), zone) for number in range(months + 1)]
    return tuple(Month(begins, ends) for begins, ends in pairwise(bounds))


def _months_later(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 + months, 12)
    return date(year, month + 1, min(day.day, monthrange(year, month + 1)[1]))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), zone).astimezone(UTC)


def openings_of(
    schedule: Schedule, calendar: DayKinds, zone: ZoneInfo, since: datetime, until: datetime
) -> Iterator[Opening]:
    """Stretches of windows, cut at the ends of UTC days and to `since` and `until`; none where that is empty."""
    if since >= until:
        return
    for stretch in openings(schedule, calendar, zone, since, until):
        begins, ends = stretch.begins_at.astimezone(UTC), stretch.ends_at.astimezone(UTC)
        while begins < ends:
            cut = min(begins_of(day_of(begins), SLOTS), ends)
            yield Opening(begins, cut)
            begins = cut


def as_offered(opening: Opening, offered: NDArray[np.int32], first_day: date) -> Opening | None:
    """The longest stretch of an opening in which spaces are offered, by `offered` from the first slot of a day on.

    Buffers before the owner's return, suspensions: less is offered than the windows say. None: nothing is.
    """
    best: Opening | None = None
    for begins, ends in _runs(opening, offered, first_day):
        run = Opening(max(begins, opening.begins), min(ends, opening.ends))
        if best is None or run.ends - run.begins > best.ends - best.begins:
            best = run
    return best


def _runs(opening: Opening, offered: NDArray[np.int32], first_day: date) -> Iterator[tuple[datetime, datetime]]:
    for part in slots_of(*opening):
        base = (part.day - first_day).days * SLOTS
        begin: int | None = None
        for slot in range(part.first, part.until + 1):
            is_open = slot < part.until and 0 <= base + slot < len(offered) and offered[base + slot] > 0
            if is_open and begin is None:
                begin = slot
            elif not is_open and begin is not None:
                yield begins_of(part.day, begin), begins_of(part.day, slot)
                begin = None


def least_free(opening: Opening, free: NDArray[np.int32], first_day: date) -> int:
    """Spaces that are left in all of an opening; 0 where it reaches beyond the days of `free`."""
    least: int | None = None
    for part in slots_of(*opening):
        base = (part.day - first_day).days * SLOTS
        known = base >= 0 and base + part.until <= len(free)
        left = int(free[base + part.first : base + part.until].min()) if known else 0
        least = left if least is None else min(least, left)
    return least or 0


def most_at_once(spans: Iterable[tuple[datetime, datetime]]) -> int:
    """How many half-open spans of time hold at one moment at most."""
    steps = sorted(step for begins, ends in spans for step in ((begins, 1), (ends, -1)))  # ends before beginnings
    most = now = 0
    for _, change in steps:
        now += change
        most = max(most, now)
    return most


def most_permits(spaces: int, permille: int) -> int:
    """Permits of a class at once, rounded down."""
    return spaces * permille // 1000


def worth_fen(price_fen: int, openings_lost: int, openings_in_all: int) -> int:
    """What lost openings of a month are worth, rounded half up; all of the price where all are lost.

    >>> worth_fen(20_000, 1, 30)
    667
    """
    if openings_in_all <= 0:
        return 0
    lost = min(openings_lost, openings_in_all)
    return (2 * price_fen * lost + openings_in_all) // (2 * openings_in_all)


def joined(draws: Sequence[Draw]) -> list[list[Draw]]:
    """Draws in order, those together that touch: a car that stays from one into the other does not move between."""
    groups: list[list[Draw]] = []
    for draw in sorted(draws, key=lambda each: each.since):
        if groups and groups[-1][-1].until == draw.since:
            groups[-1].append(draw)
        else:
            groups.append([draw])
    return groups
