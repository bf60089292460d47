"""What the acquirer has to be asked for: orders without a notice, refunds, the bill of a day.

Each step is a transaction of its own, before or after the question; the question itself is the worker's, outside.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parking_core.acquirers import AcquirerState, Notice
from parking_core.flows.book_payments import ASKED, difference_key, refund_key
from parking_core.payments import Asked, OrderState, RefundState, after_asking, refund_pause
from parking_core.reconciliation import DifferenceName, DifferenceState
from parking_core.settlement.postings import refund_paid
from parking_core.store import differences, journal, payment_asking, payment_booking

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.acquirers import BillLine, OrderAnswer, RefundAnswer
    from parking_core.store.payment_asking import DueOrder
    from parking_core.store.payment_booking import RefundRow

_MOST = 100  # questions a pass
_DAYS_BACK = 14  # a bill that is missing for longer is the reconciliation's concern


def due_orders(connection: Connection[Any], acquirer: str, now: datetime) -> list[DueOrder]:
    """Orders of which nothing was heard for too long."""
    with connection.transaction():
        return payment_asking.due(connection, acquirer, now, _MOST)


def take_answer(
    connection: Connection[Any], acquirer: str, order: DueOrder, answer: OrderAnswer | None, *, now: datetime
) -> Asked:
    """Takes what the acquirer says of an order; None: he does not know it. CLOSE: tell him so, and come back with that.

    A payment is kept as a notice is, and booked with the next batch.
    """
    outcome = after_asking(answer.state if answer else None, link_over=order.link_over)
    with connection.transaction():
        match outcome:
            case Asked.PAID if answer is not None and answer.transaction_ref and answer.paid_at:
                body = msgspec.json.encode(
                    Notice(
                        notice_id=f"{ASKED.rstrip(':')}-{order.id}",
                        order_id=str(order.id),
                        transaction_ref=answer.transaction_ref,
                        amount_fen=answer.amount_fen,
                        currency=answer.currency,
                        state=AcquirerState.PAID,
                        paid_at=answer.paid_at,
                    )
                )
                payment_booking.add_asked(connection, acquirer, f"{ASKED}{order.id}", body)
            case Asked.CLOSED:
                ended = OrderState.EXPIRED if answer is not None else OrderState.CLOSED
                payment_booking.set_state(connection, [order.id], ended, now)
            case Asked.PAID | Asked.CLOSE | Asked.AGAIN:
                pass
    return outcome


def due_refunds(connection: Connection[Any], now: datetime) -> list[RefundRow]:
    """Refunds to be asked for now."""
    with connection.transaction():
        return payment_booking.due_refunds(connection, now, _MOST)


def take_refund(connection: Connection[Any], refund: RefundRow, answer: RefundAnswer, now: datetime) -> None:
    """The acquirer has given it back: booked once, and what made it necessary is settled."""
    with connection.transaction():
        payment_booking.end_refund(connection, refund, RefundState.REFUNDED, answer.refund_ref, now)
        journal.book(
            connection,
            [
                refund_paid(
                    key=refund_key(refund),
                    visit_id=refund.visit_id,
                    channel=f"qr:{refund.acquirer}",
                    amount_fen=refund.amount_fen,
                    at=answer.refunded_at,
                    detail={"refund_ref": answer.refund_ref, "refund_id": str(refund.id)},
                )
            ],
        )
        key = difference_key(DifferenceName.PAID_TWICE, refund.acquirer, refund.reference)
        differences.end(connection, [key], DifferenceState.SETTLED, "The second payment was given back.")


def refund_unanswered(connection: Connection[Any], refund: RefundRow, now: datetime) -> None:
    """He did not answer: asked again after a pause that grows."""
    with connection.transaction():
        payment_booking.refund_later(connection, refund.id, now + refund_pause(refund.tries))


def refund_refused(connection: Connection[Any], refund: RefundRow, now: datetime) -> None:
    """He does not do it: the difference stays open and the money owed, until a person settles it."""
    with connection.transaction():
        payment_booking.end_refund(connection, refund, RefundState.REFUSED, None, now)


def missing_bills(connection: Connection[Any], acquirer: str, last: date, zone: ZoneInfo) -> list[date]:
    """Days until `last` whose bill was not fetched."""
    with connection.transaction():
        return payment_asking.days_without_bill(connection, acquirer, last, most=_DAYS_BACK, zone=str(zone))


def take_bill(connection: Connection[Any], acquirer: str, day: date, lines: Sequence[BillLine], now: datetime) -> None:
    """Keeps the bill of a day; the reconciliation compares it with the journal."""
    with connection.transaction():
        payment_asking.add_bill(connection, acquirer, day, lines, now)
