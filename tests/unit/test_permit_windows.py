"""Permits with recurring windows: covered within the openings of the work calendar, charged outside."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.permits import LocalHours, Permit, PermitBook, Presence, covered
from parking_core.tariffs import Interval
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import DayKind, PlainWeekdays, WorkCalendar

CHINA = ZoneInfo("Asia/Shanghai")
HOURS = LocalHours(CHINA, WorkCalendar())
LOT = 7
# The shared permit of Wuxi as published in 2022: Monday to Friday 18:00 to 08:00, weekends and holidays all day.
NIGHTS = parse_schedule(
    {
        "windows": [
            {"days": ["workday"], "from": "18:00", "until": "08:00"},
            {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"},
        ]
    }
)
HOUR = timedelta(hours=1)


def at(text: str) -> datetime:
    """`11-27 18:00` of 2026, in China."""
    return datetime.strptime(f"2026-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=CHINA)


NIGHT_PERMIT = Permit(
    code="P",
    lot_id=LOT,
    kind="shared",
    valid_from=at("01-01 00:00"),
    valid_until=at("12-31 00:00"),
    plates=frozenset("A"),
    windows=NIGHTS,
)


def spans(stay: Presence, *permits: Permit, others: tuple[Presence, ...] = ()) -> list[tuple[str, str]]:
    parts = covered(stay, permits, others, HOURS)
    return [
        (f"{each.begins_at.astimezone(CHINA):%m-%d %H:%M}", f"{each.ends_at.astimezone(CHINA):%m-%d %H:%M}")
        for each in parts
    ]


@pytest.mark.parametrize(
    ("entered", "left", "expected"),
    [
        ("11-24 17:30", "11-25 09:00", [("11-24 18:00", "11-25 08:00")]),  # a night: early and late are charged
        ("11-24 19:00", "11-25 07:00", [("11-24 19:00", "11-25 07:00")]),
        ("11-24 09:00", "11-24 17:00", []),
        ("11-27 18:00", "11-30 08:00", [("11-27 18:00", "11-30 08:00")]),  # Friday to Monday is one stretch
        ("11-27 12:00", "11-30 12:00", [("11-27 18:00", "11-30 08:00")]),
        ("11-24 12:00", "11-26 12:00", [("11-24 18:00", "11-25 08:00"), ("11-25 18:00", "11-26 08:00")]),
        # 2026-10-10 is a Saturday that the notice makes a workday; 10-01 to 10-07 are holidays.
        ("10-10 09:00", "10-10 19:00", [("10-10 18:00", "10-10 19:00")]),
        ("09-30 18:00", "10-08 12:00", [("09-30 18:00", "10-08 08:00")]),
    ],
)
def test_a_night_permit_pays_within_its_windows(entered: str, left: str, expected: list[tuple[str, str]]) -> None:
    assert spans(Presence("A", at(entered), at(left)), NIGHT_PERMIT) == expected


def test_the_validity_bounds_an_opening_that_runs_over_it() -> None:
    short = replace(NIGHT_PERMIT, valid_from=at("11-24 20:00"), valid_until=at("11-25 06:00"))
    assert spans(Presence("A", at("11-24 12:00"), at("11-26 12:00")), short) == [("11-24 20:00", "11-25 06:00")]


def test_the_districts_own_days_count() -> None:
    declared = LocalHours(CHINA, WorkCalendar({date(2026, 11, 24): DayKind.HOLIDAY}))
    stay = Presence("A", at("11-24 09:00"), at("11-24 17:00"))
    assert covered(stay, [NIGHT_PERMIT], [], declared) == (Interval(at("11-24 09:00"), at("11-24 17:00")),)


def test_who_is_inside_when_the_permit_opens_is_served_in_the_order_of_entry() -> None:
    family = replace(NIGHT_PERMIT, plates=frozenset("AB"))
    first = Presence("A", at("11-24 10:00"), at("11-25 10:00"))
    second = Presence("B", at("11-24 09:00"), at("11-24 22:00"))
    assert spans(second, family, others=(first,)) == [("11-24 18:00", "11-24 22:00")]
    assert spans(first, family, others=(second,)) == [("11-24 22:00", "11-25 08:00")]


def test_when_the_night_permit_closes_the_car_takes_the_familys_slot_that_it_left_to_others() -> None:
    family = replace(NIGHT_PERMIT, code="FAMILY", plates=frozenset("AB"), windows=None)
    first = Presence("A", at("11-24 19:00"), at("11-25 10:00"))
    second = Presence("B", at("11-24 20:00"), at("11-25 12:00"))
    assert spans(first, NIGHT_PERMIT, family, others=(second,)) == [("11-24 19:00", "11-25 10:00")]
    assert spans(second, NIGHT_PERMIT, family, others=(first,)) == [
        ("11-24 20:00", "11-25 08:00"),
        ("11-25 10:00", "11-25 12:00"),
    ]


def test_windows_cannot_be_read_without_the_hours_of_the_lot() -> None:
    stay = Presence("A", at("11-24 19:00"), at("11-25 10:00"))
    with pytest.raises(ValueError, match="time zone and the work calendar"):
        covered(stay, [NIGHT_PERMIT], [])
    assert covered(stay, [replace(NIGHT_PERMIT, valid_until=at("11-24 00:00"))], []) == ()


def test_a_book_reads_windows_by_the_hours_it_is_given() -> None:
    book = PermitBook([NIGHT_PERMIT], {})
    stay = Presence("A", at("11-24 12:00"), at("11-25 12:00"))
    assert book.covered(LOT, stay, HOURS) == (Interval(at("11-24 18:00"), at("11-25 08:00")),)
    elsewhere = LocalHours(ZoneInfo("Asia/Tokyo"), PlainWeekdays())
    assert book.covered(LOT, stay, elsewhere) == (Interval(at("11-24 17:00"), at("11-25 07:00")),)


FIRST = datetime(2026, 9, 28, 16, tzinfo=UTC)  # midnight in China, two days before a week of holidays
DAYS = 14
half_hours = st.integers(0, DAYS * 48)


@st.composite
def schedules(draw: st.DrawFn) -> dict[str, object]:
    """Windows on a grid of 30 minutes, on kinds of days or weekdays, some with a date of their own."""
    windows = []
    for _ in range(draw(st.integers(1, 3))):
        since, until = draw(st.integers(0, 47)), draw(st.integers(1, 48))
        days = draw(st.sampled_from([["workday"], ["weekend", "holiday"], ["any_day"], [1, 3], [6, 7]]))
        windows.append({"days": days, "from": _clock(since), "until": _clock(until)})
    document: dict[str, object] = {"windows": windows}
    if draw(st.booleans()):
        document["exceptions"] = {f"2026-10-{draw(st.integers(1, 9)):02}": "closed"}
    return document


def _clock(half_hour: int) -> str:
    return f"{half_hour // 2:02}:{half_hour % 2 * 30:02}"


@st.composite
def presences(draw: st.DrawFn) -> list[Presence]:
    """Three vehicles, each inside once; one may still be there."""
    found = []
    for vehicle in "ABC":
        begins, length = draw(half_hours), draw(st.integers(1, 7 * 48))
        entered = FIRST + begins * HOUR / 2
        found.append(Presence(vehicle, entered, entered + length * HOUR / 2))
    return found


@settings(max_examples=150, deadline=None)
@given(schedules(), presences())
def test_a_vehicle_alone_is_covered_in_the_openings_and_nowhere_else(
    document: dict[str, object], present: list[Presence]
) -> None:
    windows = parse_schedule(document)
    permit = replace(NIGHT_PERMIT, windows=windows)
    stay = present[0]
    assert stay.exited_at is not None
    assert covered(stay, [permit], [], HOURS) == openings(
        windows, HOURS.calendar, CHINA, stay.entered_at, stay.exited_at
    )


@settings(max_examples=150, deadline=None)
@given(schedules(), presences(), st.integers(1, 2))
def test_slots_are_held_in_the_order_of_entry_while_open_and_by_nobody_while_closed(
    document: dict[str, object], present: list[Presence], slots: int
) -> None:
    """Against a walk by half hours: whoever is inside stands in line by entry; the first ones are covered."""
    windows = parse_schedule(document)
    permit = replace(NIGHT_PERMIT, windows=windows, plates=frozenset("ABC"), slots=slots)
    open_ = openings(windows, HOURS.calendar, CHINA, FIRST, FIRST + timedelta(days=2 * DAYS))
    parts = {
        stay.vehicle: covered(stay, [permit], [other for other in present if other is not stay], HOURS)
        for stay in present
    }
    for number in range(2 * DAYS * 48):
        moment = FIRST + number * HOUR / 2
        line = [stay for stay in present if stay.exited_at is not None and stay.entered_at <= moment < stay.exited_at]
        line.sort(key=lambda stay: (stay.entered_at, stay.vehicle))
        holders = {stay.vehicle for stay in line[:slots]} if _within(open_, moment) else set()
        assert {vehicle for vehicle, held in parts.items() if _within(held, moment)} == holders


def _within(parts: tuple[Interval, ...], moment: datetime) -> bool:
    return any(part.begins_at <= moment < part.ends_at for part in parts)


@settings(max_examples=150, deadline=None)
@given(schedules(), presences(), st.lists(st.tuples(half_hours, st.integers(1, 60)), max_size=4))
def test_what_is_closed_is_covered_by_nobody_and_everything_else_as_before(
    document: dict[str, object], present: list[Presence], gaps: list[tuple[int, int]]
) -> None:
    """Moment by moment, for openings that were given back: in any order, overlapping, within windows or not."""
    permit = replace(NIGHT_PERMIT, windows=parse_schedule(document))
    begins = [FIRST + number * HOUR / 2 for number, _ in gaps]
    closed = tuple(Interval(since, since + gap[1] * HOUR / 2) for since, gap in zip(begins, gaps, strict=True))
    stay = present[0]
    before = covered(stay, [permit], [], HOURS)
    after = covered(stay, [replace(permit, closed=closed)], [], HOURS)
    for number in range(2 * DAYS * 48):
        moment = FIRST + number * HOUR / 2
        assert _within(after, moment) == (_within(before, moment) and not _within(closed, moment))
