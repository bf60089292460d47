"""Amounts worked by hand: the edge cases of time, free periods, caps and bands."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from parking_core.errors import InvalidInputError
from parking_core.tariffs import (
    Bill,
    EarlierStay,
    Interval,
    Stay,
    price,
)
from parking_core.work_calendar import DayKind
from tests.unit.tariff_cases import CALENDAR, Calendar, at, document, fen, hourly, rules, stay, tariff, window

DAY_AND_NIGHT = [window("day", "09:00", "21:00"), window("night", "21:00", "09:00")]
HALF_HOURS = {"day": {"unit_minutes": 30, "price_fen": 2000}, "night": {"unit_minutes": 30, "price_fen": 1500}}


def earlier(entered: str, exited: str, paid: int) -> EarlierStay:
    return EarlierStay(at(entered), at(exited), paid)


# The two known bugs


def test_a_cap_is_no_price_a_day_below_it_costs_what_was_metered() -> None:
    """A published engine bills the cap for every full 24 hours, free nights or not."""
    ours = tariff(
        document(
            {"day": {"unit_minutes": 60, "price_fen": 200}, "night": {"free": True}},
            [window("day", "08:00", "18:00"), window("night", "18:00", "08:00")],
            caps=[{"over": "from_entry", "hours": 24, "max_fen": 5000}],
        )
    )
    assert fen(ours, stay("2024-03-05 12:00", "2024-03-06 12:00")) == 10 * 200
    assert fen(ours, stay("2024-03-05 12:00", "2024-03-08 12:00")) == 30 * 200
    bill = price(ours, stay("2024-03-05 12:00", "2024-03-08 12:00"), CALENDAR)
    assert not any(line.rule.startswith("cap.") for line in bill.lines)


@pytest.mark.parametrize(("when_exceeded", "charged_units"), [("kept", 1), ("consumed", 2)])
def test_one_minute_over_the_free_period_charges_what_the_document_says(when_exceeded: str, charged_units: int) -> None:
    ours = hourly(500, 60, free={"minutes": 60, "when_exceeded": when_exceeded})
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:00")) == 0
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:01")) == charged_units * 500


# Units


def test_a_started_unit_counts_and_seconds_beyond_the_last_minute_do_not() -> None:
    ours = hourly(500, 60)
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 10:01")) == 500
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:00")) == 500
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:00:59")) == 500
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:01")) == 1000
    counted = hourly(500, 60, partial_minute="counted")
    assert fen(counted, stay("2024-03-05 10:00:30", "2024-03-05 11:00:30")) == 500
    assert fen(counted, stay("2024-03-05 10:00:30", "2024-03-05 11:00:31")) == 1000


def test_a_unit_over_a_boundary_is_charged_at_the_earlier_rate() -> None:
    """As Taipei's lot TPE0008 words it: 40 an hour from 9 to 21, 30 from 21 to 9, by half hours."""
    ours = tariff(document(HALF_HOURS, DAY_AND_NIGHT))
    bill = price(ours, stay("2024-03-05 20:45", "2024-03-05 21:20"), CALENDAR)
    assert [(line.rule, line.units) for line in bill.lines] == [("rate.day.0", 1), ("rate.night.0", 1)]
    assert bill.total_fen == 2000 + 1500
    assert bill.lines[0].until_at == at("2024-03-05 21:15")
    assert fen(ours, stay("2024-03-05 20:45", "2024-03-05 21:15")) == 2000


def test_a_split_unit_ends_where_the_rate_changes_and_the_next_begins_there() -> None:
    ours = tariff(document(HALF_HOURS, DAY_AND_NIGHT, straddle="split"))
    assert fen(ours, stay("2024-03-05 20:45", "2024-03-05 21:15")) == 2000 + 1500
    assert fen(ours, stay("2024-03-05 20:45", "2024-03-05 21:31")) == 2000 + 2 * 1500


def test_midnight_starts_no_unit() -> None:
    for straddle in ("earlier", "split"):
        assert fen(hourly(500, 60, straddle=straddle), stay("2024-03-05 23:30", "2024-03-06 00:30")) == 500


