"""Books what acquirers told us: notice ─► order, visit, earlier payments ─► judgement ─► journal, barrier, differences.

What a visit owes or has paid too much after that is said by the review that says it after lane records, too.

One transaction a batch, a dozen statements whatever its size. A transaction of the acquirer is booked once, by its
reference, however often it is told and by whichever way we learn of it.
"""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from parking_core.acquirers import read_notice
from parking_core.commands import CommandKind, CommandOrder
from parking_core.errors import InvalidInputError
from parking_core.flows.charge_visits import review_visits
from parking_core.payments import (
    EarlierPayment,
    IncomingPayment,
    OrderState,
    PaymentResult,
    judge,
)
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.settlement.postings import qr_paid, refund_ordered
from parking_core.store import commands, differences, journal, lane_work, payment_booking
from parking_core.store.payment_booking import PaymentRow, RefundRow

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.payments import Judgement, OrderedVisit
    from parking_core.settlement import Entry

BATCH = 500  # notices a transaction
ASKED = "asked:"  # begins the number of what we learnt by asking
_LOST = "Found by asking the acquirer; the notice had not come by then."


@dataclass(frozen=True, slots=True)
class Booked:
    """What a batch did."""

    notices: int
    results: Counter[PaymentResult]
    gates: int

    @property
    def more(self) -> bool:
        """Whether further notices may wait."""
        return self.notices == BATCH


@dataclass(slots=True)
class _Outcome:
    """What a batch is about to write."""

    zone: ZoneInfo
    now: datetime
    results: dict[int, PaymentResult] = field(default_factory=dict)
    payments: list[PaymentRow] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)
    refunds: list[RefundRow] = field(default_factory=list)
    differences: list[Difference] = field(default_factory=list)
    gates: list[CommandOrder] = field(default_factory=list)

    def add(self, payment: IncomingPayment, order: OrderedVisit | None, verdict: Judgement, notice_id: int) -> None:
        """One payment."""
        self.results[notice_id] = verdict.result
        self.payments.append(
            PaymentRow(
                acquirer=payment.acquirer,
                reference=payment.reference,
                order_id=order.order_id if order else None,
                visit_id=order.visit_id if order else None,
                amount_fen=payment.amount_fen,
                paid_at=payment.paid_at,
                result=verdict.result,
                notice_id=notice_id,
            )
        )
        self.differences += [self._difference(payment, order, name, fen) for name, fen in verdict.differences]
        if order is None:
            return
        self.entries.append(
            qr_paid(
                acquirer=payment.acquirer,
                reference=payment.reference,
                visit_id=order.visit_id,
                lot=order.lot,
                amount_fen=payment.amount_fen,
                at=payment.paid_at,
            )
        )
        if verdict.refund_fen:
            self._refund(payment, order, verdict)
        if verdict.opens_gate and order.gate_id is not None:
            cause = f"payment_order:{order.order_id}"
            self.gates.append(CommandOrder(order.gate_id, CommandKind.OPEN_GATE, {"reason": "paid"}, cause))

    def _refund(self, payment: IncomingPayment, order: OrderedVisit, verdict: Judgement) -> None:
        refund = RefundRow(
            id=uuid.uuid4(),
            acquirer=payment.acquirer,
            reference=payment.reference,
            order_id=order.order_id,
            visit_id=order.visit_id,
            amount_fen=verdict.refund_fen,
            reason=verdict.result.value,
        )
        self.refunds.append(refund)
        self.entries.append(
            refund_ordered(
                key=refund_key(refund),
                visit_id=order.visit_id,
                lot=order.lot,
                amount_fen=refund.amount_fen,
                overpaid_fen=refund.amount_fen,
                at=self.now,
                detail={"reason": refund.reason, "refund_id": str(refund.id)},
            )
        )

    def _difference(
        self, payment: IncomingPayment, order: OrderedVisit | None, name: DifferenceName, amount_fen: int
    ) -> Difference:
        return Difference(
            key=difference_key(name, payment.acquirer, payment.reference),
            name=name,
            day=payment.paid_at.astimezone(self.zone).date(),
            lot_id=order.lot_id if order else None,
            visit_id=order.visit_id if order else None,
            channel=payment.acquirer,
            records=1,
            amount_fen=amount_fen,
            detail={"transaction_ref": payment.reference, "order": payment.order, "paid_fen": payment.amount_fen},
        )


