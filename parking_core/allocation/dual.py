"""Prices of capacity, and the upper bound that they certify.

Problem: choose at most one column a request, no more columns at any point of a group than it has room, for the largest
value. For any rising potential p of the nodes, weak duality bounds every allocation:

    value <= sum over points of room * (p[next] - p) + sum over requests of max(0, max of value - (p[head] - p[tail]))

The smallest such bound is the linear relaxation, which is practically integral here. It is found without a solver: the
inner maxima are smoothed (softmax with a temperature), the smooth function descends by accelerated steps in a diagonal
metric, projected on rising potentials by isotonic regression, while the temperature falls geometrically. Temperatures
are fractions of the mean best value, because a schedule in fen that suits values of 20 yuan fails at 200.
The potential space matters: the same smoothing in prices of single points does not converge.

Whatever the descent did, the bound is re-evaluated on all columns in whole numbers: potentials rounded to a 256th fen.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.events import Commitments, Events, events_of, node_keys
from parking_core.allocation.instance import best_total
from parking_core.allocation.smoothing import best_gains, descend, exact_dual

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance

_HOT = 0.1
_COLD = 0.0002
"""First and last temperature as fractions of the mean best value. A warm start is as hot: with prices of yesterday and
100 steps it came within 0.1 % of the relaxation (0.004 % at 4,000 spaces), from 0.01 on it stayed 0.4-13 % away."""
_STEPS_A_SCREENING = 50
_SCREEN_TEMPERATURES = 30.0
_SCREEN_VALUES = 0.03
"""A column stays for the next steps while its gain is within so many temperatures plus this part of the mean value."""
_FIXED_POINT = 256
"""Parts of a fen; with totals below 2**52 fen every sum stays below 2**62."""
_LARGEST = 2.0**60


@dataclass(frozen=True, slots=True)
class DualResult:
    """Potentials of the event nodes of every group, and what they certify.

    Attributes:
        first: int64[G+1], nodes of group g are first[g] .. first[g+1]-1.
        minute: int32[N] minute of the point that follows each node.
        potential: float64[N] fen, rising within a group; the step from a node to the next is the point's price.
        upper_bound: fen; no allocation is worth more (with weights: no allocation of the weighted requests).
    """

    first: NDArray[np.int64]
    minute: NDArray[np.int32]
    potential: NDArray[np.float64]
    upper_bound: int

    def potential_at(self, group: NDArray[np.int32], minute: NDArray[np.int32]) -> NDArray[np.float64]:
        """Potential of each group before each minute: float64, as many as `group` and `minute` are long."""
        groups = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        node = np.searchsorted(node_keys(groups, self.minute), node_keys(group, minute))
        return self.potential[node]

    def price(
        self, group: NDArray[np.int32], arrive: NDArray[np.int32], until: NDArray[np.int32]
    ) -> NDArray[np.float64]:
        """Price in fen of occupying each group over each [arrive, until), any times, not only the instance's."""
        return self.potential_at(group, until) - self.potential_at(group, arrive)


def solve_dual(
    instance: Instance,
    *,
    iterations: int = 300,
    warm_start: DualResult | None = None,
    committed: Commitments | None = None,
    weight: NDArray[np.float64] | None = None,
) -> DualResult:
    """Near-optimal potentials of `instance`; the same arguments give the same result to the last bit.

    Args:
        instance: what is to be allocated.
        iterations: steps; 300 from nothing come within 0.004 % of the relaxation, 100 after a warm
                start within 0.2 % (measured on eight nights).
        warm_start: an earlier result for the same groups, whatever its requests were.
        committed: occupation that already takes capacity.
        weight: float64[R] how often each request counts (forecasts), >= 0; once each when absent.
    """
    return descended(instance, events_of(instance, committed), iterations, warm_start=warm_start, weight=weight)


def descended(
    instance: Instance,
    events: Events,
    iterations: int,
    *,
    warm_start: DualResult | None = None,
    weight: NDArray[np.float64] | None = None,
) -> DualResult:
    """As `solve_dual`, on events that the caller has at hand."""
    counts = np.ones(instance.requests) if weight is None else np.ascontiguousarray(weight, np.float64)
    potential = np.zeros(len(events.minute))
    if warm_start is not None:
        potential = warm_start.potential_at(_groups_of_nodes(events), events.minute)
    scale = mean_best(instance)
    if scale > 0:
        temperatures = np.geomspace(_HOT * scale, _COLD * scale, max(iterations, 1))[:iterations]
        _descend_screened(instance, events, counts, potential, temperatures)
    potential = _shut(instance, events, potential)
    bound = (
        certified_bound(instance, events, potential)
        if weight is None
        else _weighted(instance, events, potential, counts)
    )
    return DualResult(events.first, events.minute, potential, bound)


