"""The instants of every group at which capacity can bind, and the columns in terms of them.

Occupation of a group rises only at arrivals, so its capacity need only hold there; and an arrival that is followed by
another arrival before anybody leaves is implied by that later one. What is left are the group's maximal sets of
overlapping occupations ("points"). A column [arrive, until) covers the consecutive points tail .. head-1, so that with
the potential (the sum of the prices of all points before) its price is potential[head] - potential[tail]: two numbers a
column instead of one for each point (a matrix of consecutive ones is a network).

Groups own consecutive runs of nodes, one node more than points: node k lies before point k, the last behind them all.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.instance import Instance


@dataclass(frozen=True, slots=True)
class Commitments:
    """Occupation that is decided already and takes capacity: group int32[K], arrive int32[K], until int32[K]."""

    group: NDArray[np.int32]
    arrive: NDArray[np.int32]
    until: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Events:
    """Points, nodes and columns of an instance.

    Attributes:
        first: int64[G+1], nodes of group g are first[g] .. first[g+1]-1 (one at least).
        minute: int32[N] minute of the point that follows the node; the group's last node has the largest int32.
        room: int64[N] capacity left at that point, >= 0; 0 at the last node.
        tail: int32[C] node before the first point that a column covers.
        head: int32[C] node behind the last point that a column covers, > tail.
    """

    first: NDArray[np.int64]
    minute: NDArray[np.int32]
    room: NDArray[np.int64]
    tail: NDArray[np.int32]
    head: NDArray[np.int32]


BEHIND = np.int32(2**31 - 1)


def events_of(instance: Instance, committed: Commitments | None = None) -> Events:
    """The points of `instance`, with the capacity that `committed` leaves (never below 0)."""
    taken = committed or Commitments(*(np.zeros(0, np.int32) for _ in range(3)))
    arrive = np.concatenate([instance.arrive[instance.request_of_column], taken.arrive])
    until = np.concatenate([instance.until, taken.until])
    group = np.concatenate([instance.group, taken.group])
    minute, first = _points(group, arrive, until, instance.groups)
    node_group = np.repeat(np.arange(instance.groups, dtype=np.int64), np.diff(first))
    keys = node_keys(node_group, minute)
    tail = np.searchsorted(keys, node_keys(group, arrive))
    head = np.searchsorted(keys, node_keys(group, until))
    columns = instance.columns
    change = np.zeros(len(minute) + 1, np.int64)
    np.add.at(change, tail[columns:], 1)
    np.add.at(change, head[columns:], -1)
    room = np.maximum(instance.capacity.astype(np.int64)[node_group] - np.cumsum(change)[:-1], 0)
    room[first[1:] - 1] = 0
    return Events(first, minute, room, tail[:columns].astype(np.int32), head[:columns].astype(np.int32))


def node_keys(group: NDArray[np.integer], minute: NDArray[np.int32]) -> NDArray[np.int64]:
    """One number by which (group, minute) sorts."""
    return group.astype(np.int64) * 2**32 + (minute.astype(np.int64) + 2**31)


def _points(
    group: NDArray[np.int32], arrive: NDArray[np.int32], until: NDArray[np.int32], groups: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Minutes of all nodes, group by group, and where each group begins.

    An arrival is kept when some occupation of its group ends after it and no later than the next arrival.
    """
    arrivals = np.unique(node_keys(group, arrive))
    departures = np.unique(node_keys(group, until))
    # the last arrival strictly before each departure is a maximal set; the same group always has one, the leaver's own
    kept = arrivals[np.unique(np.searchsorted(arrivals, departures, side="left") - 1)]
    last = node_keys(np.arange(groups), np.full(groups, BEHIND))
    nodes = np.sort(np.concatenate([kept, last]))
    of_group = nodes // 2**32
    minute = (nodes - of_group * 2**32 - 2**31).astype(np.int32)
    return minute, np.searchsorted(of_group, np.arange(groups + 1)).astype(np.int64)
