"""What came in and went out for one visit: the ground of refunds and write-offs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError
from parking_core.settlement import AccountKind, account

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

# Whoever corrects a visit's money waits here for another who does: two refunds never share one overpayment.
_LOCK = "SELECT l.code, v.vehicle FROM visits v JOIN lots l ON l.id = v.lot_id WHERE v.id = %s FOR UPDATE OF v"

_SUMS = """
SELECT a.code, j.kind, sum(p.amount_fen)::bigint
FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE j.visit_id = %s GROUP BY a.code, j.kind
"""

# No payment of what the visit owes; a promise of its space is paid for apart from that.
_NOT_PAYMENTS = frozenset({"charge", "write_off", "refund_ordered", "promise_paid"})


@dataclass(frozen=True, slots=True)
class VisitMoney:
    """One visit's money in fen, and where its payments went (account codes)."""

    visit_id: int
    lot: str  # code
    vehicle: str
    owed_fen: int  # > 0 arrears, < 0 paid too much
    paid_fen: int  # all payments
    refunded_fen: int  # ordered refunds, paid or not
    paid_into: Mapping[str, int] = field(default_factory=dict)

    @property
    def refundable_fen(self) -> int:
        """What can still be given back."""
        return max(0, self.paid_fen - self.refunded_fen)


def lock(connection: Connection[Any], visit_id: int) -> VisitMoney:
    """A visit's money; others who correct it wait until the caller's transaction ends.

    Raises:
        NotFoundError: there is no such visit.
    """
    row = connection.execute(_LOCK, (visit_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no visit {visit_id}; `parking money show` takes the number of a visit.")
    owed = paid = refunded = 0
    into: dict[str, int] = {}
    for code, kind, fen in connection.execute(_SUMS, (visit_id,)).fetchall():
        of = account(code).kind
        if of is AccountKind.RECEIVABLE:
            owed += fen
            paid -= 0 if kind in _NOT_PAYMENTS else fen
        elif of is AccountKind.REFUNDS_PAYABLE:
            refunded -= fen if kind == "refund_ordered" else 0
        elif fen > 0 and kind not in _NOT_PAYMENTS and of is not AccountKind.MOVED:
            into[code] = into.get(code, 0) + fen
    return VisitMoney(visit_id, row[0], row[1], owed, paid, refunded, into)