def _groups_of_nodes(events: Events) -> NDArray[np.int32]:
    return np.repeat(np.arange(len(events.first) - 1, dtype=np.int32), np.diff(events.first))


def mean_best(instance: Instance) -> float:
    """Fen: the mean of the best values of requests that have a column; 0.0 without any. The scale of everything."""
    served = int(np.count_nonzero(np.diff(instance.first)))
    return best_total(instance) / served if served else 0.0


def _descend_screened(
    instance: Instance,
    events: Events,
    weight: NDArray[np.float64],
    potential: NDArray[np.float64],
    temperatures: NDArray[np.float64],
) -> None:
    """Descends in place; every few steps the columns that cannot matter at this temperature are put aside."""
    everything = (instance.first, instance.value.astype(np.float64), events.tail, events.head)
    request = instance.request_of_column
    gain, best = np.empty(instance.columns), np.empty(instance.requests)
    slack = _SCREEN_VALUES * mean_best(instance)
    state = (potential, potential.copy(), np.ones(1))
    for begin in range(0, len(temperatures), _STEPS_A_SCREENING):
        some = temperatures[begin : begin + _STEPS_A_SCREENING]
        best_gains(everything, potential, gain, best)
        near = np.flatnonzero(gain >= best[request] - (_SCREEN_TEMPERATURES * some[0] + slack))
        first = np.searchsorted(near, instance.first)
        columns = (first, everything[1][near], events.tail[near], events.head[near])
        descend(columns, weight, (events.first, events.room), state, some)


def _shut(instance: Instance, events: Events, potential: NDArray[np.float64]) -> NDArray[np.float64]:
    """`potential` with a prohibitive price at points without room, where a price costs the bound nothing."""
    if not instance.columns:
        return potential
    price = np.diff(potential, append=potential[-1:])
    last = events.first[1:] - 1
    price[last] = 0.0
    closed = events.room == 0
    closed[last] = False
    price[closed] = np.maximum(price[closed], float(instance.value.max()) + 1.0)
    before = np.concatenate([[0.0], np.cumsum(price)])[:-1]
    group = _groups_of_nodes(events)
    result: NDArray[np.float64] = before - before[events.first[:-1]][group]
    return result


def certified_bound(instance: Instance, events: Events, potential: NDArray[np.float64]) -> int:
    """The whole-number upper bound on the value of any allocation that rising `potential` proves (floor, exact).

    Without overflow: sums that could leave 61 bits, judged in double precision first, give the trivial bound instead,
    which is every request at its best value.
    """
    trivial = best_total(instance)
    if not instance.columns:
        return 0
    whole = np.rint(potential * _FIXED_POINT)
    if not np.all(np.abs(whole) < _LARGEST):
        return trivial
    steps = np.diff(whole, append=whole[-1:])
    steps[events.first[1:] - 1] = 0.0
    if np.any(steps < 0) or float(np.sum(events.room * steps)) > trivial * _FIXED_POINT:
        return trivial
    rooms = (events.first, events.room)
    scaled = instance.value * _FIXED_POINT
    total = exact_dual((instance.first, scaled, events.tail, events.head), rooms, whole.astype(np.int64))
    return min(trivial, total // _FIXED_POINT)


def _weighted(instance: Instance, events: Events, potential: NDArray[np.float64], weight: NDArray[np.float64]) -> int:
    """The bound for weighted requests in double precision, rounded up: a guide for people, not a certificate."""
    gain, best = np.empty(instance.columns), np.empty(instance.requests)
    columns = (instance.first, instance.value.astype(np.float64), events.tail, events.head)
    best_gains(columns, potential, gain, best)
    steps = np.diff(potential, append=potential[-1:])
    steps[events.first[1:] - 1] = 0.0
    return int(np.ceil(np.sum(events.room * steps) + np.sum(weight * best)))
