"""Which group of spaces a request takes, and what it is offered instead (compiled; stateless).

Arrays are those of a desk: `state` is residual int32[G, S] spaces left in every slot, cumulative float64[G, S+1] fen
(a stay in slots a .. b-1 costs [g, b] - [g, a]), lot int32[G] and window int32[G], minutes that a group is open; `columns`
are group int32[C], value int64[C] fen and until int32[C] minutes, ordered by walking distance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from parking_core.allocation.compiled import compiled
from parking_core.allocation.prices import SLOT_MIN

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL: Final = -1
"""No group is free during the whole stay."""
KEPT: Final = -2
"""One is, and none that is free is worth its price."""
_SLOT: Final = np.int32(SLOT_MIN)
_SHIFT_MIN, _LARGEST_SHIFT_MIN = 15, 120
SHIFTS: Final = np.array(
    [0, *(sign * minutes for minutes in range(_SHIFT_MIN, _LARGEST_SHIFT_MIN + 1, _SHIFT_MIN) for sign in (-1, 1))],
    dtype=np.int32,
)
"""Minutes by which alternatives move a stay, nearest first; 0 is for further lots."""


@compiled
def best_column(
    state: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]],
    columns: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]],
    arrive: int,
    extra: float,
    nearest: bool,  # noqa: FBT001  # Numba compiles positional arguments
) -> int:
    """Column to accept, or -1 where none is free, or -2 where none that is free is worth its price.

    With `nearest` a lot that stands earlier in the columns wins whatever the values are.
    """
    residual, cumulative, lot, window = state
    group, value, until = columns
    chosen, best, shortest, rank = FULL, 0.0, 0, 0
    a = arrive // _SLOT
    for j in range(len(group)):
        g = group[j]
        if j > 0 and lot[g] != lot[group[j - 1]]:
            rank += 1
        b = -(-until[j] // _SLOT)
        free = True
        for s in range(a, b):
            if residual[g, s] <= 0:
                free = False
                break
        if not free:
            continue
        gain = value[j] + extra - (cumulative[g, b] - cumulative[g, a])
        if gain <= 0.0:
            chosen = KEPT if chosen == FULL else chosen
            continue
        score = -float(rank) if nearest else gain
        if chosen < 0 or score > best or (score == best and window[g] < shortest):
            chosen, best, shortest = j, score, window[g]
    return chosen


@compiled
def moved_columns(
    state: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]],
    bounds: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
    columns: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]],
    stay: tuple[int, int, int, float],
    shifts: NDArray[np.int32],
) -> NDArray[np.int64]:
    """For each shift the column with the largest gain that is free and within its window then, or -1."""
    residual, cumulative, _, window = state
    start, end, latest = bounds
    group, value, until = columns
    arrive, depart, earliest, extra = stay
    found = np.full(len(shifts), -1, np.int64)
    for k in range(len(shifts)):
        if arrive + shifts[k] < earliest:
            continue
        best, shortest = 0.0, 0
        a = (arrive + shifts[k]) // _SLOT
        for j in range(len(group)):
            g = group[j]
            moved = until[j] + shifts[k]
            if arrive + shifts[k] < start[g] or moved > end[g] or depart + shifts[k] > latest[g]:
                continue
            b = -(-moved // _SLOT)
            gain = value[j] + extra - (cumulative[g, b] - cumulative[g, a])
            if gain <= 0.0 or gain < best or (gain == best and window[g] >= shortest):
                continue
            free = True
            for s in range(a, b):
                if residual[g, s] <= 0:
                    free = False
                    break
            if free:
                found[k], best, shortest = j, gain, window[g]
    return found


def warm_up() -> None:
    """Compiles both functions, or reads them from the disk cache: call it before the first request waits for it."""
    one, minutes = np.zeros(1, np.int32), np.array([SLOT_MIN], np.int32)
    state = (np.ones((1, 1), np.int32), np.zeros((1, 2)), one, one)
    columns = (one, np.ones(1, np.int64), minutes)
    best_column(state, columns, 0, 0.0, False)  # noqa: FBT003  # Numba compiles positional arguments
    moved_columns(state, (one, minutes, minutes), columns, (0, SLOT_MIN, 0, 0.0), SHIFTS)
