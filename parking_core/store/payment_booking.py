"""Notices, payments and refunds as the worker reads and writes them, set by set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.payments import CHANGES, EarlierPayment, OrderedVisit, OrderState, PaymentResult, RefundState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from psycopg import Connection

_LISTEN = "LISTEN payments"

_WAITING = """
SELECT id, acquirer, notice_id, body FROM payment_notices WHERE processed_at IS NULL
ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
"""

_FINISH = """
UPDATE payment_notices n SET processed_at = %(now)s, result = r.result
FROM unnest(%(ids)s::bigint[], %(results)s::text[]) AS r (id, result) WHERE n.id = r.id
"""

# What we learnt by asking, kept as if it had been told.
_ADD_ASKED = """
INSERT INTO payment_notices (acquirer, notice_id, body) VALUES (%s, %s, %s) ON CONFLICT (acquirer, notice_id) DO NOTHING
"""

# With the newest link of the visit: what is due now, and at which lane the vehicle stands.
_ORDERS = """
SELECT o.id, o.acquirer, o.state, o.amount_fen, l.created_at, o.visit_id, v.state = 'open', v.lot_id, lot.code,
       newest.amount_fen, newest.expires_at, newest.device_id
FROM payment_orders o
JOIN payment_links l ON l.digest = o.link_digest
JOIN visits v ON v.id = o.visit_id
JOIN lots lot ON lot.id = v.lot_id
CROSS JOIN LATERAL (
    SELECT n.amount_fen, n.expires_at, n.device_id FROM payment_links n WHERE n.visit_id = o.visit_id
    ORDER BY n.created_at DESC, n.superseded_at NULLS FIRST LIMIT 1
) AS newest
WHERE o.id = ANY(%s) ORDER BY o.id FOR UPDATE OF o
"""

_EARLIER = """
SELECT p.visit_id, p.transaction_ref,
       (p.amount_fen - (SELECT coalesce(sum(r.amount_fen), 0) FROM payment_refunds r
                        WHERE (r.acquirer, r.transaction_ref) = (p.acquirer, p.transaction_ref)))::bigint,
       p.booked_at
FROM payments p WHERE p.visit_id = ANY(%s)
"""

_BOOKED = """
SELECT p.acquirer, p.transaction_ref
FROM payments p JOIN unnest(%s::text[], %s::text[]) AS wanted (acquirer, transaction_ref)
USING (acquirer, transaction_ref)
"""

_ADD_PAYMENTS = """
INSERT INTO payments (acquirer, transaction_ref, order_id, visit_id, amount_fen, paid_at, result, notice_id, booked_at)
SELECT p.*, %(now)s FROM unnest(%(acquirers)s::text[], %(references)s::text[], %(orders)s::uuid[], %(visits)s::bigint[],
    %(amounts)s::bigint[], %(paid)s::timestamptz[], %(results)s::text[], %(notices)s::bigint[]) AS p
"""

_SET_STATE = """
UPDATE payment_orders SET state = %(state)s, changed_at = %(now)s WHERE id = ANY(%(ids)s) AND state = ANY(%(from)s)
"""

_ADD_REFUNDS = """
INSERT INTO payment_refunds (id, acquirer, transaction_ref, order_id, visit_id, amount_fen, reason, state, created_at,
                             next_try_at)
VALUES (%(id)s, %(acquirer)s, %(reference)s, %(order)s, %(visit)s, %(amount)s, %(reason)s, 'due', %(now)s, %(now)s)
ON CONFLICT (acquirer, transaction_ref, reason) DO NOTHING
"""

_DUE_REFUNDS = """
SELECT r.id, r.acquirer, r.transaction_ref, r.order_id, r.visit_id, r.amount_fen, r.reason, r.tries
FROM payment_refunds r WHERE r.state = 'due' AND r.next_try_at <= %s ORDER BY r.next_try_at LIMIT %s
"""

_REFUND_LATER = "UPDATE payment_refunds SET tries = tries + 1, next_try_at = %s WHERE id = %s AND state = 'due'"

_END_REFUND = """
UPDATE payment_refunds SET state = %(state)s, refund_ref = %(reference)s, ended_at = %(now)s
WHERE id = %(id)s AND state = 'due'
"""

_GIVEN_BACK = """
SELECT o.id FROM payment_orders o WHERE o.id = %s AND o.state = 'paid'
  AND (SELECT sum(p.amount_fen) FROM payments p WHERE p.order_id = o.id)
    = (SELECT sum(r.amount_fen) FROM payment_refunds r WHERE r.order_id = o.id AND r.state = 'refunded')
