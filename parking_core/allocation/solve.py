"""The batch form: who gets which group tonight, and how far from the best that can be at most.

    dual      prices of capacity and the certified upper bound                      dual.py
    regions   lots in turn, each region exactly, its border under prices            core.py, neighbourhoods.py
    fill      whoever still fits                                                    fill.py
    polish    one in, one moved or out                                              polish.py
    search    neighbourhoods around the largest losses, exactly, until the gap      core.py, neighbourhoods.py

Determinism: the decisions depend on the instance, the wanted gap, the seed and counts of iterations. The clock only
ends the work: a run that reaches its time limit stops after fewer rounds of the same sequence than a faster one. (A
branch and bound that meets the limit in the middle may also return another choice.) With a limit that is not reached
the same arguments give the same allocation.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.core import Effort, Outcome, improve, relax
from parking_core.allocation.draft import Draft, margins_of
from parking_core.allocation.dual import DualResult, descended, mean_best
from parking_core.allocation.events import events_of
from parking_core.allocation.fill import fill, take
from parking_core.allocation.instance import Instance
from parking_core.allocation.neighbourhoods import CellMap, cell_map, regions, split
from parking_core.allocation.polish import polish

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_STEPS = 300
"""Steps of the dual: within 0.004 % of the linear relaxation on all certified instances."""
_NEAR = 0.001
"""Mean best values; columns within that slack enter the relaxation of the regions."""
_REGION = 4000
"""Near columns of a region; the relaxation of that many takes 0.3 s, of 10,000 0.8 s."""
_SHARE = 1e-6
"""A share of the relaxation below that is rounding."""
_POLISH = 0.02
"""Mean best values; the slack of columns that the polish tries."""
_POLISH_ROUNDS = 20
_REACH = 0.002
"""Mean best values; the slack of columns that the search begins with."""
_AREA = 200
"""Near columns of a neighbourhood at first; such a program takes about 30 ms."""
_NODES = 5
"""Of branch and bound in a neighbourhood: 40 found the same in the same time."""
_MOST_NODES = 2000
_LOSABLE = 0.1
"""Part of the wanted gap that one neighbourhood may leave."""
_PATIENCE = 12
"""Neighbourhoods in a row that bring nothing, before they grow by half."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage of the work left behind: its name, seconds since the start, and the value then in fen."""

    name: str
    seconds: float
    value: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """A feasible allocation and its certificate.

    Attributes:
        group_of_request: int32[R], -1 where refused.
        value: fen.
        upper_bound: fen; no allocation is worth more.
        gap: (upper_bound - value) / upper_bound, 0.0 when the bound is 0.
        seconds: of work, by the clock that was given.
        rounds: neighbourhoods that were searched.
        stages: for people.
        prices: the dual behind the bound.
    """

    group_of_request: NDArray[np.int32]
    value: int
    upper_bound: int
    gap: float
    seconds: float
    rounds: int
    stages: tuple[Stage, ...]
    prices: DualResult


