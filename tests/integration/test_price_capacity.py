"""Prices in service: from what people asked on past days of the kind, for those who ask next."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from parking_core.flows.price_capacity import PriceRuns
from parking_core.reservations import Refusal, ReservationState
from parking_core.slots import SLOTS, day_of
from parking_core.store import capacity, demand, reservations
from tests.shared_town import EVENING, HOSPITAL, HOUR, SharedTown

if TYPE_CHECKING:
    import psycopg

    from parking_core.flows.price_capacity import Run

_AT_19 = 11 * 12
TODAY = EVENING.date()
_ADD = """
INSERT INTO asked_demand (asked_at, arrive_at, depart_at, lat, lon, walk_m, user_group, granted)
VALUES (%s, %s, %s, %s, %s, %s, %s, true)
"""
AN_HOUR_AGO = EVENING - HOUR
_DAY = timedelta(days=1)


@pytest.fixture
def shared(db: psycopg.Connection[Any]) -> SharedTown:
    return SharedTown(db)


def asked(shared: SharedTown, day: date, count: int, *, group: str = "any", later: bool = True, lot: int = 0) -> None:
    """Requests for 19:00 to 21:00 at the door of a lot; `later`: not before 18:30."""
    arrive = EVENING + (day - TODAY) * 1 + HOUR
    at = arrive - (HOUR / 2 if later else 5 * HOUR)
    lon = HOSPITAL[1] + lot * 100 / 94_900
    rows = [(at + timedelta(seconds=n), arrive, arrive + 2 * HOUR, HOSPITAL[0], lon, 60, group) for n in range(count)]
    with shared.db.cursor() as cursor:
        cursor.executemany(_ADD, rows)


def past(shared: SharedTown, count: int, days: int = 12, **more: Any) -> None:
    for back in range(1, days + 1):
        asked(shared, TODAY - back * _DAY, count, **more)


def all_runs(shared: SharedTown, runs: PriceRuns, now: datetime = EVENING) -> dict[date, Run]:
    """Steps until nothing is due."""
    found: dict[date, Run] = {}
    while (run := runs.step(shared.db, now)) is not None:
        assert run.day not in found
        found[run.day] = run
    return found


def prices(shared: SharedTown, name: str, day: date = TODAY) -> np.ndarray[Any, np.dtype[np.float64]]:
    found: np.ndarray[Any, np.dtype[np.float64]] = capacity.read(shared.db, [shared.classes[name]], day, 1).price[0]
    return found


def test_without_history_nothing_costs_anything(shared: SharedTown) -> None:
    runs = PriceRuns(shared.offers)
    assert runs.step(shared.db, EVENING) is None  # nothing is shared
    shared.lot([1])
    asked(shared, TODAY, 3)
    assert all(not run.past for run in all_runs(shared, runs).values())
    assert shared.rows("SELECT * FROM capacity_prices") == []


def test_what_is_scarce_is_kept_for_those_who_come_later_and_are_worth_more(shared: SharedTown) -> None:
    shared.lot([2])
    past(shared, 12)
    runs = all_runs(shared, PriceRuns(shared.offers))
    assert len(runs) == shared.offers.of(shared.db, EVENING).policy.horizon_days
    assert runs[TODAY].asked == 0
    night = prices(shared, "S01-A")
    assert night[_AT_19 : _AT_19 + 24].sum() > 300  # of 500 and more for somebody at the door
    assert night[: _AT_19 - 1].sum() == 0
    person, near = shared.person(), shared.person("u2", "苏B22222")
    far = shared.reserve(person, shared.ask(person, lat=HOSPITAL[0] + 0.0072, hours=2))  # 800 m
    assert far.state is ReservationState.REFUSED
    detail = reservations.events(shared.db, far.id)[-1].detail
    assert detail["reason"] == Refusal.KEPT_FOR_OTHERS.value
    shared.granted(near, begins_h=5)  # nobody wants that time


def test_when_the_evening_is_over_capacity_is_free_again(shared: SharedTown) -> None:
    shared.lot([2])
    past(shared, 12)
    runs = PriceRuns(shared.offers)
    runs.step(shared.db, EVENING)
    before = prices(shared, "S01-A").sum()
    run = runs.step(shared.db, EVENING + HOUR)
    assert run is not None
    assert run.day == TODAY
    assert 0 == prices(shared, "S01-A").sum() < before


def test_days_of_the_same_kind_and_none_that_is_not_over(shared: SharedTown) -> None:
    shared.lot([1])
    past(shared, 1, days=70)
    runs = all_runs(shared, PriceRuns(shared.offers))
    assert len(runs[TODAY].past) == 8
    assert runs[TODAY].past[-1] == date(2026, 11, 19)  # Thursday: a workday before a workday
    friday = runs[date(2026, 11, 27)].past
    assert {day.weekday() for day in friday} == {4, 5}
    assert date(2026, 10, 10) in friday  # a Saturday made a workday, before a Sunday
    saturday, sunday = runs[date(2026, 11, 28)].past, runs[date(2026, 11, 29)].past
    assert saturday[-1] == date(2026, 11, 21)
    assert sunday[-1] == date(2026, 11, 22)
    assert all(day < day_of(EVENING) for run in runs.values() for day in run.past)


def test_a_day_is_solved_again_when_it_is_old_or_overtaken(shared: SharedTown) -> None:
    shared.lot([4])
    past(shared, 20)
    runs = PriceRuns(shared.offers)
    all_runs(shared, runs)
    assert runs.step(shared.db, EVENING + timedelta(seconds=10)) is None
    asked(shared, TODAY + _DAY, 4, later=False)
    assert runs.step(shared.db, EVENING + timedelta(seconds=20)) is None
    asked(shared, TODAY + _DAY, 1, later=False)
    run = runs.step(shared.db, EVENING + timedelta(seconds=30))
    assert run is not None
    assert (run.day, run.asked) == (TODAY + _DAY, 5)
    assert {run.day for run in all_runs(shared, runs, EVENING + timedelta(seconds=90)).values()} == {
        TODAY,
        TODAY + _DAY,
    }
    shared.db.execute("INSERT INTO allocation_policies (document, valid_from, by) VALUES ('{}', %s, 'd')", (EVENING,))
    assert len(all_runs(shared, runs, EVENING + timedelta(seconds=100))) == 35


def test_more_demand_than_expected_makes_capacity_dearer(shared: SharedTown) -> None:
    shared.lot([8])
    for back in range(1, 9):  # half of them ask early in the day
        asked(shared, TODAY - back * _DAY, 10, later=False)
        asked(shared, TODAY - back * _DAY, 10)
    all_runs(shared, runs := PriceRuns(shared.offers))
    usual = prices(shared, "S01-A").sum()
    asked(shared, TODAY, 60, later=False)
    run = runs.step(shared.db, EVENING + timedelta(seconds=10))
    assert run is not None
    assert run.volume > 2
    assert prices(shared, "S01-A").sum() > usual


def test_a_floor_adds_to_what_its_group_is_worth(shared: SharedTown) -> None:
    shared.lot([2])
    shared.lot([2])
    past(shared, 12)  # at the door
    past(shared, 6, group="patient", lot=-5)  # none of them within his walk
    shared.db.execute("UPDATE asked_demand SET walk_m = 800 WHERE user_group = 'patient'")
    policy = '{"floors": {"patient": 0.5, "resident": 0.1}}'
    shared.db.execute(
        "INSERT INTO allocation_policies (document, valid_from, by) VALUES (%s, %s, 'd')", (policy, EVENING)
    )
    runs = PriceRuns(shared.offers)
    run = runs.step(shared.db, EVENING)
    assert run is not None
    assert run.bonus_fen["patient"] > 100
    assert run.bonus_fen["resident"] == 0  # none of them asks
    assert demand.bonus(shared.db, TODAY, "patient") == pytest.approx(run.bonus_fen["patient"], rel=1e-5)
    assert demand.bonus(shared.db, TODAY, "any") == 0
    later = EVENING + timedelta(minutes=2)
    shared.db.execute("INSERT INTO allocation_policies (document, valid_from, by) VALUES ('{}', %s, 'd')", (later,))
    runs.step(shared.db, later)
    assert shared.rows("SELECT * FROM demand_bonuses") == []


def test_prices_keep_their_sums_to_a_thousandth_and_never_go_back(shared: SharedTown) -> None:
    shared.lot([1, 1])
    ids = [shared.classes["S01-A"], shared.classes["S01-B"]]
    price = np.random.default_rng(7).exponential(0.7, (2, SLOTS))
    capacity.keep_prices(shared.db, ids, TODAY, price, EVENING)
    capacity.keep_prices(shared.db, ids, TODAY, price * 9, AN_HOUR_AGO)
    kept = capacity.read(shared.db, ids, TODAY, 1).price
    assert np.abs(np.cumsum(kept, axis=1) - np.cumsum(price, axis=1)).max() < 0.001
    assert demand.drop_before(shared.db, EVENING + _DAY) == 0
