"""The capacity that is left and the requests that wait, as a night of the batch allocator (pure).

A group is one opening of one class: slots in a row in which it is offered. Its capacity is the most that is left at any
time; where less is left, somebody is there already: stays of nobody, worth so much that they are never put out. What one
of them could make way for is less than twice the best value for each stay that fits beside it, and one more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.allocation.instance import Instance
from parking_core.offers import kept_until
from parking_core.slots import SLOT_MIN, minute_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from parking_core.offers import Offer
    from parking_core.reservations import Reservation


@dataclass(frozen=True, slots=True, eq=False)
class NightRound:
    """A night to allocate.

    Attributes:
        instance: the requests in their order, then the stays that are fixed.
        requests: how many of them wait; the others are fixed.
        row: int32[G] class of each group, a place in `Offer.classes`.
        fixed_value: fen that all fixed stays are worth together.
    """

    instance: Instance
    requests: int
    row: NDArray[np.int32]
    fixed_value: int


@dataclass(frozen=True, slots=True)
class _Opening:
    row: int
    begin: int  # slots, half-open
    end: int


def night_of(
    offer: Offer,
    waiting: Sequence[Reservation],
    offered: NDArray[np.int32],
    free: NDArray[np.int32],
    t0: datetime,
) -> NightRound:
    """The night of requests that wait.

    Args:
        offer: classes in force.
        waiting: requests; times outside the slots below are not admitted anywhere.
        offered: int32[classes, S] what is offered in slots from `t0` on, 0 outside windows.
        free: int32[classes, S] what of it is left.
        t0: the night's zero, a begin of a slot.
    """
    openings = _openings(offered > 0)
    of_row: dict[int, list[int]] = {}
    for group, opening in enumerate(openings):
        of_row.setdefault(opening.row, []).append(group)
    columns = [_columns(offer, each, openings, of_row, t0) for each in waiting]
    stays = [(minute_of(each.arrive_at, t0), -minute_of(t0, each.depart_at)) for each in waiting]
    best = max((value for mine in columns for _, value, _ in mine), default=1)
    shortest = min(
        (until - stay[0] for stay, mine in zip(stays, columns, strict=True) for _, _, until in mine), default=1
    )
    blocks = _blocks(openings, free)
    fixed = [2 * best * (2 + (end - begin) * SLOT_MIN // max(shortest, 1)) for _, begin, end in blocks]
    arrive = [begin // SLOT_MIN * SLOT_MIN for begin, _ in stays] + [begin * SLOT_MIN for _, begin, _ in blocks]
    depart = [end for _, end in stays] + [end * SLOT_MIN for _, _, end in blocks]
    all_columns = columns + [
        [(group, value, end * SLOT_MIN)] for (group, _, end), value in zip(blocks, fixed, strict=True)
    ]
    flat = [each for mine in all_columns for each in mine]
    instance = Instance(
        **_groups(offer, openings, free),
        arrive=np.array(arrive, np.int32),
        depart=np.array(depart, np.int32),
        first=np.cumsum([0, *map(len, all_columns)]),
        group=np.array([group for group, _, _ in flat], np.int32),
        value=np.array([value for _, value, _ in flat], np.int64),
        until=np.array([until for _, _, until in flat], np.int32),
    )
    return NightRound(instance, len(waiting), np.array([each.row for each in openings], np.int32), sum(fixed))


def _groups(offer: Offer, openings: Sequence[_Opening], free: NDArray[np.int32]) -> dict[str, Any]:
    most = [int(free[each.row, each.begin : each.end].max()) for each in openings]
    return {
        "lot": np.array([int(offer.lot[each.row]) for each in openings], np.int32),
        "start": np.array([each.begin * SLOT_MIN for each in openings], np.int32),
        "end": np.array([each.end * SLOT_MIN for each in openings], np.int32),
        "capacity": np.array(most, np.int32),
    }


def _openings(is_open: NDArray[np.bool_]) -> list[_Opening]:
    """Slots in a row in which each class is offered."""
    closed = np.zeros((len(is_open), 1), np.int8)
    change = np.diff(is_open.astype(np.int8), axis=1, prepend=closed, append=closed)
    begins, ends = np.argwhere(change == 1).tolist(), np.argwhere(change == -1).tolist()
    return [_Opening(row, begin, end) for (row, begin), (_, end) in zip(begins, ends, strict=True)]


def _columns(
    offer: Offer,
    request: Reservation,
    openings: Sequence[_Opening],
    of_row: Mapping[int, Sequence[int]],
    t0: datetime,
) -> list[tuple[int, int, int]]:
    """Groups that admit a request with their values and until when they are taken, whole slots."""
    found: list[tuple[int, int, int]] = []
    ask, candidates = request.ask(), offer.near(request.ask()).nearest()
    arrive = minute_of(ask.arrive_at, t0)
    for row, value, buffer_min in zip(
        candidates.row.tolist(), candidates.value.tolist(), candidates.buffer_min.tolist(), strict=True
    ):
        until = -(minute_of(t0, kept_until(ask, buffer_min)) // SLOT_MIN) * SLOT_MIN
        found += [
            (group, value, until)
            for group in of_row.get(row, ())
            if openings[group].begin * SLOT_MIN <= arrive and until <= openings[group].end * SLOT_MIN
        ]
    return found


def _blocks(openings: Sequence[_Opening], free: NDArray[np.int32]) -> list[tuple[int, int, int]]:
    """Stays (group, first slot, last and one) that leave `free` of what a group has at most."""
    found = []
    for group, opening in enumerate(openings):
        left = free[opening.row, opening.begin : opening.end]
        taken = int(left.max()) - left
        change = np.diff(taken, prepend=0, append=0)
        held: list[int] = []
        for place in np.flatnonzero(change).tolist():
            moved = int(change[place])
            ends = [held.pop() for _ in range(-moved)]
            found += [(group, opening.begin + begin, opening.begin + place) for begin in ends]
            held += [place] * moved
    return found
