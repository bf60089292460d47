"""Fill: columns in a given order, each taken when its request has none yet and it still fits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.compiled import compiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.draft import Draft, Margins


def fill(draft: Draft, margins: Margins) -> None:
    """Serves whoever still fits, in the order of what choosing the column loses against the bound."""
    free = np.flatnonzero(draft.column[draft.request] < 0)
    order = free[np.lexsort((-draft.instance.value[free], margins.slack[free]))]
    take(draft, order)


def take(draft: Draft, order: NDArray[np.int64]) -> None:
    """Takes columns in `order`, each when its request has none yet and it still fits."""
    _take(order, draft.request, (draft.events.tail, draft.events.head), draft.column, draft.room)


@compiled
def _take(
    order: NDArray[np.int64],
    request: NDArray[np.int32],
    ends: tuple[NDArray[np.int32], NDArray[np.int32]],
    column: NDArray[np.int64],
    room: NDArray[np.int64],
) -> None:
    tail, head = ends
    for j in order:
        if column[request[j]] >= 0:
            continue
        fits = True
        for i in range(tail[j], head[j]):
            if room[i] <= 0:
                fits = False
                break
        if fits:
            column[request[j]] = j
            for i in range(tail[j], head[j]):
                room[i] -= 1
