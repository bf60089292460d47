"""The written form of schedules, and schedules in words."""

# ruff: noqa: RUF001  # the full-width punctuation of Chinese texts is meant

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.errors import InvalidInputError
from parking_core.windows import (
    ALL_DAY,
    EVERY_DAY,
    Hours,
    Schedule,
    Window,
    describe_schedule,
    parse_schedule,
    sentence_en,
    sentence_zh,
)
from parking_core.work_calendar import DayKind

WUXI: dict[str, Any] = {
    "windows": [
        {"days": ["workday"], "from": "18:00", "until": "08:00"},
        {"days": ["weekend", "holiday"], "from": "00:00", "until": "24:00"},
    ]
}
FULL: dict[str, Any] = {
    **WUXI,
    "exceptions": {"2026-10-08": "closed", "2026-12-31": [{"from": "00:00", "until": "12:00"}]},
    "no_movement": [{"days": ["any_day"], "from": "22:00", "until": "06:00"}],
    "valid_from": "2026-01-01",
    "valid_through": "2026-12-31",
    "runs_on": False,
}


def test_a_document_is_read_and_written_again() -> None:
    schedule = parse_schedule(FULL)
    assert schedule == Schedule(
        (
            Window(frozenset({DayKind.WORKDAY}), Hours(1080, 480)),
            Window(frozenset({DayKind.WEEKEND, DayKind.HOLIDAY}), ALL_DAY),
        ),
        exceptions=((date(2026, 10, 8), ()), (date(2026, 12, 31), (Hours(0, 720),))),
        no_movement=(Window(EVERY_DAY, Hours(1320, 360)),),
        valid_from=date(2026, 1, 1),
        valid_through=date(2026, 12, 31),
        runs_on=False,
    )
    assert describe_schedule(schedule) == FULL
    assert describe_schedule(parse_schedule(WUXI)) == WUXI


