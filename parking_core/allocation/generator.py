"""Nights to allocate, drawn from documented distributions: the same spec and seed give the same night (pure).

A night runs from noon to noon, in minutes from noon. What is drawn, and from what:

| what | distribution |
| --- | --- |
| lots | uniform in a disc round the hospital; 42 % offices, 14 % schools, the rest residential; 150 to 499 fen an hour |
| spaces of a lot | shares lognormal (sigma 0.6), at least one space a lot, exactly `spaces` in all |
| windows of a lot | 1 to 4 of its kind's four (below), each end moved by -15, 0 or +15 minutes; shares Dirichlet (4) |
| own windows | each space has its class's window with each end moved by up to an hour, on a grid of 15 minutes |
| destinations | per 43 lots 30: a hospital's four entrances with 45 % of the requests, 26 places with gamma (3) weights |
| walking | straight line times 1.3 (detours), metres |
| stays | five classes of arrival (below): arrival normal, stay uniform, both on a grid of 5 minutes |
| a request | k = 3 to 10 nearest lots, base value 200 to 800 fen, 40 to 160 fen lost for each 100 m, all uniform |
| booking | 45 % up to half an hour ahead (uniform), the others exponential with a mean of 8 hours |

The disc has a radius of 1 km for 43 lots and grows with their number, so that a lot has as many neighbours in any
district; destinations keep to the inner 85 % of it, and there is one hospital for each 43 lots or part of them. A
request that no window admits is drawn again. Past days have the same lots, windows and destinations and other requests.
NumPy promises the same stream for a seed only within a version, so the document names it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.instance import Instance
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ints = NDArray[np.int32]
    Floats = NDArray[np.float64]

FORMAT = "shared-parking-alloc-1"
HORIZON_MIN = 1440
BUFFER_MIN = 15  # between two guests of a space
GRID_MIN = 5  # arrivals and departures
VALUE_RULE = (
    "v(r,g)=base+price[lot]*(d-a)//60-walk[dest][lot]*sens//100 ; feasible iff lot among the k nearest lots of dest "
    "(ties by lot index), a>=start_g, d+buffer<=end_g, v>0; occupies [a,d+buffer)"
)
_WINDOW_GRID_MIN = 15
_DISTRICT_LOTS = 43  # what the other figures of a district are per
_DISTRICT_DESTINATIONS = 30
_HOSPITAL_ENTRANCES = 4
_HOSPITAL_SHARE = 0.45
_RADIUS_M = 1_000.0
_INNER = 0.85
_DETOUR = 1.3
_MOST_NEAREST = 10
_SOON_SHARE, _SOON_MIN, _LEAD_MEAN_MIN = 0.45, 30, 480.0
_ROUNDS = 200  # of drawing again what no window admits, before giving up
_SUPPLY, _DEMAND = 1, 2  # streams of a seed: the supply of a night does not depend on how many ask for it


class LotKind(IntEnum):
    """Who owns a lot, as the format numbers them."""

    OFFICE = 0
    SCHOOL = 1
    RESIDENTIAL = 2


_KIND_SHARES = {LotKind.OFFICE: 18 / 43, LotKind.SCHOOL: 6 / 43, LotKind.RESIDENTIAL: 19 / 43}
_WINDOWS = {  # minutes from noon; the ends move by a quarter of an hour
    LotKind.OFFICE: ((330, 1140), (360, 1170), (390, 1200), (420, 1170)),  # 17:30-07:00, 18:00-07:30, ...
    LotKind.SCHOOL: ((300, 1125), (330, 1110), (360, 1110), (390, 1125)),  # 17:00-06:45, ...
    LotKind.RESIDENTIAL: ((0, 330), (60, 1440), (480, 1110), (540, 1170)),  # while residents work, travel, are abroad
}


@dataclass(frozen=True, slots=True)
class ArrivalClass:
    """People who come for one purpose; minutes."""

    name: str
    share: float
    arrival_mean: float  # from noon
    arrival_deviation: float
    stay_least: int
    stay_most: int


ARRIVAL_CLASSES = (  # numbered as the format's `cls`
    ArrivalClass("overnight", 0.385, 450, 90, 360, 720),
    ArrivalClass("evening", 0.28, 405, 60, 60, 240),
    ArrivalClass("night shift", 0.10, 570, 30, 480, 660),
    ArrivalClass("early patients", 0.13, 1050, 60, 60, 240),
    ArrivalClass("afternoon", 0.105, 150, 90, 60, 240),
)


@dataclass(frozen=True, slots=True)
class NightSpec:
    """What a night is drawn from.

    Raises:
        InvalidInputError: fewer spaces than lots, no lot, or a negative number.
    """

    spaces: int
    requests: int
    lots: int = _DISTRICT_LOTS
    seed: int = 1
    own_windows: bool = False  # nearly every space has a window of its own, instead of one to four classes a lot
    buffer_min: int = BUFFER_MIN

    def __post_init__(self) -> None:
        if self.lots < 1 or self.spaces < self.lots:
            raise InvalidInputError(f"{self.spaces} spaces cannot fill {self.lots} lots; every lot has at least one.")
        if min(self.requests, self.seed, self.buffer_min) < 0:
            raise InvalidInputError("Requests, seed and buffer of a night are not negative.")

    @property
    def name(self) -> str:
        """Short, of everything that is not as usual."""
        kind = "own" if self.own_windows else "cls"
        lots = f"_L{self.lots}" if self.lots != _DISTRICT_LOTS else ""
        buffer = f"_b{self.buffer_min}" if self.buffer_min != BUFFER_MIN else ""
        return f"night_{kind}_S{self.spaces}_R{self.requests}{lots}{buffer}_s{self.seed}"


@dataclass(frozen=True, slots=True)
class Supply:
    """Lots (L), their windows (G groups) and the ways to them from destinations (D); times in minutes from noon."""

    kind: Ints  # [L] LotKind
    price_fen_h: Ints  # [L]
    walk_m: Ints  # [D, L]
    destination_share: Floats  # [D] of the requests, sums to 1
    lot: Ints  # [G], ascending
    start: Ints  # [G]
    end: Ints  # [G]
    capacity: Ints  # [G] spaces


@dataclass(frozen=True, slots=True)
class Demand:
    """Requests (R); times in minutes from noon, money in fen."""

    arrive: Ints
    depart: Ints
    destination: Ints
    k_nearest: Ints
    base: Ints
    sensitivity: Ints  # fen lost for each 100 m of walking
    arrival_class: Ints  # index into ARRIVAL_CLASSES
    book: Ints  # when the request becomes known

    @property
    def book_order(self) -> Ints:
        """Requests in the order of their booking; equal moments in the order of the requests."""
        return np.argsort(self.book, kind="stable").astype(np.int32)


@dataclass(frozen=True, slots=True)
class Night:
    """One night: what is offered and who asks for it."""

    spec: NightSpec
    supply: Supply
    demand: Demand
    day: int = 0  # 0 the night itself, n the n-th past day

    @property
    def load(self) -> float:
        """Requested space-hours for each one offered."""
        offered = np.sum(self.supply.capacity.astype(np.int64) * (self.supply.end - self.supply.start))
        return float(np.sum(self.demand.depart - self.demand.arrive, dtype=np.int64) / offered)

    def document(self) -> dict[str, object]:
        """The night in the format shared-parking-alloc-1: numbers and lists only, ready for JSON."""
        supply, demand, spec = self.supply, self.demand, self.spec
        return {
            "format": FORMAT,
            "name": spec.name if self.day == 0 else f"{spec.name}_past{self.day}",
            "generator": {
                "S": spec.spaces,
                "R": len(demand.arrive),
                "lots": spec.lots,
                "seed": spec.seed,
                "own": spec.own_windows,
                "day": self.day,
                "numpy": np.__version__,
            },
            "horizon_min": HORIZON_MIN,
            "t0": "12:00",
            "grid_min": GRID_MIN,
            "buffer_min": spec.buffer_min,
            "groups": {
                "lot": supply.lot.tolist(),
                "start": supply.start.tolist(),
                "end": supply.end.tolist(),
                "cap": supply.capacity.tolist(),
            },
            "lot_kind": supply.kind.tolist(),
            "lot_price_cents_h": supply.price_fen_h.tolist(),
            "walk_m": supply.walk_m.tolist(),
            "requests": {
                "a": demand.arrive.tolist(),
                "d": demand.depart.tolist(),
                "dest": demand.destination.tolist(),
                "k_nearest": demand.k_nearest.tolist(),
                "base": demand.base.tolist(),
                "sens": demand.sensitivity.tolist(),
                "cls": demand.arrival_class.tolist(),
                "book": demand.book.tolist(),
                "book_order": demand.book_order.tolist(),
            },
            "value_rule": VALUE_RULE,
        }

    def instance(self) -> Instance:
        """The night as the allocator takes it."""
        return Instance.from_document(self.document())


def draw_night(spec: NightSpec, *, day: int = 0) -> Night:
    """The night of a spec (day 0), or its `day`-th past day: the same supply, other requests.

    Raises:
        InvalidInputError: hardly any request fits into any window, for instance because the buffer is too long.
    """
    supply = _draw_supply(spec)
    return Night(spec, supply, _draw_demand(spec, supply, day), day)


def past_days(spec: NightSpec, count: int, *, volume: float = 1.0) -> list[Night]:
    """The `count` days before the night of `spec`.

    Args:
        spec: of the night that they come before.
        count: of days.
        volume: requests of a past day for each request of the night; 1 / 1.3 means that the night brings 30 % more
            than its past days make expect.

    Raises:
        InvalidInputError: as draw_night.
    """
    earlier = replace(spec, requests=round(spec.requests * volume))
    return [draw_night(earlier, day=day) for day in range(1, count + 1)]


def with_load(spec: NightSpec, load: float) -> NightSpec:
    """The spec with as many requests as ask for `load` space-hours for each one offered (on average)."""
    supply = _draw_supply(spec)
    offered = float(np.sum(supply.capacity.astype(np.int64) * (supply.end - supply.start)))
    stay = sum(each.share * (each.stay_least + each.stay_most) / 2 for each in ARRIVAL_CLASSES)
    return replace(spec, requests=round(load * offered / stay))


def _draw_supply(spec: NightSpec) -> Supply:
    chance = np.random.default_rng((spec.seed, _SUPPLY))
    kinds = _apportioned(np.array(list(_KIND_SHARES.values())), spec.lots)
    kind = chance.permutation(np.repeat(np.arange(len(_KIND_SHARES), dtype=np.int32), kinds))
    walk, share = _draw_map(spec.lots, chance)
    in_lot = 1 + _apportioned(chance.lognormal(0.0, 0.6, spec.lots), spec.spaces - spec.lots)
    rows: list[NDArray[np.int64]] = []
    for lot in range(spec.lots):
        classes = _draw_classes(LotKind(kind[lot]), int(in_lot[lot]), chance)
        found = _own_windows(classes, chance) if spec.own_windows else classes
        windows, capacity = _merged(found)
        rows.append(np.column_stack((np.full(len(windows), lot), windows, capacity)))
    table = np.ascontiguousarray(np.concatenate(rows).astype(np.int32).T)
    price = chance.integers(150, 500, spec.lots).astype(np.int32)
    return Supply(kind, price, walk, share, *table)


def _draw_map(lots: int, chance: np.random.Generator) -> tuple[Ints, Floats]:
    """Ways [D, L] in metres, and the share of the requests that each destination has."""
    radius = _RADIUS_M * (lots / _DISTRICT_LOTS) ** 0.5
    hospitals = -(-lots // _DISTRICT_LOTS)
    others = max(1, round(lots / _DISTRICT_LOTS * _DISTRICT_DESTINATIONS) - hospitals * _HOSPITAL_ENTRANCES)
    places = _in_disc(lots, radius, chance)
    at = np.zeros((1, 2)) if hospitals == 1 else _in_disc(hospitals, 0.7 * radius, chance)
    corners = np.repeat(at, _HOSPITAL_ENTRANCES, axis=0)
    entrances = corners + chance.uniform(-60.0, 60.0, corners.shape)
    destinations = np.concatenate((entrances, _in_disc(others, _INNER * radius, chance)))
    weights = chance.gamma(3.0, 1.0, others)
    of_hospitals = np.full(len(entrances), _HOSPITAL_SHARE / len(entrances))
    share = np.concatenate((of_hospitals, (1 - _HOSPITAL_SHARE) * weights / weights.sum()))
    apart = np.linalg.norm(destinations[:, None, :] - places[None, :, :], axis=2)
    return np.rint(_DETOUR * apart).astype(np.int32), share


def _in_disc(count: int, radius: float, chance: np.random.Generator) -> Floats:
    away, angle = radius * np.sqrt(chance.random(count)), 2 * np.pi * chance.random(count)
    return np.column_stack((away * np.cos(angle), away * np.sin(angle)))


def _apportioned(weights: Floats, total: int) -> NDArray[np.int64]:
    """`total` whole things by weight: largest remainders, ties to the first."""
    exact = weights / weights.sum() * total
    whole: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: total - int(whole.sum())]] += 1
    return whole


def _draw_classes(kind: LotKind, spaces: int, chance: np.random.Generator) -> NDArray[np.int64]:
    """The window of each of a lot's spaces, [spaces, 2]."""
    known = np.array(_WINDOWS[kind])
    count = min(int(chance.integers(1, len(known) + 1)), spaces)
    chosen = known[chance.permutation(len(known))[:count]]
    moved = chosen + _WINDOW_GRID_MIN * chance.integers(-1, 2, chosen.shape)
    each = 1 + _apportioned(chance.dirichlet(np.full(count, 4.0)), spaces - count)
    classes: NDArray[np.int64] = np.clip(moved, 0, HORIZON_MIN)
    return np.repeat(classes, each, axis=0)


