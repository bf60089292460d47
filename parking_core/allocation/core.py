"""The exact part: a restricted problem (some columns, the room that the others leave) as a mixed integer program.

The rows are written as a network, not as one sum for each point: room at a point minus room at the point before is
what arrives minus what leaves between them, with an idle variable from each point to the next. Two entries a column
instead of one for every point it covers. The relaxation is practically integral.

Solver: HiGHS through SciPy. Beside highspy on the same restricted problems it was as fast or faster (32-126 ms against
43-137 ms for whole-number programs of 700-1,900 columns), and it shares a process with OR-Tools, which highspy cannot. No option but limits is ever set: HiGHS keeps
its threads for the whole process, and changing them later returns zeros without an error. An answer counts only when
it is integral, feasible by our own arithmetic, and better than what is there; otherwise the draft stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import (  # type: ignore[import-untyped]  # the library ships no types
    Bounds,
    LinearConstraint,
    linprog,
    milp,
)
from scipy.sparse import csc_matrix  # type: ignore[import-untyped]  # the library ships no types

from parking_core.allocation.draft import occupied

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.draft import Draft
    from parking_core.allocation.events import Events


@dataclass(frozen=True, slots=True)
class Effort:
    """Where a search ends, whichever comes first.

    Attributes:
        absolute_gap: fen by which the answer may miss the best.
        nodes: of branch and bound.
        seconds: a safety; it alone makes results depend on the machine.
    """

    absolute_gap: float
    nodes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Rows:
    """Network rows of a restricted problem: int64 tail and head by column, room by row, first row of its group."""

    tail: NDArray[np.int64]
    head: NDArray[np.int64]
    room: NDArray[np.int64]
    begins: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Whether the draft changed, and whether the solver proved that nothing better exists (within its effort's gap)."""

    changed: bool
    proven: bool


def improve(draft: Draft, columns: NDArray[np.int64], effort: Effort) -> Outcome:
    """Chooses anew among `columns`, everything else fixed; the draft changes only for the better.

    Args:
        draft: changed in place; what it holds among `columns` is free to move.
        columns: int64[K] sorted, distinct. Who has another column now gives that up only for something better.
        effort: where the search ends.
    """
    instance = draft.instance
    held = draft.column[draft.column >= 0]
    mine = held[np.isin(held, columns, assume_unique=True)]
    elsewhere = np.zeros(instance.requests, np.int64)
    elsewhere[draft.request[held]] = instance.value[held]
    elsewhere[draft.request[mine]] = 0
    worth = instance.value[columns] - elsewhere[draft.request[columns]]
    candidates, worth = columns[worth > 0], worth[worth > 0]
    if not len(candidates):
        return Outcome(changed=False, proven=True)
    room = draft.room + occupied(draft.events, mine)
    picked, proven = _best_choice(draft, candidates, worth, room, effort)
    chosen = candidates[picked]
    won = int(worth[picked].sum()) - int(instance.value[mine].sum())
    if won <= 0 or not _fits(draft, chosen, room):
        return Outcome(changed=False, proven=proven)
    moved = draft.column[draft.request[chosen]]
    draft.release(np.union1d(mine, moved[moved >= 0]))
    draft.assign(chosen)
    return Outcome(changed=True, proven=proven)


def relax(
    draft: Draft, columns: NDArray[np.int64], outside: NDArray[np.float64], seconds: float
) -> NDArray[np.float64]:
    """float64[K]: the linear relaxation among `columns` in the room that is left; zeros when there is no optimum.

    Args:
        draft: not changed.
        columns: int64[K] of requests that have none yet, sorted, distinct.
        outside: float64[R] what a request can expect elsewhere; only what a column is worth beyond that counts.
        seconds: after which the solver gives up.
    """
    worth = draft.instance.value[columns] - outside[draft.request[columns]]
    hopeful = np.flatnonzero(worth > 0)
    result = np.zeros(len(columns))
    if not len(hopeful):
        return result
    rows = _rows(draft.events, columns[hopeful], draft.room)
    names, request = np.unique(draft.request[columns[hopeful]], return_inverse=True)
    matrix, change = _network(rows, request, len(names))
    points, count = len(rows.room), len(hopeful)
    answer = linprog(
        np.concatenate([-worth[hopeful], np.zeros(points)]),
        A_ub=matrix[points:],
        b_ub=np.ones(len(names)),
        A_eq=matrix[:points],
        b_eq=change,
        bounds=np.column_stack([np.zeros(count + points), np.append(np.ones(count), np.full(points, np.inf))]),
        method="highs-ipm",
        options={"time_limit": max(seconds, 0.01)},
    )
    if answer.status == 0 and answer.x is not None and np.all(np.isfinite(answer.x)):
        result[hopeful] = answer.x[:count]
    return result