def test_the_first_workday_morning_is_written_as_such_and_midnight_has_two_names() -> None:
    document = {"windows": [{"days": ["weekend", "holiday"], "from": "00:00", "until": "workday 07:00"}]}
    [window] = parse_schedule(document).windows
    assert window.hours == Hours(0, 420, until_workday=True)
    assert describe_schedule(parse_schedule(document)) == document
    evening = {"windows": [{"days": [1], "from": "18:00", "until": "00:00"}]}
    assert parse_schedule(evening).windows[0].hours == Hours(1080, 1440)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"windows": None}, "windows: None is not a list"),
        ({"windows": [{}] * 51}, "windows: [{}, {}"),
        ({"windows": [3]}, "windows[0]: 3 is not an object with days, from, until"),
        ({"windows": [{"days": [], "from": "01:00", "until": "02:00"}]}, "windows[0].days: [] is not a list of days"),
        ({"windows": [{"days": [True], "from": "01:00", "until": "02:00"}]}, "windows[0].days: True is none of"),
        ({"windows": [{"days": [[]], "from": "01:00", "until": "02:00"}]}, "windows[0].days: [] is none of"),
        ({"windows": [{"days": [8], "from": "01:00", "until": "02:00"}]}, "windows[0].days: 8 is none of"),
        ({"windows": [{"days": [1], "from": "24:00", "until": "02:00"}]}, "windows[0].from: 24:00 begins on the next"),
        ({"windows": [{"days": [1], "from": "24:01", "until": "02:00"}]}, "windows[0].from: '24:01' is not a time"),
        ({"windows": [{"days": [1], "from": "8:00", "until": "20:00"}]}, "windows[0].from: '8:00' is not a time"),
        ({"windows": [{"days": [1], "until": "20:00"}]}, "windows[0].from: None is not a time"),
        ({"windows": [{"days": [1], "from": "workday 08:00", "until": "20:00"}]}, "windows[0].from: 'workday 08:00'"),
        ({"windows": [{"days": [1], "from": "08:00", "until": "workday 00:00"}]}, "windows[0].until: workday 00:00"),
        ({"windows": [{"days": [1], "from": "08:00", "until": "09:00", "to": 1}]}, "windows[0]: 'to' is unknown"),
        ({"exceptions": []}, "exceptions: [] is not an object"),
        ({"exceptions": {"2026-02-30": "closed"}}, "exceptions['2026-02-30']: '2026-02-30' is not a date"),
        ({"exceptions": {"2026-10-08": "shut"}}, "exceptions['2026-10-08']: 'shut' is neither"),
        ({"exceptions": {"2026-10-08": [{"from": "a", "until": "08:00"}]}}, "exceptions['2026-10-08'][0].from: 'a'"),
        ({"no_movement": [{"days": ["any_day"]}]}, "no_movement[0].from: None is not a time"),
        ({"valid_from": "2027-01-01"}, "valid_through: 2026-12-31 is before valid_from"),
        ({"valid_from": 20260101}, "valid_from: 20260101 is not a date"),
        ({"valid_from": "20260101"}, "valid_from: '20260101' is not a date"),
        ({"runs_on": "yes"}, "runs_on: 'yes' is neither true nor false"),
        ({"window": []}, "'window' is unknown; known are exceptions, no_movement"),
    ],
)
def test_a_problem_is_named_with_its_place(change: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_schedule({**FULL, **change})
    assert problem in str(caught.value)


def test_all_problems_are_named_at_once() -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_schedule({"exceptions": {"2026-02-30": 1}, "runs_on": 0, "no_movement": [{"days": ["x", 9]}]})
    message = str(caught.value)
    assert message.startswith("The schedule has 8 problems: windows: missing")
    for place in ("exceptions['2026-02-30']", "runs_on", "no_movement[0].days", "no_movement[0].until"):
        assert f"; {place}: " in message


@pytest.mark.parametrize("document", [None, [], "18:00-08:00", 5])
def test_what_is_no_object_is_refused(document: object) -> None:
    with pytest.raises(InvalidInputError, match="not an object with windows"):
        parse_schedule(document)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.sampled_from(["closed", "18:00", "workday"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["windows", "days", "from", "until", "exceptions", "2026-10-08", "no_movement"]), inner
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_whatever_is_sent_is_read_or_refused(document: object) -> None:
    try:
        schedule = parse_schedule(document)
    except InvalidInputError:
        return
    assert parse_schedule(describe_schedule(schedule)) == schedule


minutes = st.integers(0, 1439)
hours_of_days = st.builds(lambda since, until, far: Hours(since, until + 1, far), minutes, minutes, st.booleans())
windows_of_days = st.builds(Window, st.frozensets(st.sampled_from([*DayKind, *range(1, 8)]), min_size=1), hours_of_days)
any_schedules = st.builds(
    Schedule,
    st.lists(windows_of_days, max_size=4).map(tuple),
    st.dictionaries(st.dates(), st.lists(hours_of_days, max_size=3).map(tuple), max_size=3).map(
        lambda exceptions: tuple(exceptions.items())
    ),
    st.lists(windows_of_days, max_size=2).map(tuple),
    st.none() | st.dates(max_value=date(2026, 1, 1)),
    st.none() | st.dates(min_value=date(2026, 1, 1)),
    st.booleans(),
)


@settings(max_examples=200, deadline=None)
@given(any_schedules)
def test_every_schedule_survives_being_written(schedule: Schedule) -> None:
    assert parse_schedule(describe_schedule(schedule)) == schedule
    assert sentence_zh(schedule).endswith("。")
    assert sentence_en(schedule).endswith(".")


def test_a_schedule_in_words() -> None:
    assert sentence_zh(parse_schedule(WUXI)) == "工作日18:00至次日08:00，周末和节假日全天。"
    assert sentence_en(parse_schedule(WUXI)) == "Workdays 18:00 to 08:00 the next day, weekends and holidays all day."
    assert sentence_zh(parse_schedule(FULL)) == (
        "工作日18:00至次日08:00，周末和节假日全天；2026年10月8日不开放；2026年12月31日00:00至12:00；"
        "每天22:00至次日06:00不得进出；自2026年1月1日起至2026年12月31日止有效。"
    )
    assert sentence_en(parse_schedule(FULL)) == (
        "Workdays 18:00 to 08:00 the next day, weekends and holidays all day; on 2026-10-08 closed; "
        "on 2026-12-31 00:00 to 12:00; no entry or exit every day 22:00 to 06:00 the next day; "
        "valid from 2026-01-01 through 2026-12-31."
    )


@pytest.mark.parametrize(
    ("days", "zh", "en"),
    [
        ([1, 2, 3, 4, 5], "周一至周五", "Mondays to Fridays"),
        ([6, 7], "周六、周日", "Saturdays and Sundays"),
        ([1, 3, 5], "周一、周三和周五", "Mondays, Wednesdays and Fridays"),
        (["holiday", 5], "节假日和周五", "Holidays and Fridays"),
        (["any_day"], "每天", "Every day"),
        (["any_day", 3], "每天", "Every day"),
    ],
)
def test_days_in_words(days: list[object], zh: str, en: str) -> None:
    schedule = parse_schedule({"windows": [{"days": days, "from": "19:00", "until": "workday 07:00"}]})
    assert sentence_zh(schedule) == f"{zh}19:00至下一个工作日07:00。"
    assert sentence_en(schedule) == f"{en} 19:00 to 07:00 on the next workday."


def test_a_schedule_without_windows_says_so() -> None:
    assert sentence_zh(Schedule(())) == "平时不开放。"
    assert sentence_en(Schedule((), valid_from=date(2026, 1, 1))) == (
        "Closed but for the dates named; valid from 2026-01-01."
    )
