"""Buffers of the simulated month: fixed ones, or learned from how cars left so far (parking_core.lateness)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.hospital_town import POLICY, TERMS, local_hour
from parking_core.lateness import (
    Delays,
    LatenessModel,
    Overruns,
    guest_buffer,
    no_show_grace,
    owner_buffer,
)
from parking_core.sharing import buffers_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Table = NDArray[np.int32]

RATES = buffers_of(POLICY, TERMS)
"""The district's limits with the rate that the operator chose: 1 % unless the terms say otherwise."""


@dataclass(frozen=True, slots=True)
class Way:
    """A policy that the month is run under: whether space is priced, and the buffers in minutes; None: learned."""

    name: str
    priced: bool
    fixed_min: int | None = None


WAYS = (
    Way("learned buffers", priced=True),
    Way("fixed 15 minutes", priced=True, fixed_min=15),
    Way("fixed 30 minutes", priced=True, fixed_min=30),
    Way("first come, fixed 15 minutes", priced=False, fixed_min=15),
)


class Buffers:
    """Minutes to keep free by lot and local hour of the promised end, and how long a promise waits; learned every day.

    What is learned from: exits after promised ends, arrivals after promised ones, and late exits that sent a driver
    elsewhere. The grace of no-shows is learned under every policy.
    """

    def __init__(self, lots: int, fixed_min: int | None) -> None:
        self._lots, self._fixed = lots, fixed_min
        self._exits: list[tuple[int, int, int]] = []
        self._arrivals: list[tuple[int, int, int]] = []
        self._late: dict[int, list[int]] = {}
        self.guest: Table
        self.owner: Table
        self.grace: Table
        self.learn()

    def left(self, lot: int, promised: int, at: int, until: int, let_down: int) -> None:
        """A car left; `until` was its promised end with the buffer, `let_down` drivers were sent elsewhere for it."""
        self._exits.append((lot, int(local_hour(promised)), at - promised))
        if at > until:
            seen = self._late.setdefault(lot, [0, 0])
            seen[0] += 1
            seen[1] += min(let_down, 1)

    def came(self, lot: int, promised: int, at: int) -> None:
        """A car arrived, in time or not."""
        self._arrivals.append((lot, int(local_hour(promised)), at - promised))

    def learn(self) -> None:
        """Puts in force what is known by now."""
        overruns = {lot: Overruns(*seen) for lot, seen in self._late.items()}
        exits = LatenessModel(_delays(self._exits), overruns=overruns)
        arrivals = LatenessModel(_delays(self._arrivals))
        each = [(lot, hour) for lot in range(self._lots) for hour in range(24)]
        shape = (self._lots, 24)
        self.grace = _table([no_show_grace(arrivals, POLICY.no_show, *at) for at in each], shape)
        if self._fixed is None:
            self.guest = _table([guest_buffer(exits, RATES, *at).minutes for at in each], shape)
            self.owner = _table([owner_buffer(exits, RATES, *at).minutes for at in each], shape)
            self.owner = np.maximum(self.owner, self.guest)
        else:
            self.guest = self.owner = np.full(shape, self._fixed, np.int32)


def _delays(seen: list[tuple[int, int, int]]) -> Delays | None:
    return Delays(*np.array(seen, np.int64).T) if seen else None


def _table(minutes: list[int], shape: tuple[int, int]) -> Table:
    return np.array(minutes, np.int32).reshape(shape)
