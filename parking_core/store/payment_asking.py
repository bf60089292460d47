"""Which orders and bills the acquirer is to be asked for, and his bills as rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.acquirers import BillKind
from parking_core.payments import ask_pause

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from uuid import UUID

    from psycopg import Connection

    from parking_core.acquirers import BillLine

# Over: nobody can pay by the link any more, so the order has to end.
_DUE = """
SELECT o.id, o.asks, l.expires_at <= %(now)s OR l.superseded_at IS NOT NULL
FROM payment_orders o JOIN payment_links l ON l.digest = o.link_digest
WHERE o.acquirer = %(acquirer)s AND o.state IN ('created', 'pending') AND o.next_ask_at <= %(now)s
ORDER BY o.next_ask_at LIMIT %(most)s
"""

_ASKED = """
UPDATE payment_orders o SET asks = a.asks, next_ask_at = a.next_at
FROM unnest(%s::uuid[], %s::integer[], %s::timestamptz[]) AS a (id, asks, next_at) WHERE o.id = a.id
"""

# Days since the acquirer's first order whose bill was not fetched, at most so many back.
_DAYS_WITHOUT_BILL = """
SELECT day::date FROM generate_series(
    greatest(%(last)s::date - %(most)s::integer,
             (SELECT (min(created_at) AT TIME ZONE %(zone)s)::date FROM payment_orders WHERE acquirer = %(acquirer)s)),
    %(last)s::date, INTERVAL '1 day') AS day
WHERE NOT EXISTS (SELECT FROM acquirer_bill_days b WHERE b.acquirer = %(acquirer)s AND b.day = day.day::date)
ORDER BY day
"""

_ADD_LINES = """
INSERT INTO acquirer_bills (acquirer, day, transaction_ref, order_id, kind, amount_fen, fee_fen)
SELECT %(acquirer)s, %(day)s, b.* FROM unnest(%(references)s::text[], %(orders)s::text[], %(kinds)s::text[],
    %(amounts)s::bigint[], %(fees)s::bigint[]) AS b
ON CONFLICT (acquirer, transaction_ref, kind) DO NOTHING
"""

_ADD_DAY = """
INSERT INTO acquirer_bill_days (acquirer, day, payments, payments_fen, refunds, refunds_fen, fee_fen, fetched_at)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (acquirer, day) DO NOTHING
"""


@dataclass(frozen=True, slots=True)
class DueOrder:
    """An order of which no notice came; `link_over`: it has to end."""

    id: UUID
    asks: int
    link_over: bool


def due(connection: Connection[Any], acquirer: str, now: datetime, most: int) -> list[DueOrder]:
    """Orders to be asked for now; the next question is set at once, so that a worker that dies loses a pause only."""
    found = [
        DueOrder(*row) for row in connection.execute(_DUE, {"acquirer": acquirer, "now": now, "most": most}).fetchall()
    ]
    if found:
        connection.execute(
            _ASKED,
            (
                [order.id for order in found],
                [order.asks + 1 for order in found],
                [now + ask_pause(order.asks + 1) for order in found],
            ),
        )
    return found


def days_without_bill(connection: Connection[Any], acquirer: str, last: date, *, most: int, zone: str) -> list[date]:
    """Local days until `last`, up to `most` before it, whose bill was not fetched; none before the first order."""
    parameters = {"acquirer": acquirer, "last": last, "most": most, "zone": zone}
    return [day for (day,) in connection.execute(_DAYS_WITHOUT_BILL, parameters).fetchall()]


def add_bill(connection: Connection[Any], acquirer: str, day: date, lines: Sequence[BillLine], now: datetime) -> None:
    """Stores a day's bill once."""
    connection.execute(
        _ADD_LINES,
        {
            "acquirer": acquirer,
            "day": day,
            "references": [line.transaction_ref for line in lines],
            "orders": [line.order_id for line in lines],
            "kinds": [line.kind.value for line in lines],
            "amounts": [line.amount_fen for line in lines],
            "fees": [line.fee_fen for line in lines],
        },
    )
    payments = [line.amount_fen for line in lines if line.kind is BillKind.PAYMENT]
    refunds = [line.amount_fen for line in lines if line.kind is BillKind.REFUND]
    fees = sum(line.fee_fen for line in lines)
    figures = (len(payments), sum(payments), len(refunds), sum(refunds), fees)
    connection.execute(_ADD_DAY, (acquirer, day, *figures, now))
