"""The meter: counts started units and bands over the pieces of a stay (pure).

Charged time is time that is neither in the free period nor covered nor in a free window. Bands go by charged time. A
started unit counts whole; the minutes that are left of it when a piece ends are carried into the next piece, so that
midnight, a permit in between or the end of a cap's period never starts a unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parking_core.tariffs.compiled import Segment, Step


@dataclass(slots=True)
class Cell:
    """Units that began one after another in one window under one price."""

    begins: int
    ends: int
    step: Step | None  # None: a free window
    segment: Segment
    ordinal: int  # of the day
    units: int
    amount_fen: int


class Meter:
    """Walks pieces in order; `restart` begins anew."""

    def __init__(self, *, splits: bool) -> None:
        self.cells: list[Cell] = []
        self._splits = splits
        self._rate: str | None = None
        self._left = 0  # minutes of the running unit that are still paid for
        self._stay_minutes = 0  # charged
        self._window: tuple[str, int] | None = None
        self._window_minutes = 0
        self._once: set[tuple[str, int]] = set()  # bands charged once in this stay
        self._once_in_window: set[tuple[str, int]] = set()

    def restart(self) -> None:
        """As if the vehicle had just entered."""
        self._rate, self._left, self._stay_minutes, self._window = None, 0, 0, None
        self._once.clear()

    def take(self, begins: int, ends: int, segment: Segment, ordinal: int) -> None:
        """Charges one piece."""
        window = (segment.window, ordinal - segment.after_midnight)
        if window != self._window:
            self._window, self._window_minutes = window, 0
            self._once_in_window = set()
        if segment.rate != self._rate:
            self._rate = segment.rate
            if self._splits:
                self._left = 0
        if segment.steps:
            self._charge(begins, ends, segment, ordinal)
        else:
            self._left = max(0, self._left - (ends - begins))
            self.cells.append(Cell(begins, ends, None, segment, ordinal, 0, 0))

    def _charge(self, begins: int, ends: int, segment: Segment, ordinal: int) -> None:
        charged = self._window_minutes if segment.per_window else self._stay_minutes
        self._window_minutes += ends - begins
        self._stay_minutes += ends - begins
        at = min(begins + self._left, ends)
        if at > begins:
            self._left -= at - begins
            self._run_on(begins, at)
        charged += at - begins
        once = self._once_in_window if segment.per_window else self._once
        for step in segment.steps:
            if at >= ends:
                return
            if charged >= step.until:
                continue
            stop = min(ends, at + step.until - charged)
            if step.unit:
                units = (stop - at + step.unit - 1) // step.unit
                following = at + units * step.unit
                stop = min(following, ends)
                self._left = following - stop
                self.cells.append(Cell(at, stop, step, segment, ordinal, units, units * step.price_fen))
            elif step.key not in once:
                once.add(step.key)
                self.cells.append(Cell(at, stop, step, segment, ordinal, 1, step.price_fen))
            charged += stop - at
            at = stop

    def _run_on(self, begins: int, ends: int) -> None:
        """The unit that was running before the piece still runs: its line ends later."""
        if self.cells and self.cells[-1].ends == begins:
            self.cells[-1].ends = ends
