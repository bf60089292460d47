"""Payments by QR code: the life of an order, and what is done with money that comes in an odd way (rules).

    order    created ──► pending ──► paid ──► refunded       refunded: all of it was given back
                │           ├──────► closed ──► paid         nobody needs it any more, or the acquirer does not know it
                └───────────┴──────► expired ─► paid         unpaid when its link's time was over

Money that an acquirer has is booked whatever state its order is in: a payment may be made in the moment of closing.

case                                     booked            what follows
order and amount as they should be       to the visit      barrier of the newest link's lane opens
another amount than ordered              as it was paid    payment_amount; barrier only if it covers what is due
paid although the visit's offer of that  as it was paid    paid_twice; the smaller of both payments is given back
  time was paid by then
visit ended, and more is paid than due   as it was paid    overpaid, as the review of visits finds by their balance
order that nobody here gave              not at all        payment_unknown: the acquirer's bill has it, too
transaction that is booked already       not again         nothing: the notice counts as repeated
found by asking, no notice came          as it was paid    payment_notice_lost, explained
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from parking_core.acquirers import AcquirerState
from parking_core.errors import NotFoundError, ParkingError
from parking_core.reconciliation import DifferenceName

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

TOKEN_BYTES: Final = 24  # 192 bits of chance: nobody guesses a link
_TOKEN = re.compile(r"[A-Za-z0-9_-]{32}", re.ASCII)  # Base64 of so many bytes

LANE_LINK_LIFE: Final = timedelta(minutes=15)  # as long as the amount holds: the grace to leave after paying
FREE_LINK_LIFE: Final = timedelta(days=30)  # of arrears: no barrier waits
FIRST_ASK: Final = timedelta(seconds=15)  # notices come within a few seconds; then we ask
_LONGEST_ASK: Final = timedelta(minutes=30)
_FIRST_REFUND_PAUSE, _LONGEST_REFUND_PAUSE = timedelta(seconds=10), timedelta(hours=1)


class OrderState(StrEnum):
    """Where an order to an acquirer stands."""

    CREATED = "created"  # here only: the acquirer has not answered yet
    PENDING = "pending"  # the driver's wallet can pay it
    PAID = "paid"
    CLOSED = "closed"
    EXPIRED = "expired"
    REFUNDED = "refunded"


LIVE: Final = frozenset({OrderState.CREATED, OrderState.PENDING})
_ENDS: Final = frozenset({OrderState.PAID, OrderState.CLOSED, OrderState.EXPIRED})

CHANGES: Final[Mapping[OrderState, frozenset[OrderState]]] = {
    OrderState.CREATED: _ENDS | {OrderState.PENDING},
    OrderState.PENDING: _ENDS,
    OrderState.PAID: frozenset({OrderState.REFUNDED}),
    OrderState.CLOSED: frozenset({OrderState.PAID}),
    OrderState.EXPIRED: frozenset({OrderState.PAID}),
    OrderState.REFUNDED: frozenset(),
}


class RefundState(StrEnum):
    """Where a refund stands."""

    DUE = "due"  # the acquirer is asked until he answers
    REFUNDED = "refunded"
    REFUSED = "refused"  # a person has to settle it; the money is still owed to the driver


REFUND_CHANGES: Final[Mapping[RefundState, frozenset[RefundState]]] = {
    RefundState.DUE: frozenset({RefundState.REFUNDED, RefundState.REFUSED}),
    RefundState.REFUNDED: frozenset(),
    RefundState.REFUSED: frozenset({RefundState.DUE}),
}


class PaymentResult(StrEnum):
    """What became of a payment or its notice. Stable codes."""

    BOOKED = "booked"
    OTHER_AMOUNT = "other_amount"
    PAID_TWICE = "paid_twice"
    OVERPAID = "overpaid"
    UNKNOWN_ORDER = "unknown_order"
    REPEATED = "repeated"  # of a notice: the transaction is booked already
    UNREADABLE = "unreadable"  # of a notice: signed, and no notice


class LinkState(StrEnum):
    """What a payment link is good for."""

    OPEN = "open"
    PAID = "paid"
    EXPIRED = "expired"
    SUPERSEDED = "superseded"  # another amount is due now, or nothing


class LinkUnknownError(NotFoundError):
    """No such link: never given, or mistyped. The same sentence for both."""

    code = "link_unknown"


class LinkOverError(ParkingError):
    """The link's time is over, or another amount is due."""

    code = "link_over"


class AlreadyPaidError(ParkingError):
    """What the link asks for is paid."""

    code = "already_paid"


def link_digest(token: str) -> bytes:
    """What is stored of a link.

    Raises:
        LinkUnknownError: no token looks so.
    """
    if not _TOKEN.fullmatch(token):
        raise LinkUnknownError("There is no such payment link; scan the code on the lane's screen again.")
    return hashlib.sha256(token.encode()).digest()


