"""Both sides of an acquirer's day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.bills import BillPair

if TYPE_CHECKING:
    from datetime import date

    from psycopg import Connection

# Ours: what the journal moved on the acquirer's account that day, a reference each: of a hold its key. Promises of shared
# spaces are not among it: what is captured of them stands on an account of its own.
_PAIRS = """
WITH ours AS (
    SELECT 'payment' AS kind, CASE j.kind WHEN 'qr_payment' THEN split_part(j.key, ':', 3)
               ELSE substr(j.key, 6) END AS transaction_ref, sum(p.amount_fen)::bigint AS fen,
           min(j.visit_id) AS visit_id
    FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
    WHERE a.code = 'acquirer:' || %(acquirer)s AND j.kind IN ('qr_payment', 'hold_captured')
      AND j.occurred_at >= %(day)s::date::timestamp AT TIME ZONE %(zone)s
      AND j.occurred_at < (%(day)s::date + 1)::timestamp AT TIME ZONE %(zone)s
    GROUP BY 1, 2
    UNION ALL
    SELECT 'refund', coalesce(j.detail ->> 'refund_ref', j.key), sum(p.amount_fen)::bigint, min(j.visit_id)
    FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
    WHERE a.code = 'acquirer:' || %(acquirer)s AND j.kind = 'refund_paid'
      AND j.occurred_at >= %(day)s::date::timestamp AT TIME ZONE %(zone)s
      AND j.occurred_at < (%(day)s::date + 1)::timestamp AT TIME ZONE %(zone)s
    GROUP BY 1, 2
), theirs AS (
    SELECT kind, transaction_ref, CASE kind WHEN 'refund' THEN -amount_fen ELSE amount_fen END AS fen
    FROM acquirer_bills WHERE acquirer = %(acquirer)s AND day = %(day)s
)
SELECT coalesce(o.kind, t.kind), coalesce(o.transaction_ref, t.transaction_ref), o.fen, t.fen, v.lot_id, o.visit_id
FROM ours o FULL JOIN theirs t ON t.kind = o.kind AND t.transaction_ref = o.transaction_ref
LEFT JOIN visits v ON v.id = o.visit_id
ORDER BY 1, 2
"""

_UNBOOKED = """
SELECT d.acquirer, d.day, d.payments_fen - d.refunds_fen, d.fee_fen FROM acquirer_bill_days d
WHERE NOT EXISTS (
    SELECT FROM journal j WHERE j.key = 'acquirer_bill:' || d.acquirer || ':' || to_char(d.day, 'YYYY-MM-DD'))
ORDER BY d.acquirer, d.day
"""

# A notice may come after the bill of its day. Older days are looked at while anything about them is open.
_COMPARED = """
SELECT d.acquirer, d.day, d.payments_fen - d.refunds_fen, d.fee_fen FROM acquirer_bill_days d
WHERE d.day > (SELECT max(day) FROM acquirer_bill_days) - %(days)s OR EXISTS (
    SELECT FROM differences o
    WHERE o.state = 'open' AND o.day = d.day
      AND starts_with(o.key, 'bill:' || d.acquirer || ':' || to_char(d.day, 'YYYY-MM-DD') || ':'))
ORDER BY d.acquirer, d.day
"""


@dataclass(frozen=True, slots=True)
class BillDay:
    """A bill that was fetched and is not booked yet; `amount_fen`: payments less refunds."""

    acquirer: str
    day: date
    amount_fen: int
    fee_fen: int


def pairs(connection: Connection[Any], acquirer: str, day: date, zone: str) -> list[BillPair]:
    """Every transaction of a local day, on both sides."""
    cursor = connection.execute(_PAIRS, {"acquirer": acquirer, "day": day, "zone": zone})
    return [
        BillPair(
            acquirer=acquirer,
            day=day,
            kind=kind,
            transaction_ref=reference,
            ours_fen=ours,
            theirs_fen=theirs,
            lot_id=lot_id,
            visit_id=visit_id,
        )
        for kind, reference, ours, theirs, lot_id, visit_id in cursor.fetchall()
    ]


def compared_days(connection: Connection[Any], days: int) -> list[BillDay]:
    """Bills of the newest `days`, and older ones with an open difference, booked or not."""
    return [BillDay(*row) for row in connection.execute(_COMPARED, {"days": days}).fetchall()]


def unbooked_days(connection: Connection[Any]) -> list[BillDay]:
    """Bills to be compared and booked."""
    return [BillDay(*row) for row in connection.execute(_UNBOOKED).fetchall()]