"""


@dataclass(frozen=True, slots=True)
class WaitingNotice:
    """A notice that nobody has processed."""

    id: int
    acquirer: str
    notice_id: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class PaymentRow:
    """A payment to be stored."""

    acquirer: str
    reference: str
    order_id: UUID | None
    visit_id: int | None
    amount_fen: int
    paid_at: datetime
    result: PaymentResult
    notice_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRow:
    """Money to be given back; `reason` and the transaction make it one."""

    id: UUID
    acquirer: str
    reference: str
    order_id: UUID
    visit_id: int
    amount_fen: int
    reason: str
    tries: int = 0


def listen(connection: Connection[Any]) -> None:
    """This session hears of notices that are committed; it must not be in a transaction."""
    connection.execute(_LISTEN)


def wait(connection: Connection[Any], seconds: float) -> bool:
    """Waits for a notification; gives whether one came."""
    return any(True for _ in connection.notifies(timeout=seconds, stop_after=1))


def waiting(connection: Connection[Any], most: int) -> list[WaitingNotice]:
    """The oldest notices that wait, for this transaction alone."""
    return [WaitingNotice(*row) for row in connection.execute(_WAITING, (most,)).fetchall()]


def finish(connection: Connection[Any], results: Mapping[int, PaymentResult], now: datetime) -> None:
    """Notices by id are processed, with these results."""
    connection.execute(
        _FINISH, {"ids": list(results), "results": [result.value for result in results.values()], "now": now}
    )


def add_asked(connection: Connection[Any], acquirer: str, notice_id: str, body: bytes) -> None:
    """Keeps what was learnt by asking, once a number."""
    connection.execute(_ADD_ASKED, (acquirer, notice_id, body))


def orders(connection: Connection[Any], ids: Sequence[UUID]) -> dict[tuple[str, UUID], OrderedVisit]:
    """Orders with their visits by acquirer and number, locked."""
    return {
        (row[1], row[0]): OrderedVisit(
            order_id=row[0],
            order_state=OrderState(row[2]),
            amount_fen=row[3],
            link_created_at=row[4],
            visit_id=row[5],
            visit_open=row[6],
            lot_id=row[7],
            lot=row[8],
            due_fen=row[9],
            due_until=row[10],
            gate_id=row[11],
        )
        for row in connection.execute(_ORDERS, (list(ids),)).fetchall()
    }


def earlier(connection: Connection[Any], visit_ids: Sequence[int]) -> dict[int, list[EarlierPayment]]:
    """Payments that are booked, by visit; a visit without one has an empty list."""
    found: dict[int, list[EarlierPayment]] = {visit: [] for visit in visit_ids}
    for visit, reference, net, booked_at in connection.execute(_EARLIER, (list(found),)).fetchall():
        found[visit].append(EarlierPayment(reference=reference, net_fen=net, booked_at=booked_at))
    return found


def booked(connection: Connection[Any], references: Sequence[tuple[str, str]]) -> set[tuple[str, str]]:
    """Which of these transactions (acquirer, reference) are booked."""
    parameters = [[acquirer for acquirer, _ in references], [reference for _, reference in references]]
    return {(acquirer, reference) for acquirer, reference in connection.execute(_BOOKED, parameters).fetchall()}


def add_payments(connection: Connection[Any], rows: Sequence[PaymentRow], now: datetime) -> None:
    """Stores payments that are new."""
    connection.execute(
        _ADD_PAYMENTS,
        {
            "acquirers": [row.acquirer for row in rows],
            "references": [row.reference for row in rows],
            "orders": [row.order_id for row in rows],
            "visits": [row.visit_id for row in rows],
            "amounts": [row.amount_fen for row in rows],
            "paid": [row.paid_at for row in rows],
            "results": [row.result.value for row in rows],
            "notices": [row.notice_id for row in rows],
            "now": now,
        },
    )


def set_state(connection: Connection[Any], ids: Sequence[UUID], state: OrderState, now: datetime) -> int:
    """Orders enter a state, where their life cycle allows it; gives how many did."""
    allowed = [before.value for before, after in CHANGES.items() if state in after]
    parameters = {"ids": list(ids), "state": state.value, "from": allowed, "now": now}
    return connection.execute(_SET_STATE, parameters).rowcount


def add_refunds(connection: Connection[Any], refunds: Sequence[RefundRow], now: datetime) -> None:
    """Orders refunds from the acquirers; the worker asks them."""
    with connection.cursor() as cursor:
        cursor.executemany(
            _ADD_REFUNDS,
            [
                {
                    "id": one.id,
                    "acquirer": one.acquirer,
                    "reference": one.reference,
                    "order": one.order_id,
                    "visit": one.visit_id,
                    "amount": one.amount_fen,
                    "reason": one.reason,
                    "now": now,
                }
                for one in refunds
            ],
        )


def due_refunds(connection: Connection[Any], now: datetime, most: int) -> list[RefundRow]:
    """Refunds that the acquirer is to be asked for now."""
    names = ("id", "acquirer", "reference", "order_id", "visit_id", "amount_fen", "reason", "tries")
    rows = connection.execute(_DUE_REFUNDS, (now, most)).fetchall()
    return [RefundRow(**dict(zip(names, row, strict=True))) for row in rows]


def refund_later(connection: Connection[Any], refund_id: UUID, next_try_at: datetime) -> None:
    """The acquirer gave no answer."""
    connection.execute(_REFUND_LATER, (next_try_at, refund_id))


def end_refund(
    connection: Connection[Any], refund: RefundRow, state: RefundState, reference: str | None, now: datetime
) -> bool:
    """The acquirer has answered; gives whether it was due. An order of which all was given back is refunded."""
    parameters = {"id": refund.id, "state": state.value, "reference": reference, "now": now}
    ended = connection.execute(_END_REFUND, parameters).rowcount == 1
    if ended and connection.execute(_GIVEN_BACK, (refund.order_id,)).fetchone() is not None:
        set_state(connection, [refund.order_id], OrderState.REFUNDED, now)
    return ended
