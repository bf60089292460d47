"""Is every fen accounted for? Balances of the journal against what explains them (facts and rules)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parking_core.reconciliation import DifferenceName

if TYPE_CHECKING:
    from collections.abc import Sequence

# Differences that say why a visit owes something, or is owed something back: so many fen as they name.
EXPLAIN_A_BALANCE = (
    DifferenceName.ARREARS,
    DifferenceName.TAILGATED,
    DifferenceName.AMOUNT_DIFFERS,
    DifferenceName.OVERPAID,
    DifferenceName.NO_TARIFF,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditLine:
    """One account, or one kind of finding: what it holds, and how much of that something explains."""

    subject: str
    items: int
    balance_fen: int
    explained_fen: int
    by: str  # what the explanation is
    unexplained_items: int = 0

    @property
    def unexplained_fen(self) -> int:
        """What nobody can say the reason of."""
        return self.balance_fen - self.explained_fen


@dataclass(frozen=True, slots=True)
class Audit:
    """All lines. It passes when nothing is unexplained, in sum and one by one: +1 and -1 are two findings, not none."""

    lines: Sequence[AuditLine]

    @property
    def unexplained_fen(self) -> int:
        """Sum of magnitudes over the lines."""
        return sum(abs(line.unexplained_fen) for line in self.lines)

    @property
    def unexplained_items(self) -> int:
        """Findings without an explanation."""
        return sum(line.unexplained_items for line in self.lines)

    @property
    def passes(self) -> bool:
        """Whether every fen is accounted for."""
        return not self.unexplained_fen and not self.unexplained_items
