"""What capacity costs those who book next: one UTC day after the other, re-solved while people book.

asked_demand of past days of the kind ──► forecast, kept while nothing changes ─┐
capacity that is left, requests so far ─────────────────────────────────────────┴─► prices ─► capacity_prices
                                                                                 floors ───► demand_bonuses

A run is of one UTC day: in China a night is one such day, stays that reach into another are split (parking_core.demand),
and a day that changes is solved alone within half a second. All days for which promises are made are priced, because
whoever books early would otherwise take what is scarce for nothing; today and tomorrow every minute, days further ahead
every half hour, and any day as soon as two of a hundred expected requests have come since.

Past days of the same kind are days whose date and following date are of the same kinds of the work calendar (a Friday's
morning after is not a Tuesday's), the newest eight; where there are none, of the same kind of date. Without history
there are no prices: first come, first served. Prices by utilisation alone would gain 1.5 points of the bound at most (78.6 % against
77.2, three drawn nights of 1,000 spaces and 5,000 requests) and lose 2.4 where their one parameter is twice too high.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.allocation.fairness import FairnessPolicy, fair_prices
from parking_core.allocation.online import DeskState
from parking_core.allocation.prices import Forecast, solve_prices
from parking_core.demand import past_day
from parking_core.slots import SLOTS, begins_of, day_of, minute_of
from parking_core.store import capacity, demand, sharing
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from psycopg import Connection

    from parking_core.allocation.prices import Prices
    from parking_core.demand import Demand
    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.offers import Offer
    from parking_core.work_calendar import DayKind, DayKinds

PAST_DAYS: Final = 8  # of a kind; in the study behind the allocator more brought nothing
LOOK_BACK: Final = timedelta(days=120)  # eight Fridays, and holidays between them
_NEAR_DAYS: Final = 1  # ahead
_NEAR, _FAR = timedelta(minutes=1), timedelta(minutes=30)
_SOONEST: Final = timedelta(seconds=5)  # however many ask
_ENOUGH, _LEAST = 0.02, 5  # of the requests of a mean past day, and in numbers
_FORECASTS_KEPT: Final = 8  # kinds of days, some with other windows; of 160,000 requests 40 MB each
_REST: Final = "others"  # everybody whom no floor names
_LONG_AGO: Final = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Run:
    """What was priced, and from what."""

    day: date
    past: tuple[date, ...]  # none: no history, no prices
    asked: int  # so far
    volume: float  # how many times as much as on a past day is asked for
    bonus_fen: dict[str, float]  # by group


@dataclass(slots=True)
class _Night:
    """What is remembered of a day's last run."""

    past: tuple[date, ...] = ()
    prices: Prices | None = None
    expected: float = 0.0
    solved_at: datetime = _LONG_AGO
    since: int = 0  # requests that came after it


