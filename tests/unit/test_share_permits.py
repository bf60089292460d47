"""Rules of permits: months, openings, what fits, and what a lost opening is worth."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.share_permits import (
    Draw,
    DrawState,
    Opening,
    PermitAsk,
    as_offered,
    joined,
    least_free,
    months_of,
    most_at_once,
    most_permits,
    openings_of,
    worth_fen,
)
from parking_core.slots import SLOTS, begins_of, day_of
from parking_core.windows import parse_schedule
from parking_core.work_calendar import WorkCalendar

ZONE = ZoneInfo("Asia/Shanghai")
HOUR = timedelta(hours=1)
DAY = date(2026, 11, 23)  # a Monday; its row begins at 08:00 in Shanghai
EIGHT = begins_of(DAY)
NIGHTS = parse_schedule(
    {
        "windows": [
            {"days": ["workday"], "from": "18:00", "until": "08:00"},
            {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"},
        ]
    }
)


@pytest.mark.parametrize(
    ("first", "months", "ends"),
    [
        (date(2026, 11, 24), 1, date(2026, 12, 24)),
        (date(2027, 1, 31), 1, date(2027, 2, 28)),
        (date(2027, 1, 31), 2, date(2027, 3, 31)),
        (date(2028, 1, 31), 1, date(2028, 2, 29)),
        (date(2026, 12, 1), 12, date(2027, 12, 1)),
    ],
)
def test_months_end_on_the_day_they_began(first: date, months: int, ends: date) -> None:
    found = months_of(first, months, ZONE)
    assert len(found) == months
    assert found[0].begins == datetime(first.year, first.month, first.day, tzinfo=ZONE)
    assert found[-1].ends == datetime(ends.year, ends.month, ends.day, tzinfo=ZONE)
    assert all(one.ends == other.begins for one, other in pairwise(found))


@given(st.integers(0, 700), st.integers(0, 60 * 24 * 20))
def test_openings_lie_within_a_day_of_capacity_and_touch_where_the_windows_go_on(begins: int, minutes: int) -> None:
    since = EIGHT + begins * HOUR
    until = since + timedelta(minutes=minutes)
    found = list(openings_of(NIGHTS, WorkCalendar(), ZONE, since, until))
    assert all(since <= one.begins < one.ends <= until for one in found)
    assert all(day_of(one.begins) == day_of(one.ends - timedelta(seconds=1)) for one in found)
    assert all(one.ends <= other.begins for one, other in pairwise(found))


def test_a_weekend_is_three_openings() -> None:
    friday = EIGHT + 4 * 24 * HOUR
    found = list(openings_of(NIGHTS, WorkCalendar(), ZONE, friday, friday + 80 * HOUR))
    assert [(one.begins - friday, one.ends - friday) for one in found] == [
        (10 * HOUR, 24 * HOUR),
        (24 * HOUR, 48 * HOUR),
        (48 * HOUR, 72 * HOUR),
    ]


@given(st.lists(st.integers(0, 2), min_size=SLOTS, max_size=2 * SLOTS), st.integers(0, SLOTS), st.integers(1, SLOTS))
def test_what_is_offered_of_an_opening_is_its_longest_stretch(offered: list[int], first: int, length: int) -> None:
    spaces = np.array(offered, np.int32)
    opening = Opening(begins_of(DAY, first), begins_of(DAY, first + length))
    part = as_offered(opening, spaces, DAY)
    slots = [first + n < len(offered) and offered[first + n] > 0 for n in range(length)]
    runs = [len(run) for run in "".join("x" if open_ else " " for open_ in slots).split()]
    # a run is cut at the end of a day, as an opening is
    longest = max(runs, default=0)
    if part is None:
        assert longest == 0
        return
    taken = int((part.ends - part.begins).total_seconds()) // 300
    assert taken <= longest
    assert taken == longest or first + length > SLOTS
    assert opening.begins <= part.begins < part.ends <= opening.ends
    assert least_free(part, spaces, DAY) > 0


def test_nothing_is_left_beyond_the_days_that_are_known() -> None:
    free = np.ones(SLOTS, np.int32)
    assert least_free(Opening(EIGHT, EIGHT + 24 * HOUR), free, DAY) == 1
    assert least_free(Opening(EIGHT + 20 * HOUR, EIGHT + 25 * HOUR), free, DAY) == 0
    assert least_free(Opening(EIGHT - HOUR, EIGHT + HOUR), free, DAY) == 0
    free[100] = 0
    assert least_free(Opening(EIGHT, EIGHT + 24 * HOUR), free, DAY) == 0


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 20))))
def test_permits_at_once_are_counted_at_every_moment(spans: list[tuple[int, int]]) -> None:
    found = most_at_once((EIGHT + begins * HOUR, EIGHT + (begins + hours) * HOUR) for begins, hours in spans)
    assert found == max((sum(b <= at < b + h for b, h in spans) for at in range(71)), default=0)


def test_a_part_of_the_spaces_is_for_permits() -> None:
    assert [most_permits(spaces, 500) for spaces in (0, 1, 2, 3, 10)] == [0, 0, 1, 1, 5]
    assert most_permits(7, 1000) == 7


@given(st.integers(0, 10**7), st.integers(0, 70), st.integers(0, 70))
def test_a_month_is_worth_its_openings_and_never_more(price: int, lost: int, in_all: int) -> None:
    worth = worth_fen(price, lost, in_all)
    assert 0 <= worth <= price
    if in_all and lost >= in_all:
        assert worth == price
    if in_all and lost < in_all:
        assert abs(worth * in_all - price * lost) * 2 <= in_all


def test_openings_that_touch_are_moved_together() -> None:
    def drawn(begins: float, hours: float) -> Draw:
        return Draw(1, 1, EIGHT + begins * HOUR, EIGHT + (begins + hours) * HOUR, DrawState.DRAWN)

    draws = [drawn(24, 24), drawn(10, 14), drawn(58, 14)]
    assert joined(draws) == [[draws[1], draws[0]], [draws[2]]]
    assert joined([]) == []
    assert draws[1].name("P-1") == "P-1/2026-11-23T10:00Z"


def test_another_application_has_another_digest() -> None:
    def digest(**more: Any) -> bytes:
        values: dict[str, Any] = {"plate": "苏B12345", "group": "any", "first_day": DAY, "months": 1, "lot": "S01"}
        return PermitAsk(**(values | more)).digest()

    others = [
        digest(plate="苏B12346"),
        digest(group="patient"),
        digest(first_day=DAY + timedelta(days=1)),
        digest(months=2),
        digest(lot="S02"),
        digest(class_code="A"),
        digest(lat=31.5, lon=120.3),
        digest(lat=31.5, lon=120.3, walk_m=600),
    ]
    assert len({digest(), *others}) == len(others) + 1
    assert digest() == digest()
