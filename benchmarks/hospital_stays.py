"""Real stays: sessions of five shared ground-lock lots in Ningbo and Changsha, 2017-2019.

NingxuanFeng/PewLSTM@9cc0909, MIT: one file a lot, a line a session: lock lowered, lock raised (UTC+8, whole minutes),
price, status. Two of the lots serve short visits (P6, P8: medians of 33 and 49 minutes), three are used overnight as
well (P1, P3, P5: who comes at 22:00 stays nine hours in the median). Left out are stays shorter than nobody would book
(trials of the lock: 8 to 14 % are under 5 minutes) and longer than a day (0.01 to 1.5 %).

The records are not part of this repository. Without them there is no hospital month: nothing is made up in their place.
"""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

FOLDER = Path(os.environ.get("PARKING_SHARED_DATA") or Path(__file__).parents[2] / "shared" / "data") / "replay/china"
SHORT_LOTS, LONG_LOTS = ("P6", "P8"), ("P1", "P3", "P5")
SHORTEST_MIN, LONGEST_MIN = 15, 1440
_GRID_MIN = 5


@dataclass(frozen=True, slots=True, eq=False)
class Stays:
    """Sessions to draw from: local minute of the day of arrival and minutes stayed, int32 of equal length, on 5 minutes."""

    arrive: NDArray[np.int32]
    stay: NDArray[np.int32]

    def __post_init__(self) -> None:
        if not len(self.arrive) == len(self.stay) > 0:
            raise InvalidInputError(f"{len(self.arrive)} arrivals and {len(self.stay)} stays are no sessions to draw.")

    def of(self, hours: Sequence[int], *, least_min: int = SHORTEST_MIN) -> Stays:
        """Those that begin in these local hours and last so long at least."""
        kept = np.isin(self.arrive // 60, hours) & (self.stay >= least_min)
        return Stays(self.arrive[kept], self.stay[kept])

    def drawn(self, chance: np.random.Generator, count: int) -> Stays:
        """So many sessions, each as likely as any other: when people come and how long they stay belong together."""
        which = chance.integers(0, len(self.stay), count)
        return Stays(self.arrive[which], self.stay[which])


@dataclass(frozen=True, slots=True, eq=False)
class RealStays:
    """What the simulated month draws from."""

    short: Stays
    long: Stays


def real_stays(folder: Path = FOLDER) -> RealStays | None:
    """The records, or None where the folder is not there."""
    if not all((folder / f"{lot}.csv").is_file() for lot in (*SHORT_LOTS, *LONG_LOTS)):
        return None
    return RealStays(_read(folder, SHORT_LOTS), _read(folder, LONG_LOTS))


def _read(folder: Path, lots: Sequence[str]) -> Stays:
    arrive, stay = [], []
    for lot in lots:
        with (folder / f"{lot}.csv").open(encoding="latin-1", newline="") as lines:
            rows = csv.reader(lines)
            next(rows)
            for row in rows:
                begins, ends = (datetime.strptime(cell, "%Y/%m/%d %H:%M") for cell in row[:2])  # noqa: DTZ007  # the clock of the lot
                minutes = int((ends - begins).total_seconds()) // 60
                if SHORTEST_MIN <= minutes <= LONGEST_MIN:
                    arrive.append(begins.hour * 60 + begins.minute)
                    stay.append(minutes)
    begins_at = np.array(arrive, np.int32) // _GRID_MIN * _GRID_MIN
    return Stays(begins_at, -(-np.array(stay, np.int32) // _GRID_MIN) * _GRID_MIN)
