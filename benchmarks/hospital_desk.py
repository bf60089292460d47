"""Bookings of the simulated month: one desk, and prices for each night from past nights of the same kind.

The desk is parking_core.allocation.online's: one group a class of spaces, one slot every 5 minutes of the month. When a
class is closed nothing is ever asked of it: a request comes with the classes whose opening admits it, up to the owner's
buffer. A night is priced for the first time when its bookings begin, from the (at most) six latest nights of the same
kind that are over, months before included, and again at moments that part its expected bookings equally. A price holds
from 17:00 to 17:00; what a stay takes beyond costs what the next night's prices say.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.hospital_demand import MEMBERS, MOST_LEAD_MIN, Demand
from benchmarks.hospital_town import DAY_MIN, NIGHTS, Candidates, local_hour, night_kind
from parking_core.allocation.answers import Accepted, Asker, Columns, Grant, Request
from parking_core.allocation.instance import Instance
from parking_core.allocation.online import NightDesk
from parking_core.allocation.prices import SLOT_MIN, Forecast, PastDay, Prices, free_prices, slots_of, solve_prices
from parking_core.errors import InvalidInputError
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from benchmarks.hospital_buffers import Buffers
    from benchmarks.hospital_town import Town

PAST_NIGHTS = 28
_PAST_DAYS = 6
EPOCHS = 16
_DAY_SLOTS = DAY_MIN // SLOT_MIN
_HORIZON = 2 * DAY_MIN + 180  # a night's stays and their buffers end within the night after it
_STEPS_COLD, _STEPS_WARM = 60, 6


@dataclass(frozen=True, slots=True)
class Asked:
    """A past night as it would be tonight: its requests, what they could use, and when they booked."""

    demand: Demand
    candidates: Candidates
    arrive: NDArray[np.int32]
    depart: NDArray[np.int32]
    book: NDArray[np.int32]


def past_of(night: int, demands: Mapping[int, Demand], town: Town) -> list[Asked]:
    """The latest nights of the same kind that were over when the bookings of a night begin, moved to that night."""
    calendar = WorkCalendar()
    kind, known = night_kind(night, calendar), night - MOST_LEAD_MIN // DAY_MIN - 2
    alike = [
        past for past in range(known, -PAST_NIGHTS - 1, -1) if night_kind(past, calendar) == kind and past in demands
    ]
    found = []
    for past in alike[:_PAST_DAYS]:
        demand = demands[past]
        arrive, depart, book = demand.moved((night - past) * DAY_MIN)
        found.append(
            Asked(demand, town.candidates(arrive, depart, demand.destination, demand.limit_m), arrive, depart, book)
        )
    return found


def instance_of(
    town: Town, arrive: NDArray[np.int32], depart: NDArray[np.int32], found: Candidates, buffers: Buffers | None
) -> Instance:
    """Requests with the columns that buffers leave them (none: all); every class has its spaces always."""
    request = np.repeat(np.arange(len(arrive)), np.diff(found.first))
    until, kept = depart[request], np.ones(len(request), bool)
    if buffers is not None:
        lot, hour = town.lot[found.group], local_hour(until)
        kept = until + buffers.owner[lot, hour] <= found.closes
        until = until + buffers.guest[lot, hour]
    counts = np.bincount(request[kept], minlength=len(arrive))
    return Instance(
        lot=town.lot,
        start=np.zeros(len(town.lot), np.int32),
        end=np.full(len(town.lot), town.closes.max(), np.int32),
        capacity=town.spaces,
        arrive=arrive,
        depart=depart,
        first=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        group=found.group[kept],
        value=found.value[kept],
        until=until[kept].astype(np.int32),
    )


class ReleasedSpace:
    """Space that no-shows left, to count who stands on it; classes by slots, as the desk counts them."""

    def __init__(self, town: Town, slots: int) -> None:
        self._spaces = town.spaces
        self._free_again = np.zeros((len(town.lot), slots), np.int16)
        self._used = np.zeros_like(self._free_again)

    def taken(self, group: int, begins: int, until: int) -> bool:
        """A stay is granted; True: without what a no-show left it would not have fitted."""
        span = slice(begins // SLOT_MIN, slots_of(until))
        left = self._free_again[group, span]
        needed = (self._used[group, span] + left >= self._spaces[group]) & (left > 0)
        left -= needed
        self._used[group, span] += 1
        return bool(needed.any())

    def counted(self, group: int, begins: int, until: int) -> None:
        """A stay is counted here from now on."""
        self._used[group, begins // SLOT_MIN : slots_of(until)] += 1

    def given_back(self, group: int, begins: int, until: int) -> None:
        """A stay ends before its time."""
        self._used[group, slots_of(begins) : slots_of(until)] -= 1

    def left_by_no_show(self, group: int, begins: int, until: int) -> None:
        """A promise was released."""
        self._free_again[group, slots_of(begins) : slots_of(until)] += 1


class Bookings:
    """The desk of the month, its prices and how they follow the bookings."""

    def __init__(self, town: Town, past: Mapping[int, list[Asked]] | None) -> None:
        self._town, self._past = town, past
        nothing = np.zeros(0, np.int32)
        offer = instance_of(town, nothing, nothing, town.candidates(nothing, nothing, nothing, nothing), None)
        self.desk = NightDesk(offer, members=len(MEMBERS))
        self._prices = np.zeros((len(town.lot), self.desk.slots))  # of each slot
        self._forecasts: dict[int, Forecast] = {}
        self._warm: dict[int, Prices] = {}
        self._grants: dict[str, Grant] = {}
        self.asked = np.zeros(NIGHTS, np.int64)

    def ask(
        self, asker: Asker, times: tuple[int, int, int], *, found: Candidates, place: int, buffers: Buffers, night: int
    ) -> tuple[Grant, int] | None:
        """The grant and its value, or None where the request is refused.

        Args:
            asker: who asks.
            times: now, arrival, departure.
            found: candidates of requests, of which this one's are at `place`.
            place: see there.
            buffers: in force now; they decide which candidates stay.
            night: whose demand it is.
        """
        now, arrive, depart = times
        span = slice(int(found.first[place]), int(found.first[place + 1]))
        group = found.group[span]
        lot, hour = self._town.lot[group], int(local_hour(depart))
        kept = depart + buffers.owner[lot, hour] <= found.closes[span]
        until = depart + buffers.guest[lot, hour]
        columns = Columns(group[kept], found.value[span][kept], until[kept])
        self.asked[night] += not asker.again
        answer = self.desk.decide(Request(asker, arrive, depart, columns, earliest=now))
        if not isinstance(answer, Accepted):
            return None
        self._grants[asker.key] = answer.grant
        return answer.grant, answer.value

    def moved(self, key: str, group: int, now: int, until: int) -> bool:
        """Counts a grant in another class from now on, if that has room."""
        grant = self._grants[key]
        begins = max(now // SLOT_MIN * SLOT_MIN, grant.arrive)
        self.desk.depart(key, begins)
        there = Grant(replace(grant.asker, again=True), group, begins, max(until, begins + 1))
        try:
            self.desk.replay([Accepted(there, 0, 0.0)])
        except InvalidInputError:
            self.desk.replay([Accepted(replace(there, group=grant.group), 0, 0.0)])
            return False
        self._grants[key] = there
        return True

    def begin(self, night: int, buffers: Buffers) -> list[int]:
        """Prices a night for the first time; the minutes at which it is to be priced again."""
        if self._past is None or not self._past[night]:
            return []
        days = [
            PastDay(
                instance_of(self._town, *_from(night, past), buffers), past.book - night * DAY_MIN, past.demand.member
            )
            for past in self._past[night]
        ]
        forecast = Forecast(days, groups=len(self._town.lot), slots=slots_of(_HORIZON), members=len(MEMBERS))
        self._forecasts[night] = forecast
        epochs = [night * DAY_MIN + minute for minute in forecast.epochs(EPOCHS).tolist()]
        self.price(night, epochs[0])
        return epochs[1:]

    def price(self, night: int, now: int) -> None:
        """Prices a night on what is left of it."""
        begins, slot = night * DAY_MIN, night * _DAY_SLOTS
        forecast = self._forecasts[night]
        residual = self.desk.snapshot().residual[:, slot : slot + forecast.slots]
        warm = self._warm.get(night)
        self._warm[night] = solve_prices(
            forecast,
            np.maximum(residual, 0),
            now=now - begins,
            asked=int(self.asked[night]),
            warm=warm,
            steps=_STEPS_COLD if warm is None else _STEPS_WARM,
        )
        each = np.diff(self._warm[night].cumulative, axis=1)
        self._prices[:, slot : slot + _DAY_SLOTS] = each[:, :_DAY_SLOTS]
        if night + 1 not in self._warm:
            self._prices[:, slot + _DAY_SLOTS : slot + forecast.slots] = each[:, _DAY_SLOTS:]
        free = free_prices(len(self._town.lot), self.desk.slots, len(MEMBERS))
        np.cumsum(self._prices, axis=1, out=free.cumulative[:, 1:])
        self.desk.use(free)


def _from(night: int, past: Asked) -> tuple[NDArray[np.int32], NDArray[np.int32], Candidates]:
    """Arrivals, departures and candidates on the clock of the night itself."""
    zero, found = np.int32(night * DAY_MIN), past.candidates
    moved = Candidates(found.first, found.group, found.closes - zero, found.walk, found.value)
    return past.arrive - zero, past.depart - zero, moved
