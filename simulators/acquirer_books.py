"""The simulated acquirer's own books: orders, money, fees, bills. They are the truth that tests compare ours with."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime  # noqa: TC003  # the journal is read by these types
from typing import TYPE_CHECKING
from uuid import UUID  # noqa: TC003  # the journal is read by it, too

import msgspec

from parking_core.acquirers import CURRENCY, AcquirerState, BillKind, BillLine, OrderAnswer, OrderRequest
from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from datetime import date
    from pathlib import Path
    from typing import BinaryIO
    from zoneinfo import ZoneInfo

FEE_PER_100_000 = 380  # 0.38 %, rounded half up to a whole fen: an invented rate of the usual size


@dataclass(slots=True)
class SimulatedOrder:
    """An order as this side knows it."""

    id: UUID
    amount_fen: int
    expires_at: datetime
    code_url: str
    state: AcquirerState = AcquirerState.OPEN
    transactions: list[Transaction] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Transaction:
    """Money taken."""

    reference: str
    order_id: str  # a text: a test may take money for an order that nobody gave
    amount_fen: int
    paid_at: datetime
    fee_fen: int


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Money given back; the fee of the payment is kept."""

    refund_id: UUID
    reference: str
    order_id: UUID
    transaction: str
    amount_fen: int
    at: datetime


class RefusedError(InvalidInputError):
    """The acquirer does not do it."""


class _Line(msgspec.Struct, omit_defaults=True):
    """Of the journal: one of them, as it is from now on."""

    order: SimulatedOrder | None = None
    transaction: Transaction | None = None
    refund: GivenBack | None = None


