"""Prices and the bound: never below the best allocation, close to the relaxation, the same for the same arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import (  # type: ignore[import-untyped]  # the library ships no types
    Bounds,
    LinearConstraint,
    milp,
)

from parking_core.allocation.dual import certified_bound, mean_best, solve_dual
from parking_core.allocation.events import Commitments, events_of
from parking_core.allocation.instance import LARGEST_TOTAL, Instance, best_total

if TYPE_CHECKING:
    from numpy.typing import NDArray


def night(
    seed: int, *, groups: int = 3, requests: int = 12, capacity: int = 2, factor: int = 1, horizon: int = 30
) -> Instance:
    """A random night: any of the groups suits a request with probability 0.6, capacities from 0 on."""
    chance = np.random.default_rng(seed)
    arrive = chance.integers(0, horizon, requests, dtype=np.int32)
    depart = arrive + chance.integers(1, horizon // 2 + 1, requests, dtype=np.int32)
    able = chance.random((requests, groups)) < 0.6
    request, group = np.nonzero(able)
    return Instance(
        lot=np.arange(groups, dtype=np.int32) // 2,
        start=np.zeros(groups, np.int32),
        end=np.full(groups, 3 * horizon),
        capacity=chance.integers(0, capacity + 1, groups, dtype=np.int32),
        arrive=arrive,
        depart=depart,
        first=np.concatenate([[0], np.cumsum(able.sum(axis=1))]),
        group=group.astype(np.int32),
        value=chance.integers(1, 40, len(request)) * factor,
        until=depart[request] + group % 2,
    )


def optimum(instance: Instance, room: NDArray[np.int64] | None = None, *, whole: bool = True) -> float:
    """The best value by a program written another way: one row for every minute and group."""
    if not instance.columns:
        return 0.0
    minutes = np.arange(instance.arrive.min(), instance.until.max())
    request = instance.request_of_column
    covers = (instance.arrive[request] <= minutes[:, None]) & (minutes[:, None] < instance.until)
    rows = [covers * (instance.group == g) for g in range(instance.groups)]
    limits = np.repeat(instance.capacity, len(minutes)) if room is None else room
    once = request == np.arange(instance.requests)[:, None]
    matrix = np.concatenate([*rows, once]).astype(float)
    upper = np.concatenate([limits, np.ones(instance.requests)])
    answer = milp(
        -instance.value.astype(float),
        integrality=np.full(instance.columns, int(whole)),
        bounds=Bounds(0, 1),
        constraints=LinearConstraint(matrix, -np.inf, upper),
        options={"mip_rel_gap": 0.0},
    )
    assert answer.status == 0
    return float(-answer.fun)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.integers(1, 4), st.integers(0, 16), st.integers(0, 60))
def test_the_bound_is_never_below_the_best_allocation(seed: int, groups: int, requests: int, steps: int) -> None:
    instance = night(seed, groups=groups, requests=requests)
    best = optimum(instance)
    bound = solve_dual(instance, iterations=steps).upper_bound
    assert best - 1e-6 <= bound <= best_total(instance)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**9), st.floats(0, 1e18, allow_nan=False))
def test_any_rising_potential_certifies(seed: int, size: float) -> None:
    instance = night(seed)
    events = events_of(instance)
    potential = np.cumsum(np.random.default_rng(seed).random(len(events.minute)) ** 4 * size)
    assert certified_bound(instance, events, potential) >= optimum(instance) - 1e-6


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_potential_certifies_only_what_needs_no_price(broken: float) -> None:
    instance = night(4)
    events = events_of(instance)
    potential = np.zeros(len(events.minute))
    potential[3] = broken
    assert certified_bound(instance, events, potential) == best_total(instance)
    falling = -np.arange(len(events.minute), dtype=np.float64)
    assert certified_bound(instance, events, falling) == best_total(instance)


@pytest.mark.parametrize("factor", [1, 10, 1000, 10**9])
def test_the_bound_is_near_the_relaxation_at_any_size_of_values(factor: int) -> None:
    instance = night(7, groups=6, requests=150, capacity=4, factor=factor, horizon=60)
    relaxed = optimum(instance, whole=False)
    bound = solve_dual(instance).upper_bound
    assert relaxed * (1 - 1e-9) - 1 <= bound <= relaxed * 1.001 + 1


def test_values_as_large_as_they_may_be_do_not_overflow() -> None:
    small = night(3, requests=8)
    factor = LARGEST_TOTAL // best_total(small)
    large = night(3, requests=8, factor=factor)
    assert optimum(small) * factor <= solve_dual(large).upper_bound <= best_total(large)


def test_the_same_arguments_give_the_same_bits() -> None:
    instance = night(11, groups=5, requests=200, capacity=5)
    one, other = solve_dual(instance), solve_dual(instance)
    assert np.array_equal(one.potential, other.potential)
    assert one.upper_bound == other.upper_bound


def test_prices_support_the_bound() -> None:
    """Bound = rent of all room + what each request gains at these prices, up to the rounding of potentials."""
    instance = night(5, groups=4, requests=60, capacity=3)
    events, dual = events_of(instance), solve_dual(instance)
    price = dual.price(instance.group, instance.arrive[instance.request_of_column], instance.until)
    assert np.allclose(price, dual.potential[events.head] - dual.potential[events.tail])
    assert np.all(price >= 0)
    gain = np.zeros(instance.requests)
    np.maximum.at(gain, instance.request_of_column, instance.value - price)
    steps = np.diff(dual.potential, append=0.0)
    steps[events.first[1:] - 1] = 0.0
    assert abs(np.sum(events.room * steps) + gain.sum() - dual.upper_bound) < 2


def test_a_price_is_asked_for_any_time() -> None:
    instance = night(5, groups=4, requests=60, capacity=3)
    dual = solve_dual(instance)
    group = np.arange(4, dtype=np.int32)
    whole = dual.price(group, np.full(4, -1000, np.int32), np.full(4, 1000, np.int32))
    parts = [dual.price(group, np.full(4, a, np.int32), np.full(4, b, np.int32)) for a, b in ((-1000, 17), (17, 1000))]
    assert np.allclose(whole, parts[0] + parts[1])
    assert np.allclose(whole, dual.potential[dual.first[1:] - 1] - dual.potential[dual.first[:-1]])


def test_a_warm_start_needs_few_steps_also_for_other_requests() -> None:
    earlier = night(21, groups=6, requests=400, capacity=8, horizon=100)
    later = night(22, groups=6, requests=400, capacity=8, horizon=100)
    later = Instance(**{name: getattr(later, name) for name in later.__slots__} | {"capacity": earlier.capacity})
    cold = solve_dual(later).upper_bound
    warm = solve_dual(later, iterations=100, warm_start=solve_dual(earlier)).upper_bound
    assert cold <= warm <= cold * 1.01


def test_commitments_take_capacity() -> None:
    instance = night(9, groups=2, requests=30, capacity=3)
    chance = np.random.default_rng(1)
    arrive = chance.integers(0, 30, 6).astype(np.int32)
    taken = Commitments(chance.integers(0, 2, 6).astype(np.int32), arrive, arrive + np.int32(7))
    minutes = np.arange(instance.arrive.min(), instance.until.max())
    left = [
        max(
            int(instance.capacity[g])
            - sum(int(taken.group[k] == g and taken.arrive[k] <= t < taken.until[k]) for k in range(6)),
            0,
        )
        for g in range(2)
        for t in minutes
    ]
    best = optimum(instance, np.array(left, np.int64))
    free = solve_dual(instance).upper_bound
    bound = solve_dual(instance, committed=taken).upper_bound
    assert best <= bound <= best * 1.1 + 2
    assert bound < free


def test_weights_count_requests_more_than_once_or_in_part() -> None:
    instance = night(13, groups=3, requests=50)
    once = solve_dual(instance).upper_bound
    assert abs(solve_dual(instance, weight=np.ones(50)).upper_bound - once) <= 1
    assert solve_dual(instance, weight=np.zeros(50)).upper_bound == 0
    assert once < solve_dual(instance, weight=np.full(50, 1.5)).upper_bound <= 1.5 * once + 1


@pytest.mark.parametrize(("groups", "requests", "capacity"), [(0, 0, 0), (0, 5, 0), (3, 0, 1), (3, 10, 0)])
def test_nothing_to_allocate_is_bounded_by_nothing(groups: int, requests: int, capacity: int) -> None:
    instance = night(1, groups=groups, requests=requests, capacity=capacity)
    assert solve_dual(instance).upper_bound == 0
    assert mean_best(instance) >= 0


def test_one_space_and_equal_times_go_to_the_most_valuable() -> None:
    instance = Instance(
        lot=np.array([0]),
        start=np.array([0]),
        end=np.array([99]),
        capacity=np.array([1]),
        arrive=np.full(5, 10),
        depart=np.full(5, 20),
        first=np.arange(6),
        group=np.zeros(5, np.int32),
        value=np.array([3, 9, 4, 9, 1]),
        until=np.full(5, 20),
    )
    dual = solve_dual(instance)
    assert dual.upper_bound == 9
    assert len(events_of(instance).minute) == 2  # one point and what is behind it
