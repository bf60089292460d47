"""Requests answered one by one: prices solved again and again, beside first come, first served.

    python -m benchmarks.allocation_online [--size SPACESxREQUESTS ...] [--seeds N] [--days N] [--shift 0.3] [--json FILE]

Each night is one of parking_core.allocation.generator, asked in the order of booking; the desk has seen `days` past
days of the same kind and nothing of the night. Prices are solved again at moments that part a mean day's bookings
equally, on the capacity left and the past requests still to come. The share is of the certified bound of the whole
night known in advance, which no policy can reach.

The first-come rules take the same desk without prices: the group with the greatest value (of equal ones the tightest
window), or the nearest lot. In `more` and `less` the night brings 30 % more or less than its past days promise.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.table import Row
from parking_core.allocation.answers import Accepted, Asker, Columns, Request
from parking_core.allocation.generator import Night, NightSpec, draw_night, past_days
from parking_core.allocation.online import NightDesk, resolve
from parking_core.allocation.prices import Forecast, PastDay
from parking_core.allocation.solve import allocate, warm_up

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parking_core.allocation.instance import Instance

    Figures = dict[str, object]

EPOCHS = 40
DAYS = 8
SEEDS = 3
_BOUND_GAP, _BOUND_S = 5e-4, 20.0
_BAR_POINTS, _BAR_SHIFTED_POINTS = 15.0, 10.0  # above first come
_BAR_DECIDE_US, _BAR_RESOLVE_S = 50.0, 0.5


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy on one night; shares of the offline bound, times as measured."""

    policy: str
    share: float
    served: float  # of the requests
    decide_p50_us: float
    decide_p99_us: float  # of the decisions but those of the next line
    decide_after_resolve_us: float  # median of those whose thread has just solved prices and emptied the caches
    resolve_median_s: float  # 0 without prices
    resolve_longest_s: float


def requests_of(night: Night, instance: Instance) -> list[Request]:
    """The night's requests in the order of booking, columns nearest lot first."""
    supply, demand = night.supply, night.demand
    asked = []
    for number in demand.book_order.tolist():
        span = slice(int(instance.first[number]), int(instance.first[number + 1]))
        group = instance.group[span]
        walk = supply.walk_m[demand.destination[number]][supply.lot[group]]
        order = np.lexsort((supply.lot[group], walk))
        columns = Columns(group[order], instance.value[span][order], instance.until[span][order])
        arrive, depart = int(instance.arrive[number]), int(instance.depart[number])
        asked.append(Request(Asker(str(number)), arrive, depart, columns))
    return asked


def forecast_of(instance: Instance, past: Sequence[Night], slots: int) -> Forecast:
    """What past days of the same lots make expect."""
    days = [PastDay(day.instance(), day.demand.book) for day in past]
    return Forecast(days, groups=instance.groups, slots=slots)


def replayed(policy: str, night: Night, instance: Instance, bound: int, forecast: Forecast | None) -> Outcome:
    """One night under one policy: with a forecast re-solved prices, without one first come, first served."""
    desk = NightDesk(instance, nearest=policy == "first come, nearest lot")
    epochs = [] if forecast is None else forecast.epochs(EPOCHS).tolist()
    warm, resolves = None, list[float]()
    taken_us: tuple[list[float], list[float]] = ([], [])  # as usual, just after a re-solve
    value = accepted = 0
    asked = requests_of(night, instance)
    NightDesk(instance).decide(asked[0])  # compiled before the clock runs
    for request in asked:
        book = int(night.demand.book[int(request.asker.key)])
        due = None
        while epochs and epochs[0] < book:
            due = epochs.pop(0)
        if forecast is not None and due is not None:
            began = time.perf_counter()
            warm = resolve(desk.snapshot(), forecast, now=due, warm=warm)
            resolves.append(time.perf_counter() - began)
            desk.use(warm)
        before = time.perf_counter_ns()
        answer = desk.decide(request)
        taken_us[due is not None].append((time.perf_counter_ns() - before) / 1_000)
        if isinstance(answer, Accepted):
            value, accepted = value + answer.value, accepted + 1
    p50, p99 = np.percentile(taken_us[0], [50, 99])
    after = float(np.median(taken_us[1] or [0.0]))
    again = resolves[1:] or [0.0]  # the first is solved before the bookings begin
    share, served = value / bound, accepted / len(asked)
    return Outcome(policy, share, served, float(p50), float(p99), after, float(np.median(again)), max(again))