def test_entering_in_the_free_window_units_begin_when_it_ends() -> None:
    ours = tariff(
        document(
            {"day": {"unit_minutes": 60, "price_fen": 500}, "night": {"free": True}},
            [window("day", "07:00", "20:00"), window("night", "20:00", "07:00")],
        )
    )
    assert fen(ours, stay("2024-03-05 06:30", "2024-03-05 08:00")) == 500
    assert fen(ours, stay("2024-03-05 21:00", "2024-03-06 07:00")) == 0
    assert fen(ours, stay("2024-03-05 19:30", "2024-03-06 07:01")) == 1000
    free = price(ours, stay("2024-03-05 21:00", "2024-03-06 07:00"), CALENDAR)
    assert {line.rule for line in free.lines} == {"free.window"}


# Lengths of stay


@pytest.mark.parametrize("seconds", [0, 1, 59])
def test_no_minute_costs_nothing(seconds: int) -> None:
    entered = at("2024-03-05 10:00")
    assert price(hourly(), Stay(entered_at=entered, exited_at=entered + timedelta(seconds=seconds)), CALENDAR) == Bill(
        0, ()
    )


def test_an_exit_before_the_entry_is_an_error_that_names_it() -> None:
    with pytest.raises(
        InvalidInputError, match=r"The stay ends at 2024-03-05T09:59.*before it begins at 2024-03-05T10:00"
    ):
        price(hourly(), stay("2024-03-05 10:00", "2024-03-05 09:59"), CALENDAR)
    backwards = Interval(at("2024-03-05 10:30"), at("2024-03-05 10:20"))
    with pytest.raises(InvalidInputError, match="covered part ends"):
        price(hourly(), stay("2024-03-05 10:00", "2024-03-05 11:00", covered=(backwards,)), CALENDAR)


def test_times_without_an_offset_are_refused() -> None:
    naive = datetime(2024, 3, 5, 10)  # noqa: DTZ001  # what the engine must refuse
    with pytest.raises(InvalidInputError, match="without an offset"):
        price(hourly(), Stay(entered_at=naive, exited_at=naive), CALENDAR)


def test_a_stay_of_a_month_and_one_of_a_year() -> None:
    ours = hourly(500, 60, caps=[{"over": "day", "max_fen": 4000}])
    assert fen(ours, stay("2024-03-05 00:00", "2024-04-04 00:00")) == 30 * 4000
    assert fen(ours, stay("2024-01-01 00:00", "2025-01-01 00:00")) == 366 * 4000


# Free periods and re-entry


def test_the_free_period_is_given_again_on_reentry_unless_ruled_out() -> None:
    free = {"minutes": 30, "when_exceeded": "kept"}
    again = stay("2024-03-05 12:00", "2024-03-05 12:30", earlier=(earlier("2024-03-05 10:00", "2024-03-05 10:30", 0),))
    assert fen(hourly(500, 60, free=free), again) == 0
    ruled = hourly(500, 60, free={**free, "not_within_hours": 2})
    assert fen(ruled, again) == 500
    later = stay("2024-03-05 12:30", "2024-03-05 13:00", earlier=again.earlier)
    assert fen(ruled, later) == 0
    assert ruled.lookback == timedelta(hours=2)


# Caps


def test_a_calendar_day_24_hours_from_entry_and_a_visit_are_different_caps() -> None:
    asked = stay("2024-03-05 18:00", "2024-03-06 10:00")
    by_day = hourly(500, 60, caps=[{"over": "day", "max_fen": 2000}])
    from_entry = hourly(500, 60, caps=[{"over": "from_entry", "hours": 24, "max_fen": 2000}])
    visit = hourly(500, 60, caps=[{"over": "visit", "max_fen": 1500}])
    assert [fen(ours, asked) for ours in (by_day, from_entry, visit)] == [4000, 2000, 1500]
    assert rules(price(by_day, asked, CALENDAR)) == {"rate.flat.0": 8000, "cap.day": -4000}
    assert rules(price(visit, asked, CALENDAR)) == {"rate.flat.0": 8000, "cap.visit": -6500}


