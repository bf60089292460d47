"""An acquirer's bill of a day against what we booked for it (pure)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parking_core.reconciliation import Difference, DifferenceName

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class BillPair:
    """One transaction on both sides; None: that side has it not on this day. Amounts as taken, refunds negative."""

    acquirer: str
    day: date
    kind: str  # payment or refund
    transaction_ref: str
    ours_fen: int | None
    theirs_fen: int | None
    lot_id: int | None = None
    visit_id: int | None = None

    @property
    def key(self) -> str:
        """Of its difference."""
        return f"bill:{self.acquirer}:{self.day.isoformat()}:{self.kind}:{self.transaction_ref}"


def compare_bill(pairs: Iterable[BillPair]) -> list[Difference]:
    """Differences between both sides of a day."""
    return [_difference(pair) for pair in pairs if pair.ours_fen != pair.theirs_fen]


def agreeing(pairs: Iterable[BillPair]) -> list[str]:
    """Keys of differences that these pairs do not have (any more)."""
    return [pair.key for pair in pairs if pair.ours_fen == pair.theirs_fen]


def _difference(pair: BillPair) -> Difference:
    if pair.ours_fen is None:
        name = DifferenceName.PAYMENT_UNKNOWN
    elif pair.theirs_fen is None:
        name = DifferenceName.PAYMENT_MISSING
    else:
        name = DifferenceName.PAYMENT_AMOUNT
    return Difference(
        key=pair.key,
        name=name,
        day=pair.day,
        lot_id=pair.lot_id,
        visit_id=pair.visit_id,
        channel=pair.acquirer,
        records=1,
        amount_fen=(pair.ours_fen or 0) - (pair.theirs_fen or 0),
        detail={
            "kind": pair.kind,
            "transaction_ref": pair.transaction_ref,
            "ours_fen": pair.ours_fen,
            "theirs_fen": pair.theirs_fen,
        },
    )
