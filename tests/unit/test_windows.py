"""When schedules are open: real dates of 2025 and 2026, an oracle that looks at every half hour, changes of clocks."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.calendar import is_open
from parking_core.errors import InvalidInputError
from parking_core.places import OpeningWindow
from parking_core.windows import (
    ALL_DAY,
    EVERY_DAY,
    Hours,
    Reason,
    Schedule,
    Window,
    may_stand,
    openings,
    schedule_of_opening,
)
from parking_core.work_calendar import DayKind, PlainWeekdays, WorkCalendar

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
CALENDAR = WorkCalendar()
WORKDAY = frozenset({DayKind.WORKDAY})
OFF = frozenset({DayKind.WEEKEND, DayKind.HOLIDAY})
NIGHTS = Window(WORKDAY, Hours(18 * 60, 8 * 60))
DAYS_OFF = Window(OFF, ALL_DAY)
WUXI = Schedule((NIGHTS, DAYS_OFF))  # Monday to Friday 18:00-08:00, weekends and holidays all day (Wuxi, 2022)
ONE_RULE = Schedule((Window(WORKDAY, Hours(18 * 60, 8 * 60, until_workday=True)),))
QUIET = (Window(EVERY_DAY, Hours(22 * 60, 6 * 60)),)  # no entry or exit from 22:00 to 06:00 (Taizhou, Ma'anshan)


def at(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def stretches(schedule: Schedule, since: str, until: str, zone: ZoneInfo = SHANGHAI) -> list[str]:
    """Openings as local times: 10-09 18:00 - 10-10 08:00."""
    found = openings(schedule, CALENDAR, zone, at(since, zone), at(until, zone))
    return [
        f"{each.begins_at.astimezone(zone):%m-%d %H:%M} - {each.ends_at.astimezone(zone):%m-%d %H:%M}" for each in found
    ]


@pytest.mark.parametrize("schedule", [WUXI, ONE_RULE], ids=["nights and days off", "until the next workday"])
@pytest.mark.parametrize(
    ("since", "until", "expected"),
    [
        # an ordinary weekend: Friday night to Monday morning is one stretch
        (
            "2026-11-12",
            "2026-11-17T12:00",
            [
                "11-12 00:00 - 11-12 08:00",
                "11-12 18:00 - 11-13 08:00",
                "11-13 18:00 - 11-16 08:00",
                "11-16 18:00 - 11-17 08:00",
            ],
        ),
        # National Day 2026: seven days off, Saturday 10 October is a make-up workday
        (
            "2026-09-30T12:00",
            "2026-10-12T12:00",
            [
                "09-30 18:00 - 10-08 08:00",
                "10-08 18:00 - 10-09 08:00",
                "10-09 18:00 - 10-10 08:00",
                "10-10 18:00 - 10-12 08:00",
            ],
        ),
        # National Day 2025: make-up workdays Sunday 28 September and Saturday 11 October
        (
            "2025-09-26T12:00",
            "2025-10-13T12:00",
            [
                "09-26 18:00 - 09-28 08:00",
                "09-28 18:00 - 09-29 08:00",
                "09-29 18:00 - 09-30 08:00",
                "09-30 18:00 - 10-09 08:00",
                "10-09 18:00 - 10-10 08:00",
                "10-10 18:00 - 10-11 08:00",
                "10-11 18:00 - 10-13 08:00",
            ],
        ),
        # New Year 2026: Sunday 4 January is a make-up workday after three days off
        ("2025-12-31T12:00", "2026-01-05T12:00", ["12-31 18:00 - 01-04 08:00", "01-04 18:00 - 01-05 08:00"]),
        # a question that begins in the middle of a long stretch
        ("2026-10-05T12:00", "2026-10-06", ["10-05 12:00 - 10-06 00:00"]),
    ],
)
def test_the_owner_has_the_spaces_back_on_the_next_workday_morning(
    schedule: Schedule, since: str, until: str, expected: list[str]
) -> None:
    assert stretches(schedule, since, until) == expected


def test_nothing_runs_on_where_nothing_is_open_until_midnight() -> None:
    nights = Schedule((NIGHTS,))
    assert stretches(nights, "2026-11-13T12:00", "2026-11-17T06:00") == [
        "11-13 18:00 - 11-14 08:00",  # the Friday's window ends on the Saturday
        "11-16 18:00 - 11-17 06:00",  # and the Monday's morning belongs to nobody
    ]
    beyond = Schedule((NIGHTS, Window(OFF, Hours(20 * 60, 10 * 60))))
    assert stretches(beyond, "2026-11-15T12:00", "2026-11-16T12:00") == ["11-15 20:00 - 11-16 10:00"]  # as written


def test_to_the_letter_an_opening_ends_at_midnight() -> None:
    literal = Schedule((NIGHTS, DAYS_OFF), runs_on=False)
    assert stretches(literal, "2026-11-14", "2026-11-17") == ["11-14 00:00 - 11-16 00:00", "11-16 18:00 - 11-17 00:00"]


def test_weekdays_do_not_ask_the_calendar() -> None:
    mondays = Schedule((Window(frozenset({1, 2, 3, 4, 5}), Hours(1080, 480)), Window(frozenset({6, 7}), ALL_DAY)))
    assert stretches(mondays, "2026-10-02T12:00", "2026-10-12T12:00") == [  # the holiday counts for nothing
        "10-02 18:00 - 10-05 08:00",
        *(f"10-{day:02} 18:00 - 10-{day + 1:02} 08:00" for day in range(5, 9)),
        "10-09 18:00 - 10-12 08:00",  # nor does the make-up Saturday
    ]


def test_an_exception_has_its_date_from_midnight_to_midnight() -> None:
    closed = Schedule((NIGHTS, DAYS_OFF), exceptions=((date(2026, 11, 14), ()),))
    assert stretches(closed, "2026-11-13T12:00", "2026-11-16T12:00") == [
        "11-13 18:00 - 11-14 00:00",  # the Friday's night ends with the Friday
        "11-15 00:00 - 11-16 08:00",
    ]
    suspended = Schedule((NIGHTS, DAYS_OFF), exceptions=((date(2026, 11, 18), ()),))
    assert stretches(suspended, "2026-11-17T12:00", "2026-11-19T20:00") == [
        "11-17 18:00 - 11-18 00:00",
        "11-19 18:00 - 11-19 20:00",  # the night that would have begun on the closed date is missing too
    ]
    hours = (Hours(0, 360), Hours(1200, 480))
    other = Schedule((NIGHTS, DAYS_OFF), exceptions=((date(2026, 11, 18), hours),))
    assert stretches(other, "2026-11-17T12:00", "2026-11-19T12:00") == [
        "11-17 18:00 - 11-18 06:00",
        "11-18 20:00 - 11-19 08:00",
    ]
    long = Schedule(ONE_RULE.windows, exceptions=((date(2026, 11, 14), ()),))
    assert stretches(long, "2026-11-13T12:00", "2026-11-16T20:00") == [
        "11-13 18:00 - 11-14 00:00",  # a window that was to last until Monday ends there
        "11-16 18:00 - 11-16 20:00",
    ]


def test_a_day_off_of_the_owner_runs_on_into_the_workday_after_it() -> None:
    outing = Schedule((NIGHTS, DAYS_OFF), exceptions=((date(2026, 11, 18), (ALL_DAY,)),))
    assert stretches(outing, "2026-11-17T12:00", "2026-11-19T12:00") == ["11-17 18:00 - 11-19 08:00"]


def test_the_first_and_last_dates_are_included_and_cut_at_midnight() -> None:
    month = Schedule((NIGHTS, DAYS_OFF), valid_from=date(2026, 11, 13), valid_through=date(2026, 11, 16))
    assert stretches(month, "2026-11-01", "2026-12-01") == ["11-13 18:00 - 11-16 08:00", "11-16 18:00 - 11-17 00:00"]
    assert stretches(month, "2026-12-01", "2026-12-31") == []
    assert stretches(month, "2026-10-01", "2026-10-31") == []


def test_a_clock_that_changes_moves_the_wall_clock_with_it() -> None:
    night = Schedule((Window(EVERY_DAY, Hours(2 * 60 + 30, 5 * 60)),))
    [spring] = openings(night, CALENDAR, BERLIN, at("2026-03-29", BERLIN), at("2026-03-30", BERLIN))
    assert spring.begins_at == datetime(2026, 3, 29, 1, tzinfo=UTC)  # 02:30 is never shown: at the change
    assert spring.ends_at == datetime(2026, 3, 29, 3, tzinfo=UTC)
    [autumn] = openings(night, CALENDAR, BERLIN, at("2026-10-25", BERLIN), at("2026-10-26", BERLIN))
    assert autumn.begins_at == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 for the first time
    assert autumn.ends_at == datetime(2026, 10, 25, 4, tzinfo=UTC)
    [whole] = openings(Schedule((NIGHTS, DAYS_OFF)), PlainWeekdays(), BERLIN, at("2026-10-23T12:00", BERLIN), at("2026-10-26T12:00", BERLIN))  # fmt: skip  # one call
    assert whole.ends_at - whole.begins_at == timedelta(hours=62 + 1)
    assert whole.ends_at.astimezone(BERLIN).hour == 8


# --- may a car stand -------------------------------------------------------------------------------------------------


def verdict(schedule: Schedule, begins: str, ends: str) -> tuple[Reason, str, str]:
    found = may_stand(schedule, CALENDAR, SHANGHAI, at(begins), at(ends))
    assert found.allowed is (found.reason is Reason.ALLOWED)
    shown = [f"{each.astimezone(SHANGHAI):%m-%d %H:%M}" if each else "" for each in (found.until, found.next_opening)]
    return found.reason, shown[0], shown[1]


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        ("2026-09-30T18:00", "2026-10-08T08:00", (Reason.ALLOWED, "10-08 08:00", "")),
        ("2026-09-30T17:59:59", "2026-09-30T20:00", (Reason.CLOSED, "", "09-30 18:00")),
        ("2026-10-07T20:00", "2026-10-08T08:00:01", (Reason.TOO_LONG, "10-08 08:00", "10-08 18:00")),
        ("2026-10-08T08:00", "2026-10-08T09:00", (Reason.CLOSED, "", "10-08 18:00")),
        ("2026-10-10T12:00", "2026-10-10T13:00", (Reason.CLOSED, "", "10-10 18:00")),  # make-up Saturday
        ("2026-10-11T12:00", "2026-10-11T13:00", (Reason.ALLOWED, "10-12 08:00", "")),
    ],
)
def test_a_car_may_stand_until_the_stretch_ends(begins: str, ends: str, expected: tuple[Reason, str, str]) -> None:
    assert verdict(WUXI, begins, ends) == expected


@pytest.mark.parametrize(
    ("begins", "ends", "expected"),
    [
        ("2026-11-17T20:00", "2026-11-17T22:00", (Reason.ALLOWED, "11-18 08:00", "")),  # out at 22:00 sharp
        ("2026-11-17T20:00", "2026-11-18T06:00", (Reason.ALLOWED, "11-18 08:00", "")),
        ("2026-11-17T20:00", "2026-11-18T05:59", (Reason.NO_EXIT, "11-18 08:00", "11-18 18:00")),
        ("2026-11-17T22:00", "2026-11-18T07:00", (Reason.NO_ENTRY, "", "11-18 06:00")),
        ("2026-11-17T21:59:59", "2026-11-18T07:00", (Reason.ALLOWED, "11-18 08:00", "")),
        ("2026-11-18T09:00", "2026-11-18T10:00", (Reason.CLOSED, "", "11-18 18:00")),
    ],
)
def test_at_night_nobody_drives_in_or_out(begins: str, ends: str, expected: tuple[Reason, str, str]) -> None:
    assert verdict(Schedule(WUXI.windows, no_movement=QUIET), begins, ends) == expected


def test_whoever_could_not_drive_out_at_the_end_has_to_leave_before_the_quiet_hours() -> None:
    evening = Schedule((Window(EVERY_DAY, Hours(18 * 60, 60)),), no_movement=QUIET)
    assert verdict(evening, "2026-11-17T19:00", "2026-11-17T23:00") == (Reason.TOO_LONG, "11-17 22:00", "11-18 18:00")
    assert verdict(evening, "2026-11-17T23:00", "2026-11-18T00:30") == (Reason.NO_ENTRY, "", "11-18 18:00")


def test_a_refusal_says_whether_the_date_or_the_agreement_is_the_reason() -> None:
    schedule = Schedule(
        WUXI.windows,
        exceptions=((date(2026, 11, 14), ()),),
        valid_from=date(2026, 11, 1),
        valid_through=date(2026, 11, 30),
    )
    assert verdict(schedule, "2026-11-14T09:00", "2026-11-14T10:00") == (Reason.EXCEPTION, "", "11-15 00:00")
    assert verdict(schedule, "2026-10-31T09:00", "2026-10-31T10:00") == (Reason.NOT_VALID, "", "11-01 00:00")
    assert verdict(schedule, "2026-12-05T09:00", "2026-12-05T10:00") == (Reason.NOT_VALID, "", "")
    assert verdict(schedule, "2026-11-30T20:00", "2026-12-01T07:00") == (Reason.TOO_LONG, "12-01 00:00", "")


def test_a_schedule_without_end_names_none_and_a_rare_one_is_found_within_the_year() -> None:
    assert verdict(Schedule((Window(EVERY_DAY, ALL_DAY),)), "2026-11-17T19:00", "2027-11-17T19:00") == (
        *(Reason.ALLOWED, "", ""),
    )
    once = Schedule((), exceptions=((date(2027, 10, 1), (ALL_DAY,)),))
    assert verdict(once, "2026-11-17T19:00", "2026-11-17T20:00") == (Reason.CLOSED, "", "10-01 00:00")
    assert verdict(Schedule(()), "2026-11-17T19:00", "2026-11-17T20:00") == (Reason.CLOSED, "", "")


def test_a_stay_has_to_end_after_it_begins() -> None:
    with pytest.raises(InvalidInputError, match="not after"):
        may_stand(WUXI, CALENDAR, SHANGHAI, at("2026-11-17T19:00"), at("2026-11-17T19:00"))


# --- laws ------------------------------------------------------------------------------------------------------------

half_hours = st.integers(0, 47).map(lambda number: number * 30)
hours_of_a_day = st.builds(lambda since, until: Hours(since, until or 1440), half_hours, half_hours)
day_sets = st.frozensets(st.sampled_from([*DayKind, *range(1, 8)]), min_size=1, max_size=4)
FIRST = date(2026, 9, 18)  # a Friday before a make-up Sunday and the Mid-Autumn days


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    exceptions = draw(st.dictionaries(st.integers(0, 12), st.lists(hours_of_a_day, max_size=2).map(tuple), max_size=3))
    return Schedule(
        tuple(draw(st.lists(st.builds(Window, day_sets, hours_of_a_day), max_size=4))),
        exceptions=tuple((FIRST + timedelta(days=day), hours) for day, hours in exceptions.items()),
        valid_from=draw(st.none() | st.integers(0, 5).map(lambda day: FIRST + timedelta(days=day))),
        valid_through=draw(st.none() | st.integers(5, 12).map(lambda day: FIRST + timedelta(days=day))),
        runs_on=draw(st.booleans()),
    )


def hours_on(schedule: Schedule, day: date) -> tuple[Hours, ...]:
    if (schedule.valid_from and day < schedule.valid_from) or (schedule.valid_through and day > schedule.valid_through):
        return ()
    names = {CALENDAR.day_kind(day), day.isoweekday()}
    usual = tuple(window.hours for window in schedule.windows if window.days & names)
    return dict(schedule.exceptions).get(day, usual)


def oracle(schedule: Schedule, day: date, minute: int) -> bool:
    """Whether it is open, by looking at this date's hours and the last one's; nothing is joined."""
    excepted = day in dict(schedule.exceptions)
    if schedule.valid_through and day > schedule.valid_through:
        return False
    if any(
        each.from_minute <= minute and (each.overnight or minute < each.until_minute)
        for each in hours_on(schedule, day)
    ):
        return True
    if excepted:
        return False
    before = day - timedelta(days=1)
    tails = [each.until_minute for each in hours_on(schedule, before) if each.overnight]
    if any(minute < tail for tail in tails):
        return True
    mornings = [each.until_minute for each in hours_on(schedule, day) if each.overnight]
    until_midnight = any(each.until_minute == 1440 for each in hours_on(schedule, before))
    return schedule.runs_on and until_midnight and not tails and any(minute < morning for morning in mornings)


@settings(max_examples=200, deadline=None)
@given(schedules())
def test_openings_are_what_every_half_hour_says(schedule: Schedule) -> None:
    since, until = at(FIRST.isoformat()), at((FIRST + timedelta(days=14)).isoformat())
    found = openings(schedule, CALENDAR, SHANGHAI, since, until)
    expected = [
        oracle(schedule, (moment := since + timedelta(minutes=30 * step)).date(), moment.hour * 60 + moment.minute)
        for step in range(14 * 48)
    ]
    actual = [False] * len(expected)
    for each in found:
        first, last = ((edge - since) // timedelta(minutes=30) for edge in (each.begins_at, each.ends_at))
        actual[first:last] = [True] * (last - first)
    assert actual == expected
    assert all(one.ends_at < other.begins_at for one, other in itertools.pairwise(found))


@settings(max_examples=150, deadline=None)
@given(schedules(), st.integers(0, 13 * 1440), st.integers(1, 3000))
def test_a_verdict_agrees_with_the_openings(schedule: Schedule, begins: int, length: int) -> None:
    since = at(FIRST.isoformat()) + timedelta(minutes=begins)
    until = since + timedelta(minutes=length)
    answer = may_stand(schedule, CALENDAR, SHANGHAI, since, until)
    inside = openings(schedule, CALENDAR, SHANGHAI, since, until)
    assert answer.allowed == (len(inside) == 1 and (inside[0].begins_at, inside[0].ends_at) == (since, until))
    if answer.until:
        assert may_stand(schedule, CALENDAR, SHANGHAI, since, answer.until).allowed
        assert not may_stand(schedule, CALENDAR, SHANGHAI, since, answer.until + timedelta(seconds=1)).allowed
    if answer.next_opening:
        assert answer.next_opening > since
        assert may_stand(
            schedule, CALENDAR, SHANGHAI, answer.next_opening, answer.next_opening + timedelta(minutes=1)
        ).allowed


windows_of_a_week = st.builds(
    lambda days, since, until: OpeningWindow(days, since, until or 1440),
    st.frozensets(st.integers(1, 7), min_size=1),
    half_hours,
    half_hours,
)


@settings(max_examples=60, deadline=None)
@given(st.none() | st.lists(windows_of_a_week, max_size=3).map(tuple))
def test_opening_hours_of_lots_are_the_same_model(opening: tuple[OpeningWindow, ...] | None) -> None:
    schedule, since = schedule_of_opening(opening), at("2026-11-16")
    inside = openings(schedule, CALENDAR, SHANGHAI, since, since + timedelta(days=8))
    for step in range(8 * 48):
        moment = since + timedelta(minutes=30 * step)
        assert any(each.begins_at <= moment < each.ends_at for each in inside) is is_open(opening, moment, SHANGHAI)


@pytest.mark.parametrize("wrong", [(-1, 60), (1440, 60), (0, 0), (0, 1441)])
def test_hours_lie_within_a_day(wrong: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="minute"):
        Hours(*wrong)


def test_schedules_that_say_the_same_are_equal() -> None:
    evening = Hours(1080, 480)
    one = Schedule((Window(WORKDAY, evening), DAYS_OFF))
    assert one == Schedule((DAYS_OFF, *(Window(frozenset(WORKDAY), evening) for _ in range(2))))
    assert hash(one) == hash(WUXI)
    assert Schedule((Window(OFF, evening), Window(WORKDAY, evening))) == Schedule((Window(EVERY_DAY, evening),))


@pytest.mark.parametrize("days", [frozenset(), frozenset({0}), frozenset({8})])
def test_a_window_needs_days_that_exist(days: frozenset[int]) -> None:
    with pytest.raises(InvalidInputError, match="Days"):
        Window(frozenset(days), ALL_DAY)


def test_a_month_of_every_class_of_the_shared_lots_costs_less_than_a_third_of_a_second() -> None:
    classes = [
        Schedule((Window(WORKDAY, Hours(1080 + 30 * (number % 3), 480 - 30 * (number // 3))), DAYS_OFF))
        for number in range(6)
    ]
    since, until = at("2026-10-01"), at("2026-11-01")
    begun = time.perf_counter()
    for _ in range(43):
        for schedule in classes:
            openings(schedule, CALENDAR, SHANGHAI, since, until)
    assert time.perf_counter() - begun < 0.33  # measured 0.025 s; a busy machine may take ten times as long