class Books:
    """All of one acquirer's business with one merchant.

    Args:
        zone: of local days.
        journal: a file that outlasts the process; None: the books end with it.
    """

    def __init__(self, zone: ZoneInfo, journal: Path | None = None) -> None:
        self.orders: dict[UUID, SimulatedOrder] = {}
        self.transactions: dict[str, Transaction] = {}
        self.refunds: dict[UUID, GivenBack] = {}
        self._zone = zone
        self._file: BinaryIO | None = None
        if journal is not None:
            self._open(journal)

    def end(self) -> None:
        """Closes the journal."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self, journal: Path) -> None:
        journal.parent.mkdir(parents=True, exist_ok=True)
        content = journal.read_bytes() if journal.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]  # a power cut may have left half a line
        if len(whole) != len(content):
            journal.write_bytes(whole)
        for text in whole.splitlines():
            line = msgspec.json.decode(text, type=_Line)
            if line.order is not None:
                self.orders[line.order.id] = line.order
            if line.transaction is not None:
                self.transactions[line.transaction.reference] = line.transaction
            if line.refund is not None:
                self.refunds[line.refund.refund_id] = line.refund
        self._file = journal.open("ab")

    def _note(self, line: _Line) -> None:
        if self._file is not None:
            self._file.write(msgspec.json.encode(line) + b"\n")
            self._file.flush()

    def order(self, request: OrderRequest, code_url: str) -> SimulatedOrder:
        """The order of this number, made where there is none.

        Raises:
            RefusedError: the number is known with another amount, or the currency is not ours.
        """
        known = self.orders.get(request.order_id)
        if known is None:
            if request.currency != CURRENCY:
                raise RefusedError(f"Orders are in {CURRENCY}.")
            known = SimulatedOrder(request.order_id, request.amount_fen, request.expires_at, code_url)
            self.orders[request.order_id] = known
            self._note(_Line(order=known))
        if known.amount_fen != request.amount_fen:
            raise RefusedError("This number is known with another amount.")
        return known

    def answer(self, order: SimulatedOrder, now: datetime) -> OrderAnswer:
        """What is said of an order."""
        self._expire(order, now)
        first = order.transactions[0] if order.transactions else None
        return OrderAnswer(
            order_id=order.id,
            state=order.state,
            amount_fen=first.amount_fen if first else order.amount_fen,
            currency=CURRENCY,
            code_url=order.code_url if order.state is AcquirerState.OPEN else None,
            transaction_ref=first.reference if first else None,
            paid_at=first.paid_at if first else None,
        )

    def pay(self, order: SimulatedOrder, now: datetime, amount_fen: int | None = None) -> Transaction:
        """A wallet pays; an order that is paid already takes money again only when a test wants that fault.

        Raises:
            RefusedError: the order is closed.
        """
        self._expire(order, now)
        if order.state is AcquirerState.CLOSED:
            raise RefusedError("The order is closed.")
        taken = self.take(str(order.id), order.amount_fen if amount_fen is None else amount_fen, now)
        order.transactions.append(taken)
        order.state = AcquirerState.PAID
        self._note(_Line(order=order))
        return taken

    def take(self, order_id: str, amount_fen: int, now: datetime) -> Transaction:
        """Money comes in under an order's number, whoever gave that."""
        reference = f"T{now.astimezone(self._zone):%Y%m%d}{len(self.transactions) + 1:08}"
        fee = (amount_fen * FEE_PER_100_000 + 50_000) // 100_000
        self.transactions[reference] = taken = Transaction(reference, order_id, amount_fen, now, fee)
        self._note(_Line(transaction=taken))
        return taken

    def close(self, order: SimulatedOrder) -> None:
        """Nobody pays it any more, unless somebody has."""
        if order.state is AcquirerState.OPEN:
            order.state = AcquirerState.CLOSED
            self._note(_Line(order=order))

    def give_back(self, refund_id: UUID, order_id: UUID, transaction: str, amount_fen: int, now: datetime) -> GivenBack:
        """The refund of this number, made where there is none.

        Raises:
            RefusedError: there is no such transaction of the order, or not so much left of it.
        """
        if refund_id in self.refunds:
            return self.refunds[refund_id]
        taken = self.transactions.get(transaction)
        given = sum(one.amount_fen for one in self.refunds.values() if one.transaction == transaction)
        if taken is None or taken.order_id != str(order_id) or given + amount_fen > taken.amount_fen:
            raise RefusedError("There is no such payment, or not so much of it is left.")
        reference = f"R{now.astimezone(self._zone):%Y%m%d}{len(self.refunds) + 1:08}"
        self.refunds[refund_id] = GivenBack(refund_id, reference, order_id, transaction, amount_fen, now)
        self._note(_Line(refund=self.refunds[refund_id]))
        if given + amount_fen == taken.amount_fen:
            self.orders[order_id].state = AcquirerState.REFUNDED
            self._note(_Line(order=self.orders[order_id]))
        return self.refunds[refund_id]

    def bill(self, day: date) -> list[BillLine]:
        """Every transaction of a local day."""
        lines = [
            BillLine(
                transaction_ref=one.reference,
                order_id=one.order_id,
                kind=BillKind.PAYMENT,
                amount_fen=one.amount_fen,
                fee_fen=one.fee_fen,
                at=one.paid_at,
            )
            for one in self.transactions.values()
            if one.paid_at.astimezone(self._zone).date() == day
        ]
        return lines + [
            BillLine(
                transaction_ref=one.reference,
                order_id=str(one.order_id),
                kind=BillKind.REFUND,
                amount_fen=one.amount_fen,
                fee_fen=0,
                at=one.at,
            )
            for one in self.refunds.values()
            if one.at.astimezone(self._zone).date() == day
        ]

    def truth(self) -> dict[str, dict[str, int]]:
        """Totals by local day."""
        days = {one.paid_at.astimezone(self._zone).date() for one in self.transactions.values()}
        days |= {one.at.astimezone(self._zone).date() for one in self.refunds.values()}
        return {day.isoformat(): self._totals(self.bill(day)) for day in sorted(days)}

    @staticmethod
    def _totals(lines: list[BillLine]) -> dict[str, int]:
        payments = [line.amount_fen for line in lines if line.kind is BillKind.PAYMENT]
        refunds = [line.amount_fen for line in lines if line.kind is BillKind.REFUND]
        return {
            "payments": len(payments),
            "payments_fen": sum(payments),
            "refunds": len(refunds),
            "refunds_fen": sum(refunds),
            "fee_fen": sum(line.fee_fen for line in lines),
        }

    @staticmethod
    def _expire(order: SimulatedOrder, now: datetime) -> None:
        if order.state is AcquirerState.OPEN and now >= order.expires_at:
            order.state = AcquirerState.CLOSED