def refund_key(refund: RefundRow) -> str:
    """What its entries are booked by."""
    return f"{refund.acquirer}:{refund.reference}:{refund.reason}"


def difference_key(name: DifferenceName, acquirer: str, reference: str) -> str:
    """Of a payment's difference."""
    return f"{name.value}:{acquirer}:{reference}"


def book_payments(connection: Connection[Any], now: datetime, zone: ZoneInfo) -> Booked:
    """Books the oldest notices that wait, at most BATCH; gives what became of them."""
    with connection.transaction():
        notices = payment_booking.waiting(connection, BATCH)
        if not notices:
            return Booked(0, Counter(), 0)
        lane_work.take_turn(connection)
        outcome = _Outcome(zone, now)
        incoming: dict[int, IncomingPayment] = {}
        for notice in notices:
            read = _read(notice)
            if read is None:
                outcome.results[notice.id] = PaymentResult.UNREADABLE
            else:
                incoming[notice.id] = read
        _judge_all(connection, incoming, outcome)
        _write(connection, outcome)
    return Booked(len(notices), Counter(outcome.results.values()), len(outcome.gates))


def _read(notice: payment_booking.WaitingNotice) -> IncomingPayment | None:
    """None: signed, and still no notice; it stays with this result."""
    try:
        told = read_notice(notice.body)
    except InvalidInputError:
        return None
    return IncomingPayment(
        acquirer=notice.acquirer,
        reference=told.transaction_ref,
        order=told.order_id,
        amount_fen=told.amount_fen,
        paid_at=told.paid_at,
        asked=notice.notice_id.startswith(ASKED),
    )


def _judge_all(connection: Connection[Any], incoming: dict[int, IncomingPayment], outcome: _Outcome) -> None:
    """Each payment in the order of its notice, so that the second of two in one batch knows the first."""
    orders = payment_booking.orders(connection, [number for one in incoming.values() if (number := _number(one.order))])
    visits = list({order.visit_id for order in orders.values()})
    earlier = payment_booking.earlier(connection, visits)
    owed = journal.owed_by_visit(connection, visits)
    booked = payment_booking.booked(connection, [(one.acquirer, one.reference) for one in incoming.values()])
    for notice_id, payment in incoming.items():
        if (payment.acquirer, payment.reference) in booked:
            outcome.results[notice_id] = PaymentResult.REPEATED
            continue
        booked.add((payment.acquirer, payment.reference))
        number = _number(payment.order)
        order = orders.get((payment.acquirer, number)) if number else None
        if order is None:
            outcome.add(payment, None, judge(payment, None, (), 0, outcome.now), notice_id)
            continue
        verdict = judge(payment, order, earlier[order.visit_id], owed[order.visit_id], outcome.now)
        outcome.add(payment, order, verdict, notice_id)
        net = payment.amount_fen - verdict.refund_fen
        owed[order.visit_id] -= net
        earlier[order.visit_id].append(EarlierPayment(reference=payment.reference, net_fen=net, booked_at=outcome.now))


def _number(order: str) -> uuid.UUID | None:
    try:
        return uuid.UUID(order)
    except ValueError:
        return None


def _write(connection: Connection[Any], outcome: _Outcome) -> None:
    payment_booking.finish(connection, outcome.results, outcome.now)
    if not outcome.payments:
        return
    payment_booking.add_payments(connection, outcome.payments, outcome.now)
    journal.book(connection, outcome.entries)
    payment_booking.add_refunds(connection, outcome.refunds, outcome.now)
    paid = [row.order_id for row in outcome.payments if row.order_id is not None]
    payment_booking.set_state(connection, paid, OrderState.PAID, outcome.now)
    differences.open_all(connection, outcome.differences)
    lost = [one.key for one in outcome.differences if one.name is DifferenceName.PAYMENT_NOTICE_LOST]
    differences.end(connection, lost, DifferenceState.EXPLAINED, _LOST)
    visits = {row.visit_id for row in outcome.payments if row.visit_id is not None}
    review_visits(connection, visits, outcome.zone)  # charged or not: one that was given up may be paid, too
    commands.queue(connection, outcome.gates, outcome.now)