@dataclass(slots=True)
class PriceRuns:
    """One a process, used by one thread at a time."""

    offers: OffersInForce
    calendar: DayKinds = field(default_factory=WorkCalendar)
    _key: tuple[Any, ...] | None = None
    _newest: int = 0
    _nights: dict[date, _Night] = field(default_factory=dict)
    _demand: dict[date, Demand] = field(default_factory=dict)
    _forecasts: dict[tuple[Any, ...], Forecast] = field(default_factory=dict)

    def step(self, connection: Connection[Any], now: datetime) -> Run | None:
        """Prices the day that needs it most; None: none does. One transaction."""
        with connection.transaction():
            offer = self.offers.of(connection, now)
            if not offer.classes:
                return None
            self._follow(connection, offer, now)
            day = self._due(offer, now)
            return None if day is None else self._run(connection, offer, day, now)

    def _follow(self, connection: Connection[Any], offer: Offer, now: datetime) -> None:
        """Takes note of what has changed since the step before."""
        newest = demand.newest(connection)
        if self._key is not None:
            for day, asked in demand.asked_between(connection, self._newest, newest).items():
                if day in self._nights:
                    self._nights[day].since += asked
        self._newest = newest
        today = day_of(now)
        self._nights = {day: night for day, night in self._nights.items() if day >= today}
        self._demand = {day: asked for day, asked in self._demand.items() if day >= today - LOOK_BACK}
        key = ([each.id for each in offer.classes], offer.policy, sharing.version(connection))
        if key == self._key:
            return
        if self._key is not None and (key[0] != self._key[0] or offer.policy.floors != self._key[1].floors):
            self._nights.clear()  # prices of other groups are no start
        for night in self._nights.values():
            night.solved_at = _LONG_AGO
        self._forecasts.clear()
        self._key = key

    def _due(self, offer: Offer, now: datetime) -> date | None:
        """The nearest day whose prices are too old, or were overtaken by bookings."""
        for ahead in range(offer.policy.horizon_days):
            day = day_of(now) + timedelta(days=ahead)
            night = self._nights.setdefault(day, _Night())
            age = now - night.solved_at
            many = night.since >= max(_ENOUGH * night.expected, _LEAST) and age >= _SOONEST
            if many or age >= (_NEAR if ahead <= _NEAR_DAYS else _FAR):
                return day
        return None

    def _run(self, connection: Connection[Any], offer: Offer, day: date, now: datetime) -> Run:
        night = self._nights[day]
        past = self._past(connection, day, now)
        night.solved_at, night.since = now, 0
        if not past:
            return Run(day, (), 0, 1.0, {})
        ids = [each.id for each in offer.classes]
        around = capacity.read_offered(connection, ids, day - timedelta(days=1), 3) > 0
        forecast = self._forecast(connection, offer, past, around)
        night.expected = forecast.expected_by(SLOTS * 5)
        state = self._state(connection, offer, day, around)
        warm = self._warm(day, past)
        prices = _solve(offer, forecast, state, now=minute_of(now, begins_of(day)), warm=warm)
        night.past, night.prices = past, prices
        bonus = dict(zip(sorted(offer.policy.floors), prices.bonus[1:].tolist(), strict=True))
        capacity.keep_prices(connection, ids, day, np.diff(prices.cumulative, axis=1), now)
        demand.keep_bonuses(connection, day, bonus, now)
        return Run(day, past, state.asked, prices.volume, bonus)

    def _past(self, connection: Connection[Any], day: date, now: datetime) -> tuple[date, ...]:
        """The newest days of the same kind that are over and that people could already ask for, oldest first."""
        began = demand.began_at(connection)
        if began is None:
            return ()
        last, first = day_of(now) - timedelta(days=1), max(day_of(began), day_of(now - LOOK_BACK)) + timedelta(days=1)
        days = [last - timedelta(days=back) for back in range((last - first).days + 1)]
        kind = self._kind(day)
        same = [each for each in days if self._kind(each) == kind] or [
            each for each in days if self._kind(each)[0] == kind[0]
        ]
        return tuple(reversed(same[:PAST_DAYS]))

    def _kind(self, day: date) -> tuple[DayKind, DayKind]:
        local = begins_of(day).astimezone(self.offers.zone).date()
        return self.calendar.day_kind(local), self.calendar.day_kind(local + timedelta(days=1))

    def _forecast(
        self, connection: Connection[Any], offer: Offer, past: tuple[date, ...], around: NDArray[np.bool_]
    ) -> Forecast:
        key = (past, np.packbits(around).tobytes())
        found = self._forecasts.pop(key, None)
        if found is None:
            members = _members(offer)
            for each in past:
                if each not in self._demand:
                    self._demand[each] = demand.touching(connection, each)
            days = [past_day(offer, self._demand[each], each, around, members) for each in past]
            found = Forecast(days, groups=len(offer.classes), slots=SLOTS, members=len(members) + 1)
        self._forecasts[key] = found  # the one used last is the last to go
        while len(self._forecasts) > _FORECASTS_KEPT:
            del self._forecasts[next(iter(self._forecasts))]
        return found

    def _state(self, connection: Connection[Any], offer: Offer, day: date, around: NDArray[np.bool_]) -> DeskState:
        """What is left, and who asked so far of those whom a class admits."""
        members = _members(offer)
        tonight = past_day(offer, demand.touching(connection, day), day, around, members)
        admitted = np.diff(tonight.instance.first) > 0
        member = tonight.member if tonight.member is not None else np.zeros(0, np.int32)
        served = np.zeros(len(members) + 1, np.int64)
        for group, count in demand.served(connection, day).items():
            served[members.get(group, 0)] += count
        free = capacity.read(connection, [each.id for each in offer.classes], day, 1).free
        asked_of = np.bincount(member[admitted], minlength=len(members) + 1).astype(np.int64)
        return DeskState(free, int(admitted.sum()), asked_of, served, {})

    def _warm(self, day: date, past: tuple[date, ...]) -> Prices | None:
        """Where the descent starts: this day's prices before, or those of another day with the same past."""
        night = self._nights[day]
        if night.prices is None:
            return next((each.prices for each in self._nights.values() if each.past == past and each.prices), None)
        if night.past == past:
            return night.prices
        place = {each: number for number, each in enumerate(night.past)}
        mean = night.prices.cumulative
        rows = [night.prices.by_day[place[each]] if each in place else mean for each in past]
        return replace(night.prices, by_day=np.stack(rows))


def _members(offer: Offer) -> dict[str, int]:
    """Numbers of the groups with floors; everybody else is 0."""
    return {group: number for number, group in enumerate(sorted(offer.policy.floors), start=1)}


def _solve(offer: Offer, forecast: Forecast, state: DeskState, *, now: int, warm: Prices | None) -> Prices:
    """With bonuses where the policy has floors."""
    floors = offer.policy.floors
    if not any(floors.values()):
        return solve_prices(forecast, state.residual, now=now, asked=state.asked, warm=warm)
    groups = sorted(floors)
    policy = FairnessPolicy(members=(_REST, *groups), floors=(0.0, *(floors[group] for group in groups)))
    return fair_prices(policy, forecast, state, now=now, warm=warm)
