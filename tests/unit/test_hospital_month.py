"""The simulated month round the hospital, on a handful of invented stays: its laws, not its figures."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np
import pytest

from benchmarks import hospital_month
from benchmarks.hospital_buffers import WAYS, Buffers
from benchmarks.hospital_demand import draw_night, joined
from benchmarks.hospital_desk import ReleasedSpace
from benchmarks.hospital_lots import Barrier
from benchmarks.hospital_month import build, outcome
from benchmarks.hospital_run import Fate, Month, Record, World
from benchmarks.hospital_stays import FOLDER, LONG_LOTS, SHORT_LOTS, RealStays, Stays, real_stays
from benchmarks.hospital_town import DAY_MIN, NIGHTS, Town, draw_town, local_hour, night_kind
from parking_core.allocation.binding import Outcome
from parking_core.errors import InvalidInputError
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from pathlib import Path

SPACES, VOLUME, SEED, FEW_NIGHTS = 92, 150, 7, 4
LEARNED, FIXED_15, *_ = WAYS


def few_stays() -> RealStays:
    def minutes(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int32]]:
        return np.array(numbers, np.int32)

    short = Stays(minutes(480, 545, 630, 870, 1080, 1170), minutes(60, 90, 150, 45, 120, 75))
    return RealStays(short, Stays(minutes(1050, 1140, 1230, 1320), minutes(180, 720, 600, 540)))


@pytest.fixture(scope="module")
def world() -> World:
    return build(few_stays(), SPACES, VOLUME, SEED, nights=FEW_NIGHTS)


@pytest.fixture(scope="module")
def learned(world: World) -> Record:
    return Month(LEARNED, world).run()


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return bool(np.array_equal(one, np.asarray(other)))
    return one == other


def test_the_same_seed_is_the_same_month(world: World, learned: Record) -> None:
    again = build(few_stays(), SPACES, VOLUME, SEED, nights=FEW_NIGHTS)
    record = Month(LEARNED, again).run()
    for part in fields(Record):
        assert same(getattr(learned, part.name), getattr(record, part.name)), part.name
    other = build(few_stays(), SPACES, VOLUME, SEED + 1, nights=1)
    assert not same(world.demand.arrive, other.demand.arrive)


def test_everybody_has_a_fate_and_what_is_counted_adds_up(world: World, learned: Record) -> None:
    assert len(learned.fate) == len(world.demand) > 400
    counts = np.bincount(learned.fate, minlength=len(Fate))
    assert counts[Fate.GRANTED] == 0  # nobody is left promised and unanswered
    assert min(counts[Fate.REFUSED], counts[Fate.PARKED], counts[Fate.NO_SHOW], counts[Fate.CANCELLED]) > 0
    assert learned.exits.sum() == counts[Fate.PARKED]
    assert learned.came.sum() == counts[Fate.PARKED] + learned.failures.sum()
    assert learned.failures.sum() == learned.failed.sum()
    assert np.all(learned.owner_failures <= learned.last_guests)
    assert np.all(learned.stood[:NIGHTS] <= world.town.open_minutes(NIGHTS))
    assert not np.any((learned.fate == Fate.PARKED) & ~world.demand.shows)
    assert np.all(learned.walk[learned.fate == Fate.PARKED] <= 1_000)


def test_what_an_outcome_says(world: World, learned: Record) -> None:
    whole = outcome("learned", world, learned, [1_000_000] * NIGHTS, 0)
    later = outcome("learned", world, learned, [1_000_000] * NIGHTS, 3)
    assert (whole.nights, later.nights) == (FEW_NIGHTS, 1)
    assert whole.requests == len(world.demand) > later.requests
    assert whole.served == pytest.approx(1 - np.isin(learned.fate, [Fate.REFUSED, Fate.TURNED_AWAY]).mean())
    assert whole.failure_rate == pytest.approx(1000 * learned.failures.sum() / learned.came.sum())
    assert whole.walk_mean_m <= whole.walk_p90_m
    assert 0 < whole.utilisation < 1


def test_buffers_are_what_the_way_says_and_learning_moves_them(world: World, learned: Record) -> None:
    fixed = Month(FIXED_15, world).run()
    assert set(fixed.buffers) == {(15.0, 15.0)}
    assert learned.buffers[0] != learned.buffers[-1]
    assert all(guest <= owner for guest, owner in learned.buffers)
    assert learned.owner_failures.sum() <= fixed.owner_failures.sum()


def test_late_lots_get_longer_buffers_than_punctual_ones() -> None:
    buffers = Buffers(2, None)
    before = buffers.owner[0, 7]
    for number in range(600):
        buffers.left(0, 14 * 60, 14 * 60 + (40 if number % 4 == 0 else 0), 15 * 60, 0)
        buffers.left(1, 14 * 60, 14 * 60, 15 * 60, 0)
    buffers.learn()
    assert buffers.owner[0, 7] == 40 < before
    assert buffers.owner[1, 7] < 30
    assert np.all(buffers.guest <= buffers.owner)


# --- the town and its people ------------------------------------------------------------------------------------------


def test_the_month_is_open_by_the_work_calendar() -> None:
    town = draw_town(420, 1)
    assert (town.lots, int(town.spaces.sum())) == (15, 420)
    assert np.bincount(town.lot).max() <= 6
    calendar = WorkCalendar()
    nights = town.open_minutes(NIGHTS)
    holiday, worked_saturday, monday = 2, 9, 11  # 3, 10 and 12 October
    assert night_kind(holiday, calendar) == (False, False)
    assert night_kind(worked_saturday, calendar) == (True, False)
    assert nights[holiday] > nights[monday]
    assert nights[worked_saturday] == nights[15] != nights[8]  # as a Friday, not as the Friday before it
    assert np.all(town.walk_m[:4] <= 880)  # entrances lie within 60 m of the middle
    assert local_hour(0) == 17
    assert local_hour(DAY_MIN - 1) == 16


def test_candidates_are_open_all_the_time_and_near_enough() -> None:
    town = draw_town(200, 3)
    demand = draw_night(few_stays(), 11, 200, 3)
    found = town.candidates(demand.arrive, demand.depart, demand.destination, demand.limit_m)
    request = np.repeat(np.arange(len(demand)), np.diff(found.first))
    assert len(request) > 200
    assert np.all(found.walk <= demand.limit_m[request])
    for place in range(0, len(request), 17):
        r = request[place]
        begins, ends = town.opening(int(found.group[place]), int(demand.arrive[r]))
        assert begins <= demand.arrive[r] < demand.depart[r] <= ends == found.closes[place]
    assert np.all(np.diff(found.walk)[np.diff(request) == 0] >= 0)


def test_people_book_before_they_come_and_keep_their_sessions() -> None:
    night = draw_night(few_stays(), 5, 300, 1)
    assert np.all(night.book <= night.arrive)
    assert np.all(night.arrive // DAY_MIN == 5)
    assert set((night.depart - night.arrive).tolist()) <= {60, 90, 150, 45, 120, 75, 180, 720, 600, 540}
    assert np.all((night.cancels == -1) | ((night.cancels >= night.book) & (night.cancels <= night.arrive)))
    both = joined([draw_night(few_stays(), 6, 300, 1), night])
    assert np.all(np.diff(both.book) >= 0)


def test_how_late_somebody_leaves_depends_on_the_lot() -> None:
    town = draw_town(200, 3)
    demand = draw_night(few_stays(), 5, 2_000, 1)
    late = {
        habit: np.mean(
            [demand.exit_minute(r, town, town.habit.index(habit), 0) > demand.depart[r] for r in range(len(demand))]
        )
        for habit in ("punctual", "usual", "lax")
    }
    assert 0 < late["punctual"] < late["usual"] < late["lax"] < 0.5


# --- barriers ---------------------------------------------------------------------------------------------------------


def one_lot() -> Town:
    """Two spaces, open for a day."""
    lot, spaces, opens, closes, walk = (np.array(each, np.int32) for each in ([0], [2], [[0]], [[1440]], [[100]]))
    return Town(lot, spaces, opens, closes, walk, np.array([0.1]), np.array([10.0]), ("usual",))


def test_a_driver_who_finds_no_space_is_counted_to_the_car_that_is_overdue() -> None:
    barrier = Barrier(one_lot(), 0)
    for key, arrive, depart in (("a", 0, 60), ("b", 0, 200), ("c", 70, 100)):
        barrier.promise(key, 0, arrive, depart + 5, depart + 5)
    assert barrier.arrive("a", 0, 60).outcome is barrier.arrive("b", 0, 200).outcome is Outcome.BOUND
    assert barrier.unlucky(66) == []  # c has not begun
    assert barrier.unlucky(70) == ["c"]
    assert barrier.arrive("c", 70, 100).outcome is Outcome.NONE
    assert "c" in barrier.promised
    assert barrier.blame(70)
    assert (barrier.inside["a"].let_down, barrier.inside["b"].let_down) == (1, 0)
    del barrier.inside["a"]
    assert barrier.unlucky(71) == []
    assert not barrier.blame(71)
    assert barrier.arrive("c", 71, 100).outcome is Outcome.BOUND


def test_a_grant_on_the_space_of_a_no_show_is_counted_once() -> None:
    space = ReleasedSpace(one_lot(), 100)
    assert not space.taken(0, 0, 100)
    assert not space.taken(0, 0, 100)
    space.given_back(0, 20, 100)
    space.left_by_no_show(0, 20, 100)
    assert space.taken(0, 20, 60)
    assert space.taken(0, 60, 100)
    space.given_back(0, 30, 60)
    assert not space.taken(0, 30, 60)


# --- real stays -------------------------------------------------------------------------------------------------------


def test_without_the_records_the_benchmark_says_so_and_measures_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert real_stays(tmp_path) is None
    monkeypatch.setattr(hospital_month, "real_stays", lambda: None)
    rows, figures = hospital_month.run()
    assert figures == {}
    assert len(rows) == 1
    assert "skipped" in rows[0].figure


def test_trials_of_the_lock_and_abandoned_cars_are_left_out(tmp_path: Path) -> None:
    head = "Lockdown Time,Lockup Time,cost,status\n"
    rows = "2018/6/29 14:37,2018/6/29 14:37,0,0\n2018/6/29 21:03,2018/6/30 7:21,5,1\n2018/6/1 1:00,2018/6/3 1:00,9,1\n"
    for lot in (*SHORT_LOTS, *LONG_LOTS):
        (tmp_path / f"{lot}.csv").write_text(head + rows, "latin-1")
    found = real_stays(tmp_path)
    assert found is not None
    assert set(found.long.arrive.tolist()) == {21 * 60}
    assert set(found.long.stay.tolist()) == {620}  # 618, on the grid of 5
    assert len(found.short.stay) == len(SHORT_LOTS)
    with pytest.raises(InvalidInputError, match="no sessions"):
        found.short.of([3])


def test_real_sessions_are_short_by_day_and_long_at_night() -> None:
    found = real_stays()
    if found is None:
        pytest.skip(f"{FOLDER} is not there; set PARKING_SHARED_DATA to the folder that holds replay/china")
    assert len(found.short.stay) + len(found.long.stay) > 100_000
    assert 30 <= np.median(found.short.stay) <= 60
    assert 480 <= np.median(found.long.of([22]).stay) <= 720
