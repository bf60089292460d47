"""Polish: a column goes in, at most one other request is moved or refused for it, and the value rises.

Without a solver, hence also what is left when the solver has no answer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.draft import Draft, Margins


def polish(draft: Draft, margins: Margins, *, reach: float, rounds: int) -> int:
    """Ejects while that raises the value; returns how many moves were made.

    Args:
        draft: changed in place.
        margins: at the prices of the bound.
        reach: fen; columns whose slack is larger are not tried.
        rounds: times that all columns are gone through, at most.
    """
    instance, events = draft.instance, draft.events
    near = np.flatnonzero(margins.slack <= reach)
    order = near[np.argsort(margins.slack[near], kind="stable")]
    columns = (instance.first, draft.request, instance.group, instance.value)
    shelf = _shelf(draft)
    moves = 0
    for _ in range(rounds):
        made = _pass(order, columns, (events.tail, events.head), (draft.column, draft.room), shelf)
        moves += made
        if not made:
            break
    return moves


def _shelf(draft: Draft) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Who holds what, by group: where each group's shelf begins, columns on it, how many, and each column's place."""
    instance = draft.instance
    begins = np.concatenate([[0], np.cumsum(np.bincount(instance.group, minlength=instance.groups))]).astype(np.int64)
    held = np.sort(draft.column[draft.column >= 0])
    by_group = held[np.argsort(instance.group[held], kind="stable")]
    size = np.bincount(instance.group[held], minlength=instance.groups).astype(np.int64)
    group = instance.group[by_group]
    place = begins[group] + np.arange(len(by_group)) - (np.cumsum(size) - size)[group]
    on = np.full(instance.columns, -1, np.int64)
    on[place] = by_group
    place_of = np.full(instance.columns, -1, np.int64)
    place_of[by_group] = place
    return begins, on, size, place_of


@compiled
def _cover(
    ends: tuple[NDArray[np.int32], NDArray[np.int32]], room: NDArray[np.int64], column: int, change: int
) -> None:
    for i in range(ends[0][column], ends[1][column]):
        room[i] += change


@compiled
def _put(
    shelf: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], group: int, column: int
) -> None:
    begins, on, size, place = shelf
    place[column] = begins[group] + size[group]
    on[place[column]] = column
    size[group] += 1


@compiled
def _pull(
    shelf: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], group: int, column: int
) -> None:
    begins, on, size, place = shelf
    size[group] -= 1
    last = on[begins[group] + size[group]]
    on[place[column]] = last
    place[last] = place[column]
    place[column] = -1


@compiled
def _other(
    columns: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
    ends: tuple[NDArray[np.int32], NDArray[np.int32]],
    room: NDArray[np.int64],
    column: int,
    at_least: int,
) -> int:
    """The most valuable other column of the same request that fits and is worth more than `at_least`; -1 for none."""
    first, request, _, value = columns
    found = -1
    for j in range(first[request[column]], first[request[column] + 1]):
        if j == column or value[j] <= at_least:
            continue
        fits = True
        for i in range(ends[0][j], ends[1][j]):
            if room[i] <= 0:
                fits = False
                break
        if fits:
            found = j
            at_least = value[j]
    return found


@compiled
def _ejection(
    columns: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
    ends: tuple[NDArray[np.int32], NDArray[np.int32]],
    room: NDArray[np.int64],
    shelf: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
    wish: tuple[int, int, int, int],
) -> tuple[int, int]:
    """The held column whose ejection pays most for `wish`, and where its request goes (-1 nowhere); -1 twice for none.

    `wish` is a column, what it wins, and the first and last full point in its way, which the ejected one must cover.
    """
    value = columns[3]
    j, win, low, high = wish
    best = 0
    ejected = -1
    refuge = -1
    begin = shelf[0][columns[2][j]]
    for k in range(begin, begin + shelf[2][columns[2][j]]):
        other = shelf[1][k]
        if ends[0][other] > low or ends[1][other] <= high:
            continue
        to = _other(columns, ends, room, other, max(best - win + value[other], 0))
        score = win - value[other] + (value[to] if to >= 0 else 0)
        if score > best:
            best = score
            ejected = other
            refuge = to
    return ejected, refuge


@compiled
def _blocked(
    ends: tuple[NDArray[np.int32], NDArray[np.int32]], room: NDArray[np.int64], column: int
) -> tuple[int, int]:
    """First and last point that `column` would cover and that is full; -1 twice when it fits."""
    low = -1
    high = -1
    for i in range(ends[0][column], ends[1][column]):
        if room[i] <= 0:
            low = i if low < 0 else low
            high = i
    return low, high


@compiled
def _pass(
    order: NDArray[np.int64],
    columns: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]],
    ends: tuple[NDArray[np.int32], NDArray[np.int32]],
    state: tuple[NDArray[np.int64], NDArray[np.int64]],
    shelf: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]],
) -> int:
    """Goes through `order` once; every column that pays for itself goes in. Returns how many did."""
    _, request, group, value = columns
    column, room = state
    moves = 0
    for j in order:
        had = column[request[j]]
        win = value[j] - (value[had] if had >= 0 else 0)
        if win <= 0:
            continue
        low, high = _blocked(ends, room, j)
        if had >= 0:
            _cover(ends, room, had, 1)
        ejected, refuge = (-1, -1)
        if low >= 0:
            ejected, refuge = _ejection(columns, ends, room, shelf, (j, win, low, high))
        if low >= 0 and ejected < 0:
            if had >= 0:
                _cover(ends, room, had, -1)
            continue
        if had >= 0:
            _pull(shelf, group[had], had)
        if ejected >= 0:
            _cover(ends, room, ejected, 1)
            _pull(shelf, group[ejected], ejected)
            column[request[ejected]] = refuge
        if refuge >= 0:
            _cover(ends, room, refuge, -1)
            _put(shelf, group[refuge], refuge)
        _cover(ends, room, j, -1)
        _put(shelf, group[j], j)
        column[request[j]] = j
        moves += 1
    return moves
