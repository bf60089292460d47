"""Arrears that a later payment included: set against the old visits, the oldest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parking_core.reconciliation import DifferenceName, DifferenceState
from parking_core.settlement import oldest_first, postings
from parking_core.store import charges, differences, journal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.settlement import Arrear, Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrearsPayment:
    """A payment that was booked for one visit and included arrears of its vehicle."""

    payment: str  # key of its journal entry, or of the decision
    visit_id: int  # it was booked for
    vehicle: str
    amount_fen: int  # of it for arrears
    at: datetime
    detail: Mapping[str, Any] = field(default_factory=dict)  # kept in the journal


def pay_arrears(connection: Connection[Any], payments: Sequence[ArrearsPayment]) -> int:
    """Moves what was paid for arrears to the visits that owe them; gives how many visits got something.

    The caller's transaction holds it all. The same payment again changes nothing; what the vehicle no longer owes stays
    with the visit it was paid for, which has then paid too much.
    """
    done = journal.booked(connection, [f"moved_out:{_key(one, 1)}" for one in payments])
    wanted = [one for one in payments if f"moved_out:{_key(one, 1)}" not in done]
    if not wanted:
        return 0
    lots = charges.lots_of(connection, sorted({one.visit_id for one in wanted}))
    unpaid = {one.visit_id: one for one in journal.unpaid_visits(connection, sorted({one.vehicle for one in wanted}))}
    entries: list[Entry] = []
    paid: set[int] = set()
    for one in wanted:
        theirs = [
            arrear for arrear in unpaid.values() if arrear.vehicle == one.vehicle and arrear.visit_id != one.visit_id
        ]
        for number, (arrear, share) in enumerate(oldest_first(theirs, one.amount_fen), start=1):
            entries += postings.payment_moved(
                key=_key(one, number),
                source=(one.visit_id, lots[one.visit_id]),
                target=(arrear.visit_id, arrear.lot),
                amount_fen=share,
                at=one.at,
                detail=one.detail,
            )
            paid.add(arrear.visit_id)
            _lessen(unpaid, arrear, share)
    journal.book(connection, entries)
    cleared = [visit for visit, owed in journal.owed_by_visit(connection, sorted(paid)).items() if owed <= 0]
    differences.end_of_visits(
        connection,
        cleared,
        (DifferenceName.ARREARS, DifferenceName.TAILGATED),
        DifferenceState.SETTLED,
        "A later payment included it.",
    )
    return len(paid)


def _key(payment: ArrearsPayment, number: int) -> str:
    return f"arrears:{payment.payment}:{number}"


def _lessen(unpaid: dict[int, Arrear], arrear: Arrear, share: int) -> None:
    """Two payments of one batch do not pay the same arrears."""
    if share == arrear.owed_fen:
        del unpaid[arrear.visit_id]
    else:
        unpaid[arrear.visit_id] = arrear.lessened(share)
