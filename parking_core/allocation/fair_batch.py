"""A whole night under a fairness policy: floors of acceptance and the cap per person (pure).

    without anything      the best allocation found: what floors and cap are measured against
    cap                   what a person holds beyond the cap, least worth first, is taken out and the night solved again
    what is possible      how many of a member can be served at most: admitted anywhere, by the cap, all spaces for it
    bonuses               raised where a floor is missed, lowered where it is exceeded; steps grow while the side stays
                          and shrink when it turns (Riedmiller and Braun 1993), until nothing much is left to gain
    trim                  the bonuses stay with as many requests as the floors want, and the night is solved once more

A floor that cannot be met is replaced by what is possible, and said so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.dual import solve_dual
from parking_core.allocation.fairness import FairnessPolicy, FloorOutcome, MemberReport, outcome_of
from parking_core.allocation.solve import Allocation, allocate
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance

    Solver = Callable[[Instance], Allocation]

_ROUNDS = 40
_GAP, _FINE_GAP, _LIMIT_S = 0.002, 0.0005, 10.0
"""Of the rounds, and of the first and the last solution, whose difference is what the floors are said to cost."""
_FIRST_STEP, _GROWTH, _SHRINK = 0.1, 1.5, 0.5
"""Bonus of the first round as a part of the mean value, and how steps change while the side stays or turns."""
_ENOUGH = 0.002  # of the bound of what meets the floors: better bonuses gain no more than that
_SLACK = 0.03  # of a target; that much more is not worth another round
_CAP_ROUNDS, _CAP_ROUNDS_WITH_BONUS = 8, 2
"""Rounds of taking out what is beyond the cap and solving again; after them what still is gets dropped."""


@dataclass(frozen=True, slots=True)
class FairAllocation:
    """An allocation under a policy.

    Attributes:
        group_of_request: int32[R], -1 where refused.
        value: fen, without bonuses.
        upper_bound: fen; no allocation that serves as many of each member as is wanted and possible is worth more.
        cost_of_cap: fen that the cap per person took from the best allocation found without it.
        cost_of_floors: fen that the floors took further, 0 where less than the solutions are exact to.
        members: one report a member.
        rounds: allocations that were solved.
    """

    group_of_request: NDArray[np.int32]
    value: int
    upper_bound: int
    cost_of_cap: int
    cost_of_floors: int
    members: tuple[MemberReport, ...]
    rounds: int


def allocate_fairly(
    instance: Instance,
    member: NDArray[np.int32],
    policy: FairnessPolicy,
    *,
    person: NDArray[np.int32] | None = None,
    solver: Solver | None = None,
    rounds: int = _ROUNDS,
) -> FairAllocation:
    """An allocation that meets the floors and the cap of `policy` at little cost in value, with reasons where it fails.

    Args:
        instance: one night.
        member: int32[R] number of the member of each request.
        policy: what is wanted.
        person: int32[R] who asks, -1 for nobody in particular; a cap needs it.
        solver: of one night; `allocate` when absent, to 0.2 % in the rounds and to 0.05 % at both ends, within 10 s each.
        rounds: of bonuses to try at most; each solves the night once, with a cap a few times.

    Raises:
        InvalidInputError: a request has no member of the policy, or the cap has no persons.
    """
    _check(instance, member, policy, person)
    return _Search(instance, member, policy, person, solver).run(rounds)


def _check(
    instance: Instance, member: NDArray[np.int32], policy: FairnessPolicy, person: NDArray[np.int32] | None
) -> None:
    for name, array in (("member", member), ("person", person)):
        if array is not None and len(array) != instance.requests:
            raise InvalidInputError(f"{name} has {len(array)} entries, there are {instance.requests} requests.")
    if member.size and not 0 <= int(member.min()) <= int(member.max()) < len(policy.members):
        raise InvalidInputError(f"A request is of none of the {len(policy.members)} members of the policy.")
    if policy.most_per_person is not None and person is None:
        raise InvalidInputError("A cap per person needs to know whose request is whose.")


@dataclass(frozen=True, slots=True)
class _Found:
    """An allocation of a round: value without bonuses, served by member, and how many are missing of the targets."""

    group_of_request: NDArray[np.int32]
    value: int
    served: NDArray[np.int64]
    missing: int
    bonus: NDArray[np.int64]


class _Search:
    """One call of `allocate_fairly`."""

    def __init__(
        self,
        instance: Instance,
        member: NDArray[np.int32],
        policy: FairnessPolicy,
        person: NDArray[np.int32] | None,
        solver: Solver | None,
    ) -> None:
        self.instance, self.member, self.policy, self.person = instance, member, policy, person
        self.coarse = solver or partial(allocate, gap=_GAP, time_limit_s=_LIMIT_S)
        self.fine = solver or partial(allocate, gap=_FINE_GAP, time_limit_s=_LIMIT_S)
        self.solver = self.fine
        self.asked = np.bincount(member, minlength=len(policy.members)).astype(np.int64)
        self.wanted = policy.wanted(self.asked)
        self.target = np.zeros(len(policy.members), np.int64)
        self.most = self.asked.copy()
        self.limit = np.full(len(policy.members), FloorOutcome.NOT_REACHED, dtype=object)
        self.solved = 0

    def run(self, rounds: int) -> FairAllocation:
        """Without anything, with the cap, then with bonuses until the floors are met cheaply enough."""
        nothing = np.zeros(len(self.asked), np.int64)
        free, free_bound = self._solved(nothing)
        capped = self._within_cap(free, nothing, np.zeros(self.instance.requests, np.bool_), _CAP_ROUNDS)
        for m in np.flatnonzero(self.wanted > self._found(capped, nothing).served):
            self._look_for_the_most(int(m))
        self.target = np.minimum(self.wanted, self.most)
        best, bound, proof = self._with_bonuses(self._found(capped, nothing), free_bound, rounds)
        return FairAllocation(
            group_of_request=best.group_of_request,
            value=best.value,
            upper_bound=free_bound if best.missing else max(bound, best.value),
            cost_of_cap=max(self._value(free) - self._value(capped), 0),
            cost_of_floors=max(self._value(capped) - best.value, 0),
            members=self._reports(best, impossible=proof),
            rounds=self.solved,
        )

    def _with_bonuses(self, best: _Found, bound: int, rounds: int) -> tuple[_Found, int, bool]:
        """The best that was found, the bound of what meets the targets, and whether it proves that nothing does."""
        values = self.instance.value
        step = np.full(len(self.asked), _FIRST_STEP * float(values.mean()) if values.size else 0.0)
        bonus, side, last = np.zeros(len(self.asked)), np.zeros(len(self.asked)), best
        self.solver = self.coarse
        for _ in range(rounds):
            if bound < 0 or (best.missing == 0 and best.value >= (1.0 - _ENOUGH) * bound):
                break
            turn = self._turn(last.served, bonus)
            if not turn.any():
                break
            step *= np.where(turn * side > 0, _GROWTH, np.where(turn * side < 0, _SHRINK, 1.0))
            side = np.where(turn == 0, side, turn)
            bonus = np.maximum(bonus + turn * np.maximum(step, 1.0), 0.0)
            whole = np.rint(bonus).astype(np.int64)
            groups, above = self._with_bonus(last.group_of_request, whole)
            bound = min(bound, above - int(np.sum(whole * self.target)))
            last = self._found(groups, whole)
            best = min(best, last, key=lambda each: (each.missing, -each.value))
        self.solver = self.fine
        if best.bonus.any():
            groups, _ = self._with_bonus(best.group_of_request, best.bonus)
            best = min(best, self._found(groups, best.bonus), key=lambda each: (each.missing, -each.value))
            best = min(best, self._found(self._trimmed(best), best.bonus), key=lambda each: (each.missing, -each.value))
        return best, bound, bound < 0

    def _trimmed(self, found: _Found) -> NDArray[np.int32]:
        """Groups of the night with bonuses only for as many as each target wants, the most worth of those served.

        Where a member's requests are alike, one bonus moves all of them or none, further beyond the floor than wanted.
        """
        served = np.flatnonzero(found.group_of_request >= 0)
        worth = self._values(found.group_of_request)[served]
        served = served[np.lexsort((served, -worth, self.member[served]))]
        member = self.member[served]
        rank = np.arange(len(served)) - np.searchsorted(member, member, side="left")
        bonus = np.zeros(self.instance.requests, np.int64)
        chosen = served[rank < self.target[member]]
        bonus[chosen] = found.bonus[self.member[chosen]]
        night, self.solved = self.instance, self.solved + 1
        groups = self.solver(replace(night, value=night.value + bonus[night.request_of_column])).group_of_request
        nobody = np.zeros(night.requests, np.bool_)
        return self._within_cap(groups, found.bonus, nobody, _CAP_ROUNDS_WITH_BONUS)

    def _turn(self, served: NDArray[np.int64], bonus: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which bonuses to raise (1) and to lower (-1).

        A little more than the target is left as it is: otherwise many floors push one another about without end.
        """
        much = served > self.target + 1 + (self.target * _SLACK).astype(np.int64)
        turn = np.where(served < self.target, 1.0, np.where(much & (bonus > 0), -1.0, 0.0))
        return np.where(self.target > 0, turn, 0.0)

    def _solved(
        self, bonus: NDArray[np.int64], blocked: NDArray[np.bool_] | None = None
    ) -> tuple[NDArray[np.int32], int]:
        """Groups of the night with `bonus` on every value and without the requests `blocked`, and the bound of that."""
        self.solved += 1
        dearer = self._dearer(bonus)
        result = self.solver(dearer if blocked is None else _only(dearer, ~blocked))
        return result.group_of_request, result.upper_bound

    def _with_bonus(self, before: NDArray[np.int32], bonus: NDArray[np.int64]) -> tuple[NDArray[np.int32], int]:
        """Groups of the night with `bonus` and within the cap, and the bound of the night without it.

        With a cap the work begins without the requests that `before` did not serve of persons who had all they may.
        """
        if self.person is None or self.policy.most_per_person is None:
            return self._solved(bonus)
        known = self.person >= 0
        held = np.bincount(self.person[known & (before >= 0)], minlength=int(self.person.max(initial=0)) + 1)
        blocked = known & (before < 0) & (held[self.person] >= self.policy.most_per_person)
        groups, _ = self._solved(bonus, blocked)
        above = solve_dual(self._dearer(bonus)).upper_bound
        return self._within_cap(groups, bonus, blocked, _CAP_ROUNDS_WITH_BONUS), above

    def _dearer(self, bonus: NDArray[np.int64]) -> Instance:
        night = self.instance
        return replace(night, value=night.value + bonus[self.member[night.request_of_column]])

    def _within_cap(
        self, groups: NDArray[np.int32], bonus: NDArray[np.int64], blocked: NDArray[np.bool_], rounds: int
    ) -> NDArray[np.int32]:
        """`groups`, solved again without what persons hold beyond the cap until nobody does."""
        for _ in range(rounds):
            beyond = self._beyond_cap(groups, bonus)
            if not beyond.any():
                return groups
            blocked = blocked | beyond
            groups, _ = self._solved(bonus, blocked)
        return np.where(self._beyond_cap(groups, bonus), np.int32(-1), groups)

    def _beyond_cap(self, groups: NDArray[np.int32], bonus: NDArray[np.int64]) -> NDArray[np.bool_]:
        """bool[R], what each person holds after the most worth of the allowed number."""
        beyond = np.zeros(len(groups), np.bool_)
        if self.policy.most_per_person is None or self.person is None:
            return beyond
        served = np.flatnonzero((groups >= 0) & (self.person >= 0))
        worth = self._values(groups)[served] + bonus[self.member[served]]
        served = served[np.lexsort((served, -worth, self.person[served]))]
        person = self.person[served]
        rank = np.arange(len(served)) - np.searchsorted(person, person, side="left")
        beyond[served[rank >= self.policy.most_per_person]] = True
        return beyond

    def _look_for_the_most(self, m: int) -> None:
        """How many of member m can be served at most, and what limits them."""
        night, mine = self.instance, self.member == m
        admitted = mine & (np.diff(night.first) > 0)
        limits = [(int(admitted.sum()), FloorOutcome.NO_PLACE)]
        if self.policy.most_per_person is not None and self.person is not None:
            of_person = np.unique(self.person[admitted & (self.person >= 0)], return_counts=True)[1]
            several = int(np.minimum(of_person, self.policy.most_per_person).sum())
            limits.append((several + int((admitted & (self.person < 0)).sum()), FloorOutcome.CAP))
        alone = _only(replace(night, value=np.ones_like(night.value)), mine)
        limits.append((solve_dual(alone).upper_bound, FloorOutcome.CAPACITY))
        self.most[m], self.limit[m] = min(limits, key=lambda each: each[0])

    def _values(self, groups: NDArray[np.int32]) -> NDArray[np.int64]:
        """int64[R], value of each request in its group, without bonuses."""
        night = self.instance
        request = night.request_of_column
        chosen = night.group == groups[request]
        values = np.zeros(night.requests, np.int64)
        values[request[chosen]] = night.value[chosen]
        return values

    def _value(self, groups: NDArray[np.int32]) -> int:
        return int(self._values(groups).sum())

    def _found(self, groups: NDArray[np.int32], bonus: NDArray[np.int64]) -> _Found:
        served = np.bincount(self.member[groups >= 0], minlength=len(self.asked)).astype(np.int64)
        missing = int(np.maximum(self.target - served, 0).sum())
        return _Found(groups, self._value(groups), served, missing, bonus)

    def _reports(self, found: _Found, *, impossible: bool) -> tuple[MemberReport, ...]:
        reports = []
        for m, (name, floor) in enumerate(zip(self.policy.members, self.policy.floors, strict=True)):
            asked, served, wanted, most = (int(of[m]) for of in (self.asked, found.served, self.wanted, self.most))
            outcome = outcome_of(served=served, wanted=wanted, most=most, short_of=self.limit[m], impossible=impossible)
            reports.append(MemberReport(name, asked, served, floor, wanted, most, outcome, float(found.bonus[m])))
        return tuple(reports)


def _only(night: Instance, kept: NDArray[np.bool_]) -> Instance:
    """The night with the columns of the requests `kept` alone; the others stay, without any."""
    column = kept[night.request_of_column]
    first = np.concatenate([np.zeros(1, np.int64), np.cumsum(np.where(kept, np.diff(night.first), 0))])
    return replace(night, first=first, group=night.group[column], value=night.value[column], until=night.until[column])
