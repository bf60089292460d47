"""The life of orders and links, and what is done with money that comes in an odd way."""

from __future__ import annotations

import itertools
import secrets
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from parking_core import payments
from parking_core.acquirers import AcquirerState
from parking_core.payments import (
    Asked,
    EarlierPayment,
    IncomingPayment,
    LinkState,
    LinkUnknownError,
    OrderedVisit,
    OrderState,
    PaymentResult,
    RefundState,
    judge,
)
from parking_core.reconciliation import DifferenceName

NOW = datetime(2026, 11, 23, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def incoming(amount_fen: int = 1000, **other: Any) -> IncomingPayment:
    facts: dict[str, Any] = {
        "acquirer": "acq",
        "reference": "T1",
        "order": "1",
        "amount_fen": amount_fen,
        "paid_at": NOW,
        "asked": False,
    }
    return IncomingPayment(**(facts | other))


def ordered(**other: Any) -> OrderedVisit:
    """1000 fen at lane 7, offered five minutes ago; the vehicle is inside."""
    facts: dict[str, Any] = {
        "order_id": uuid.UUID(int=1),
        "order_state": OrderState.PENDING,
        "amount_fen": 1000,
        "link_created_at": NOW - 5 * MINUTE,
        "visit_id": 1,
        "visit_open": True,
        "lot_id": 1,
        "lot": "P01",
        "due_fen": 1000,
        "due_until": NOW + 10 * MINUTE,
        "gate_id": 7,
    }
    return OrderedVisit(**(facts | other))


def earlier(net_fen: int, minutes_ago: float) -> EarlierPayment:
    return EarlierPayment(reference="T0", net_fen=net_fen, booked_at=NOW - minutes_ago * MINUTE)


def test_what_was_ordered_is_booked_and_opens_the_barrier() -> None:
    verdict = judge(incoming(), ordered(), [], 0, NOW)
    assert (verdict.result, verdict.opens_gate, verdict.refund_fen) == (PaymentResult.BOOKED, True, 0)
    assert verdict.differences == ()


@pytest.mark.parametrize(
    ("order", "amount_fen"),
    [
        (ordered(due_until=NOW), 1000),  # the vehicle may have gone, and another stand there
        (ordered(visit_open=False), 1000),
        (ordered(due_fen=1500), 1000),  # a newer offer asks for more
        (ordered(), 999),
    ],
)
def test_the_barrier_stays_down(order: OrderedVisit, amount_fen: int) -> None:
    assert not judge(incoming(amount_fen), order, [], 5000, NOW).opens_gate


def test_a_newer_offer_of_less_is_covered() -> None:
    assert judge(incoming(), ordered(due_fen=800), [], 0, NOW).opens_gate


def test_another_amount_is_named_with_our_amount_minus_theirs() -> None:
    less, more = (judge(incoming(fen), ordered(), [], 0, NOW) for fen in (400, 1600))
    assert less.differences == ((DifferenceName.PAYMENT_AMOUNT, 600),)
    assert more.differences == ((DifferenceName.PAYMENT_AMOUNT, -600),)
    assert (less.result, less.opens_gate, more.opens_gate) == (PaymentResult.OTHER_AMOUNT, False, True)


@pytest.mark.parametrize(
    ("first_fen", "booked_minutes_ago", "given_back"),
    [
        (1000, 4, 1000),  # after this offer was made: it did not reckon with it
        (600, 4, 600),  # the smaller of both was paid in vain
        (1600, 4, 1000),
        (1000, 6, 0),  # before: this offer asked for what was still due
        (1000, 5, 0),
        (0, 4, 0),  # was given back already
    ],
)
def test_a_payment_is_one_too_many_when_its_offer_did_not_know_the_first(
    first_fen: int, booked_minutes_ago: int, given_back: int
) -> None:
    verdict = judge(incoming(), ordered(), [earlier(first_fen, booked_minutes_ago)], 0, NOW)
    assert verdict.refund_fen == given_back
    if given_back:
        assert verdict.result is PaymentResult.PAID_TWICE
        assert not verdict.opens_gate
        assert verdict.differences == ((DifferenceName.PAID_TWICE, -given_back),)
    else:
        assert verdict.result is PaymentResult.BOOKED


@pytest.mark.parametrize(("owed", "result"), [(1000, "booked"), (1001, "booked"), (999, "overpaid"), (-5, "overpaid")])
def test_of_an_ended_visit_the_balance_decides(owed: int, result: str) -> None:
    assert judge(incoming(), ordered(visit_open=False), [], owed, NOW).result.value == result


def test_an_unknown_order_and_a_lost_notice_are_named() -> None:
    verdict = judge(incoming(asked=True), None, [], 0, NOW)
    assert verdict.result is PaymentResult.UNKNOWN_ORDER
    assert verdict.differences == (
        (DifferenceName.PAYMENT_NOTICE_LOST, 0),
        (DifferenceName.PAYMENT_UNKNOWN, -1000),
    )


def test_money_is_never_refused_whatever_state_its_order_is_in() -> None:
    for state in OrderState:
        assert judge(incoming(), ordered(order_state=state), [], 0, NOW).result is PaymentResult.BOOKED
        if state not in {OrderState.PAID, OrderState.REFUNDED}:
            assert OrderState.PAID in payments.CHANGES[state]


def test_life_cycles_name_every_state_and_end() -> None:
    assert set(payments.CHANGES) == set(OrderState)
    assert set(payments.REFUND_CHANGES) == set(RefundState)
    for before, after in itertools.product(OrderState, OrderState):
        if before not in payments.LIVE:
            assert not (after in payments.LIVE and after in payments.CHANGES[before]), "nothing comes back to life"
    assert all(OrderState.CREATED not in after for after in payments.CHANGES.values())


@pytest.mark.parametrize(
    ("paid", "superseded", "minutes", "state"),
    [
        (True, True, 20, LinkState.PAID),
        (False, True, 0, LinkState.SUPERSEDED),
        (False, False, 15, LinkState.EXPIRED),
        (False, False, 14.9, LinkState.OPEN),
    ],
)
def test_a_link_is_good_until_paid_superseded_or_over(
    *, paid: bool, superseded: bool, minutes: float, state: LinkState
) -> None:
    found = payments.link_state(
        expires_at=NOW + payments.LANE_LINK_LIFE,
        superseded_at=NOW if superseded else None,
        paid=paid,
        now=NOW + minutes * MINUTE,
    )
    assert found is state


def test_tokens_are_192_bits_and_everything_else_is_unknown() -> None:
    token = secrets.token_urlsafe(payments.TOKEN_BYTES)
    assert len(payments.link_digest(token)) == 32
    assert payments.link_digest(token) != payments.link_digest(token[::-1])
    for text in ("", "x", token + "x", token[:-1], token[:-1] + "\n", token[:-1] + "é", "notices"):
        with pytest.raises(LinkUnknownError):
            payments.link_digest(text)


@pytest.mark.parametrize(
    ("state", "over", "follows"),
    [
        (AcquirerState.PAID, False, Asked.PAID),
        (AcquirerState.REFUNDED, True, Asked.PAID),
        (AcquirerState.OPEN, False, Asked.AGAIN),
        (AcquirerState.OPEN, True, Asked.CLOSE),
        (AcquirerState.CLOSED, False, Asked.CLOSED),
        (None, False, Asked.AGAIN),
        (None, True, Asked.CLOSED),
    ],
)
def test_what_follows_from_an_answer(state: AcquirerState | None, over: bool, follows: Asked) -> None:  # noqa: FBT001  # a table of cases
    assert payments.after_asking(state, link_over=over) is follows


def test_pauses_grow_and_end() -> None:
    asks = [payments.ask_pause(number) for number in range(2000)]
    assert asks[:3] == [15 * MINUTE / 60, 30 * MINUTE / 60, MINUTE]
    assert asks == sorted(asks)
    assert asks[-1] == 30 * MINUTE
    assert payments.refund_pause(0) == timedelta(seconds=10)
    assert payments.refund_pause(10_000) == timedelta(hours=1)