def measure(spec: NightSpec, days: int = DAYS, shift: float = 0.3) -> list[Outcome]:
    """All policies on the night of a spec."""
    warm_up()
    night = draw_night(spec)
    instance = night.instance()
    bound = allocate(instance, gap=_BOUND_GAP, time_limit_s=_BOUND_S, seed=spec.seed).upper_bound
    slots = NightDesk(instance).slots
    volumes = {"prices": 1.0, "prices, more": 1 / (1 + shift), "prices, less": 1 / (1 - shift)}
    found = [replayed(rule, night, instance, bound, None) for rule in ("first come", "first come, nearest lot")]
    for policy, volume in volumes.items():
        forecast = forecast_of(instance, past_days(spec, days, volume=volume), slots)
        found.append(replayed(policy, night, instance, bound, forecast))
    return found


def means(runs: Sequence[Sequence[Outcome]]) -> dict[str, Outcome]:
    """Mean over the nights, by policy; the longest re-solve is the longest of all."""
    found = {}
    for policies in zip(*runs, strict=True):
        table = np.array([[getattr(one, name) for name in _NUMBERS] for one in policies])
        numbers = dict(zip(_NUMBERS, table.mean(axis=0).tolist(), strict=True))
        numbers["resolve_longest_s"] = float(table[:, -1].max())
        found[policies[0].policy] = replace(policies[0], **numbers)
    return found


_NUMBERS = (
    "share",
    "served",
    "decide_p50_us",
    "decide_p99_us",
    "decide_after_resolve_us",
    "resolve_median_s",
    "resolve_longest_s",
)


def run(*, quick: bool = False) -> tuple[list[Row], Figures]:
    """The rows of the table, and the figures behind them."""
    rows: list[Row] = []
    figures: Figures = {}
    for spaces, requests in ((1_000, 5_000), (4_000, 20_000))[: 1 if quick else None]:
        seeds = 1 if quick else SEEDS
        found = means([measure(NightSpec(spaces, requests, seed=seed)) for seed in range(1, seeds + 1)])
        name = f"{spaces:,} x {requests:,}"
        figures[name] = [asdict(one) for one in found.values()]
        rows += _rows(name, seeds, found)
    return rows, figures


def _rows(name: str, seeds: int, found: dict[str, Outcome]) -> list[Row]:
    first = found["first come"]
    beside = f"first come {100 * first.share:.1f} %, {100 * first.served:.1f} % served"
    rows = []
    for policy, bar in (
        ("prices", _BAR_POINTS),
        ("prices, more", _BAR_SHIFTED_POINTS),
        ("prices, less", _BAR_SHIFTED_POINTS),
    ):
        mine = found[policy]
        rows.append(
            Row(
                f"online, {name}, {policy}, mean of {seeds}",
                f"{100 * mine.share:.1f} % of the bound, {100 * mine.served:.1f} % served",
                beside,
                f"{100 * (mine.share - first.share):+.1f} points",
                f"≥ {bar:+.0f} points",
            )
        )
    mine = found["prices"]
    return [
        *rows,
        Row(
            f"online, {name}, one decision in the library",
            f"p50 {mine.decide_p50_us:.0f} us, p99 {mine.decide_p99_us:.0f} us",
            f"just after a re-solve in the same thread: median {mine.decide_after_resolve_us:.0f} us",
            "",
            f"p99 ≤ {_BAR_DECIDE_US:.0f} us",
        ),
        Row(
            f"online, {name}, prices solved again in the background",
            f"median {mine.resolve_median_s:.3f} s, longest {mine.resolve_longest_s:.3f} s",
            "",
            "",
            f"≤ {_BAR_RESOLVE_S} s",
        ),
    ]


def _size(text: str) -> tuple[int, int]:
    spaces, requests = text.split("x")
    return int(spaces), int(requests)


def main() -> None:
    """The online table, with options for long runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", action="append", type=_size, help="SPACESxREQUESTS; repeatable")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--days", type=int, default=DAYS)
    parser.add_argument("--shift", type=float, default=0.3, help="by which the night differs from its past days")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    wanted = parser.parse_args()
    figures: Figures = {}
    for spaces, requests in wanted.size or [(1_000, 5_000)]:
        specs = [NightSpec(spaces, requests, seed=seed) for seed in range(1, wanted.seeds + 1)]
        runs = [measure(spec, wanted.days, wanted.shift) for spec in specs]
        figures[f"{spaces}x{requests}"] = [[asdict(one) for one in each] for each in runs]
        print(f"{spaces:,} x {requests:,}, mean of {wanted.seeds} nights, {wanted.days} past days")
        for each in means(runs).values():
            times = f"decide p50 {each.decide_p50_us:.1f} p99 {each.decide_p99_us:.1f} us"
            again = f"re-solve median {each.resolve_median_s:.3f} longest {each.resolve_longest_s:.3f} s"
            print(f"{100 * each.share:6.2f} %  served {100 * each.served:5.1f} %  {times}, {again}  {each.policy}")
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
