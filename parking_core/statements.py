"""An operator's month: what was charged, what was paid, what is shared out (rules)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class LotMonth:
    """Figures of a lot in a month, fen. A booking belongs to the month in which its cause happened."""

    lot: str
    name: str
    visits: int  # that ended in the month
    charged_fen: int  # by the tariff, refunds taken off
    paid_fen: Mapping[str, int]  # by channel: etc, qr, cash, hold, promises; payments given back are taken off
    refunded_fen: int  # ordered in the month
    bad_debt_fen: int
    written_off_fen: int
    uncertain_fen: int  # of the payments: waiting for a TAC, held or disputed, so not shared out yet
    owed_fen: int  # arrears of the month's visits that are still open
    overpaid_fen: int  # paid too much for the month's visits and not given back yet
    owner_fen: int = 0  # of promises of shared spaces, the owner's part: beside what is shared out here

    @property
    def certain_fen(self) -> int:
        """What is there to be shared out."""
        return sum(self.paid_fen.values()) - self.uncertain_fen - self.bad_debt_fen


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What an operator and the district get of a month."""

    operator: str
    name: str
    month: date  # its first day
    district_permille: int
    lots: Sequence[LotMonth]
    open_differences: Mapping[str, int]  # by name

    @property
    def shared_fen(self) -> int:
        """Shared out in sum."""
        return sum(lot.certain_fen for lot in self.lots)

    @property
    def district_fen(self) -> int:
        """The district's part, rounded half up to whole fen; the rest is the operator's, so that nothing is left over."""
        return (self.shared_fen * self.district_permille * 2 + 1000) // 2000

    @property
    def operator_fen(self) -> int:
        """The operator's part."""
        return self.shared_fen - self.district_fen

    def document(self) -> dict[str, Any]:
        """As it is kept and shown: JSON, fen."""
        return {
            "operator": self.operator,
            "name": self.name,
            "month": f"{self.month:%Y-%m}",
            "district_permille": self.district_permille,
            "shared_fen": self.shared_fen,
            "district_fen": self.district_fen,
            "operator_fen": self.operator_fen,
            "lots": [
                {
                    "lot": lot.lot,
                    "name": lot.name,
                    "visits": lot.visits,
                    "charged_fen": lot.charged_fen,
                    "paid_fen": dict(sorted(lot.paid_fen.items())),
                    "refunded_fen": lot.refunded_fen,
                    "bad_debt_fen": lot.bad_debt_fen,
                    "written_off_fen": lot.written_off_fen,
                    "uncertain_fen": lot.uncertain_fen,
                    "owed_fen": lot.owed_fen,
                    "overpaid_fen": lot.overpaid_fen,
                    "certain_fen": lot.certain_fen,
                    # Statements of lots that share nothing read as they always did.
                    **({"owner_fen": lot.owner_fen} if lot.owner_fen else {}),
                }
                for lot in self.lots
            ],
            "open_differences": dict(sorted(self.open_differences.items())),
        }
