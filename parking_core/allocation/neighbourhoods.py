"""Which lots are decided together: regions that cover all lots once, and neighbourhoods around what is still lost.

Lots are neighbours when near-tie columns of the same requests lie in both; a problem of a few such lots is small enough
to be solved to the end in tens of milliseconds, and everything outside of it enters as a price or as a fact.
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
class LotMap:
    """Near-tie columns by lot, and how many requests two lots share.

    Attributes:
        first: int64[L+1], near columns of lot l are columns[first[l]] .. columns[first[l+1]-1].
        columns: int64[K] near-tie columns, rising within a lot.
        shared: float64[L, L] requests with near columns in both lots.
    """

    first: NDArray[np.int64]
    columns: NDArray[np.int64]
    shared: NDArray[np.float64]

    def columns_of(self, lots: NDArray[np.int64]) -> NDArray[np.int64]:
        """Near columns of all `lots`, rising."""
        parts = [self.columns[self.first[lot] : self.first[lot + 1]] for lot in lots]
        return np.sort(np.concatenate(parts)) if parts else np.zeros(0, np.int64)

    def around(
        self,
        seed: int,
        most: int,
        random: np.random.Generator | None = None,
        among: NDArray[np.bool_] | None = None,
    ) -> NDArray[np.int64]:
        """`seed` and lots that share much with what is chosen already, until `most` columns are reached.

        The next lot is the one that shares most; with `random` it is drawn in proportion to what the lots share, and
        when none shares anything any lot with columns follows.

        Args:
            seed: the first lot.
            most: near columns.
            random: of the draws.
            among: bool[L] lots that may be chosen; all when absent.
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


def lot_map(draft: Draft, near: NDArray[np.int64]) -> LotMap:
    """The map of the columns `near` (rising)."""
    instance = draft.instance
    lots = int(instance.lot.max()) + 1
    lot = instance.lot[instance.group[near]].astype(np.int64)
    order = np.argsort(lot, kind="stable")
    table = csr_matrix((np.ones(len(near)), (draft.request[near], lot)), shape=(instance.requests, lots))
    table.data[:] = 1.0
    first = np.searchsorted(lot[order], np.arange(lots + 1)).astype(np.int64)
    return LotMap(first, near[order], np.asarray((table.T @ table).todense(), np.float64))


def regions(chart: LotMap, most: int) -> list[NDArray[np.int64]]:
    """All lots with columns, each in one region of about `most` columns; regions in the order they were grown."""
    size = np.diff(chart.first)
    free = size > 0
    result = []
    while free.any():
        seed = int(np.argmax(np.where(free, chart.shared.sum(axis=1), -1.0)))
        lots = chart.around(seed, most, among=free)
        free[lots] = False
        result.append(lots)
    return result