def _own_windows(windows: NDArray[np.int64], chance: np.random.Generator) -> NDArray[np.int64]:
    most = 60 // _WINDOW_GRID_MIN
    moved = windows + _WINDOW_GRID_MIN * chance.integers(-most, most + 1, windows.shape)
    clipped: NDArray[np.int64] = np.clip(moved, 0, HORIZON_MIN)
    return clipped


def _merged(windows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Different windows, ascending, and how many spaces have each."""
    different, capacity = np.unique(windows, axis=0, return_counts=True)
    return different, capacity


def _draw_demand(spec: NightSpec, supply: Supply, day: int) -> Demand:
    chance = np.random.default_rng((spec.seed, _DEMAND, day))
    latest = _latest_end(supply)
    nearest = np.argsort(supply.walk_m, axis=1, kind="stable")[:, :_MOST_NEAREST]
    batches: list[Ints] = []
    missing = spec.requests
    for _ in range(_ROUNDS):
        drawn = _draw_requests(missing + missing // 5 + 10, supply, chance)
        batches.append(drawn[:, _servable(drawn, spec, supply, nearest, latest)][:, :missing])
        missing -= batches[-1].shape[1]
        if missing == 0:
            break
    else:
        raise InvalidInputError(f"Hardly any request fits into the windows of {spec.name} with its buffer.")
    table = np.concatenate(batches, axis=1)
    return Demand(*np.ascontiguousarray(np.vstack((table, _draw_booking(table[0], chance)))))


def _draw_requests(count: int, supply: Supply, chance: np.random.Generator) -> Ints:
    """[7, count]: the fields of Demand but the booking, in their order."""
    shares = np.array([each.share for each in ARRIVAL_CLASSES])
    of_class = np.array([(c.arrival_mean, c.arrival_deviation, c.stay_least, c.stay_most) for c in ARRIVAL_CLASSES])
    arrival_class = chance.choice(len(shares), count, p=shares / shares.sum())
    mean, deviation, least, most = of_class[arrival_class].T
    arrive = GRID_MIN * np.rint(chance.normal(mean, deviation) / GRID_MIN)
    stay = GRID_MIN * np.rint(chance.uniform(least, most) / GRID_MIN)
    columns = (
        arrive,
        arrive + stay,
        chance.choice(len(supply.destination_share), count, p=supply.destination_share),
        chance.integers(3, _MOST_NEAREST + 1, count),
        chance.integers(200, 801, count),
        chance.integers(40, 161, count),
        arrival_class,
    )
    return np.stack(columns).astype(np.int32)


def _latest_end(supply: Supply) -> Ints:
    """[L, HORIZON_MIN]: until when a space of the lot can be had at most, of those whose window has begun by a minute."""
    found = np.full((len(supply.kind), HORIZON_MIN + 1), -1, dtype=np.int32)
    np.maximum.at(found, (supply.lot, supply.start), supply.end)
    return np.maximum.accumulate(found, axis=1)[:, :HORIZON_MIN]


def _servable(
    drawn: Ints, spec: NightSpec, supply: Supply, nearest: NDArray[np.intp], latest: Ints
) -> NDArray[np.bool_]:
    """Which requests of [7, n] some window of a lot near enough admits, at a value above nothing."""
    arrive, depart, destination, k_nearest, base, sensitivity, _ = drawn
    lots = nearest[destination]
    worth = base[:, None] + supply.price_fen_h[lots] * (depart - arrive)[:, None] // 60
    worth -= supply.walk_m[destination[:, None], lots] * sensitivity[:, None] // 100
    within = latest[lots, np.clip(arrive, 0, HORIZON_MIN - 1)[:, None]] >= (depart + spec.buffer_min)[:, None]
    near = np.arange(lots.shape[1]) < k_nearest[:, None]
    servable: NDArray[np.bool_] = (arrive >= 0) & np.any(near & within & (worth > 0), axis=1)
    return servable


def _draw_booking(arrive: Ints, chance: np.random.Generator) -> Ints:
    """When each request is booked: minutes from noon, often negative (the days before)."""
    soon = chance.random(len(arrive)) < _SOON_SHARE
    lead = np.where(soon, chance.uniform(0, _SOON_MIN, len(arrive)), chance.exponential(_LEAD_MEAN_MIN, len(arrive)))
    return arrive - np.rint(lead).astype(np.int32)
