"""Requests decided one by one, at once and for ever (pure; the flow around it keeps the record).

The desk of a night holds what capacity is left in every slot of every group, and what capacity costs. A request takes
the group in which its value exceeds the price of its stay by most, among those that have a space in every slot of it;
of equal ones that with the shortest window, which fewest others can use. Where none exceeds its price the request is
refused, with alternatives that would be accepted if they were asked for next: further lots at the same time, the same
stay a little earlier or later. A promise is of a lot; which space it is, is decided at the barrier.

Prices of nothing make it first come, first served: the baseline, and the fallback while there is no history. They come
from parking_core.allocation.prices, are solved beside the decisions and put in force by one assignment.

The state follows from the record of answers, cancellations and departures: `replay` takes it through the same steps
after a restart. A desk belongs to one thread; `snapshot` is what a background thread may look at.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.answers import (
    Accepted,
    Alternative,
    Answer,
    Asker,
    Cancelled,
    Departed,
    Entry,
    Grant,
    Refusal,
    Refused,
    Request,
)
from parking_core.allocation.choice import KEPT, SHIFTS, best_column, moved_columns
from parking_core.allocation.prices import SLOT_MIN, Prices, free_prices, slots_of, solve_prices
from parking_core.errors import InvalidInputError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance
    from parking_core.allocation.prices import Forecast


@dataclass(frozen=True, slots=True, eq=False)
class DeskState:
    """A copy of what a desk holds.

    Attributes:
        residual: int32[G, S] spaces left in each slot.
        asked: requests so far, without repeated ones.
        asked_of: int64[M] of them by member, without those that cancelled.
        served_of: int64[M] grants by member, without those that cancelled.
        grants: grants that stand, by key.
    """

    residual: NDArray[np.int32]
    asked: int
    asked_of: NDArray[np.int64]
    served_of: NDArray[np.int64]
    grants: Mapping[str, Grant]


def resolve(state: DeskState, forecast: Forecast, *, now: int, warm: Prices | None) -> Prices:
    """Prices for a desk in `state` at minute `now`; touches no desk, so that it may run in a thread of its own."""
    return solve_prices(forecast, state.residual, now=now, asked=state.asked, warm=warm)


class NightDesk:
    """Capacity and prices of one night; answers requests one by one.

    Args:
        offer: the night's groups; its requests are not looked at.
        prices: to begin with; none, which is first come, first served, when absent.
        nearest: prefer the lot that stands first in the columns to the one that gains most (a baseline).
        members: groups of people that floors of acceptance tell apart.
        most_active: grants that a person may hold at once; no limit when absent.
        latest_depart: int32[G] minute by which guests leave a group (its end less the owner's buffer), for
            alternatives; the windows' ends when absent.
    """

    def __init__(
        self,
        offer: Instance,
        prices: Prices | None = None,
        *,
        nearest: bool = False,
        members: int = 1,
        most_active: int | None = None,
        latest_depart: NDArray[np.int32] | None = None,
    ) -> None:
        self.slots = slots_of(int(offer.end.max(initial=0)))
        self._lot = offer.lot
        self._window = (offer.end - offer.start).astype(np.int32)
        latest = offer.end if latest_depart is None else latest_depart.astype(np.int32)
        self._bounds = (offer.start, offer.end, latest)
        self._residual = np.repeat(offer.capacity[:, None], self.slots, axis=1)
        self._nearest, self._most_active = nearest, most_active
        self._grants: dict[str, Grant] = {}
        self._held: dict[str, int] = {}
        self._asked = 0
        self._asked_of, self._served_of = np.zeros(members, np.int64), np.zeros(members, np.int64)
        self.use(prices or free_prices(len(self._lot), self.slots, members))

    @property
    def prices(self) -> Prices:
        """Prices in force."""
        return self._prices

    def use(self, prices: Prices) -> None:
        """Puts `prices` in force.

        Raises:
            InvalidInputError: they are of other groups, slots or members.
        """
        if prices.cumulative.shape != (len(self._lot), self.slots + 1) or len(prices.bonus) != len(self._asked_of):
            raise InvalidInputError("Prices are of other groups, slots or members than the desk has.")
        self._prices = prices
        self._state = (self._residual, prices.cumulative, self._lot, self._window)

    def snapshot(self) -> DeskState:
        """A copy of the state."""
        of = (self._asked_of.copy(), self._served_of.copy())
        return DeskState(self._residual.copy(), self._asked, *of, dict(self._grants))

    def decide(self, request: Request) -> Answer:
        """Accepts `request` into a group, which takes its capacity, or refuses it.

        Raises:
            InvalidInputError: its key has a grant already, or a group, a member or a time is not of this night.
        """
        self._check(request)
        answer = self._answer(request)
        self._count(request.asker)
        if isinstance(answer, Accepted):
            self._take(answer.grant)
        return answer

    def cancel(self, key: str) -> Cancelled:
        """Gives the capacity of a grant back.

        Raises:
            NotFoundError: no grant of that key stands.
        """
        grant = self._given_up(key)
        self._occupy(grant.group, grant.arrive, grant.until, 1)
        self._asked_of[grant.asker.member] -= not grant.asker.again
        self._served_of[grant.asker.member] -= 1
        return Cancelled(key)

    def depart(self, key: str, at: int) -> Departed:
        """Ends a grant at minute `at`; the slots after it are free, those before it were used.

        Raises:
            NotFoundError: no grant of that key stands.
        """
        grant = self._given_up(key)
        free_from = SLOT_MIN * slots_of(min(max(at, grant.arrive), grant.until))
        self._occupy(grant.group, free_from, grant.until, 1)
        return Departed(key, at)

    def replay(self, entries: Iterable[Entry]) -> None:
        """Takes a record of this night through the same steps, without deciding anything again.

        Raises:
            NotFoundError: it ends a grant that it did not make.
            InvalidInputError: it grants more than there is, so it is no record of this night.
        """
        for entry in entries:
            match entry:
                case Accepted(grant=grant):
                    self._count(grant.asker)
                    self._take(grant)
                case Refused(asker=asker):
                    self._count(asker)
                case Cancelled(key=key):
                    self.cancel(key)
                case Departed(key=key, at=at):
                    self.depart(key, at)

    def _check(self, request: Request) -> None:
        if request.asker.key in self._grants:
            raise InvalidInputError(f"Request {request.asker.key} has a grant already.")
        if not 0 <= request.asker.member < len(self._asked_of):
            raise InvalidInputError(f"Member {request.asker.member} is none of {len(self._asked_of)}.")
        for columns in (request.columns, request.others):
            if columns is None or not columns.group.size:
                continue
            if columns.group.min() < 0 or columns.group.max() >= len(self._lot):
                raise InvalidInputError(f"A group of request {request.asker.key} is none of {len(self._lot)}.")
            if columns.until.max() > self.slots * SLOT_MIN:
                raise InvalidInputError(f"Request {request.asker.key} stays beyond minute {self.slots * SLOT_MIN}.")

    def _answer(self, request: Request) -> Answer:
        asker, columns = request.asker, request.columns
        if self._most_active is not None and self._held.get(asker.person or "", 0) >= self._most_active:
            return Refused(asker, Refusal.PERSON_CAP, ())
        extra = float(self._prices.bonus[asker.member])
        arrays = (columns.group, columns.value, columns.until)
        chosen = best_column(self._state, arrays, request.arrive, extra, self._nearest)
        if chosen >= 0:
            group, until = int(columns.group[chosen]), int(columns.until[chosen])
            price = self._price(group, request.arrive, until)
            return Accepted(Grant(asker, group, request.arrive, until), int(columns.value[chosen]), price)
        reason = Refusal.KEPT if chosen == KEPT else Refusal.FULL
        return Refused(asker, reason if columns.group.size else Refusal.NOWHERE, self._alternatives(request, extra))

    def _alternatives(self, request: Request, extra: float) -> tuple[Alternative, ...]:
        """The best further lot at the same time, and the nearest earlier and later time in any lot."""
        own, others = request.columns, request.others
        columns = own if others is None else own.with_others(others)
        arrays = (columns.group, columns.value, columns.until)
        stay = (request.arrive, request.depart, max(request.earliest, 0), extra)
        found = moved_columns(self._state, self._bounds, arrays, stay, SHIFTS)
        chosen: dict[int, Alternative] = {}
        for shift, column in zip(SHIFTS.tolist(), found.tolist(), strict=True):
            side = (shift > 0) - (shift < 0)
            if column >= 0 and side not in chosen:
                group, until = int(columns.group[column]), int(columns.until[column]) + shift
                chosen[side] = Alternative(group, int(self._lot[group]), shift, int(columns.value[column]), until)
        return tuple(sorted(chosen.values(), key=lambda each: (abs(each.shift), each.shift)))

    def _price(self, group: int, arrive: int, until: int) -> float:
        row = self._prices.cumulative[group]
        return float(row[slots_of(until)] - row[arrive // SLOT_MIN])

    def _count(self, asker: Asker) -> None:
        self._asked += not asker.again
        self._asked_of[asker.member] += not asker.again

    def _take(self, grant: Grant) -> None:
        taken = self._residual[grant.group, grant.arrive // SLOT_MIN : slots_of(grant.until)]
        if grant.asker.key in self._grants or not taken.size or taken.min() < 1:
            raise InvalidInputError(f"Grant {grant.asker.key} stands already, or its group {grant.group} is full.")
        taken -= 1
        self._grants[grant.asker.key] = grant
        self._served_of[grant.asker.member] += 1
        if grant.asker.person is not None:
            self._held[grant.asker.person] = self._held.get(grant.asker.person, 0) + 1

    def _given_up(self, key: str) -> Grant:
        grant = self._grants.pop(key, None)
        if grant is None:
            raise NotFoundError(f"No grant {key} stands.")
        if grant.asker.person is not None:
            self._held[grant.asker.person] -= 1
        return grant

    def _occupy(self, group: int, arrive: int, until: int, change: int) -> None:
        self._residual[group, arrive // SLOT_MIN : slots_of(until)] += change
