"""Who asks for spaces round the hospital, and what they do then.

| what | distribution |
| --- | --- |
| requests of a night | `volume` x 1 before a workday, x 0.9 else, x lognormal (sigma 0.12); 17:00 to 17:00 |
| patients and visitors | 45 %; to an entrance; sessions of the short-stay lots, begun 05:00 to 22:00; walk 300 to 600 m |
| residents | 35 %; to a place; sessions of the overnight lots, begun 16:00 to 24:00; walk 250 to 500 m |
| night workers | 20 %; 60 % to an entrance; of those begun 18:00 to 24:00 those of 6 hours and more; walk 400 to 800 m |
| booking | 45 % up to half an hour ahead, others exponential, mean 8 hours (night workers 24), 60 hours at most |
| cancelled | 6 %, uniformly between booking and arrival |
| no-show | 8 % of the others |
| arrival | 25 % late by a lognormal time (median 8 minutes, sigma 0.8), others uniform up to 10 minutes early |
| exit | 25 % early, after a uniform part from 30 % of the stay on; of the others the lot's share (x 1.5 when the promise |
|       | ends from 06:00 to 09:00) late by a lognormal time of the lot's median; the rest when they promised |

When people come and how long they stay is a real session (benchmarks.hospital_stays): it is what they ask for. Requests
that no opening of a lot near enough would admit are not among them. What each person will do is drawn with the request,
so that under every policy the same people come, and are late by the same luck where they are given the same lot.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.hospital_town import DAY_MIN, LATE_SIGMA, local_hour, night_kind
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from benchmarks.hospital_stays import RealStays, Stays
    from benchmarks.hospital_town import Town

    Ints = NDArray[np.int32]
    Floats = NDArray[np.float64]

MEMBERS = ("patients and visitors", "residents", "night workers")
_SHARES = (0.45, 0.35, 0.20)
_LIMITS = ((300, 600), (250, 500), (400, 800))
_LEAD_MEAN_MIN = (480.0, 480.0, 1440.0)
_TO_ENTRANCE = (1.0, 0.0, 0.6)
MOST_LEAD_MIN = 3600
_SOON_SHARE, _SOON_MIN = 0.45, 30
_CANCELLED, _NO_SHOW, _LATE_ARRIVAL, _EARLY_EXIT = 0.06, 0.08, 0.25, 0.25
_EARLIEST_PART = 0.3
_MORNING, _MORNING_FACTOR = (6, 7, 8), 1.5
_ENTRANCES, _PLACES = 4, 12


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Requests (R) of one night by booking, and what these people will do; minutes from the month's zero.

    cancels: minute, or -1. shows: comes unless he cancels. offset: minutes after the promised arrival, may be negative.
    leaves_part: of the stay when he leaves, 1 when not early. late_chance, late_size: luck of a late exit.
    """

    arrive: Ints
    depart: Ints
    destination: Ints
    limit_m: Ints
    member: Ints
    book: Ints
    cancels: Ints
    shows: NDArray[np.bool_]
    offset: Ints
    leaves_part: Floats
    late_chance: Floats
    late_size: Floats

    def __len__(self) -> int:
        return len(self.arrive)

    def moved(self, minutes: int) -> tuple[Ints, Ints, Ints]:
        """Arrivals, departures and bookings of the same requests on another day."""
        shift = np.int32(minutes)
        return self.arrive + shift, self.depart + shift, self.book + shift

    def exit_minute(self, number: int, town: Town, lot: int, parked_at: int) -> int:
        """When a car leaves that parked in a lot."""
        arrive, depart = int(self.arrive[number]), int(self.depart[number])
        if self.leaves_part[number] < 1:
            leaves = arrive + round((depart - arrive) * float(self.leaves_part[number]))
            return max(leaves, parked_at + 1)
        share = float(town.late_share[lot]) * (_MORNING_FACTOR if local_hour(depart) in _MORNING else 1.0)
        late = 0
        if self.late_chance[number] < share:
            late = int(np.ceil(float(town.late_median[lot]) * np.exp(LATE_SIGMA * float(self.late_size[number]))))
        return max(depart + late, parked_at + 1)


