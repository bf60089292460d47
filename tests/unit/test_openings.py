"""What a class offers slot by slot: what fits it leaves the owner his buffer, and nothing is wasted that need not be."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from parking_core.openings import HourBuffers, last_slot_end, offered_slots, without
from parking_core.slots import SLOT_MIN, SLOTS, slot_of, slots_of
from parking_core.tariffs import Interval

ZONE = ZoneInfo("Asia/Shanghai")
MONDAY = datetime(2026, 11, 23, 10, 0, tzinfo=UTC)  # 18:00 in Shanghai
MORNING = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)  # 08:00
ALIKE = (HourBuffers(15, 30),) * 24
MINUTE = timedelta(minutes=1)

hours = st.lists(
    st.tuples(st.integers(0, 12), st.integers(0, 24)).map(lambda b: HourBuffers(b[0] * 5, max(b[0], b[1]) * 5)),
    min_size=24,
    max_size=24,
)
odd_hours = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 120)).map(lambda b: HourBuffers(b[0], max(b))),
    min_size=24,
    max_size=24,
)


def at(slot: int) -> datetime:
    return datetime.fromtimestamp(slot * SLOT_MIN * 60, UTC)


def test_a_night_is_offered_until_the_owners_buffer_and_the_guests_beyond_it() -> None:
    offered = offered_slots([Interval(MONDAY, MORNING)], 3, ALIKE, ZONE, (date(2026, 11, 23), 2))
    first, second = offered.values()
    assert np.flatnonzero(first).tolist() == list(range(10 * 12, 24 * 12 - 3))  # until 07:45: 08:00 - 30 + 15
    assert set(first.tolist()) == {0, 3}
    assert not second.any()
    assert [each.dtype for each in offered.values()] == [np.int16, np.int16]


def test_a_slot_that_is_open_in_part_is_not_offered() -> None:
    odd = Interval(MONDAY + 2 * MINUTE, MORNING - 3 * MINUTE)
    (day,) = offered_slots([odd], 1, (HourBuffers(0, 0),) * 24, ZONE, (date(2026, 11, 23), 1)).values()
    assert np.flatnonzero(day).tolist() == list(range(10 * 12 + 1, 24 * 12 - 1))


def test_an_opening_that_is_shorter_than_the_buffer_offers_nothing() -> None:
    short = Interval(MONDAY, MONDAY + 10 * MINUTE)
    (day,) = offered_slots([short], 1, ALIKE, ZONE, (date(2026, 11, 23), 1)).values()
    assert not day.any()


def test_without_takes_stretches_out() -> None:
    day = Interval(MONDAY, MORNING)
    hole = Interval(MONDAY + 60 * MINUTE, MONDAY + 120 * MINUTE)
    assert without([day], [hole]) == (Interval(MONDAY, hole.begins_at), Interval(hole.ends_at, MORNING))
    assert without([day], [Interval(MONDAY - MINUTE, MORNING)]) == ()
    assert without([day], [Interval(MORNING, MORNING + MINUTE)]) == (day,)


@given(buffers=odd_hours | hours, close_min=st.integers(0, 2000), ends_s=st.integers(0, 200 * 60))
def test_whoever_fits_leaves_the_owner_his_buffer(buffers: list[HourBuffers], close_min: int, ends_s: int) -> None:
    close = MONDAY + close_min * MINUTE
    ends = close - timedelta(seconds=ends_s)
    mine = buffers[ends.astimezone(ZONE).hour]
    taken = list(slots_of(ends - MINUTE, ends + mine.guest_min * MINUTE))
    day, _, until = taken[-1]
    last = slot_of(datetime(day.year, day.month, day.day, tzinfo=UTC)) + until
    if last <= last_slot_end(close, buffers, ZONE):
        assert ends + mine.owner_min * MINUTE <= close


@given(guest=st.integers(0, 12), owner=st.integers(0, 24), close=st.integers(0, 500))
def test_with_one_buffer_for_all_hours_everything_is_offered_that_may_be(guest: int, owner: int, close: int) -> None:
    owner = max(guest, owner)
    closes = MONDAY + close * 5 * MINUTE
    until = last_slot_end(closes, (HourBuffers(guest * 5, owner * 5),) * 24, ZONE)
    assert at(until) == closes - owner * 5 * MINUTE + guest * 5 * MINUTE


@given(
    opened=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=4),
    closed=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 60)), max_size=4),
)
def test_what_is_left_is_open_and_not_closed_at_every_instant(
    opened: list[tuple[int, int]], closed: list[tuple[int, int]]
) -> None:
    def stretches(parts: list[tuple[int, int]]) -> list[Interval]:
        return [Interval(MONDAY + begin * MINUTE, MONDAY + (begin + length) * MINUTE) for begin, length in parts]

    left = without(stretches(opened), stretches(closed))

    def holds(parts: list[Interval] | tuple[Interval, ...], minute: int) -> bool:
        here = MONDAY + minute * MINUTE
        return any(each.begins_at <= here < each.ends_at for each in parts)

    for minute in range(480):
        expected = holds(stretches(opened), minute) and not holds(stretches(closed), minute)
        assert holds(left, minute) == expected


def test_days_hold_288_slots_whatever_is_open() -> None:
    offered = offered_slots([], 5, ALIKE, ZONE, (date(2026, 12, 31), 3))
    assert [each.shape for each in offered.values()] == [(SLOTS,)] * 3
    assert list(offered) == [date(2026, 12, 31), date(2027, 1, 1), date(2027, 1, 2)]