def link_state(*, expires_at: datetime, superseded_at: datetime | None, paid: bool, now: datetime) -> LinkState:
    """What a link is good for; one that is paid stays so."""
    if paid:
        return LinkState.PAID
    if superseded_at is not None:
        return LinkState.SUPERSEDED
    return LinkState.OPEN if now < expires_at else LinkState.EXPIRED


@dataclass(frozen=True, slots=True, kw_only=True)
class IncomingPayment:
    """Money that an acquirer says he took."""

    acquirer: str
    reference: str
    order: str  # number of the order as he names it
    amount_fen: int
    paid_at: datetime
    asked: bool  # found by asking: no notice came


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderedVisit:
    """The order of a payment, its link and its visit."""

    order_id: UUID
    order_state: OrderState
    amount_fen: int  # ordered
    link_created_at: datetime
    visit_id: int
    visit_open: bool  # the vehicle is inside
    lot_id: int
    lot: str  # code
    due_fen: int  # by the newest link of the visit
    due_until: datetime  # the newest link's end
    gate_id: int | None  # the newest link's lane; None: it was given elsewhere


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierPayment:
    """A payment of the same visit that is booked."""

    reference: str
    net_fen: int  # less what was given back, or is to be
    booked_at: datetime


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is done with a payment; `differences` with our amount minus theirs."""

    result: PaymentResult
    refund_fen: int = 0
    opens_gate: bool = False
    differences: tuple[tuple[DifferenceName, int], ...] = ()


def judge(
    payment: IncomingPayment,
    order: OrderedVisit | None,
    earlier: Sequence[EarlierPayment],
    owed_fen: int,
    now: datetime,
) -> Judgement:
    """The policy of the table above.

    An offer reckons with what was booked before it was made. So of two payments the second is one too many when the
    first was not booked yet as the second's amount was computed; the smaller of both is what was paid in vain.

    Args:
        payment: what the acquirer says.
        order: what it is for; None: nobody here ordered it.
        earlier: payments of the visit that are booked.
        owed_fen: what the visit owes before this payment, charges that are booked included.
        now: when it is booked.
    """
    lost = ((DifferenceName.PAYMENT_NOTICE_LOST, 0),) if payment.asked else ()
    if order is None:
        return Judgement(
            PaymentResult.UNKNOWN_ORDER, differences=(*lost, (DifferenceName.PAYMENT_UNKNOWN, -payment.amount_fen))
        )
    found = list(lost)
    if payment.amount_fen != order.amount_fen:
        found.append((DifferenceName.PAYMENT_AMOUNT, order.amount_fen - payment.amount_fen))
    in_vain = min(
        payment.amount_fen,
        max((one.net_fen for one in earlier if one.booked_at > order.link_created_at), default=0),
    )
    if in_vain > 0:
        found.append((DifferenceName.PAID_TWICE, -in_vain))
        return Judgement(PaymentResult.PAID_TWICE, refund_fen=in_vain, differences=tuple(found))
    too_much = 0 if order.visit_open else payment.amount_fen - max(0, owed_fen)
    if too_much > 0:
        return Judgement(PaymentResult.OVERPAID, differences=tuple(found))
    as_ordered = payment.amount_fen == order.amount_fen
    return Judgement(
        PaymentResult.BOOKED if as_ordered else PaymentResult.OTHER_AMOUNT,
        opens_gate=order.visit_open and payment.amount_fen >= order.due_fen and now < order.due_until,
        differences=tuple(found),
    )


class Asked(StrEnum):
    """What follows from an acquirer's answer about an order."""

    PAID = "paid"
    CLOSE = "close"  # nobody needs it any more: tell him to close it
    CLOSED = "closed"
    AGAIN = "again"  # later


def after_asking(state: AcquirerState | None, *, link_over: bool) -> Asked:
    """What to do; None: the acquirer does not know the order (our request was lost on its way to him).

    An order that he does not know is closed only when its link is over: until then the driver's page repeats the request.
    """
    match state:
        case AcquirerState.PAID | AcquirerState.REFUNDED:
            return Asked.PAID
        case AcquirerState.CLOSED:
            return Asked.CLOSED
        case AcquirerState.OPEN:
            return Asked.CLOSE if link_over else Asked.AGAIN
        case None:
            return Asked.CLOSED if link_over else Asked.AGAIN


def ask_pause(asks: int) -> timedelta:
    """How long to wait after so many questions about one order: 15 s, 30 s, 1 min, ... half an hour."""
    return min(_LONGEST_ASK, FIRST_ASK * (1 << min(asks, 16)))


def refund_pause(tries: int) -> timedelta:
    """How long to wait after so many tries of a refund: 10 s, 20 s, ... an hour."""
    return min(_LONGEST_REFUND_PAUSE, _FIRST_REFUND_PAUSE * (1 << min(tries, 16)))
