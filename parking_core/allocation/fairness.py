"""Fairness as policy: floors of acceptance, a cap per person, and what each costs (pure).

Requests belong to members: a destination, or a group of people (patients, residents, night workers). A floor asks that
at least a share of a member's requests is served. It is met by a bonus on every request of the member, the multiplier
of the floor: the allocation of values plus bonuses is the best one for some floors, and raising the bonuses of members
that fall short (ascent of the Lagrangian dual) finds those that are wanted. For
any bonuses b >= 0 the bound of that allocation, less the sum of b times the requests wanted, bounds every allocation
that meets the floors; below 0 it proves that none does.

Batch: `fair_batch.allocate_fairly` solves the night again and again, and says what the floors and the cap took from the
value. Online: `fair_prices` moves the bonuses with every re-solve by what is served so far and what is expected, and
the desk counts the cap. Either way `MemberReport` says per member what was asked and served, and why a floor is not met.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.answers import Accepted, Cancelled
from parking_core.allocation.prices import solve_prices
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

    from parking_core.allocation.answers import Entry
    from parking_core.allocation.online import DeskState
    from parking_core.allocation.prices import Forecast, Prices

_RATE = 0.5  # of the mean best value, what a bonus moves by when the whole share is missing
_MOST_BONUS = 1.0  # of the mean best value; late in a night more of it moves nothing but the price
_AIM = 1.03  # of a floor: what is expected is served a little less often than expected, never more
_COLD_ROUNDS, _COLD_ROUND_STEPS = 30, 5


class FloorOutcome(StrEnum):
    """Whether a floor is met, and if not, why."""

    NONE = "none"  # no floor is set, or nobody asked
    MET = "met"
    NO_PLACE = "no_place"  # too few of the requests are admitted by any window near enough
    CAPACITY = "capacity"  # not even if the member had all spaces for itself
    TOGETHER = "together"  # proven: not all floors at once
    CAP = "cap"  # the cap per person leaves too few requests
    NOT_REACHED = "not_reached"  # no proof; the best allocation that was found falls short


@dataclass(frozen=True, slots=True, kw_only=True)
class FairnessPolicy:
    """What a district wants beside value.

    Attributes:
        members: names, in the order of their numbers.
        floors: least share of the requests served, by member, 0 to 1; 0 asks for nothing.
        most_per_person: grants that a person may hold at once; no cap when absent.

    Raises:
        InvalidInputError: names repeat, a floor is no share, or the lengths or the cap make no sense.
    """

    members: tuple[str, ...]
    floors: tuple[float, ...]
    most_per_person: int | None = None

    def __post_init__(self) -> None:
        if not self.members or len(set(self.members)) != len(self.members):
            raise InvalidInputError("Members of a fairness policy need names, each a different one.")
        if len(self.floors) != len(self.members):
            raise InvalidInputError(f"There are {len(self.members)} members and {len(self.floors)} floors.")
        for name, floor in zip(self.members, self.floors, strict=True):
            if not 0.0 <= floor <= 1.0:
                raise InvalidInputError(f"The floor of {name} is {floor}; give a share from 0 to 1.")
        if self.most_per_person is not None and self.most_per_person < 1:
            raise InvalidInputError("A cap per person is one grant at least.")

    def wanted(self, asked: NDArray[np.int64]) -> NDArray[np.int64]:
        """Requests of each member that its floor wants served of `asked`, int64[M]."""
        exact = np.asarray(self.floors) * asked
        wanted: NDArray[np.int64] = np.ceil(exact - 1e-9 * (1.0 + exact)).astype(np.int64)
        return wanted


@dataclass(frozen=True, slots=True)
class MemberReport:
    """What a member asked for and got.

    Attributes:
        name: of the member.
        asked: requests.
        served: of them.
        floor: share that is wanted.
        wanted: requests that the floor wants served.
        most: of them that can be served at most, whoever else is served; `asked` where nobody looked.
        outcome: whether the floor is met, and if not, why.
        bonus: fen, what the floor added to the value of each request.
    """

    name: str
    asked: int
    served: int
    floor: float
    wanted: int
    most: int
    outcome: FloorOutcome
    bonus: float

    @property
    def share(self) -> float:
        """Served of asked, 1.0 where nobody asked."""
        return self.served / self.asked if self.asked else 1.0

    @property
    def met(self) -> bool:
        """Whether what the floor wants is served."""
        return self.served >= self.wanted

    def sentence(self) -> str:
        """For people."""
        so_far = f"{self.name}: {self.served} of {self.asked} served ({self.share:.0%})"
        why = {
            FloorOutcome.NONE: "no floor",
            FloorOutcome.MET: f"the floor of {self.floor:.0%} is met",
            FloorOutcome.NO_PLACE: f"the floor wants {self.wanted}, only {self.most} are admitted anywhere near enough",
            FloorOutcome.CAPACITY: f"the floor wants {self.wanted}, even alone no more than {self.most} find a space",
            FloorOutcome.TOGETHER: f"the floor wants {self.wanted}, which no allocation gives to all floors at once",
            FloorOutcome.CAP: f"the floor wants {self.wanted}, the cap per person leaves no more than {self.most}",
            FloorOutcome.NOT_REACHED: f"the floor wants {self.wanted}, the best allocation found falls short",
        }
        return f"{so_far}; {why[self.outcome]}."


def outcome_of(*, served: int, wanted: int, most: int, short_of: FloorOutcome, impossible: bool) -> FloorOutcome:
    """Whether a floor is met, and if not, why; `short_of` is what limits `most`, `impossible` that of all floors."""
    if wanted == 0:
        return FloorOutcome.NONE
    if served >= wanted:
        return FloorOutcome.MET
    if most < wanted:
        return short_of
    return FloorOutcome.TOGETHER if impossible else FloorOutcome.NOT_REACHED


def fair_prices(
    policy: FairnessPolicy, forecast: Forecast, state: DeskState, *, now: int, warm: Prices | None = None
) -> Prices:
    """Prices for a desk in `state`, with bonuses moved towards the floors; touches no desk.

    A member's projected share is what is served so far and what is expected to be worth its price, of what is asked
    so far and still expected. Its bonus rises while that is below the floor and falls, to 0 at least, while above; one
    step a re-solve, many at the first one, before anybody asked.

    Raises:
        InvalidInputError: forecast or state tell apart other members than the policy.
    """
    if len(policy.members) != forecast.members or len(policy.members) != len(state.asked_of):
        raise InvalidInputError(f"The policy has {len(policy.members)} members, forecast or desk have others.")
    if warm is None or not len(warm.by_day):
        warm = solve_prices(forecast, state.residual, now=now, asked=state.asked)
        for _ in range(_COLD_ROUNDS if any(policy.floors) else 0):
            bonus = _next_bonus(policy, state, warm, forecast.mean_best)
            warm = solve_prices(
                forecast, state.residual, now=now, asked=state.asked, warm=warm, bonus=bonus, steps=_COLD_ROUND_STEPS
            )
    bonus = _next_bonus(policy, state, warm, forecast.mean_best)
    return solve_prices(forecast, state.residual, now=now, asked=state.asked, warm=warm, bonus=bonus)


def _next_bonus(policy: FairnessPolicy, state: DeskState, prices: Prices, mean_best: float) -> NDArray[np.float64]:
    floors = np.minimum(np.asarray(policy.floors) * _AIM, 1.0)
    asked = state.asked_of + prices.expected_asked
    missing = np.where(asked > 0, floors - (state.served_of + prices.expected_worth) / np.maximum(asked, 1e-9), 0.0)
    moved: NDArray[np.float64] = np.clip(prices.bonus + _RATE * mean_best * missing, 0.0, _MOST_BONUS * mean_best)
    return np.where(floors > 0, moved, 0.0)


def standing(policy: FairnessPolicy, state: DeskState, prices: Prices) -> tuple[MemberReport, ...]:
    """What every member asked for and got at the desk so far; `most` is not looked for.

    A floor that is not met is NOT_REACHED: online there is no proof that it could have been.
    """
    wanted = policy.wanted(state.asked_of)
    reports = []
    for m, (name, floor) in enumerate(zip(policy.members, policy.floors, strict=True)):
        asked, served = int(state.asked_of[m]), int(state.served_of[m])
        outcome = outcome_of(
            served=served, wanted=int(wanted[m]), most=asked, short_of=FloorOutcome.NOT_REACHED, impossible=False
        )
        bonus = float(prices.bonus[m])
        reports.append(MemberReport(name, asked, served, floor, int(wanted[m]), asked, outcome, bonus))
    return tuple(reports)


def value_of(record: Iterable[Entry]) -> int:
    """Fen that a desk's record is worth: values of what was granted and not cancelled.

    What floors cost online is this for a second desk, without floors, that answers the same requests under prices of
    its own, less this for the desk itself. Prices in force would overstate it: they hold the bonuses too.
    """
    worth: dict[str, int] = {}
    for entry in record:
        match entry:
            case Accepted(grant=grant, value=value):
                worth[grant.asker.key] = value
            case Cancelled(key=key):
                worth.pop(key, None)
            case _:
                pass
    return sum(worth.values())
