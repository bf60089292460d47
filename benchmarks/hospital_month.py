"""A month round the hospital with real stays: learned buffers beside fixed ones, the same people under each policy.

    python -m benchmarks.hospital_month [--spaces N] [--volume N] [--seed N] [--json FILE]

October 2026 from the evening of the 1st on: the National Day holiday, a Saturday that is worked, three ordinary weeks.
What is open and how drivers leave is drawn in benchmarks.hospital_town, who asks in benchmarks.hospital_demand; stays
are real sessions (benchmarks.hospital_stays). Everything that is decided is decided by rules of parking_core: windows,
allocation (the desk, its prices, the space at the barrier) and lateness (buffers, grace, overstays). Prices come from
past nights of the same kind, 28 nights before the month included; about lateness nothing is known when it begins.

A promise fails when its lot has no space for a driver who comes, or who is still on his way when it begins. The chosen
rate is 1 %, of departures; about as many drivers come as leave. The owner is failed by a car that still stands there
when the window closes; his rate is of cars that promised to leave within the last two hours. The margin is the standard
error by nights: failures come in clusters, a full evening has several. The bound is of each night by itself, all known
beforehand, without buffers: no policy promises more, but promises of cars that do not come or leave early are sold again.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.hospital_buffers import RATES, WAYS
from benchmarks.hospital_demand import MEMBERS, admitted, draw_night, joined
from benchmarks.hospital_desk import PAST_NIGHTS, instance_of, past_of
from benchmarks.hospital_run import Fate, Month, Record, World
from benchmarks.hospital_stays import FOLDER, real_stays
from benchmarks.hospital_town import NIGHTS, draw_town
from benchmarks.table import Row, show
from parking_core.allocation.solve import allocate, warm_up

if TYPE_CHECKING:
    from benchmarks.hospital_stays import RealStays

    Figures = dict[str, object]

SPACES, VOLUME, SEED = 420, 1300, 1
LEARNING_NIGHTS = 10
_BOUND_GAP, _BOUND_S = 2e-3, 3.0
_KEPT = (Fate.PARKED, Fate.CANCELLED, Fate.NO_SHOW, Fate.TOO_LATE)  # promised, and not for us to answer
_BARS = " ▁▂▃▄▅▆▇█"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One policy over some nights; shares 0 to 1, rates per 1,000, margins one standard error."""

    policy: str
    nights: int
    requests: int
    served: float  # promised, and kept
    served_of: dict[str, float]
    value_yuan: float
    of_bound: float
    walk_mean_m: float
    walk_p90_m: float
    came: int
    failures: int
    failure_rate: float
    failure_margin: float
    accommodated: int
    turned_away: int
    last_guests: int
    owner_failures: int
    owner_rate: float
    no_shows: int
    too_late: int
    utilisation: float


def build(stays: RealStays, spaces: int, volume: int, seed: int, *, nights: int = NIGHTS) -> World:
    """The month of a seed, or its first nights."""
    town = draw_town(spaces, seed)
    demands = {night: draw_night(stays, night, volume, seed) for night in range(-PAST_NIGHTS, nights)}
    for night in range(nights):
        demands[night] = admitted(demands[night], town)
    demand = joined([demands[night] for night in range(nights)])
    found = town.candidates(demand.arrive, demand.depart, demand.destination, demand.limit_m)
    return World(town, demand, found, {night: past_of(night, demands, town) for night in range(nights)})


def bounds(world: World) -> tuple[list[int], int]:
    """Certified bounds of the nights in fen, and how many requests their allocations serve."""
    warm_up()
    found, served = [], 0
    for night in range(world.nights):
        mine = world.night == night
        demand = world.demand
        arrive, depart = demand.arrive[mine], demand.depart[mine]
        candidates = world.town.candidates(arrive, depart, demand.destination[mine], demand.limit_m[mine])
        instance = instance_of(world.town, arrive, depart, candidates, None)
        best = allocate(instance, gap=_BOUND_GAP, time_limit_s=_BOUND_S, seed=1)
        found.append(best.upper_bound)
        served += int((best.group_of_request >= 0).sum())
    return found, served


def outcome(policy: str, world: World, record: Record, bound: list[int], first: int) -> Outcome:
    """What a record says of the nights from `first` on."""
    mine, nights = world.night >= first, slice(first, world.nights)
    fate, member = record.fate[mine], world.demand.member[mine]
    kept, parked = np.isin(fate, _KEPT), fate == Fate.PARKED
    value = int(record.value[mine][kept].sum())
    came, failed = record.came[nights], record.failures[nights]
    rate = failed.sum() / max(came.sum(), 1)
    margin = float(np.sqrt(np.square(failed - rate * came).sum())) / max(int(came.sum()), 1)
    last, overrun = int(record.last_guests[nights].sum()), int(record.owner_failures[nights].sum())
    walk = record.walk[mine][parked]
    return Outcome(
        policy=policy,
        nights=world.nights - first,
        requests=len(fate),
        served=float(kept.mean()),
        served_of={name: float(kept[member == number].mean()) for number, name in enumerate(MEMBERS)},
        value_yuan=value / 100,
        of_bound=value / sum(bound[first : world.nights]),
        walk_mean_m=float(walk.mean()),
        walk_p90_m=float(np.percentile(walk, 90)),
        came=int(came.sum()),
        failures=int(failed.sum()),
        failure_rate=1000 * float(rate),
        failure_margin=1000 * margin,
        accommodated=int(((record.failed[mine] > 0) & parked).sum()),
        turned_away=int((fate == Fate.TURNED_AWAY).sum()),
        last_guests=last,
        owner_failures=overrun,
        owner_rate=1000 * overrun / max(last, 1),
        no_shows=int((fate == Fate.NO_SHOW).sum()),
        too_late=int((fate == Fate.TOO_LATE).sum()),
        utilisation=float(record.stood[nights].sum() / world.town.open_minutes(NIGHTS)[nights].sum()),
    )


