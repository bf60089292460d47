from __future__ import annotations

import timeit
from datetime import UTC, date, datetime, timedelta

import pytest

from parking_core.work_calendar import DayKind, PlainWeekdays, WorkCalendar

WORKDAY, WEEKEND, HOLIDAY = DayKind.WORKDAY, DayKind.WEEKEND, DayKind.HOLIDAY


def days(first: str, last: str) -> list[date]:
    begins, ends = date.fromisoformat(first), date.fromisoformat(last)
    return [begins + timedelta(days=number) for number in range((ends - begins).days + 1)]


# Typed from the notices for 2024, 2025 and 2026.
PERIODS = (
    ("2024-01-01", "2024-01-01"),
    ("2024-02-10", "2024-02-17"),
    ("2024-04-04", "2024-04-06"),
    ("2024-05-01", "2024-05-05"),
    ("2024-06-10", "2024-06-10"),
    ("2024-09-15", "2024-09-17"),
    ("2024-10-01", "2024-10-07"),
    ("2025-01-01", "2025-01-01"),
    ("2025-01-28", "2025-02-04"),
    ("2025-04-04", "2025-04-06"),
    ("2025-05-01", "2025-05-05"),
    ("2025-05-31", "2025-06-02"),
    ("2025-10-01", "2025-10-08"),
    ("2026-01-01", "2026-01-03"),
    ("2026-02-15", "2026-02-23"),
    ("2026-04-04", "2026-04-06"),
    ("2026-05-01", "2026-05-05"),
    ("2026-06-19", "2026-06-21"),
    ("2026-09-25", "2026-09-27"),
    ("2026-10-01", "2026-10-07"),
)
MAKE_UP_WORKDAYS = (
    *("2024-02-04", "2024-02-18", "2024-04-07", "2024-04-28", "2024-05-11", "2024-09-14", "2024-09-29", "2024-10-12"),
    *("2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11"),
    *("2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10"),
)


def test_every_day_of_three_years_is_what_the_notices_say() -> None:
    calendar = WorkCalendar()
    holidays = {day for period in PERIODS for day in days(*period)}
    made_up = {date.fromisoformat(day) for day in MAKE_UP_WORKDAYS}
    for day in days("2024-01-01", "2026-12-31"):
        plain = WEEKEND if day.isoweekday() >= 6 else WORKDAY
        expected = HOLIDAY if day in holidays else WORKDAY if day in made_up else plain
        assert calendar.day_kind(day) is expected, day


@pytest.mark.parametrize("day", MAKE_UP_WORKDAYS)
def test_a_make_up_workday_is_a_saturday_or_sunday_that_counts_as_a_workday(day: str) -> None:
    assert date.fromisoformat(day).isoweekday() >= 6
    assert WorkCalendar().day_kind(date.fromisoformat(day)) is WORKDAY
    assert PlainWeekdays().day_kind(date.fromisoformat(day)) is WEEKEND


def test_a_weekend_inside_a_holiday_period_is_holiday_and_one_outside_is_weekend() -> None:
    calendar = WorkCalendar()
    assert calendar.day_kind(date(2025, 10, 4)) is HOLIDAY  # Saturday of the National Day period
    assert calendar.day_kind(date(2025, 10, 12)) is WEEKEND  # Sunday after the make-up Saturday
    assert calendar.day_kind(date(2024, 6, 8)) is WEEKEND  # the notice of 2024 counts only the Monday


def test_a_year_that_is_not_announced_has_plain_weekdays_and_says_so() -> None:
    calendar = WorkCalendar()
    assert [calendar.is_announced(year) for year in (2003, 2004, 2024, 2025, 2026, 2090)] == [
        *(False, True, True, True, True, False)
    ]
    assert calendar.day_kind(date(2090, 10, 2)) is WORKDAY  # a Monday
    assert calendar.day_kind(date(2090, 10, 1)) is WEEKEND  # a Sunday


def test_own_corrections_win_and_announce_their_year() -> None:
    calendar = WorkCalendar({date(2090, 10, 2): HOLIDAY, date(2025, 10, 1): WORKDAY})
    assert calendar.day_kind(date(2090, 10, 2)) is HOLIDAY
    assert calendar.day_kind(date(2025, 10, 1)) is WORKDAY
    assert calendar.day_kind(date(2025, 10, 2)) is HOLIDAY
    assert calendar.is_announced(2090)
    assert not calendar.is_announced(2091)


def test_a_moment_is_refused() -> None:
    with pytest.raises(TypeError, match="time zone"):
        WorkCalendar().day_kind(datetime(2025, 10, 1, tzinfo=UTC))


def test_what_is_remembered_is_bounded_and_keeps_the_corrections() -> None:
    first = date(1900, 1, 1)
    calendar = WorkCalendar({first: HOLIDAY})
    for number in range(60_000):
        calendar.day_kind(first + timedelta(days=number))
    assert len(calendar._kinds) <= 50_000
    assert calendar.day_kind(first) is HOLIDAY


def test_a_repeated_question_costs_less_than_a_microsecond() -> None:
    calendar, day, rounds = WorkCalendar(), date(2026, 10, 1), 20_000
    seconds = min(timeit.repeat(lambda: calendar.day_kind(day), number=rounds, repeat=5))
    assert seconds / rounds < 1e-6
