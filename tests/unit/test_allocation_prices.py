"""Prices of capacity: what they are worth on drawn nights, and what they follow."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import pytest

from parking_core.allocation.answers import Accepted, Asker, Columns, Request
from parking_core.allocation.dual import solve_dual
from parking_core.allocation.generator import Night, NightSpec, draw_night, past_days
from parking_core.allocation.online import NightDesk, resolve
from parking_core.allocation.prices import Forecast, PastDay, slots_of, solve_prices, utilisation_prices
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance


def test_utilisation_prices_rise_with_what_is_taken() -> None:
    residual = np.array([[4, 2, 0], [0, 0, 0]], np.int32)
    prices = utilisation_prices(residual, np.array([4, 0], np.int32), full_fen_h=1200.0)
    a_slot = np.diff(prices.cumulative, axis=1)
    assert a_slot[0, 0] == 0.0
    assert 0.0 < a_slot[0, 1] < 50.0
    assert a_slot[0, 2] == pytest.approx(100.0)
    assert np.all(a_slot >= 0.0)


SPEC = NightSpec(spaces=200, requests=1000, lots=12, seed=5)


@cache
def drawn() -> tuple[Night, Instance]:
    night = draw_night(SPEC)
    return night, night.instance()


def forecast_of(volume: float = 1.0) -> Forecast:
    days = [PastDay(day.instance(), day.demand.book) for day in past_days(SPEC, 4, volume=volume)]
    offer = drawn()[1]
    return Forecast(days, groups=offer.groups, slots=slots_of(int(offer.end.max())))


def value_of(forecast: Forecast | None, epochs: int = 20) -> int:
    """Value of the night in booking order; prices are re-solved so many times."""
    night, offer = drawn()
    desk = NightDesk(offer)
    due = forecast.epochs(epochs).tolist() if forecast else []
    value, warm = 0, None
    for r in night.demand.book_order.tolist():
        now = int(night.demand.book[r])
        if forecast and due and now >= due[0]:
            due = [minute for minute in due if minute > now]
            warm = resolve(desk.snapshot(), forecast, now=now, warm=warm)
            desk.use(warm)
        mine = slice(offer.first[r], offer.first[r + 1])
        may = Columns(offer.group[mine], offer.value[mine], offer.until[mine])
        answer = desk.decide(Request(Asker(str(r)), int(offer.arrive[r]), int(offer.depart[r]), may))
        value += answer.value if isinstance(answer, Accepted) else 0
    assert desk.snapshot().residual.min() >= 0
    return value


def test_prices_gain_on_first_come_also_when_the_forecast_is_off() -> None:
    bound = solve_dual(drawn()[1]).upper_bound
    first_come = value_of(None) / bound
    as_expected, low, high = (value_of(forecast_of(v)) / bound for v in (1.0, 1 / 1.3, 1 / 0.7))
    assert as_expected > first_come + 0.08
    assert low > first_come + 0.05
    assert high > first_come + 0.05
    assert max(as_expected, low, high) <= 1.0


def test_solving_again_is_deterministic_and_rises_along_slots() -> None:
    forecast = forecast_of()
    _, offer = drawn()
    residual = np.repeat(offer.capacity[:, None], forecast.slots, axis=1)
    one, two = (solve_prices(forecast, residual, now=-60, asked=200) for _ in range(2))
    assert np.array_equal(one.cumulative, two.cumulative)
    assert np.all(np.diff(one.cumulative, axis=1) >= -1e-9)
    warm = solve_prices(forecast, residual, now=-60, asked=200, warm=one)
    assert np.array_equal(warm.cumulative, solve_prices(forecast, residual, now=-60, asked=200, warm=one).cumulative)
    assert warm.expected_worth.sum() <= warm.expected_asked.sum()


def test_capacity_costs_nothing_when_nobody_comes_any_more_and_more_when_more_come() -> None:
    forecast = forecast_of()
    _, offer = drawn()
    residual = np.repeat(offer.capacity[:, None], forecast.slots, axis=1)
    assert not solve_prices(forecast, residual, now=5000, asked=1000).cumulative.any()
    expected = forecast.expected_by(0)
    few, many = (solve_prices(forecast, residual, now=0, asked=round(expected * part)) for part in (0.5, 2.0))
    assert few.volume < 1.0 < many.volume
    assert few.cumulative[:, -1].sum() < many.cumulative[:, -1].sum()


def test_a_forecast_refuses_days_of_other_groups_members_and_shapes() -> None:
    night, offer = drawn()
    day = PastDay(offer, night.demand.book)
    slots = slots_of(int(offer.end.max()))
    with pytest.raises(InvalidInputError, match="one past day"):
        Forecast([], groups=1, slots=slots)
    with pytest.raises(InvalidInputError, match="groups"):
        Forecast([day], groups=1, slots=slots)
    with pytest.raises(InvalidInputError, match="outside"):
        Forecast([day], groups=offer.groups, slots=10)
    with pytest.raises(InvalidInputError, match="member"):
        Forecast([replace(day, member=ones(offer))], groups=offer.groups, slots=slots)
    with pytest.raises(InvalidInputError, match="entries"):
        replace(day, book=night.demand.book[1:])
    with pytest.raises(InvalidInputError, match="shape"):
        solve_prices(forecast_of(), np.zeros((1, 1), np.int32), now=0, asked=0)


def ones(offer: Instance) -> NDArray[np.int32]:
    return np.ones(offer.requests, np.int32)
