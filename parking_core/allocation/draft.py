"""An allocation in the making: who has which column, the room that is left, and how far from the bound each part is.

The bound of given prices exceeds the value of an allocation by exactly two kinds of loss: requests that do not have
their best gain (value minus price), and priced room that nobody uses. Both have a place, so that the search knows where
something can still be won.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from parking_core.allocation.smoothing import best_gains

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.dual import DualResult
    from parking_core.allocation.events import Events
    from parking_core.allocation.instance import Instance


@dataclass(frozen=True, slots=True)
class Margins:
    """What prices say about every column.

    Attributes:
        gain: float64[C] value minus price.
        best: float64[R] the largest gain of the request, 0 at least.
        slack: float64[C] best of its request minus gain, >= 0; what choosing the column loses against the bound.
        price: float64[N] of the point that follows each node, 0 at last nodes.
    """

    gain: NDArray[np.float64]
    best: NDArray[np.float64]
    slack: NDArray[np.float64]
    price: NDArray[np.float64]


def margins_of(instance: Instance, events: Events, dual: DualResult) -> Margins:
    """The margins of all columns of `instance` at the prices of `dual`."""
    gain, best = np.empty(instance.columns), np.empty(instance.requests)
    columns = (instance.first, instance.value.astype(np.float64), events.tail, events.head)
    best_gains(columns, dual.potential, gain, best)
    price = np.diff(dual.potential, append=dual.potential[-1:])
    price[events.first[1:] - 1] = 0.0
    return Margins(gain, best, best[instance.request_of_column] - gain, price)


@dataclass(frozen=True, slots=True)
class Draft:
    """A feasible allocation that is changed in place.

    Attributes:
        instance: what is allocated.
        events: its points.
        request: int32[C] request of every column.
        column: int64[R] the column each request has, -1 for none.
        room: int64[N] capacity left at each point, >= 0 always.
    """

    instance: Instance
    events: Events
    request: NDArray[np.int32]
    column: NDArray[np.int64]
    room: NDArray[np.int64]

    @classmethod
    def empty(cls, instance: Instance, events: Events) -> Draft:
        """Nobody has anything yet."""
        column = np.full(instance.requests, -1, np.int64)
        return cls(instance, events, instance.request_of_column, column, events.room.copy())

    @property
    def value(self) -> int:
        """Fen, exact."""
        return int(self.instance.value[self.column[self.column >= 0]].sum())

    def group_of_request(self) -> NDArray[np.int32]:
        """int32[R]: the group each request has, -1 for none."""
        groups = np.full(self.instance.requests, -1, np.int32)
        served = self.column >= 0
        groups[served] = self.instance.group[self.column[served]]
        return groups

    def release(self, columns: NDArray[np.int64]) -> None:
        """Takes `columns` back from the requests that have them."""
        self.column[self.request[columns]] = -1
        self.room[:] += occupied(self.events, columns)

    def assign(self, columns: NDArray[np.int64]) -> None:
        """Gives `columns`, one a request at most, to requests that have none; the caller knows that they fit."""
        self.column[self.request[columns]] = columns
        self.room[:] -= occupied(self.events, columns)

    def loss_by_cell(self, margins: Margins, cell: NDArray[np.int64]) -> NDArray[np.float64]:
        """How much of the distance to the bound lies in each cell (a refused request's in its best group).

        Args:
            margins: at the prices of the bound.
            cell: int64[G] of each group, from 0.
        """
        instance, events = self.instance, self.events
        cells = int(cell.max()) + 1
        loss = np.zeros(cells)
        loss += np.bincount(np.repeat(cell, np.diff(events.first)), margins.price * self.room, cells)
        served = self.column >= 0
        has = self.column[served]
        loss += np.bincount(cell[instance.group[has]], margins.slack[has], cells)
        refused = ~served[self.request] & (margins.slack <= 0.0) & (margins.gain > 0.0)
        _, chosen = np.unique(self.request[refused], return_index=True)
        wanted = np.flatnonzero(refused)[chosen]
        loss += np.bincount(cell[instance.group[wanted]], margins.gain[wanted], cells)
        return loss


def occupied(events: Events, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """int64[N]: how many of `columns` cover each point."""
    nodes = len(events.minute)
    change = np.bincount(events.tail[columns], minlength=nodes) - np.bincount(events.head[columns], minlength=nodes)
    return np.cumsum(change).astype(np.int64)
