"""Lateness learned and turned into buffers, held against known distributions; and what overstaying leads to."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.errors import InvalidInputError
from parking_core.lateness import (
    MOST_LATE_MIN,
    STAGE_CHANGES,
    BufferPolicy,
    Delays,
    Integers,
    LatenessModel,
    NoShowPolicy,
    Overruns,
    OverstayPolicy,
    OverstayStage,
    ends_entitlement,
    guest_buffer,
    no_show_grace,
    overstay_fen,
    overstay_state,
    owner_buffer,
    prior_exceedance,
    stages_reached,
)

DUE, WARNED, CHARGED, VIOLATION = OverstayStage


def delays(lots: list[int], hours: list[int], late: list[int]) -> Delays:
    return Delays(np.array(lots, np.int64), np.array(hours, np.int64), np.array(late, np.int64))


def drawn(rng: np.random.Generator, count: int, share: float, median: float, sigma: float = 0.8) -> Integers:
    """Minutes late: a share by a lognormal time, rounded up, the others early."""
    late = np.ceil(rng.lognormal(math.log(median), sigma, count)).astype(np.int64)
    return np.where(rng.random(count) < share, late, -rng.integers(0, 60, count))


def exact_buffer(share: float, median: float, rate: float, sigma: float = 0.8) -> int:
    """The smallest buffer of the true distribution."""
    return int((prior_exceedance(share, median, sigma) <= rate).argmax())


# --- learning --------------------------------------------------------------------------------------------------------


def test_without_history_it_is_the_prior() -> None:
    model = LatenessModel()
    assert model.exceedance(1, 8)[0] == pytest.approx(0.15)
    assert model.exceedance(1, 8)[18] == pytest.approx(0.075)  # the median of those who are late
    assert model.buffer_min(1, 8, 0.075) == 18
    assert model.buffer_min(1, 8, 0.15) == 0
    assert 50 <= model.buffer_min(1, 8, 0.01) <= 65


def test_few_departures_move_a_lot_a_little_and_many_move_it_all_the_way() -> None:
    def exceedance_after(count: int) -> float:
        return float(LatenessModel(delays([1] * count, [8] * count, [30] * count)).exceedance(1, 8)[20])

    prior = float(prior_exceedance()[20])
    steps = [exceedance_after(count) for count in (1, 10, 100, 10_000)]
    assert prior < steps[0] < prior + 0.05
    assert steps == sorted(steps)
    assert steps[-1] > 0.99


def test_an_hour_without_data_takes_the_lots_and_a_lot_without_data_the_districts() -> None:
    late, punctual = [60] * 500, [0] * 500
    model = LatenessModel(delays([1] * 500 + [2] * 500, [8] * 500 + [20] * 500, late + punctual))
    seen, other_hour, other_lot = (float(model.exceedance(*at)[30]) for at in ((1, 8), (1, 20), (3, 8)))
    assert seen > other_hour > other_lot > float(model.exceedance(2, 20)[30])
    assert other_lot == pytest.approx(0.5, abs=0.05)


def test_hours_of_a_lot_are_told_apart() -> None:
    rng = np.random.default_rng(20261120)
    morning, evening = drawn(rng, 4000, 0.3, 25), drawn(rng, 4000, 0.05, 8)
    model = LatenessModel(
        Delays(np.full(8000, 7), np.repeat(np.array([7, 21]), 4000), np.concatenate([morning, evening]))
    )
    assert model.buffer_min(7, 7, 0.02) == pytest.approx(exact_buffer(0.3, 25, 0.02), abs=10)
    assert model.buffer_min(7, 21, 0.02) == pytest.approx(exact_buffer(0.05, 8, 0.02), abs=4)


def test_the_order_of_the_history_does_not_matter() -> None:
    rng = np.random.default_rng(3)
    history = Delays(rng.integers(0, 5, 500), rng.integers(0, 24, 500), drawn(rng, 500, 0.3, 20))
    order = rng.permutation(500)
    shuffled = Delays(history.lot[order], history.hour[order], history.late_min[order])
    one, other = LatenessModel(history), LatenessModel(shuffled)
    for lot in range(6):
        for hour in range(24):
            assert np.array_equal(one.exceedance(lot, hour), other.exceedance(lot, hour))


histories = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 23), st.integers(-100, 2 * MOST_LATE_MIN)), max_size=60
)


@settings(max_examples=100, deadline=None)
@given(histories, st.lists(st.floats(0, 1), min_size=2, max_size=6), st.integers(0, 4), st.integers(0, 23))
def test_a_smaller_rate_never_has_a_shorter_buffer_and_the_buffer_is_the_smallest(
    rows: list[tuple[int, int, int]], rates: list[float], lot: int, hour: int
) -> None:
    model = LatenessModel(delays(*(list(column) for column in zip(*rows, strict=True)))) if rows else LatenessModel()
    tail = model.exceedance(lot, hour)
    assert len(tail) == MOST_LATE_MIN + 1
    assert np.all(np.diff(tail) <= 0)
    assert 0 <= tail[-1] <= tail[0] <= 1
    buffers = [model.buffer_min(lot, hour, rate) for rate in sorted(rates, reverse=True)]
    assert buffers == sorted(buffers)
    for rate, minutes in zip(sorted(rates, reverse=True), buffers, strict=True):
        assert tail[minutes] <= rate + 1e-9 or minutes == MOST_LATE_MIN
        assert minutes == 0 or tail[minutes - 1] > rate


def test_a_history_has_to_fit_together() -> None:
    with pytest.raises(InvalidInputError, match="1 lots, 1 hours and 2 delays"):
        delays([1], [1], [1, 2])
    with pytest.raises(InvalidInputError, match="hours outside"):
        delays([1], [24], [1])
    with pytest.raises(InvalidInputError, match="failure rate"):
        LatenessModel().buffer_min(1, 1, math.nan)
    with pytest.raises(InvalidInputError, match="Of 3 late"):
        Overruns(late=3, let_down=4)
    for prior in (np.ones(3), np.linspace(0, 1, MOST_LATE_MIN + 1), np.full(MOST_LATE_MIN + 1, 1.1)):
        with pytest.raises(InvalidInputError, match="never rise"):
            LatenessModel(prior=prior)


# --- calibration -----------------------------------------------------------------------------------------------------

TRUTH = ((0.05, 10.0), (0.15, 18.0), (0.25, 25.0), (0.40, 12.0))  # share late and median of four kinds of lots


@pytest.mark.parametrize("rate", [0.01, 0.02, 0.05])
def test_the_chosen_rate_is_kept_and_buffers_are_not_absurd(rate: float) -> None:
    rng = np.random.default_rng(20261121)
    lots = np.repeat(np.arange(40), 600)
    hours = rng.integers(6, 10, len(lots))
    late = np.concatenate([drawn(rng, 600, *TRUTH[lot % 4]) for lot in range(40)])
    model = LatenessModel(Delays(lots, hours, late))
    policy = BufferPolicy(guest_failure_rate=rate, owner_failure_rate=rate, guest_most_min=180, owner_most_min=180)
    failed, tried = 0, 0
    for lot in range(40):
        for hour in range(6, 10):
            minutes = owner_buffer(model, policy, lot, hour).minutes
            failed += int((drawn(rng, 500, *TRUTH[lot % 4]) > minutes).sum())
            tried += 500
            assert minutes <= 2 * exact_buffer(*TRUTH[lot % 4], rate) + 20
    assert failed / tried <= rate + 3 * math.sqrt(rate / tried)
    assert failed / tried >= 0.3 * rate


def test_a_new_lot_is_safe_before_it_has_a_history() -> None:
    rng = np.random.default_rng(20261122)
    others = Delays(np.zeros(5000, np.int64), rng.integers(0, 24, 5000), drawn(rng, 5000, 0.15, 18))
    minutes = LatenessModel(others).buffer_min(99, 8, 0.02)
    assert (drawn(rng, 20_000, 0.15, 18) > minutes).mean() <= 0.025
    assert minutes == pytest.approx(exact_buffer(0.15, 18, 0.02), abs=6)


def test_guests_need_less_where_late_departures_seldom_let_anybody_down() -> None:
    model = LatenessModel(overruns={1: Overruns(late=1000, let_down=50), 2: Overruns(late=10, let_down=10)})
    assert model.let_down_share(1) == pytest.approx(0.05, abs=0.01)
    assert model.let_down_share(2) > 0.3
    assert 0.05 < model.let_down_share(3) < 0.1  # the district's
    assert LatenessModel().let_down_share(3) == 1.0
    policy = BufferPolicy(guest_failure_rate=0.005, owner_failure_rate=0.005)
    guest, owner = guest_buffer(model, policy, 1, 8), owner_buffer(model, policy, 1, 8)
    assert guest.minutes <= 15
    assert guest.kept
    assert owner.minutes >= 60
    assert guest.minutes < guest_buffer(model, policy, 2, 8).minutes <= owner.minutes


# --- policies --------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(
    histories,
    st.floats(0, 1),
    st.floats(0, 1),
    st.sampled_from([1, 5, 15, 30]),
    st.lists(st.integers(0, 12), min_size=3, max_size=3).map(sorted),
)
def test_buffers_lie_on_the_grid_within_their_limits_and_say_whether_they_keep_the_rate(
    rows: list[tuple[int, int, int]], one: float, other: float, grid: int, limits: list[int]
) -> None:
    model = LatenessModel(delays(*(list(column) for column in zip(*rows, strict=True)))) if rows else LatenessModel()
    least, guest_most, owner_most = (limit * grid for limit in limits)
    policy = BufferPolicy(
        guest_failure_rate=max(one, other),
        owner_failure_rate=min(one, other),
        grid_min=grid,
        least_min=least,
        guest_most_min=guest_most,
        owner_most_min=owner_most,
    )
    guest, owner = guest_buffer(model, policy, 1, 8), owner_buffer(model, policy, 1, 8)
    assert least <= guest.minutes <= guest_most
    assert guest.minutes <= owner.minutes <= owner_most
    assert guest.minutes % grid == owner.minutes % grid == 0
    for buffer, rate, most in (
        (guest, policy.guest_failure_rate, guest_most),
        (owner, policy.owner_failure_rate, owner_most),
    ):
        assert buffer.kept is (buffer.failure_rate <= rate + 1e-12)
        assert buffer.kept or buffer.minutes == most


@pytest.mark.parametrize(
    "wrong",
    [
        {"guest_failure_rate": 0.01, "owner_failure_rate": 0.02},
        {"guest_failure_rate": 1.5},
        {"owner_failure_rate": -0.1},
        {"grid_min": 0},
        {"least_min": 7},
        {"least_min": 70},
        {"guest_most_min": 150},
        {"owner_most_min": 725},
    ],
)
def test_a_buffer_policy_has_to_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        BufferPolicy(**wrong)


def test_a_promise_waits_for_most_of_those_who_do_come() -> None:
    rng = np.random.default_rng(20261123)
    arrivals = LatenessModel(Delays(np.ones(4000, np.int64), np.full(4000, 18), drawn(rng, 4000, 0.3, 9)))
    grace = no_show_grace(arrivals, NoShowPolicy(), 1, 18)
    assert (drawn(rng, 20_000, 0.3, 9) > grace).mean() <= 0.025
    assert no_show_grace(arrivals, NoShowPolicy(turned_away_rate=1.0), 1, 18) == 15
    assert no_show_grace(arrivals, NoShowPolicy(turned_away_rate=0.0), 1, 18) == 60
    for wrong in ({"turned_away_rate": 2.0}, {"least_min": 61}, {"least_min": -1}, {"most_min": 721}):
        with pytest.raises(InvalidInputError):
            NoShowPolicy(**wrong)


# --- cars that overstay ----------------------------------------------------------------------------------------------

POLICY = OverstayPolicy()
END = datetime(2026, 11, 20, 0, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return END + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("minute", "stage", "since", "following"),
    [
        (-60, DUE, None, (WARNED, -10)),
        (-10, WARNED, -10, (CHARGED, 10)),
        (9.9, WARNED, -10, (CHARGED, 10)),
        (10, CHARGED, 10, (VIOLATION, 60)),
        (60, VIOLATION, 60, None),
        (6000, VIOLATION, 60, None),
    ],
)
def test_an_overstay_is_warned_then_charged_then_a_violation(
    minute: float, stage: OverstayStage, since: int | None, following: tuple[OverstayStage, int] | None
) -> None:
    state = overstay_state(POLICY, END, at(minute))
    assert (state.stage, state.since) == (stage, None if since is None else at(since))
    assert (state.next_stage, state.next_at) == ((following[0], at(following[1])) if following else (None, None))
    assert state.late == timedelta(minutes=max(minute, 0))


def test_the_life_cycle_passes_every_stage_once() -> None:
    stage: OverstayStage | None = DUE
    passed = []
    while stage is not None:
        passed.append(stage)
        stage = STAGE_CHANGES[stage]
    assert passed == list(OverstayStage)


@given(st.lists(st.integers(-100, 200), min_size=1, max_size=8).map(sorted), st.data())
def test_a_job_that_looks_now_and_then_misses_no_stage(looks: list[int], data: st.DataObject) -> None:
    steps = sorted(data.draw(st.lists(st.integers(0, 100), min_size=3, max_size=3)))
    policy = OverstayPolicy(warned_from_min=steps[0] - 20, charged_from_min=steps[1], violation_from_min=steps[2])
    last, stage = at(-1000), DUE
    for look in looks:
        for reached, when in stages_reached(policy, END, last, at(look)):
            assert STAGE_CHANGES[stage] is reached
            assert last < when <= at(look)
            stage = reached
        last = at(look)
        assert stage is overstay_state(policy, END, at(look)).stage


def test_an_overstay_costs_three_times_the_price_up_to_two_hundred_yuan() -> None:
    def cost(minute: int, ordinary_fen: int, policy: OverstayPolicy = POLICY) -> int:
        return overstay_fen(policy, overstay_state(policy, END, at(minute)), ordinary_fen)

    assert cost(9, 500) == 0
    assert cost(10, 500) == 1500
    assert cost(90, 6666) == 19_998
    assert cost(90, 6667) == 20_000
    assert cost(90, 10_000, OverstayPolicy(most_fen=None)) == 30_000
    assert cost(90, 333, OverstayPolicy(price_percent=50)) == 166


def test_more_than_three_violations_end_a_permit() -> None:
    assert [ends_entitlement(3, violations) for violations in (0, 3, 4)] == [False, False, True]


@pytest.mark.parametrize(
    "wrong",
    [
        {"warned_from_min": 20},
        {"warned_from_min": -20, "charged_from_min": -10},
        {"violation_from_min": 5},
        {"price_percent": -1},
        {"most_fen": -1},
    ],
)
def test_an_overstay_policy_has_to_make_sense(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError):
        OverstayPolicy(**wrong)


def test_a_year_of_forty_three_lots_is_learned_within_two_seconds() -> None:
    rng = np.random.default_rng(1)
    count = 300_000
    history = Delays(rng.integers(0, 43, count), rng.integers(0, 24, count), drawn(rng, count, 0.15, 18))
    begun = time.perf_counter()
    model = LatenessModel(history)
    for lot in range(43):
        model.buffer_min(lot, 8, 0.01)
    assert time.perf_counter() - begun < 2  # measured below 0.1 s
