"""Which groups are decided together: regions that cover all once, and neighbourhoods around what is still lost.

Both are made of cells: the groups of a lot, or where these have too many near-tie columns (every space its own window)
a part of them. Cells are neighbours when near-tie columns of the same requests lie in both; a problem of a few such
cells is small enough to be solved to the end in tens of milliseconds, and everything outside of it enters as a price or
as a fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_matrix  # type: ignore[import-untyped]  # the library ships no types

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from parking_core.allocation.draft import Draft


@dataclass(frozen=True, slots=True)
class CellMap:
    """Near-tie columns by cell, and how many requests two cells share.

    Attributes:
        cell: int64[G] of each group.
        first: int64[K+1], near columns of cell k are columns[first[k]] .. columns[first[k+1]-1].
        columns: near-tie columns, rising within a cell.
        shared: float64[K, K] requests with near columns in both cells.
    """

    cell: NDArray[np.int64]
    first: NDArray[np.int64]
    columns: NDArray[np.int64]
    shared: NDArray[np.float64]

    def columns_of(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Near columns of all `cells`, rising."""
        parts = [self.columns[self.first[cell] : self.first[cell + 1]] for cell in cells]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

    def around(
        self,
        seed: int,
        most: int,
        random: np.random.Generator | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int64]:
        """`seed` and cells that share much with what is chosen already, until `most` columns are reached.

        The next cell is the one that shares most; with `random` it is drawn in proportion to what the cells share, and
        when none shares anything any cell with columns follows.

        Args:
            seed: the first cell.
            most: near columns.
            random: of the draws.
            among: bool[K] cells that may be chosen; all when absent.
        """
        size = np.diff(self.first)
        chosen, total = [seed], int(size[seed])
        available = size > 0 if among is None else among & (size > 0)
        available[seed] = False
        pull = self.shared[seed].copy()
        while total < most:
            weight = pull * available
            if random is not None and weight.max(initial=0.0) <= 0.0:
                weight = available.astype(np.float64)
            if weight.max(initial=0.0) <= 0.0:
                break
            if random is None:
                nearest = int(np.argmax(weight))
            else:
                nearest = int(random.choice(len(weight), p=weight / weight.sum()))
            total += int(size[nearest])
            chosen.append(nearest)
            available[nearest] = False
            pull += self.shared[nearest]
        return np.array(chosen, np.int64)


def cell_map(draft: Draft, near: NDArray[np.int64], cell: NDArray[np.int64]) -> CellMap:
    """The map of the columns `near` (rising) for groups in the cells int64[G]."""
    instance = draft.instance
    cells = int(cell.max()) + 1
    at = cell[instance.group[near]]
    order = np.argsort(at, kind="stable")
    table = csr_matrix((np.ones(len(near)), (draft.request[near], at)), shape=(instance.requests, cells))
    table.data[:] = 1.0
    first = np.searchsorted(at[order], np.arange(cells + 1)).astype(np.int64)
    return CellMap(cell, first, near[order], np.asarray((table.T @ table).todense(), np.float64))


def split(draft: Draft, near: NDArray[np.int64], most: int, random: np.random.Generator) -> NDArray[np.int64]:
    """int64[G] cells: lots, and lots with more than `most` columns of `near` in parts, groups drawn at random."""
    instance = draft.instance
    count = np.bincount(instance.group[near], minlength=instance.groups)
    order = np.lexsort((random.random(instance.groups), instance.lot))
    lot = instance.lot[order]
    before = np.cumsum(count[order]) - count[order]
    begins = np.flatnonzero(np.append(True, lot[1:] != lot[:-1]))
    within = before - np.repeat(before[begins], np.diff(np.append(begins, len(lot))))
    part = within // most
    cell = np.empty(instance.groups, np.int64)
    cell[order] = np.cumsum(np.append(False, (lot[1:] != lot[:-1]) | (part[1:] != part[:-1])))
    return cell


def regions(chart: CellMap, most: int) -> list[NDArray[np.int64]]:
    """All cells with columns, each in one region of about `most` columns; regions in the order they were grown."""
    size = np.diff(chart.first)
    free = size > 0
    pull = chart.shared.sum(axis=1)
    result = []
    while free.any():
        cells = chart.around(int(np.argmax(np.where(free, pull, -1.0))), most, among=free)
        free[cells] = False
        result.append(cells)
    return result