def measure(stays: RealStays, spaces: int, volume: int, seed: int) -> tuple[list[Row], Figures]:
    """Every policy in the same month."""
    world = build(stays, spaces, volume, seed)
    bound, fits = bounds(world)
    requests = len(world.demand)
    figures: Figures = {
        "scale": {"spaces": spaces, "lots": world.town.lots, "classes": len(world.town.lot), "requests": requests},
        "requests_to_what_fits": requests / fits,
    }
    rows = [
        Row(
            f"hospital month, {spaces} spaces in {world.town.lots} lots, {NIGHTS} nights",
            f"{requests:,} requests, {requests / fits:.2f} x what the bounds' allocations serve",
            f"nights {LEARNING_NIGHTS + 1} to {NIGHTS}; here: all {NIGHTS}, the first {LEARNING_NIGHTS} included",
            "",
            "",
        )
    ]
    for way in WAYS:
        record = Month(way, world).run()
        both = [outcome(way.name, world, record, bound, first) for first in (LEARNING_NIGHTS, 0)]
        figures[way.name] = {
            "after_learning": asdict(both[0]),
            "whole_month": asdict(both[1]),
            "no_show_space_used_again": record.reused,
            "failures_by_night": record.failures[:NIGHTS].tolist(),
            "overstays": {"charged": record.charged, "violations": record.violations, "fees_fen": record.fees_fen},
            "buffers_of_day_min": record.buffers,
            "without_anybody_overdue": record.unexplained,
        }
        rows += _rows(way.name, both[0], both[1], record)
    return rows, figures


def _rows(name: str, late: Outcome, whole: Outcome, record: Record) -> list[Row]:
    title = f"month, {name}"
    guest_bar, owner_bar = 1000 * RATES.guest_failure_rate, 1000 * RATES.owner_failure_rate
    gone = f"{late.accommodated} in another lot, {late.turned_away} turned away"
    return [
        Row(f"{title}: served", _served(late), _served(whole), "", ""),
        Row(f"{title}: value, walk, use", _worth(late), _worth(whole), "", ""),
        Row(
            f"{title}: promise to the next driver",
            f"{_failed(late)}; {gone}",
            _failed(whole),
            "",
            f"≤ {guest_bar:g} per 1,000",
        ),
        Row(f"{title}: space back to its owner", _owner(late), _owner(whole), "", f"≤ {owner_bar:g} per 1,000"),
        Row(
            f"{title}: no-shows",
            f"{late.no_shows} released, {late.too_late} came later",
            f"{whole.no_shows} released, {whole.too_late} came later, {record.reused} grants on their space",
            "",
            "",
        ),
    ]


def _served(found: Outcome) -> str:
    of = ", ".join(f"{name} {100 * share:.0f}" for name, share in found.served_of.items())
    return f"{100 * found.served:.1f} % of {found.requests:,} ({of})"


def _worth(found: Outcome) -> str:
    walk = f"{found.walk_mean_m:.0f} m, p90 {found.walk_p90_m:.0f} m"
    return f"{100 * found.of_bound:.1f} % of the bound; {walk}; {100 * found.utilisation:.1f} % of open space-hours"


def _failed(found: Outcome) -> str:
    return f"{found.failure_rate:.1f} ± {found.failure_margin:.1f} per 1,000 of {found.came:,}"


def _owner(found: Outcome) -> str:
    return f"{found.owner_rate:.1f} per 1,000 ({found.owner_failures} of {found.last_guests:,})"


def run(*, quick: bool = False) -> tuple[list[Row], Figures]:
    """The rows of the table, and the figures behind them; a row that says so where the real stays are not there."""
    stays = real_stays()
    if stays is None:
        return [
            Row(
                "hospital month",
                "skipped: the real stays are not there",
                "set PARKING_SHARED_DATA to the folder that holds replay/china",
                "",
                "",
            )
        ], {}
    part = 3 if quick else 1
    return measure(stays, SPACES // part, VOLUME // part, SEED)


def chart(figures: Figures) -> str:
    """Failed promises a night, a column each, by policy."""
    lines = ["failed promises by night, 1 to 31; the highest column is the most of all"]
    by_policy = {way.name: figures[way.name] for way in WAYS}
    counts = {name: each["failures_by_night"] for name, each in by_policy.items() if isinstance(each, dict)}
    most = max(1, *(max(each) for each in counts.values()))
    for name, each in counts.items():
        lines.append(f"{name:30}{''.join(_BARS[-(-8 * count // most)] for count in each)}  {sum(each)}")
    return "\n".join(lines)


def main() -> None:
    """The month alone, with its scale and seed as options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spaces", type=int, default=SPACES)
    parser.add_argument("--volume", type=int, default=VOLUME, help="requests drawn for a night before a workday")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    asked = parser.parse_args()
    stays = real_stays()
    if stays is None:
        print(f"The real stays are not in {FOLDER}; set PARKING_SHARED_DATA. Nothing is made up in their place.")
        return
    before = os.getloadavg()[0]
    rows, figures = measure(stays, asked.spaces, asked.volume, asked.seed)
    print(show(rows))
    print(chart(figures))
    print(f"load average before {before:.1f}, after {os.getloadavg()[0]:.1f}")
    if asked.json:
        asked.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
