"""Prices of the capacity that is left, for decisions that are made one by one (bid prices).

What a stay takes away from those who book later is estimated on past days of the same kind. Each past day is solved by
itself on the capacity that is left now, with its requests that book later than now; the prices in force are the mean of
the days' own. The mean of the days' prices, rather than the price of their mean, because a class of three spaces is
scarce on some days and not on others: pooled, they look as one smooth day without scarcity (measured on three drawn
nights of 1,000 spaces and 5,000 requests, 160 re-solves: 94.5 % of the full-information bound against 93.9 %).

Every request of a past day weighs as much as the night so far brings more or fewer than the days did up to the same
minute. On three nights of the generator, of that size, it keeps 95.2 % where 30 % fewer come than expected and 94.9 %
where 30 % more do; without the correction it is 89.9 % (capacity is kept for people who never come) and 94.2 %.

The descent is that of the batch dual (parking_core.allocation.smoothing), on a grid of slots instead of events, warm
from the prices before: a few steps a re-solve. Bid prices by repeated dual solutions: Jasin and Kumar 2012 (network
revenue management); sampled days instead of expectations: Talluri and van Ryzin 1999.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.smoothing import best_gains, descend
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance

    Columns = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]

SLOT_MIN = 5
"""Minutes; capacity is counted in slots, a stay takes every slot that it touches."""
_HOT, _COOL = 0.1, 0.015
"""First temperature of a cold start, and the one of every re-solve, as fractions of the mean best value."""
_COLD_STEPS = 100
_WARM_STEPS, _FEWEST_STEPS, _COLUMN_STEPS = 10, 4, 6_000_000
"""Steps of a re-solve, fewer where steps times columns would be more than the last number: some 0.2 s."""
_PRIOR_REQUESTS = 20.0
"""So many requests as expected are taken as seen before the first one: five bookings are no trend."""
_LEAST_VOLUME, _MOST_VOLUME = 0.25, 4.0


def slots_of(minutes: int) -> int:
    """Slots that reach `minutes` from the night's zero."""
    return -(-minutes // SLOT_MIN)


@dataclass(frozen=True, slots=True)
class PastDay:
    """What was asked on a past day of the same kind.

    Attributes:
        instance: its requests with their columns, in the groups of tonight.
        book: int32[R] minute at which each request became known, on the clock of the instance.
        member: int32[R] to which group of people (floors of acceptance) each belongs; all to 0 when absent.

    Raises:
        InvalidInputError: the lengths differ, or a member is negative.
    """

    instance: Instance
    book: NDArray[np.int32]
    member: NDArray[np.int32] | None = None

    def __post_init__(self) -> None:
        for name, array in (("book", self.book), ("member", self.member)):
            if array is not None and len(array) != self.instance.requests:
                raise InvalidInputError(f"{name} has {len(array)} entries, the day has {self.instance.requests}.")
        if self.member is not None and self.member.size and int(self.member.min()) < 0:
            raise InvalidInputError("The member of a request is negative.")


@dataclass(frozen=True, slots=True)
class _Day:
    """A past day in the order of booking, its columns in nodes of the slot grid."""

    book: NDArray[np.int32]
    member: NDArray[np.int32]
    member_of_column: NDArray[np.int32]
    first: NDArray[np.int64]
    value: NDArray[np.float64]
    tail: NDArray[np.int32]
    head: NDArray[np.int32]

    def later(self, now: int, value: NDArray[np.float64]) -> tuple[Columns, NDArray[np.int32]]:
        """Columns and members of the requests that book after `now`."""
        skip = int(np.searchsorted(self.book, now, side="right"))
        return (self.first[skip:], value, self.tail, self.head), self.member[skip:]


class Forecast:
    """Past days of one kind, made ready for solving once.

    Args:
        days: in any order; their groups must be those of the night, column for column.
        groups: number of groups of the night.
        slots: of the night's grid.
        members: groups of people that floors tell apart, 1 when there are none.

    Raises:
        InvalidInputError: there is no day, a day has other groups or a member or a time out of range.
    """

    def __init__(self, days: Sequence[PastDay], *, groups: int, slots: int, members: int = 1) -> None:
        if not days:
            raise InvalidInputError("A forecast needs one past day at least; without any, first come is first served.")
        self.groups, self.slots, self.members = groups, slots, members
        self.ready = tuple(self._ready(day) for day in days)
        books = np.sort(np.concatenate([day.book for day in self.ready]))
        self._books: NDArray[np.int32] = books
        best = [float(np.maximum.reduceat(d.value, d.first[:-1]).mean()) for d in self.ready if len(d.first) > 1]
        self.mean_best = float(np.mean(best)) if best else 0.0

    @property
    def days(self) -> int:
        """Number of past days."""
        return len(self.ready)

    def expected_by(self, now: int) -> float:
        """Requests known up to and including minute `now` on a mean past day."""
        return float(np.searchsorted(self._books, now, side="right")) / self.days

    def epochs(self, count: int) -> NDArray[np.int32]:
        """Minutes int32[<= count], ascending, that part the bookings of a mean day equally: when to re-solve."""
        if not self._books.size:
            return np.zeros(0, np.int32)
        minutes: NDArray[np.int32] = np.unique(self._books[np.arange(count) * len(self._books) // count])
        return minutes

    def volume(self, now: int, asked: int) -> float:
        """How many times as much the night asks for as a mean past day did: `asked` so far against the expected."""
        ratio = (asked + _PRIOR_REQUESTS) / (self.expected_by(now) + _PRIOR_REQUESTS)
        return min(max(ratio, _LEAST_VOLUME), _MOST_VOLUME)

    def _ready(self, day: PastDay) -> _Day:
        """The day without requests that no group admits to; they ask for nothing that has a price."""
        instance = day.instance
        if instance.groups != self.groups:
            raise InvalidInputError(f"A past day has {instance.groups} groups, the night has {self.groups}.")
        counts = np.diff(instance.first)
        order = np.argsort(day.book, kind="stable")
        order = order[counts[order] > 0]
        column = _columns_of(instance.first, order)
        member = np.zeros(instance.requests, np.int32) if day.member is None else day.member.astype(np.int32)
        if member.size and int(member.max()) >= self.members:
            raise InvalidInputError(f"A past request has member {int(member.max())}, there are {self.members}.")
        arrive = instance.arrive[instance.request_of_column][column] // SLOT_MIN
        until = -(-instance.until[column] // SLOT_MIN)
        if column.size and (int(arrive.min()) < 0 or int(until.max()) > self.slots):
            raise InvalidInputError(f"A past request is outside the {self.slots} slots of the night.")
        node = instance.group[column] * (self.slots + 1)
        first = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts[order])])
        return _Day(
            book=np.ascontiguousarray(day.book[order], np.int32),
            member=np.ascontiguousarray(member[order]),
            member_of_column=np.repeat(member[order], counts[order]),
            first=first,
            value=instance.value[column].astype(np.float64),
            tail=(node + arrive).astype(np.int32),
            head=(node + until).astype(np.int32),
        )


def _columns_of(first: NDArray[np.int64], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Columns of the requests `order`, one request after the other."""
    counts = np.diff(first)[order]
    begins = np.cumsum(counts) - counts
    columns: NDArray[np.int64] = np.arange(int(counts.sum())) + np.repeat(first[order] - begins, counts)
    return columns


@dataclass(frozen=True, slots=True)
class Prices:
    """What capacity costs, and what is added to the worth of requests that a floor stands behind.

    Attributes:
        cumulative: float64[G, S+1] fen, rising along slots; a stay in slots a .. b-1 costs [g, b] - [g, a].
        by_day: float64[D, G, S+1], what each past day alone says; the next re-solve starts from it.
        bonus: float64[M] fen, added to the value of every request of a member.
        expected_asked: float64[M], requests that are still to come, by member.
        expected_worth: float64[M], those of them clearly worth the price of some column of theirs; of those that are
            worth just about the price some find no space.
        made_at: minute of which the capacity was that is priced.
        volume: how many times a mean past day the night was taken for.
    """

    cumulative: NDArray[np.float64]
    by_day: NDArray[np.float64]
    bonus: NDArray[np.float64]
    expected_asked: NDArray[np.float64]
    expected_worth: NDArray[np.float64]
    made_at: int
    volume: float


def free_prices(groups: int, slots: int, members: int = 1) -> Prices:
    """Capacity costs nothing: whoever comes first is served first."""
    none = np.zeros(members)
    return Prices(np.zeros((groups, slots + 1)), np.zeros((0, groups, slots + 1)), none, none, none, 0, 1.0)


def utilisation_prices(
    residual: NDArray[np.int32], capacity: NDArray[np.int32], *, full_fen_h: float, steepness: float = 4.0, now: int = 0
) -> Prices:
    """Prices without any history: an hour costs more, exponentially, the fuller its slot is.

    A slot with the part u taken costs full * (e^(k u) - 1) / (e^k - 1) an hour (exponential potentials of online
    routing: Awerbuch, Azar and Plotkin 1993). On three drawn nights of 1,000 spaces and 5,000 requests it gains 1.5 points
    of the bound on first come (k 2, 450 fen), and loses 2.4 with 900 fen: nobody who has history should use it.

    Args:
        residual: int32[G, S] spaces left.
        capacity: int32[G] or [G, S] spaces there are.
        full_fen_h: fen for an hour of the last space.
        steepness: k; the larger, the longer capacity stays cheap.
        now: minute of which `residual` is.
    """
    spaces = np.broadcast_to(capacity.reshape(len(residual), -1), residual.shape)
    taken = 1.0 - np.divide(residual, spaces, out=np.zeros(residual.shape), where=spaces > 0)
    price = full_fen_h * SLOT_MIN / 60.0 * np.expm1(steepness * taken) / np.expm1(steepness)
    free = free_prices(len(residual), residual.shape[1])
    cumulative = free.cumulative.copy()
    np.cumsum(price, axis=1, out=cumulative[:, 1:])
    return Prices(cumulative, free.by_day, free.bonus, free.expected_asked, free.expected_worth, now, 1.0)


def solve_prices(
    forecast: Forecast,
    residual: NDArray[np.int32],
    *,
    now: int,
    asked: int,
    warm: Prices | None = None,
    bonus: NDArray[np.float64] | None = None,
    steps: int | None = None,
) -> Prices:
    """Prices of `residual` for those who book after `now`; the same arguments give the same to the last bit.

    Args:
        forecast: past days of the same kind.
        residual: int32[G, S] spaces left in every slot, >= 0.
        now: minute; requests of the past days that were known by then no longer count.
        asked: requests of the night known up to `now`, for the correction of the volume.
        warm: the prices before; without them the descent starts cold and takes ten times as long.
        bonus: float64[M] fen on every value by member; those of `warm`, or none, when absent.
        steps: of the descent; when absent 100 cold, 10 warm, down to 4 where there are very many columns.

    Raises:
        InvalidInputError: `residual` or `bonus` has not the shape of the forecast.
    """
    if residual.shape != (forecast.groups, forecast.slots):
        raise InvalidInputError(f"Residual capacity has shape {residual.shape}, not that of the forecast.")
    if warm is not None and len(warm.by_day) != forecast.days:
        warm = None
    extra = bonus if bonus is not None else (warm.bonus if warm is not None else np.zeros(forecast.members))
    if extra.shape != (forecast.members,):
        raise InvalidInputError(f"Bonuses have shape {extra.shape}, there are {forecast.members} members.")
    volume = forecast.volume(now, asked)
    room = np.zeros((forecast.groups, forecast.slots + 1), np.int64)
    room[:, :-1] = residual
    cold = warm is None
    count = steps if steps is not None else (_COLD_STEPS if cold else _warm_steps(forecast, now))
    hottest = _HOT if cold else _COOL
    mean = forecast.mean_best  # 0: no past day asked for anything, and nothing costs anything
    temperatures = np.geomspace(hottest * mean, _COOL * mean, count) if mean > 0 else np.zeros(0)
    shape = (forecast.days, *room.shape)
    by_day = np.zeros(shape) if warm is None else warm.by_day.copy()
    values = [day.value + extra[day.member_of_column] for day in forecast.ready]
    for day, value, potential in zip(forecast.ready, values, by_day, strict=True):
        columns, _ = day.later(now, value)
        _descend(columns, room, potential.reshape(-1), volume, temperatures)
    cumulative = by_day.mean(axis=0)
    asked_later, worth = _expected(forecast, cumulative, values, now)
    return Prices(cumulative, by_day, extra.copy(), asked_later * volume, worth * volume, now, volume)


def _warm_steps(forecast: Forecast, now: int) -> int:
    columns = sum(
        int(day.first[-1] - day.first[np.searchsorted(day.book, now, side="right")]) for day in forecast.ready
    )
    return min(max(_COLUMN_STEPS // max(columns, 1), _FEWEST_STEPS), _WARM_STEPS)


def _descend(
    columns: Columns,
    room: NDArray[np.int64],
    potential: NDArray[np.float64],
    volume: float,
    temperatures: NDArray[np.float64],
) -> None:
    """Improves `potential` (float64[G*(S+1)]) in place; nothing costs anything when nobody comes any more."""
    requests = len(columns[0]) - 1
    if requests == 0 or not temperatures.size:
        potential[:] = 0.0 if requests == 0 else potential
        return
    groups, width = room.shape
    first = np.arange(groups + 1, dtype=np.int64) * width
    state = (potential, potential.copy(), np.ones(1))
    descend(columns, np.full(requests, volume), (first, room.reshape(-1)), state, temperatures)


def _expected(
    forecast: Forecast, cumulative: NDArray[np.float64], values: Sequence[NDArray[np.float64]], now: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Requests of a mean past day that book after `now`, and those worth their price, both float64[M]."""
    asked, worth = np.zeros(forecast.members), np.zeros(forecast.members)
    for day, value in zip(forecast.ready, values, strict=True):
        columns, member = day.later(now, value)
        gain, best = np.empty(len(value)), np.empty(len(member))
        best_gains(columns, cumulative.reshape(-1), gain, best)
        asked += np.bincount(member, minlength=forecast.members)
        worth += np.bincount(member[best > _COOL * forecast.mean_best], minlength=forecast.members)
    return asked / forecast.days, worth / forecast.days
