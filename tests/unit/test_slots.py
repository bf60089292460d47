"""The grid of shared capacity: every touched slot once, day by day, whatever the zone of the moments."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.slots import SLOTS, DaySlots, begins_of, day_of, minute_of, slot_of, slots_of

CHINA = ZoneInfo("Asia/Shanghai")
_moments = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.sampled_from([UTC, CHINA]))  # noqa: DTZ001  # hypothesis adds the zone


def test_a_night_in_china_is_one_row() -> None:
    evening = datetime(2026, 11, 23, 18, 0, tzinfo=CHINA)
    assert list(slots_of(evening, evening + timedelta(hours=14))) == [DaySlots(date(2026, 11, 23), 120, SLOTS)]


def test_a_slot_that_is_touched_is_taken() -> None:
    begins = datetime(2026, 11, 23, 10, 4, 59, tzinfo=UTC)
    (part,) = slots_of(begins, begins + timedelta(seconds=2))
    assert part == DaySlots(date(2026, 11, 23), 120, 122)
    (part,) = slots_of(begins, begins + timedelta(microseconds=1))
    assert (part.first, part.until) == (120, 121)
    assert list(slots_of(begins, begins)) == []


@given(_moments, st.timedeltas(timedelta(microseconds=1), timedelta(days=4)))
def test_the_slots_cover_the_stretch_and_nothing_else(begins: datetime, length: timedelta) -> None:
    ends = begins + length
    parts = list(slots_of(begins, ends))
    assert [part.day for part in parts] == sorted({part.day for part in parts})
    assert all(0 <= part.first < part.until <= SLOTS for part in parts)
    first, last = parts[0], parts[-1]
    assert begins_of(first.day, first.first) <= begins < begins_of(first.day, first.first + 1)
    assert begins_of(last.day, last.until - 1) < ends <= begins_of(last.day, last.until)
    count = sum(part.until - part.first for part in parts)
    assert count == slot_of(begins_of(last.day, last.until - 1)) - slot_of(begins) + 1


@pytest.mark.parametrize("minutes", [0, 1, 61, 1439])
def test_minutes_and_days_are_counted_from_where_they_begin(minutes: int) -> None:
    t0 = begins_of(date(2026, 11, 23))
    at = t0 + timedelta(minutes=minutes, seconds=59)
    assert minute_of(at.astimezone(CHINA), t0) == minutes
    assert day_of(at.astimezone(CHINA)) == date(2026, 11, 23)
