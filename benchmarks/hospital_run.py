"""The month under one policy: bookings, arrivals, exits and the day's learning, minute by minute.

Who finds no space is promised the best lot there is from ten minutes later on (a tenth of an hour's drive and a walk);
without one he is turned away. Alternatives that a refused driver is offered are not taken up.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from enum import IntEnum
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.hospital_buffers import Buffers, Way
from benchmarks.hospital_demand import MOST_LEAD_MIN, Demand
from benchmarks.hospital_desk import Bookings, ReleasedSpace
from benchmarks.hospital_lots import Barrier
from benchmarks.hospital_town import (
    BEGINS_HOUR,
    DAY_MIN,
    FIRST_NIGHT,
    NIGHTS,
    POLICY,
    TERMS,
    ZONE,
    Candidates,
    local_hour,
)
from parking_core.allocation.answers import Asker
from parking_core.allocation.prices import SLOT_MIN
from parking_core.lateness import OverstayStage, overstay_fen, overstay_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from benchmarks.hospital_desk import Asked
    from benchmarks.hospital_town import Town

ELSEWHERE_MIN = 10
_FURTHER_M = 200  # that somebody who was let down would walk more
LAST_GUESTS_MIN = 120  # promised ends so shortly before an opening ends count as those that the owner waits for
_LEARN_AT = 19 * 60  # minute of the night: noon
_ZERO = datetime.combine(FIRST_NIGHT, time(BEGINS_HOUR), ZONE)


class Step(IntEnum):
    """What happens at a minute, in this order: who leaves makes room for who comes."""

    EXIT = 0
    RELEASE = 1
    CANCEL = 2
    LEARN = 3
    PRICE = 4
    BEGIN = 5
    BOOK = 6
    LOOK = 7
    ARRIVE = 8


class Fate(IntEnum):
    """How a request ended."""

    REFUSED = 0
    GRANTED = 1  # promised, nothing more is known yet
    PARKED = 2
    CANCELLED = 3
    NO_SHOW = 4  # released after grace; he never came
    TOO_LATE = 5  # he came after his promise had been released
    TURNED_AWAY = 6  # promised, and no space in any lot


@dataclass(slots=True, eq=False)
class Record:
    """What became of every request (R) and of every night (N)."""

    fate: NDArray[np.int8]
    walk: NDArray[np.int32]  # of the lot where he parked
    value: NDArray[np.int64]  # of the grant that he used or gave up himself
    failed: NDArray[np.int8]  # times that a lot had no space for him
    early: NDArray[np.bool_]  # he was told before he came
    reused: int = 0  # grants that needed space of a no-show
    unexplained: int = 0  # failures while no car was overdue
    strained: int = 0
    came: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))
    failures: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))
    exits: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))
    last_guests: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))
    owner_failures: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))
    stood: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))  # minutes, within openings
    late: NDArray[np.int64] = field(default_factory=lambda: np.zeros(NIGHTS + 1, np.int64))  # exits after the buffer
    charged: int = 0
    violations: int = 0
    fees_fen: int = 0
    buffers: list[tuple[float, float]] = field(default_factory=list)  # each day's mean, guests' and owners'


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """What is the same under every policy."""

    town: Town
    demand: Demand
    found: Candidates
    past: Mapping[int, list[Asked]]

    @property
    def nights(self) -> int:
        """Number of nights."""
        return len(self.past)

    @property
    def night(self) -> NDArray[np.int32]:
        """Night of each request."""
        return self.demand.arrive // DAY_MIN


class Month:
    """One run; everything it decides, parking_core decides."""

    def __init__(self, way: Way, world: World) -> None:
        self._nights, past = world.nights, world.past
        self._town, self._demand, self._found = town, demand, _ = world.town, world.demand, world.found
        self._buffers = Buffers(town.lots, way.fixed_min)
        self._bookings = Bookings(town, past if way.priced else None)
        self._barriers = [Barrier(town, lot) for lot in range(town.lots)]
        self._at: dict[str, tuple[int, int]] = {}  # lot and candidate of each promise
        self._released = ReleasedSpace(town, self._bookings.desk.slots)
        self._events: list[tuple[int, int, int, str]] = []
        self._count = 0
        self._again: dict[str, tuple[int, int, Candidates]] = {}
        requests = len(demand)
        self.record = Record(
            np.zeros(requests, np.int8),
            np.zeros(requests, np.int32),
            np.zeros(requests, np.int64),
            np.zeros(requests, np.int8),
            np.zeros(requests, np.bool_),
        )

    def run(self) -> Record:
        """Through the whole month."""
        for number, book in enumerate(self._demand.book.tolist()):
            self._plan(book, Step.BOOK, str(number))
        for night in range(self._nights):
            self._plan(night * DAY_MIN + _LEARN_AT, Step.LEARN, str(night))
            self._plan(night * DAY_MIN - MOST_LEAD_MIN - 1, Step.BEGIN, str(night))
        does = {
            Step.EXIT: self._exit,
            Step.RELEASE: self._release,
            Step.CANCEL: self._cancel,
            Step.LEARN: lambda _now, _key: self._learn(),
            Step.PRICE: lambda now, key: self._bookings.price(int(key), now),
            Step.BEGIN: lambda _now, key: self._begin(int(key)),
            Step.BOOK: self._book,
            Step.LOOK: self._look,
            Step.ARRIVE: self._arrive,
        }
        while self._events:
            now, step, _, key = heapq.heappop(self._events)
            does[Step(step)](now, key)
        return self.record

    def _plan(self, at: int, step: Step, key: str) -> None:
        self._count += 1
        heapq.heappush(self._events, (at, step, self._count, key))

    def _learn(self) -> None:
        self._buffers.learn()
        self.record.buffers.append((float(self._buffers.guest.mean()), float(self._buffers.owner.mean())))

    def _begin(self, night: int) -> None:
        for epoch in self._bookings.begin(night, self._buffers):
            self._plan(epoch, Step.PRICE, str(night))

    def _number(self, key: str) -> int:
        return int(key.rstrip("+"))

    def _night(self, minute: int) -> int:
        return min(max(minute // DAY_MIN, 0), NIGHTS)

    def _times(self, key: str) -> tuple[int, int]:
        """Promised arrival and end."""
        number = self._number(key)
        arrive = self._again[key][0] if key in self._again else int(self._demand.arrive[number])
        return arrive, int(self._demand.depart[number])

    # --- bookings ---

    def _book(self, now: int, key: str) -> None:
        demand, number = self._demand, self._number(key)
        if self._granted(now, key, self._found, number):
            arrive = int(demand.arrive[number])
            if 0 <= demand.cancels[number] < arrive:
                self._plan(max(int(demand.cancels[number]), now), Step.CANCEL, key)
            elif demand.shows[number]:
                self._plan(max(arrive + int(demand.offset[number]), now), Step.ARRIVE, key)

    def _granted(self, now: int, key: str, found: Candidates, place: int) -> bool:
        arrive, depart = self._times(key)
        number, town, buffers = self._number(key), self._town, self._buffers
        asker = Asker(key, member=int(self._demand.member[number]), again=key in self._again)
        night = self._night(int(self._demand.arrive[number]))
        answer = self._bookings.ask(
            asker, (now, arrive, depart), found=found, place=place, buffers=buffers, night=night
        )
        if answer is None:
            return False
        grant, value = answer
        lot, hour = int(town.lot[grant.group]), int(local_hour(depart))
        self._barriers[lot].promise(key, grant.group, arrive, grant.until, depart + int(buffers.owner[lot, hour]))
        mine = slice(int(found.first[place]), int(found.first[place + 1]))
        walk = found.walk[mine][found.group[mine] == grant.group]
        self._at[key] = (lot, grant.group)
        record = self.record
        record.fate[number], record.walk[number], record.value[number] = Fate.GRANTED, int(walk[0]), value
        record.reused += self._released.taken(grant.group, arrive, grant.until)
        grace = int(buffers.grace[lot, local_hour(arrive)])
        self._plan(arrive + grace + 1, Step.RELEASE, key)
        self._plan(max(arrive, now), Step.LOOK, key)
        return True

    def _cancel(self, now: int, key: str) -> None:
        if key in self._barriers[self._at[key][0]].promised:
            self._give_up(now, key, Fate.CANCELLED)
            self._bookings.desk.cancel(key)

    def _release(self, now: int, key: str) -> None:
        if key not in self._at or key not in self._barriers[self._at[key][0]].promised:
            return
        until = self._give_up(now, key, Fate.NO_SHOW)
        self._released.left_by_no_show(self._at[key][1], now, until)
        self._bookings.desk.depart(key, now)

    def _give_up(self, now: int, key: str, fate: Fate) -> int:
        lot, group = self._at[key]
        promise = self._barriers[lot].promised.pop(key)
        self.record.fate[self._number(key)] = fate
        self._released.given_back(group, max(now, promise.arrive), promise.until)
        return promise.until

    # --- at the barrier ---

    def _look(self, now: int, key: str) -> None:
        lot, _ = self._at[key]
        if key in self._barriers[lot].promised:
            for unlucky in self._barriers[lot].unlucky(now):
                self.record.early[self._number(unlucky)] = True
                self.record.came[self._night(self._times(unlucky)[0])] += 1
                self._let_down(now, unlucky)

    def _arrive(self, now: int, key: str) -> None:
        number, record = self._number(key), self.record
        lot, _ = self._at[key]
        barrier = self._barriers[lot]
        arrive, depart = self._times(key)
        if key not in barrier.promised:
            if record.fate[number] == Fate.NO_SHOW:
                record.fate[number] = Fate.TOO_LATE
                self._buffers.came(lot, arrive, now)
            return
        promised = barrier.promised[key]
        bound = barrier.arrive(key, now, depart)
        if bound.space is None and now < arrive:
            self._plan(arrive, Step.ARRIVE, key)  # he waits for his time
            return
        record.came[self._night(arrive)] += 1
        self._buffers.came(lot, arrive, now)
        if bound.space is None:
            self._let_down(now, key)
            return
        record.fate[number] = Fate.PARKED
        record.strained += bound.short_at is not None
        assert bound.window_class is not None
        self._count_in(now, key, barrier.groups[bound.window_class], promised.until)
        self._plan(self._demand.exit_minute(number, self._town, lot, now), Step.EXIT, key)

    def _count_in(self, now: int, key: str, group: int, until: int) -> None:
        """The capacity of a car that got a space of another class is taken there from now on."""
        booked = self._at[key][1]
        if group == booked or not self._bookings.moved(key, group, now, until):
            return
        begins = max(now // SLOT_MIN * SLOT_MIN, self._times(key)[0])
        self._released.given_back(booked, begins, until)
        self._released.counted(group, begins, until)
        self._at[key] = (self._at[key][0], group)

    def _let_down(self, now: int, key: str) -> None:
        """No space of the lot: another lot, from a little later on, or nothing."""
        number, record = self._number(key), self.record
        lot, _ = self._at[key]
        record.failures[self._night(self._times(key)[0])] += 1
        record.failed[number] += 1
        record.unexplained += not self._barriers[lot].blame(now)
        self._give_up(now, key, Fate.TURNED_AWAY)
        self._bookings.desk.depart(key, now)
        arrive = -(-(max(now, self._times(key)[0]) + ELSEWHERE_MIN) // SLOT_MIN) * SLOT_MIN
        depart = int(self._demand.depart[number])
        again = key + "+"
        if arrive >= depart or not self._demand.shows[number] or len(again) - len(str(number)) > 2:
            return
        found = self._elsewhere(number, arrive, depart, lot)
        self._again[again] = (arrive, depart, found)
        if self._granted(now, again, found, 0):
            self._plan(arrive, Step.ARRIVE, again)

    def _elsewhere(self, number: int, arrive: int, depart: int, lot: int) -> Candidates:
        demand, town = self._demand, self._town
        one = slice(number, number + 1)
        found = town.candidates(
            np.array([arrive], np.int32),
            np.array([depart], np.int32),
            demand.destination[one],
            demand.limit_m[one] + np.int32(_FURTHER_M),
        )
        kept = town.lot[found.group] != lot
        first = np.array([0, int(kept.sum())], np.int64)
        return Candidates(first, found.group[kept], found.closes[kept], found.walk[kept], found.value[kept])

    def _exit(self, now: int, key: str) -> None:
        lot, group = self._at[key]
        car = self._barriers[lot].inside.pop(key)
        _, depart = self._times(key)
        record, night = self.record, self._night(depart)
        self._released.given_back(group, now, car.until)
        self._bookings.desk.depart(key, now)
        self._buffers.left(lot, depart, now, car.until, car.let_down)
        record.exits[night] += 1
        record.late[night] += now > car.until
        if car.closes - LAST_GUESTS_MIN < depart:
            record.last_guests[night] += 1
            record.owner_failures[night] += now > car.closes
        self._stood(car.since, min(now, car.closes))
        end = _ZERO + timedelta(minutes=depart)
        state = overstay_state(POLICY.overstay, end, _ZERO + timedelta(minutes=now))
        record.charged += state.stage in {OverstayStage.CHARGED, OverstayStage.VIOLATION}
        record.violations += state.stage is OverstayStage.VIOLATION
        record.fees_fen += overstay_fen(POLICY.overstay, state, TERMS.price_fen(max(now - depart, 0)))

    def _stood(self, since: int, until: int) -> None:
        for night in range(self._night(since), self._night(until) + 1):
            begins, ends = max(since, night * DAY_MIN), min(until, (night + 1) * DAY_MIN)
            self.record.stood[night] += max(ends - begins, 0)
