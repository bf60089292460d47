"""What people decide about money: refunds, write-offs, held transactions, arrears that are paid later."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import psycopg
import pytest

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.book_charges import book_charges
from parking_core.flows.correct_money import (
    Decision,
    book_bad_debt,
    order_refund,
    pay_refund,
    reject_held,
    release_held,
    set_off,
    write_off,
)
from parking_core.flows.pay_arrears import ArrearsPayment, pay_arrears
from parking_core.flows.settle_transactions import attach_visits, settle_transactions
from parking_core.reconciliation import Difference, DifferenceName
from parking_core.settlement import postings
from parking_core.store import differences, journal, visit_money
from parking_core.store.charges import PricedVisit
from tests.integration.money_rows import HOUR, NOON, ZONE, add_event, add_visit, paid, seed

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.services

TERMINAL = ("320100000001", "0001")


@pytest.fixture
def store(database_url: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


@pytest.fixture
def lane(store: psycopg.Connection) -> int:
    store.execute("INSERT INTO tariffs (code, version, document) VALUES ('t', 1, '{}')")
    return seed(store)["P01"]


def because(key: str = "d1") -> Decision:
    return Decision(key=key, by="Chen", reason="the driver complained")


def charged(
    store: psycopg.Connection, lane: int, amount_fen: int, *, at_hour: int = 0, vehicle: str = "苏BY1001"
) -> int:
    visit = add_visit(store, add_event(store, lane, at=NOON + at_hour * HOUR, vehicle=vehicle))
    book_charges(store, [priced(store, visit, amount_fen)])
    return visit


def priced(store: psycopg.Connection, visit: int, amount_fen: int) -> PricedVisit:
    ((tariff,),) = store.execute("SELECT id FROM tariffs").fetchall()
    return PricedVisit(visit_id=visit, amount_fen=amount_fen, lines=(), reason="exit", at=NOON, tariff_id=tariff)


def pay(store: psycopg.Connection, visit: int, amount_fen: int, reference: str = "r1") -> str:
    entry = postings.qr_paid(
        acquirer="tongpay", reference=reference, visit_id=visit, lot="P01", amount_fen=amount_fen, at=NOON
    )
    journal.book(store, [entry])
    return entry.key


def tell(store: psycopg.Connection, name: DifferenceName, visit: int) -> None:
    differences.open_all(store, [Difference(key=f"{name}:{visit}", name=name, day=NOON.date(), visit_id=visit)])


def ended(store: psycopg.Connection) -> list[tuple[str, str]]:
    return store.execute("SELECT name, state FROM differences ORDER BY id").fetchall()


def balances(store: psycopg.Connection) -> dict[str, int]:
    return {row.code: row.balance_fen for row in journal.trial_balance(store) if row.balance_fen}


def etc_exit(store: psycopg.Connection, lane: int, flags: tuple[str, ...] = (), tac: str | None = "A1B2C3D4") -> int:
    left = add_event(store, lane, etc=paid("0001", tac=tac), flags=flags)
    visit = add_visit(store, left)
    with store.transaction():
        settle_transactions(store, [left], NOON, zone=ZONE)
        attach_visits(store, [(left.id, visit)])
    return visit


def test_a_double_payment_is_given_back_the_way_it_came(store: psycopg.Connection, lane: int) -> None:
    visit = charged(store, lane, 500)
    for reference in ("r1", "r2"):
        pay(store, visit, 500, reference)
    tell(store, DifferenceName.PAID_TWICE, visit)
    ordered = order_refund(store, visit, 500, because(), NOON, zone=ZONE)
    assert (ordered.new, ordered.channel) == (True, "qr:tongpay")
    assert balances(store) == {"acquirer:tongpay": 1000, "revenue:P01": -500, "refunds_payable": -500}
    assert ended(store) == [("paid_twice", "settled")]
    assert not order_refund(store, visit, 500, because(), NOON, zone=ZONE).new
    for new in (True, False):
        assert pay_refund(store, visit, because(), NOON).new is new
    assert balances(store) == {"acquirer:tongpay": 500, "revenue:P01": -500}
    assert journal.owed_by_visit(store, [visit]) == {visit: 0}
    entry = journal.entry(store, "refund_ordered:d1")
    assert entry is not None
    assert (entry.detail["by"], entry.detail["reason"]) == ("Chen", "the driver complained")


def test_more_than_was_overpaid_lessens_what_the_visit_cost(store: psycopg.Connection, lane: int) -> None:
    visit = charged(store, lane, 500)
    pay(store, visit, 700)
    order_refund(store, visit, 300, because("part"), NOON, zone=ZONE)
    assert balances(store) == {"acquirer:tongpay": 700, "revenue:P01": -400, "refunds_payable": -300}
    money = visit_money.lock(store, visit)
    assert (money.owed_fen, money.paid_fen, money.refunded_fen, money.refundable_fen) == (0, 700, 300, 400)
    with pytest.raises(InvalidInputError, match="400 fen that can be given back"):
        order_refund(store, visit, 401, because("more"), NOON, zone=ZONE)
    order_refund(store, visit, 400, because("rest"), NOON, zone=ZONE, channel="bank")
    pay_refund(store, visit, because("rest"), NOON)
    assert balances(store) == {"acquirer:tongpay": 700, "bank": -400, "refunds_payable": -300}


def test_two_refunds_at_once_do_not_share_one_payment(store: psycopg.Connection, database_url: str, lane: int) -> None:
    visit = charged(store, lane, 500)
    pay(store, visit, 500)
    start = threading.Barrier(2)
    refused = []

    def order(key: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            start.wait()
            try:
                order_refund(connection, visit, 400, because(key), NOON, zone=ZONE)
            except InvalidInputError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=order, args=(key,)) for key in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == 1
    assert balances(store)["refunds_payable"] == -400


def test_a_refund_that_cannot_be_is_refused_with_the_reason(store: psycopg.Connection, lane: int) -> None:
    visit, other = charged(store, lane, 500), charged(store, lane, 500, at_hour=1)
    pay(store, visit, 500)
    for amount in (0, -5, 501):
        with pytest.raises(InvalidInputError, match="can be given back"):
            order_refund(store, visit, amount, because(), NOON, zone=ZONE)
    with pytest.raises(NotFoundError, match="no visit 99999"):
        order_refund(store, 99_999, 1, because(), NOON, zone=ZONE)
    with pytest.raises(InvalidInputError, match="no channel 'shells'"):
        order_refund(store, visit, 1, because(), NOON, zone=ZONE, channel="shells")
    with pytest.raises(NotFoundError, match="was ordered"):
        pay_refund(store, visit, because(), NOON)
    order_refund(store, visit, 1, because(), NOON, zone=ZONE)
    with pytest.raises(InvalidInputError, match="another key"):
        pay_refund(store, other, because(), NOON)
    with pytest.raises(InvalidInputError, match="needs its reason"):
        Decision(key="k", by="Chen", reason=" ")


def test_arrears_are_written_off_once_and_not_beyond_what_is_owed(store: psycopg.Connection, lane: int) -> None:
    visit = charged(store, lane, 500)
    tell(store, DifferenceName.ARREARS, visit)
    with pytest.raises(InvalidInputError, match="owes 500 fen"):
        write_off(store, visit, because(), NOON, zone=ZONE, amount_fen=501)
    assert write_off(store, visit, because("half"), NOON, zone=ZONE, amount_fen=200).new
    assert ended(store) == [("arrears", "open")]
    for new in (True, False):
        assert write_off(store, visit, because("rest"), NOON, zone=ZONE).new is new
    assert ended(store) == [("arrears", "written_off")]
    assert balances(store) == {"write_off:P01": 500, "revenue:P01": -500}
    with pytest.raises(InvalidInputError, match="owes 0 fen"):
        write_off(store, visit, because("again"), NOON, zone=ZONE)


def test_a_held_transaction_is_released_to_the_centre(store: psycopg.Connection, lane: int) -> None:
    visit = etc_exit(store, lane, ("balance",))
    for new in (True, False):
        assert release_held(store, TERMINAL, because(), NOON, zone=ZONE).new is new
    assert balances(store) == {"etc_clearing": 500, "receivable:P01": -500}
    assert ended(store) == [("check_failed", "settled"), ("no_tariff", "open")]  # nobody has charged this visit
    assert journal.entries_of_visit(store, visit)[-1].detail["by"] == "Chen"
    with pytest.raises(InvalidInputError, match="is ready; it cannot become rejected"):
        reject_held(store, TERMINAL, because("d2"), NOON, zone=ZONE)


def test_a_rejected_transaction_is_owed_again_and_does_not_move_any_more(store: psycopg.Connection, lane: int) -> None:
    visit = etc_exit(store, lane, ("amount_range",))
    reject_held(store, TERMINAL, because(), NOON, zone=ZONE)
    assert balances(store) == {}
    row = store.execute("SELECT event_id FROM etc_transactions").fetchone()
    assert row is not None
    other = charged(store, lane, 300, at_hour=1)
    with store.transaction():
        attach_visits(store, [(row[0], other)])
    assert journal.owed_by_visit(store, [visit, other]) == {visit: 0, other: 300}


@pytest.mark.parametrize("why", ["tail_form", "terminal_missing"])
def test_what_fits_no_package_can_only_be_rejected(store: psycopg.Connection, lane: int, why: str) -> None:
    named = TERMINAL
    if why == "tail_form":
        etc_exit(store, lane, (why,))
    else:
        left = add_event(store, lane, etc=paid("0001", terminal=None))
        with store.transaction():
            (held,) = settle_transactions(store, [left], NOON, zone=ZONE).new
            attach_visits(store, [(left.id, add_visit(store, left))])
        named = (held.terminal_no, held.terminal_serial)
    assert balances(store) == {"etc_held": 500, "receivable:P01": -500}
    with pytest.raises(InvalidInputError, match=rf"does not fit a package to the centre \({why}\)"):
        release_held(store, named, because(), NOON, zone=ZONE)
    reject_held(store, named, because(), NOON, zone=ZONE)
    assert balances(store) == {}


def test_what_a_person_may_not_decide(store: psycopg.Connection, lane: int) -> None:
    etc_exit(store, lane, tac=None)
    with pytest.raises(InvalidInputError, match="has no TAC"):
        release_held(store, TERMINAL, because(), NOON, zone=ZONE)
    with pytest.raises(NotFoundError, match="no transaction x:y"):
        release_held(store, ("x", "y"), because(), NOON, zone=ZONE)
    assert balances(store) == {"etc_awaiting_tac": 500, "receivable:P01": -500}
    book_bad_debt(store, TERMINAL, because(), NOON, zone=ZONE)
    assert balances(store) == {"bad_debt:P01": 500, "receivable:P01": -500}
    with pytest.raises(InvalidInputError, match="is bad_debt"):
        reject_held(store, TERMINAL, because(), NOON, zone=ZONE)


def test_a_later_payment_clears_the_oldest_arrears_first(store: psycopg.Connection, lane: int) -> None:
    second, first = charged(store, lane, 400, at_hour=2), charged(store, lane, 300, at_hour=1)
    other = charged(store, lane, 900, at_hour=0, vehicle="苏BY2002")
    today = charged(store, lane, 500, at_hour=3)
    assert journal.arrears_of(store, ["苏BY1001", "苏BY2002", "苏BY3003"]) == {"苏BY1001": 1200, "苏BY2002": 900}
    for visit in (first, second):
        tell(store, DifferenceName.ARREARS, visit)
    key = pay(store, today, 1000)
    part = ArrearsPayment(payment=key, visit_id=today, vehicle="苏BY1001", amount_fen=500, at=NOON)
    with store.transaction():
        assert pay_arrears(store, [part]) == 2
    with store.transaction():
        assert pay_arrears(store, [part]) == 0
    assert journal.owed_by_visit(store, [first, second, today, other]) == {first: 0, second: 200, today: 0, other: 900}
    assert sorted(ended(store)) == [("arrears", "open"), ("arrears", "settled")]
    assert "moved" not in balances(store)


def test_two_payments_of_a_batch_do_not_clear_the_same_arrears(store: psycopg.Connection, lane: int) -> None:
    old = charged(store, lane, 300)
    todays = [charged(store, lane, 0, at_hour=hour) for hour in (2, 3)]
    parts = [
        ArrearsPayment(
            payment=pay(store, visit, 200, f"r{visit}"), visit_id=visit, vehicle="苏BY1001", amount_fen=200, at=NOON
        )
        for visit in todays
    ]
    with store.transaction():
        assert pay_arrears(store, parts) == 1
    assert journal.owed_by_visit(store, [old, *todays]) == {old: 0, todays[0]: 0, todays[1]: -100}


def test_what_was_paid_too_much_is_set_off_against_arrears(store: psycopg.Connection, lane: int) -> None:
    old, today = charged(store, lane, 300), charged(store, lane, 500, at_hour=1)
    with pytest.raises(InvalidInputError, match="not paid too much"):
        set_off(store, today, because(), NOON, zone=ZONE)
    pay(store, today, 800)
    tell(store, DifferenceName.OVERPAID, today)
    for new in (True, False):
        done = set_off(store, today, because(), NOON, zone=ZONE)
        assert (done.amount_fen, done.new) == (300, new)
    assert journal.owed_by_visit(store, [old, today]) == {old: 0, today: 0}
    assert ended(store) == [("overpaid", "settled")]
    assert journal.entries_of_visit(store, old)[-1].detail["by"] == "Chen"
    pay(store, today, 100, "r2")
    with pytest.raises(InvalidInputError, match="owes nothing"):
        set_off(store, today, because("d2"), NOON, zone=ZONE)
