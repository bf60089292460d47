"""What owners are told, and the reason for it: which windows can be counted together, proved by placing cars."""

from __future__ import annotations

import random
from datetime import datetime
from itertools import product
from zoneinfo import ZoneInfo

import pytest

from parking_core.errors import InvalidInputError
from parking_core.tariffs import Interval
from parking_core.windows import (
    AdviceCode,
    Hours,
    Schedule,
    Window,
    merged_classes,
    poolable,
    publication_advice,
)
from parking_core.work_calendar import DayKind, WorkCalendar

SHANGHAI = ZoneInfo("Asia/Shanghai")
CALENDAR = WorkCalendar()
OCTOBER = Interval(datetime(2026, 9, 25, tzinfo=SHANGHAI), datetime(2026, 10, 25, tzinfo=SHANGHAI))
DAYS_OFF = Window(frozenset({DayKind.WEEKEND, DayKind.HOLIDAY}), Hours(0, 1440))


def nights(since: int, until: int) -> Schedule:
    """From and until as minutes; whole days off beside them."""
    return Schedule((Window(frozenset({DayKind.WORKDAY}), Hours(since, until)), DAYS_OFF))


EARLY, LATE, SHORT = nights(1080, 480), nights(1140, 480), nights(1140, 420)


def codes(*classes: tuple[Schedule, int]) -> dict[AdviceCode, tuple[int, ...]]:
    advice = publication_advice(classes, CALENDAR, SHANGHAI, OCTOBER)
    assert all(each.zh and each.en for each in advice)
    return {each.code: each.classes for each in advice}


def test_a_publication_as_it_should_be_gets_no_advice() -> None:
    assert codes((EARLY, 20), (LATE, 5)) == {}
    assert codes() == {}


def test_equal_classes_are_merged_and_the_owner_is_told() -> None:
    again = Schedule((DAYS_OFF, *EARLY.windows))
    assert merged_classes([(EARLY, 20), (LATE, 5), (again, 3)]) == ((EARLY, 23), (LATE, 5))
    assert codes((EARLY, 20), (LATE, 5), (again, 3)) == {AdviceCode.MERGED: (0, 2)}


def test_times_off_the_grid_are_named() -> None:
    [advice] = publication_advice([(nights(1095, 480), 4)], CALENDAR, SHANGHAI, OCTOBER)
    assert advice.code is AdviceCode.OFF_GRID
    assert "18:15" in advice.zh
    assert advice.en.startswith("18:15 is not on the 30-minute grid")


def test_more_than_six_classes_and_windows_that_differ_at_both_ends_are_named() -> None:
    assert codes(*((nights(1080 + 30 * number, 480), 1) for number in range(6))) == {}
    seven = codes(*((nights(1080 + 30 * number, 480), 1) for number in range(7)))
    assert seven == {AdviceCode.TOO_MANY_CLASSES: tuple(range(7))}
    assert codes((EARLY, 3), (LATE, 3), (SHORT, 3)) == {AdviceCode.DIFFER_AT_BOTH_ENDS: (0, 2)}


def test_a_class_without_spaces_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="Class 2 has 0 spaces"):
        publication_advice([(EARLY, 1), (LATE, 0)], CALENDAR, SHANGHAI, OCTOBER)


def test_what_joins_into_other_stretches_is_compared_as_it_joins() -> None:
    def pool(*schedules: Schedule) -> bool:
        return poolable(schedules, CALENDAR, SHANGHAI, OCTOBER)

    assert pool(EARLY, LATE)
    assert pool(LATE, SHORT)
    assert not pool(EARLY, SHORT)
    assert not pool(EARLY, LATE, SHORT)  # two by two is not enough
    daily = Window(frozenset(DayKind), Hours(480, 480))  # open all the time
    but_an_hour = Window(frozenset(DayKind), Hours(540, 480))
    assert not pool(Schedule((daily,)), Schedule((but_an_hour,)))  # one end written otherwise, but both ends differ


# --- the reason: spaces as stretches, cars as intervals ---------------------------------------------------------------

Span = tuple[int, int]


def fits_by_count(spaces: list[Span], cars: list[Span]) -> bool:
    """Whether at every instant there are no more cars than open spaces, and each car fits one of the windows."""
    instants = {begins for begins, _ in cars}
    return all(any(since <= begins and ends <= until for since, until in spaces) for begins, ends in cars) and all(
        sum(begins <= at < ends for begins, ends in cars) <= sum(since <= at < until for since, until in spaces)
        for at in instants | {until for _, until in spaces}
    )


def can_be_placed(spaces: list[Span], cars: list[Span]) -> bool:
    """Whether concrete spaces exist, by trying: the states are who is where until when."""
    states: set[tuple[int, ...]] = {tuple(since for since, _ in spaces)}
    for begins, ends in sorted(cars):
        states = {
            (*state[:place], ends, *state[place + 1 :])
            for state, place in product(states, range(len(spaces)))
            if state[place] <= begins and ends <= spaces[place][1]
        }
    return bool(states)


def saturated(rng: random.Random, spaces: list[Span]) -> list[Span]:
    """Cars drawn until no further one fits by count."""
    cars: list[Span] = []
    for _ in range(60):
        begins = rng.randrange(0, 20)
        car = begins, begins + rng.randrange(1, 9)
        if fits_by_count(spaces, [*cars, car]):
            cars.append(car)
    return cars


def test_windows_that_differ_at_one_end_can_be_counted_together() -> None:
    rng = random.Random(20261118)
    for _ in range(150):
        later = [(rng.randrange(0, 8), 20) for _ in range(rng.randrange(2, 5))]
        earlier = [(0, 20 - since) for since, _ in later]
        for spaces in (later, earlier):
            assert can_be_placed(spaces, saturated(rng, spaces))


def test_windows_that_differ_at_both_ends_cannot() -> None:
    outer, inner = (0, 20), (5, 15)
    cars = [(0, 7), (6, 10), (8, 12), (10, 16)]  # the first and last need the outer space, 8 to 12 then has none
    assert fits_by_count([outer, inner], cars)
    assert not can_be_placed([outer, inner], cars)
    rng = random.Random(20261118)
    failures = sum(
        not can_be_placed(spaces, saturated(rng, spaces))
        for spaces in ([(rng.randrange(0, 8), rng.randrange(12, 21)) for _ in range(3)] for _ in range(150))
    )
    assert failures >= 5