def allocate(
    instance: Instance,
    *,
    gap: float = 0.0005,
    time_limit_s: float = 30.0,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Allocation:
    """An allocation of `instance` whose value is within `gap` of its certified upper bound, or the best in time.

    Args:
        instance: one night.
        gap: wanted (bound - value) / bound; 0 searches until the bound is met or the search is exhausted.
        time_limit_s: seconds of `clock` after which no new piece of work begins.
        seed: of the search.
        clock: seconds; only differences count.
    """
    run = _Run(instance, gap, time_limit_s, seed, clock)
    if instance.columns:
        run.cover()
        run.search()
    return run.result()


def warm_up() -> None:
    """Compiles what is compiled, or reads it from the disk cache: call it before the first allocation is timed."""
    allocate(_TWO_FOR_ONE, gap=0.0, time_limit_s=60.0)


_TWO_FOR_ONE = Instance(
    lot=np.array([0]),
    start=np.array([0]),
    end=np.array([60]),
    capacity=np.array([1]),
    arrive=np.array([0, 10]),
    depart=np.array([20, 30]),
    first=np.array([0, 1, 2]),
    group=np.array([0, 0]),
    value=np.array([2, 3]),
    until=np.array([20, 30]),
)


class _Run:
    """The state of one call of `allocate`."""

    def __init__(
        self, instance: Instance, gap: float, time_limit_s: float, seed: int, clock: Callable[[], float]
    ) -> None:
        self.instance = instance
        self.gap = gap
        self.clock = clock
        self.begun = clock()
        self.ends = self.begun + time_limit_s
        self.random = np.random.default_rng(seed)
        self.stages: list[Stage] = []
        self.rounds = 0
        self.events = events_of(instance)
        self.draft = Draft.empty(instance, self.events)
        self.dual = descended(instance, self.events, _STEPS)
        self.margins = margins_of(instance, self.events, self.dual)
        self.scale = mean_best(instance)
        self.lot = np.unique(instance.lot, return_inverse=True)[1].astype(np.int64)
        self.note("dual")

    def note(self, name: str) -> None:
        """Remembers when a stage ended, and with which value."""
        self.stages.append(Stage(name, self.clock() - self.begun, self.draft.value))

    @property
    def missing(self) -> int:
        """Fen between the value and the bound."""
        return self.dual.upper_bound - self.draft.value

    def is_open(self) -> bool:
        """Whether the gap is still wider than wanted and there is time."""
        return self.missing > self.gap * self.dual.upper_bound and self.clock() < self.ends

    def cover(self) -> None:
        """Requests with one good way, then every region once, then whoever fits."""
        near = np.flatnonzero(self.margins.slack <= _NEAR * self.scale)
        ways = np.bincount(self.draft.request[near], minlength=self.instance.requests)
        ways += self.margins.best <= _NEAR * self.scale  # to be refused is a way too
        sole = ways[self.draft.request[near]] == 1
        take(self.draft, near[sole])
        parts = self.relax_regions(cell_map(self.draft, near[~sole], self.lot))
        self.note(f"regions: {parts}")
        fill(self.draft, self.margins)
        self.note("fill")
        polish(self.draft, self.margins, reach=_POLISH * self.scale, rounds=_POLISH_ROUNDS)
        self.note("polish")

    def relax_regions(self, chart: CellMap) -> int:
        """The relaxation of one region after another, rounded; returns how many.

        What a request could get in regions still to come is the price of giving it something now.
        """
        draft, parts = self.draft, regions(chart, _REGION)
        later = np.ones(len(chart.first) - 1, np.bool_)
        for cells in parts:
            if self.clock() >= self.ends:
                break
            later[cells] = False
            chances = np.zeros(self.instance.requests)
            among = later[chart.cell[self.instance.group]]
            np.maximum.at(chances, draft.request[among], self.margins.gain[among])
            columns = chart.columns_of(cells)
            columns = columns[draft.column[draft.request[columns]] < 0]
            share = relax(draft, columns, chances, self.ends - self.clock())
            order = np.lexsort((self.margins.slack[columns], -share))
            take(draft, columns[order[share[order] > _SHARE]])
        return len(parts)

    def search(self) -> None:
        """Neighbourhoods around losses: small ones first, larger when they bring nothing, at last everything."""
        reach, most, nodes = _REACH * self.scale, _AREA, _NODES
        chart = self.chart(reach, most)
        failures = 0
        while self.is_open():
            for seed in self.seeds(chart):
                if not self.is_open():
                    break
                cells = chart.around(seed, most, self.random)
                everything = len(cells) == np.count_nonzero(np.diff(chart.first)) and reach >= self.missing
                outcome = self.decide(chart, cells, Effort(self.losable(everything), nodes, self.ends - self.clock()))
                if everything and outcome.proven:
                    self.note("proven")
                    return
                failures = 0 if outcome.changed else failures + 1
            if failures >= _PATIENCE:
                failures = 0
                most += most // 2
                if most > chart.first[-1]:
                    reach, nodes = reach * 4, min(nodes * 4, _MOST_NODES)
                chart = self.chart(reach, most)
        self.note("search")

    def losable(self, everything: bool) -> float:  # noqa: FBT001  # the one thing that it depends on
        """Fen that one program may leave: little of the gap, less than one when it is the last."""
        return 0.5 if everything else max(_LOSABLE * self.gap * self.dual.upper_bound, 0.5)

    def chart(self, reach: float, most: int) -> CellMap:
        """Near columns and those that are held, by cell; the cells of large lots are drawn anew."""
        wanted = self.margins.slack <= reach
        wanted[self.draft.column[self.draft.column >= 0]] = True
        near = np.flatnonzero(wanted)
        return cell_map(self.draft, near, split(self.draft, near, most, self.random))

    def seeds(self, chart: CellMap) -> list[int]:
        """A quarter of the cells, drawn by what is lost in them; more draws of few cells would only repeat."""
        loss = self.draft.loss_by_cell(self.margins, chart.cell) + 1e-9 * self.scale
        loss *= np.diff(chart.first) > 0
        some = min(max(len(loss) // 4, 1), int(np.count_nonzero(loss)))
        return [int(cell) for cell in self.random.choice(len(loss), some, replace=False, p=loss / loss.sum())]

    def decide(self, chart: CellMap, cells: NDArray[np.int64], effort: Effort) -> Outcome:
        """Decides anew about near columns of `cells` and about what is held there."""
        inside = np.zeros(len(chart.first) - 1, np.bool_)
        inside[cells] = True
        held = self.draft.column[self.draft.column >= 0]
        columns = np.union1d(chart.columns_of(cells), held[inside[chart.cell[self.instance.group[held]]]])
        self.rounds += 1
        return improve(self.draft, columns, effort)

    def result(self) -> Allocation:
        """The allocation with its certificate."""
        value, bound = self.draft.value, self.dual.upper_bound
        gap = (bound - value) / bound if bound else 0.0
        seconds = self.clock() - self.begun
        groups = self.draft.group_of_request()
        return Allocation(groups, value, bound, gap, seconds, self.rounds, tuple(self.stages), self.dual)
