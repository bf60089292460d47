"""Concrete spaces of an allocation, and a checker of results that trusts nobody (pure).

Within a group the stays are intervals, and intervals that never exceed the capacity can always be given spaces: first
fit in the order of arrival needs no more spaces than the most stays at one instant (interval graphs are perfect).

The checker shares no code with the allocator or the colouring. It reads the document itself, in whole Python numbers,
and works every column out again from the value rule of shared-parking-alloc-1:

    v(r, g) = base + price[lot] * (d - a) // 60 - walk[dest][lot] * sens // 100
    feasible iff lot among the k nearest lots of dest (ties by lot index), a >= start, d + buffer <= end, v > 0
    occupies [a, d + buffer) of one space
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeGuard

import numpy as np

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance

    Ints = NDArray[np.int32]

REFUSED = -1
_GAP_TOLERANCE = 1e-9  # of a division in double precision, written and read again as decimal text


def spaces(instance: Instance, group_of_request: Ints) -> Ints:
    """A space of its group for every accepted request, numbered from 0 within the group.

    Args:
        instance: the night.
        group_of_request: int32[R], -1 where refused.

    Returns:
        int32[R], -1 where refused; the lowest space that is free, requests in the order of arrival.

    Raises:
        InvalidInputError: a request has no column in its group, or a group would hold more than its capacity.
    """
    accepted = np.flatnonzero(np.asarray(group_of_request) != REFUSED)
    group = np.asarray(group_of_request)[accepted]
    arrive, until = instance.arrive[accepted], _until(instance, accepted, group)
    order = np.lexsort((accepted, arrive, group))
    found = np.full(instance.requests, REFUSED, dtype=np.int32)
    stays = zip(*(part[order].tolist() for part in (accepted, group, arrive, until)), strict=True)
    current, free, held, opened = -1, list[int](), list[tuple[int, int]](), 0
    for request, mine, begins, ends in stays:
        if mine != current:
            current, free, held, opened = mine, [], [], 0
        while held and held[0][0] <= begins:
            heapq.heappush(free, heapq.heappop(held)[1])
        if not free:
            if opened >= instance.capacity[mine]:
                raise InvalidInputError(f"Group {mine} holds more than {instance.capacity[mine]} at minute {begins}.")
            heapq.heappush(free, opened)
            opened += 1
        space = heapq.heappop(free)
        heapq.heappush(held, (ends, space))
        found[request] = space
    return found


def _until(instance: Instance, requests: NDArray[np.intp], group: NDArray[np.int32]) -> Ints:
    """Minute until which each of these requests takes a space of its group."""
    keys = instance.request_of_column.astype(np.int64) * instance.groups + instance.group
    order = np.argsort(keys, kind="stable")
    wanted = requests.astype(np.int64) * instance.groups + group
    at = order[np.minimum(np.searchsorted(keys[order], wanted), max(len(keys) - 1, 0))] if len(keys) else wanted[:0]
    known = (group >= 0) & (group < instance.groups)
    known &= keys[at] == wanted if len(keys) else False
    if not known.all():
        wrong = int(np.argmin(known))
        raise InvalidInputError(f"Request {requests[wrong]} cannot use group {group[wrong]}.")
    until: Ints = instance.until[at]
    return until


@dataclass(frozen=True, slots=True)
class Claim:
    """What a result says of itself; fen, gap as a share of the upper bound (0 where that is 0)."""

    value: int
    upper_bound: int
    gap: float


@dataclass(frozen=True, slots=True)
class _Stay:
    """A request in a group, as the checker worked it out."""

    begins: int
    until: int
    value: int


def violations(
    document: Mapping[str, Any],
    group_of_request: Sequence[int],
    space_of_request: Sequence[int],
    claim: Claim | None = None,
) -> list[str]:
    """What is wrong with a result, one sentence each; nothing where it is feasible and tells the truth.

    Args:
        document: of the format shared-parking-alloc-1, as read from JSON.
        group_of_request: one entry a request, -1 where it is refused.
        space_of_request: the same, spaces numbered from 0 within the group.
        claim: value, bound and gap to hold the result to; without one they are not looked at.

    Raises:
        KeyError, IndexError: the document lacks a part of its format.
    """
    lots = range(len(document["lot_price_cents_h"]))
    nearest = [sorted(lots, key=lambda lot, way=way: (way[lot], lot)) for way in document["walk_m"]]  # type: ignore[misc]  # mypy cannot infer a lambda's default

    def stay(request: int, group: int) -> _Stay | str:
        return _by_rule(document, nearest, request, group)

    requests, capacity = len(document["requests"]["a"]), document["groups"]["cap"]
    return _violations(stay, requests, capacity, _Result(group_of_request, space_of_request, claim))


def instance_violations(
    instance: Instance,
    group_of_request: Sequence[int],
    space_of_request: Sequence[int],
    claim: Claim | None = None,
) -> list[str]:
    """As `violations`, of a night that exists as arrays only: its columns are taken as they are.

    Args:
        instance: the night.
        group_of_request: one entry a request, -1 where it is refused.
        space_of_request: the same, spaces numbered from 0 within the group.
        claim: value, bound and gap to hold the result to; without one they are not looked at.
    """
    first, group_of, value, until = (
        part.tolist() for part in (instance.first, instance.group, instance.value, instance.until)
    )
    arrive = instance.arrive.tolist()

    def stay(request: int, group: int) -> _Stay | str:
        for column in range(first[request], first[request + 1]):
            if group_of[column] == group:
                return _Stay(arrive[request], until[column], value[column])
        return f"may not use group {group}"

    result = _Result(group_of_request, space_of_request, claim)
    return _violations(stay, len(arrive), instance.capacity.tolist(), result)


@dataclass(frozen=True, slots=True)
class _Result:
    groups: Sequence[int]
    spaces: Sequence[int]
    claim: Claim | None


def _by_rule(document: Mapping[str, Any], nearest: list[list[int]], request: int, group: int) -> _Stay | str:
    """The stay of a request in a group by the value rule, or why there is none."""
    groups, requests = document["groups"], document["requests"]
    lot, dest = groups["lot"][group], requests["dest"][request]
    arrive, depart = requests["a"][request], requests["d"][request]
    until = depart + document["buffer_min"]
    near = max(0, requests["k_nearest"][request])  # a negative number would cut the list from its end
    if lot not in nearest[dest][:near]:
        return f"is in lot {lot}, none of its {near} nearest"
    if arrive < groups["start"][group] or until > groups["end"][group]:
        return f"occupies {arrive} to {until}, outside the window of group {group}"
    value = (
        requests["base"][request]
        + document["lot_price_cents_h"][lot] * (depart - arrive) // 60
        - document["walk_m"][dest][lot] * requests["sens"][request] // 100
    )
    if value <= 0:
        return f"is worth {value} in group {group}"
    return _Stay(arrive, until, value)


def _violations(
    stay: Callable[[int, int], _Stay | str], requests: int, capacity: Sequence[int], result: _Result
) -> list[str]:
    for name, part in (("groups", result.groups), ("spaces", result.spaces)):
        if len(part) != requests:
            return [f"The result has {len(part)} {name} for {requests} requests."]
    wrong: list[str] = []
    total = 0
    taken: dict[tuple[int, int], list[tuple[int, int, int]]] = {}
    for request, (group, space) in enumerate(zip(result.groups, result.spaces, strict=True)):
        reason = _misplaced(group, space, capacity)
        if reason is not None:
            wrong.append(f"Request {request} {reason}.")
            continue
        if group == REFUSED:
            continue
        found = stay(request, group)
        if isinstance(found, str):
            wrong.append(f"Request {request} {found}.")
            continue
        total += found.value
        taken.setdefault((int(group), int(space)), []).append((found.begins, found.until, request))
    return [*wrong, *_overlaps(taken), *_untrue(result.claim, total)]


def _misplaced(group: object, space: object, capacity: Sequence[int]) -> str | None:
    """Why a pair of group and space names no space, if it does not."""
    if not (_whole(group) and _whole(space)):
        return f"has group {group!r} and space {space!r}, which are no whole numbers"
    if group == REFUSED:
        return None if space == REFUSED else f"is refused and has space {space}"
    if not 0 <= group < len(capacity):
        return f"has group {group}, there are {len(capacity)}"
    if not 0 <= space < capacity[group]:
        return f"has space {space} of group {group}, which has {capacity[group]}"
    return None


def _whole(number: object) -> TypeGuard[int]:
    return isinstance(number, int | np.integer) and not isinstance(number, bool)


def _overlaps(taken: Mapping[tuple[int, int], list[tuple[int, int, int]]]) -> Iterable[str]:
    """Stays that meet on a space: neighbours in order of arrival suffice to find that there is one."""
    for (group, space), stays in taken.items():
        for (_, until, before), (begins, _, after) in pairwise(sorted(stays)):
            if begins < until:
                yield f"Requests {before} and {after} are both on space {space} of group {group} at minute {begins}."


def _untrue(claim: Claim | None, total: int) -> Iterable[str]:
    if claim is None:
        return
    if claim.value != total:
        yield f"The result claims a value of {claim.value}; its requests are worth {total}."
    if claim.upper_bound < total:
        yield f"The upper bound {claim.upper_bound} is below the value {total}."
    gap = (claim.upper_bound - claim.value) / claim.upper_bound if claim.upper_bound else 0.0
    if not abs(claim.gap - gap) <= _GAP_TOLERANCE:  # also true of NaN
        yield f"The result claims a gap of {claim.gap}; its value and bound give {gap}."
