"""Arrears: what vehicles left without paying, and how later money is set against it (rules)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrear:
    """What one ended visit still owes, in fen (> 0)."""

    visit_id: int
    lot: str  # code
    vehicle: str
    exited_at: datetime
    owed_fen: int

    def lessened(self, paid_fen: int) -> Arrear:
        """What is left when a part of it is paid."""
        return replace(self, owed_fen=self.owed_fen - paid_fen)


def oldest_first(arrears: Iterable[Arrear], amount_fen: int) -> list[tuple[Arrear, int]]:
    """How much of `amount_fen` goes to which visit: the oldest exit first, none gets more than it owes.

    What is left over stays where it was paid.
    """
    shares = []
    for arrear in sorted(arrears, key=lambda one: (one.exited_at, one.visit_id)):
        share = min(arrear.owed_fen, amount_fen)
        if share <= 0:
            break
        shares.append((arrear, share))
        amount_fen -= share
    return shares