def draw_night(stays: RealStays, night: int, volume: int, seed: int) -> Demand:
    """Who asks for a night, whatever is open; nights before the month are its past."""
    chance = np.random.default_rng((seed, 2, night + 1000))
    before_work = night_kind(night, WorkCalendar())[1]
    count = round(volume * (1.0 if before_work else 0.9) * float(chance.lognormal(0.0, 0.12)))
    member = chance.choice(len(MEMBERS), count, p=_SHARES).astype(np.int32)
    pools = (
        stays.short.of(range(5, 22)),
        stays.long.of(range(16, 24)),
        stays.long.of(range(18, 24), least_min=360),
    )
    arrive, stay = _sessions(pools, member, chance)
    arrive = night * DAY_MIN + (arrive - 17 * 60) % DAY_MIN
    to_entrance = chance.random(count) < np.array(_TO_ENTRANCE)[member]
    entrance, place = chance.integers(0, _ENTRANCES, count), _ENTRANCES + chance.integers(0, _PLACES, count)
    least, most = np.array(_LIMITS).T
    lead = _leads(member, chance)
    book = arrive - lead
    cancels = np.where(chance.random(count) < _CANCELLED, book + np.rint(lead * chance.random(count)), -1)
    drawn = Demand(
        arrive=arrive.astype(np.int32),
        depart=(arrive + stay).astype(np.int32),
        destination=np.where(to_entrance, entrance, place).astype(np.int32),
        limit_m=chance.integers(least[member], most[member] + 1).astype(np.int32),
        member=member,
        book=book.astype(np.int32),
        cancels=cancels.astype(np.int32),
        shows=chance.random(count) >= _NO_SHOW,
        offset=_offsets(count, chance),
        leaves_part=np.where(chance.random(count) < _EARLY_EXIT, chance.uniform(_EARLIEST_PART, 1.0, count), 1.0),
        late_chance=chance.random(count),
        late_size=chance.standard_normal(count),
    )
    return _taken(drawn, np.argsort(drawn.book, kind="stable"))


def admitted(drawn: Demand, town: Town) -> Demand:
    """The requests that some opening near enough would admit."""
    found = town.candidates(drawn.arrive, drawn.depart, drawn.destination, drawn.limit_m)
    return _taken(drawn, np.flatnonzero(np.diff(found.first) > 0))


def joined(nights: list[Demand]) -> Demand:
    """Requests of several nights, in the order of booking."""
    parts = [[getattr(each, name) for each in nights] for name in Demand.__dataclass_fields__]
    whole = Demand(*(np.concatenate(each) for each in parts))
    return _taken(whole, np.argsort(whole.book, kind="stable"))


def _taken(demand: Demand, which: NDArray[np.intp]) -> Demand:
    return Demand(*(getattr(demand, name)[which] for name in Demand.__dataclass_fields__))


def _sessions(pools: tuple[Stays, ...], member: Ints, chance: np.random.Generator) -> tuple[Ints, Ints]:
    arrive, stay = np.zeros_like(member), np.zeros_like(member)
    for number, pool in enumerate(pools):
        mine = member == number
        drawn = pool.drawn(chance, max(int(mine.sum()), 1))
        arrive[mine], stay[mine] = drawn.arrive[: mine.sum()], drawn.stay[: mine.sum()]
    return arrive, stay


def _leads(member: Ints, chance: np.random.Generator) -> Ints:
    soon = chance.random(len(member)) < _SOON_SHARE
    later = chance.exponential(np.array(_LEAD_MEAN_MIN)[member])
    lead = np.where(soon, chance.uniform(0, _SOON_MIN, len(member)), later)
    return np.minimum(np.rint(lead), MOST_LEAD_MIN).astype(np.int32)


def _offsets(count: int, chance: np.random.Generator) -> Ints:
    late = np.ceil(np.exp(np.log(8.0) + 0.8 * chance.standard_normal(count)))
    early = -chance.integers(0, 11, count)
    return np.where(chance.random(count) < _LATE_ARRIVAL, late, early).astype(np.int32)
