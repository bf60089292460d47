"""Which lot charges by which tariff, in memory: quotes need no database.

A version that is bound by nothing any more stays known until the process ends; there are a few dozen in a year.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from parking_core.flows.price_visits import PriceDesk
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from datetime import datetime

    from parking_core.flows.price_visits import KnownTariff
    from parking_core.store.tariffs import PriceList, StoredTariff


class Prices:
    """One process's copy of the price list; all methods run on the event loop and never wait."""

    def __init__(self) -> None:
        self.calendar = WorkCalendar()
        self.numbers: tuple[int, int] | None = None  # None until it was loaded once
        self._desk = PriceDesk(self.calendar)
        self._lots: dict[str, int] = {}
        self._code_of: dict[int, str] = {}
        self._begins: dict[int, list[datetime]] = {}
        self._holds: dict[int, list[StoredTariff]] = {}

    def install(self, loaded: PriceList) -> None:
        """Replaces the copy."""
        stored = {version.id: version for version in loaded.versions}
        begins: dict[int, list[datetime]] = {}
        holds: dict[int, list[StoredTariff]] = {}
        for binding in loaded.bindings:
            if binding.tariff_id in stored:  # else it was bound while the list was read: newer numbers load it again
                begins.setdefault(binding.lot_id, []).append(binding.valid_from)
                holds.setdefault(binding.lot_id, []).append(stored[binding.tariff_id])
        self._lots, self._code_of = loaded.lots, {lot: code for code, lot in loaded.lots.items()}
        self._begins, self._holds = begins, holds
        self.numbers = loaded.numbers

    def lot(self, name: str) -> tuple[int, str] | None:
        """Id and code of a lot by its code, else by its id."""
        lot = self._lots.get(name)
        if lot is None and name.isascii() and name.isdecimal() and len(name) <= 10:
            lot = int(name)
        code = None if lot is None else self._code_of.get(lot)
        return None if lot is None or code is None else (lot, code)

    def holding(self, lot: int, entered_at: datetime) -> KnownTariff | None:
        """The version by which a lot charges who enters at that moment; None: it had none.

        Raises:
            InvalidInputError: the version cannot be read any more.
        """
        place = bisect_right(self._begins.get(lot, ()), entered_at)
        return self._desk.know(self._holds[lot][place - 1]) if place else None