def _fits(draft: Draft, chosen: NDArray[np.int64], room: NDArray[np.int64]) -> bool:
    """Whether `chosen` is one column a request at most and within `room` (which what they leave only widens)."""
    requests = draft.request[chosen]
    return len(np.unique(requests)) == len(requests) and bool(np.all(occupied(draft.events, chosen) <= room))


def _best_choice(
    draft: Draft, columns: NDArray[np.int64], worth: NDArray[np.int64], room: NDArray[np.int64], effort: Effort
) -> tuple[NDArray[np.bool_], bool]:
    """bool[K]: a good choice by branch and bound, nothing when none was found in time; and whether it is proven."""
    rows = _rows(draft.events, columns, room)
    names, request = np.unique(draft.request[columns], return_inverse=True)
    matrix, change = _network(rows, request, len(names))
    points = len(rows.room)
    lower = np.concatenate([change, np.full(len(names), -np.inf)])
    upper = np.concatenate([change, np.ones(len(names))])
    count = len(columns)
    largest = float(np.sum(np.maximum.reduceat(worth, np.searchsorted(request, np.arange(len(names))))))
    answer = milp(
        np.concatenate([-worth, np.zeros(points)]),
        integrality=np.concatenate([np.ones(count), np.zeros(points)]),
        bounds=Bounds(0.0, np.concatenate([np.ones(count), np.full(points, np.inf)])),
        constraints=LinearConstraint(matrix, lower, upper),
        options={
            "mip_rel_gap": min(effort.absolute_gap / largest, 1.0),
            "node_limit": effort.nodes,
            "time_limit": max(effort.seconds, 0.01),
        },
    )
    if answer.x is None or not np.all(np.isfinite(answer.x)):
        return np.zeros(count, np.bool_), False
    chosen: NDArray[np.bool_] = answer.x[:count] > 0.5
    return chosen, answer.status == 0


def _rows(events: Events, columns: NDArray[np.int64], room: NDArray[np.int64]) -> _Rows:
    """Only nodes at which one of `columns` begins or ends matter; between two of them the least room binds."""
    used = np.unique(np.concatenate([events.tail[columns], events.head[columns]]))
    group = np.searchsorted(events.first, used, side="right")
    last = np.append(group[1:] != group[:-1], True)
    row = np.cumsum(~last) - 1
    row[last] = -1
    least = np.minimum.reduceat(room, used)[~last]
    begins = np.append(True, last[:-1])[~last]
    tail = row[np.searchsorted(used, events.tail[columns])]
    head = row[np.searchsorted(used, events.head[columns])]
    return _Rows(tail, head, least, begins)


def _network(rows: _Rows, request: NDArray[np.intp], requests: int) -> tuple[csc_matrix, NDArray[np.float64]]:
    """Matrix (columns, then one idle variable a point) and the change of room from each point to the next."""
    points, count = len(rows.room), len(rows.tail)
    columns, point = np.arange(count), np.arange(points)
    ends = np.flatnonzero(rows.head >= 0)
    follows = np.flatnonzero(~rows.begins)
    entries = [
        (rows.tail, columns, 1.0),
        (rows.head[ends], columns[ends], -1.0),
        (points + request, columns, 1.0),
        (point, count + point, 1.0),
        (follows, count + follows - 1, -1.0),
    ]
    at = (np.concatenate([e[0] for e in entries]), np.concatenate([e[1] for e in entries]))
    data = np.concatenate([np.full(len(e[0]), e[2]) for e in entries])
    change = rows.room.astype(np.float64)
    change[follows] -= rows.room[follows - 1]
    return csc_matrix((data, at), shape=(points + requests, count + points)), change