def test_a_rolling_cap_counts_what_was_paid_in_an_earlier_stay() -> None:
    ours = hourly(500, 60, caps=[{"over": "rolling", "hours": 24, "max_fen": 4000}])
    morning = earlier("2024-03-05 08:00", "2024-03-05 14:00", 3000)
    evening = stay("2024-03-05 18:00", "2024-03-05 22:00", earlier=(morning,))
    bill = price(ours, evening, CALENDAR)
    assert (bill.total_fen, rules(bill)["cap.rolling"]) == (1000, -1000)
    next_day = stay("2024-03-06 08:00", "2024-03-06 12:00", earlier=(morning,))
    assert fen(ours, next_day) == 2000, "24 hours after the first entry a new period begins"
    over = stay("2024-03-06 06:00", "2024-03-06 12:00", earlier=(morning,))
    assert fen(ours, over) == 1000 + 4 * 500, "two hours in the first period, four in the second"


def test_an_earlier_stay_over_several_periods_counts_only_what_they_could_not_take() -> None:
    ours = hourly(200, 60, caps=[{"over": "rolling", "hours": 24, "max_fen": 4000}])
    long = earlier("2024-03-05 00:00", "2024-03-06 06:00", 4000 + 1200)
    rest = stay("2024-03-06 06:00", "2024-03-07 00:00", earlier=(long,))
    assert fen(ours, rest) == 4000 - 1200


def test_a_rolling_period_is_over_at_its_very_end() -> None:
    ours = hourly(500, 60, caps=[{"over": "rolling", "hours": 24, "max_fen": 4000}])
    first = earlier("2024-03-05 08:00", "2024-03-05 14:00", 3000)
    at_its_end = earlier("2024-03-06 08:00", "2024-03-06 09:00", 500)
    asked = stay("2024-03-06 10:00", "2024-03-06 18:00", earlier=(at_its_end, first))
    assert fen(ours, asked) == 4000 - 500, "the second stay opened a period of its own"
    whole = earlier("2024-03-05 08:00", "2024-03-06 08:00", 4000)
    assert fen(ours, stay("2024-03-06 09:00", "2024-03-07 09:00", earlier=(whole,))) == 4000, "so does this stay"


def test_a_day_cap_counts_earlier_stays_only_where_it_says_so() -> None:
    before = earlier("2024-03-05 08:00", "2024-03-05 11:00", 1500)
    asked = stay("2024-03-05 12:00", "2024-03-05 16:00", earlier=(before,))
    assert fen(hourly(500, 60, caps=[{"over": "day", "max_fen": 2000}]), asked) == 2000
    assert fen(hourly(500, 60, caps=[{"over": "day", "max_fen": 2000, "earlier_stays": True}]), asked) == 500


def test_a_night_cap_lies_inside_the_day_cap() -> None:
    rates = {"day": {"unit_minutes": 60, "price_fen": 500}, "night": {"unit_minutes": 60, "price_fen": 300}}
    caps = [{"over": "day", "max_fen": 3000}, {"over": "window", "window": "night", "max_fen": 1000}]
    ours = tariff(document(rates, [window("day", "08:00", "20:00"), window("night", "20:00", "08:00")], caps=caps))
    night = stay("2024-03-05 20:00", "2024-03-06 08:00")
    assert rules(price(ours, night, CALENDAR)) == {"rate.night.0": 3600, "cap.window.night": -2600}
    both = price(ours, stay("2024-03-05 14:00", "2024-03-06 08:00"), CALENDAR)
    assert rules(both) == {"rate.day.0": 3000, "rate.night.0": 3600, "cap.window.night": -2600, "cap.day": -1000}
    assert both.total_fen == 3000, "the day takes 3000; the night's ten yuan were used before midnight"


def test_overnight_across_the_month_into_a_holiday() -> None:
    rates = {"work": {"unit_minutes": 60, "price_fen": 500}, "rest": {"unit_minutes": 60, "price_fen": 800}}
    days = {
        "workday": [window("work", "00:00", "24:00")],
        "rest_day": [window("rest", "00:00", "24:00")],
    }
    ours = tariff(document(rates, days, day_groups={"rest_day": ["weekend", "holiday"]}))
    calendar = Calendar({date(2024, 10, 1): DayKind.HOLIDAY})
    bill = price(ours, stay("2024-09-30 22:00", "2024-10-01 03:00"), calendar)
    assert rules(bill) == {"rate.work.0": 1000, "rate.rest.0": 2400}


def test_a_made_up_workday_is_no_weekend() -> None:
    """Sunday 2024-09-29 was worked for the holiday that followed."""
    rates = {"work": {"unit_minutes": 60, "price_fen": 500}, "rest": {"free": True}}
    rest = [window("rest", "00:00", "24:00")]
    days = {"workday": [window("work", "00:00", "24:00")], "weekend": rest, "holiday": rest}
    ours = tariff(document(rates, days))
    asked = stay("2024-09-29 10:00", "2024-09-29 12:00")
    assert fen(ours, asked) == 0, "by its weekday"
    assert price(ours, asked, Calendar({date(2024, 9, 29): DayKind.WORKDAY})).total_fen == 1000


@pytest.mark.parametrize(
    ("day", "hours"), [("2024-03-31", 23), ("2024-10-27", 25), ("2024-06-01", 24)], ids=["23 h", "25 h", "24 h"]
)
def test_days_of_23_and_25_hours(day: str, hours: int) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    rates = {"day": {"unit_minutes": 60, "price_fen": 500}, "night": {"unit_minutes": 60, "price_fen": 100}}
    windows = [window("day", "06:00", "24:00"), window("night", "00:00", "06:00")]
    ours = tariff(document(rates, windows, time_zone="Europe/Berlin"))
    entered = at(f"{day} 00:00", berlin)
    exited = (entered + timedelta(days=1)).astimezone(UTC)
    assert (exited - entered.astimezone(UTC)).total_seconds() == hours * 3600
    assert fen(ours, Stay(entered_at=entered, exited_at=exited)) == 18 * 500 + (hours - 18) * 100
    capped = hourly(500, 60, time_zone="Europe/Berlin", caps=[{"over": "day", "max_fen": 1000}])
    assert fen(capped, Stay(entered_at=entered, exited_at=exited)) == 1000


# Bands, visits, restarts


def test_a_first_hour_price_counts_charged_time() -> None:
    bands = [{"unit_minutes": 30, "price_fen": 300, "until_minutes": 60}, {"unit_minutes": 30, "price_fen": 400}]
    ours = tariff(
        document(
            {"a": {"bands": bands}}, [window("a", "00:00", "24:00")], free={"minutes": 30, "when_exceeded": "kept"}
        )
    )
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:30")) == 600
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 12:00")) == 1000


@pytest.mark.parametrize(("count_from", "expected"), [("stay", 1000), ("window", 3000)])
def test_a_price_a_visit_and_a_price_a_night(count_from: str, expected: int) -> None:
    rates = {"night": {"bands": [{"price_fen": 1000}], "count_from": count_from}, "day": {"free": True}}
    ours = tariff(document(rates, [window("day", "08:00", "20:00"), window("night", "20:00", "08:00")]))
    assert fen(ours, stay("2024-03-05 21:00", "2024-03-08 07:00")) == expected


def test_after_24_hours_charging_begins_anew() -> None:
    rates = {"a": {"bands": [{"price_fen": 500}]}}
    once = tariff(document(rates, [window("a", "00:00", "24:00")]))
    anew = tariff(document(rates, [window("a", "00:00", "24:00")], restart={"after_hours": 24, "free_again": False}))
    asked = stay("2024-03-05 10:00", "2024-03-07 10:01")
    assert (fen(once, asked), fen(anew, asked)) == (500, 1500)
    free = {"minutes": 60, "when_exceeded": "kept"}
    for again, units in ((True, 46), (False, 47)):
        ours = hourly(100, 60, free=free, restart={"after_hours": 24, "free_again": again})
        assert fen(ours, stay("2024-03-05 10:00", "2024-03-07 10:00")) == units * 100
