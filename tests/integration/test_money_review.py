"""Money that changes its mind: what differs again, is explained by another amount, comes late, or is decided by a person."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from parking_core.flows import follow_lanes as flow
from parking_core.flows.close_month import close_again, close_month, month_of, set_revenue_share
from parking_core.flows.correct_money import Decision, book_bad_debt, order_refund, reject_held, set_off, write_off
from parking_core.flows.publish_tariff import Binding, publish_tariff
from parking_core.flows.reconcile import audit_money, reconcile_bills, reconcile_hours
from parking_core.flows.settle_transactions import settle_transactions
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.settlement.postings import qr_paid
from parking_core.store import differences, journal, permits
from parking_core.store.permits import ListedPermit
from tests.tariff_rows import hourly
from tests.visit_rows import CAR, HOUR, NOON, OTHER, ZONE, Town

pytestmark = pytest.mark.services

BECAUSE = Decision(key="d1", by="Chen", reason="the driver complained")
LATER = NOON + 80 * HOUR


def visit_of(town: Town, vehicle: str = CAR) -> int:
    ((number,),) = town.rows("SELECT id FROM visits WHERE vehicle = %s AND state <> 'void'", vehicle)
    return int(number)


def pay(town: Town, visit: int, fen: int, at: datetime, reference: str = "r1") -> None:
    entry = qr_paid(acquirer="tongpay", reference=reference, visit_id=visit, lot="P01", amount_fen=fen, at=at)
    journal.book(town.db, [entry])


def of(keys: str, town: Town) -> list[tuple[str, str, int]]:
    return town.rows("SELECT key, state, amount_fen FROM differences WHERE starts_with(key, %s) ORDER BY id", keys)


def test_a_comparison_that_is_repeated_names_what_differs_again(db: psycopg.Connection[Any]) -> None:
    def found(fen: int) -> Difference:
        return Difference(key="h:1", name=DifferenceName.HOUR_AMOUNT, day=NOON.date(), amount_fen=fen)

    for fen in (5, 7):  # open: the same row, brought up to date
        differences.open_again(db, [found(fen)])
    assert differences.settle(db, ["h:1", "h:2"], "late") == 1
    differences.open_again(db, [found(9)])
    differences.open_again(db, [found(8)])
    assert differences.settle(db, ["h:1"], "late") == 1
    assert differences.settle(db, ["h:1"], "late") == 0
    differences.open_again(db, [found(4)])
    differences.end(db, ["h:1:3"], DifferenceState.EXPLAINED, "by Chen")
    differences.open_again(db, [found(3)])  # what a person has explained stays so
    rows = db.execute("SELECT key, state, amount_fen FROM differences ORDER BY id").fetchall()
    assert rows == [("h:1", "settled", 7), ("h:1:2", "settled", 8), ("h:1:3", "explained", 4)]


def test_an_hour_that_agreed_and_differs_again_is_open_again(town: Town) -> None:
    lane = town.lanes["P01-in"]
    town.enter(0.1)
    town.db.execute(
        "INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, hour_at,"
        " hour_records, hour_amount_fen, payload, digest)"
        " VALUES (%s, %s, 5000, 'hour_total', 'etc', %s, %s, '', %s, 2, 0, '', '')",
        (lane, town.lots["P01"], NOON + HOUR, NOON + HOUR, NOON),
    )
    states = []
    for late in (None, 0.2, 0.3):
        if late is not None:
            town.enter(late, OTHER)
        reconcile_hours(town.db, NOON, NOON + HOUR, ZONE, LATER)
        states.append([state for _, state, _ in of("hour_records:", town)])
    assert states == [["open"], ["settled"], ["settled", "open"]]


def test_a_payment_that_is_known_after_its_bill_settles_the_bills_difference(town: Town) -> None:
    town.enter(0)
    town.leave(2)
    town.follow()
    day = NOON.astimezone(ZONE).date()
    town.db.execute("INSERT INTO acquirer_bills VALUES ('tongpay', %s, 'r1', 'o1', 'payment', 1000, 0)", (day,))
    town.db.execute(
        "INSERT INTO acquirer_bill_days VALUES ('tongpay', %s, 1, 1000, 0, 0, 0, %s)", (day, NOON + 24 * HOUR)
    )
    assert reconcile_bills(town.db, ZONE).bill_differences == 1
    assert of("bill:", town) == [(f"bill:tongpay:{day}:payment:r1", "open", -1000)]
    assert reconcile_bills(town.db, ZONE).bills == 0
    pay(town, visit_of(town), 1000, NOON + 2 * HOUR)
    pay(town, visit_of(town), 70, NOON + 2 * HOUR, "r2")  # late, too, and not on the bill
    reconcile_bills(town.db, ZONE)
    assert of("bill:", town) == [
        (f"bill:tongpay:{day}:payment:r1", "settled", -1000),
        (f"bill:tongpay:{day}:payment:r2", "open", 70),
    ]
    assert not [one for one in audit_money(town.db, ZONE).lines if "acquirer" in one.subject and one.unexplained_fen]


def test_a_rejected_transaction_leaves_arrears_with_a_name_and_a_part_written_off_lessens_them(town: Town) -> None:
    town.enter(0)
    town.leave(2, paid=1000, tac=None)
    town.follow()
    ((terminal, serial),) = town.rows("SELECT terminal_no, terminal_serial FROM etc_transactions")
    reject_held(town.db, (terminal, serial), BECAUSE, LATER, zone=ZONE)
    assert town.differences() == [("arrears", 1000)]
    assert town.visits() == [(CAR, "P01", "closed", [], "later", 1000)]
    write_off(town.db, visit_of(town), BECAUSE, LATER, zone=ZONE, amount_fen=400)
    assert town.differences() == [("arrears", 600)]
    assert audit_money(town.db, ZONE).passes
    write_off(town.db, visit_of(town), Decision(key="d2", by="Chen", reason="the rest"), LATER, zone=ZONE)
    assert (town.differences(), town.differences("written_off")) == ([], [("arrears", 600)])


def test_a_part_refunded_or_set_off_leaves_the_rest_with_its_name(town: Town) -> None:
    town.enter(-5)
    town.leave(-4)  # 500 fen of arrears
    town.enter(0)
    town.leave(2, paid=1900)
    town.follow()
    assert town.differences() == [("amount_differs", -900), ("arrears", 500)]
    ((second,),) = town.rows("SELECT id FROM visits WHERE exited_at > %s", NOON)
    order_refund(town.db, second, 300, BECAUSE, LATER, zone=ZONE)
    assert town.differences() == [("amount_differs", -600), ("arrears", 500)]
    set_off(town.db, second, BECAUSE, LATER, zone=ZONE)
    assert town.differences() == [("amount_differs", -100)]
    assert audit_money(town.db, ZONE).passes


def test_a_difference_explains_no_other_amount(town: Town) -> None:
    town.enter(0)
    town.leave(2, paid=1100)
    town.follow()
    assert town.differences() == [("amount_differs", -100)]
    assert audit_money(town.db, ZONE).passes
    pay(town, visit_of(town), 5000, NOON + 3 * HOUR)  # booked past the review
    assert audit_money(town.db, ZONE).unexplained_items == 1


def test_the_centres_other_total_is_explained_by_its_difference(town: Town) -> None:
    town.enter(0)
    town.leave(2, paid=1000)
    town.follow()
    day = NOON.date()
    town.db.execute("UPDATE etc_transactions SET state = 'booked', clearing_day = %s", (day,))
    town.db.execute("INSERT INTO clearing_totals VALUES (%s, 1, 990, '{}', '{}', 1, %s)", (day, LATER))
    town.db.execute("INSERT INTO accounts (code, kind) VALUES ('bank', 'bank')")
    town.db.execute(
        "INSERT INTO journal (key, kind, occurred_at) VALUES ('clearing_day:d:1', 'clearing_day', %s)", (LATER,)
    )
    town.db.execute(
        "INSERT INTO postings SELECT j.id, n.line, a.id, n.fen FROM journal j, (VALUES (1, 'bank', 990), "
        "(2, 'etc_clearing', -990)) AS n (line, code, fen) JOIN accounts a USING (code) WHERE j.key = 'clearing_day:d:1'"
    )
    assert audit_money(town.db, ZONE).unexplained_fen == 10
    found = Difference(key=f"clearing_total:{day}:1", name=DifferenceName.CLEARING_TOTAL, day=day, amount_fen=10)
    differences.open_again(town.db, [found])
    assert audit_money(town.db, ZONE).passes


def test_a_completion_may_name_the_record_that_repeated_its_transaction(town: Town) -> None:
    for late in (False, True):
        car, number = (OTHER, 600) if late else (CAR, 500)
        town.enter(0, car)
        left = town.leave(2, car, paid=1000, tac=None, record_no=number)
        if not late:
            town.follow()
        town.db.execute(
            "INSERT INTO lane_repeats (device_id, record_no, event_id, reason, occurred_at, received_at, amount_fen, payload,"
            " digest) VALUES (%s, %s, %s, 'transaction_repeated', %s, %s, 1000, '', '')",
            (town.lanes["P01-out"], number + 1, left, NOON + 2 * HOUR, NOON + 2 * HOUR),
        )
        reply = town.event("P01-out", "completion", 3, car, refers_to=number + 1)
        town.db.execute("UPDATE lane_events SET tac = 'A1B2C3D4' WHERE id = %s", (reply,))
        town.follow()
        assert town.rows("SELECT state FROM etc_transactions WHERE event_id = %s", left) == [("ready",)]


def test_what_was_paid_stays_with_a_visit_whose_first_reading_comes_late(town: Town) -> None:
    town.enter(0.01, record_no=701)
    town.follow(now=NOON + HOUR)
    pay(town, visit_of(town), 1000, NOON + 1.95 * HOUR)
    town.enter(0, record_no=700)
    town.leave(2)
    town.follow()
    assert town.visits() == [(CAR, "P01", "closed", ["re_entry"], "qr", 0)]
    assert (town.differences(), town.rows("SELECT FROM visits WHERE state = 'void'")) == ([], [])


def test_a_sharer_of_a_permit_who_paid_before_leaving_keeps_the_grace(town: Town) -> None:
    span = NOON - 100 * HOUR, NOON + 100 * HOUR
    assert permits.add_permit(town.db, ListedPermit("PM1", "P01", "resident", *span, 1, (CAR, OTHER)))
    publish_tariff(town.db, hourly("graced", grace_minutes=15), Binding(NOON - 9 * HOUR, ["P01"]), NOON - 9 * HOUR)
    town.enter(0)
    town.enter(0.5, OTHER)
    town.follow(now=NOON + HOUR)
    pay(town, visit_of(town, OTHER), 1000, NOON + 2.4 * HOUR)
    town.leave(2.6, OTHER)  # in the third hour, within the grace
    town.follow(now=NOON + 3 * HOUR)
    before = town.visits()
    assert [row[4:] for row in before] == [(None, 0), ("qr", 0)]
    town.leave(9)
    town.follow(now=NOON + 10 * HOUR)
    assert [row[4:] for row in town.visits() if row[0] == OTHER] == [("qr", 0)]


def test_the_record_that_failed_is_set_aside_not_one_that_came_before_it_since(
    town: Town, monkeypatch: pytest.MonkeyPatch, database_url: str
) -> None:
    real = settle_transactions
    with psycopg.connect(database_url) as gateway:  # has its number, and commits after the worker has looked
        other = Town.__new__(Town)
        other.__dict__.update(town.__dict__, db=gateway)
        slow = other.enter(0, OTHER)
        bad = town.leave(1, CAR, paid=500)
        assert slow < bad

        def breaks(connection: Any, events: Any, *given: Any, **named: Any) -> Any:
            if any(event.id == bad for event in events):
                gateway.commit()
                raise ValueError(CAR)
            return real(connection, events, *given, **named)

        monkeypatch.setattr(flow, "settle_transactions", breaks)
        flow.follow_lanes(town.db, town.desk, LATER, 1)
    assert town.rows("SELECT event_id FROM lane_events_set_aside") == [(bad,)]
    assert town.rows("SELECT id FROM lane_events WHERE processed_at IS NULL") == [(slow,)]


def test_what_is_decided_long_after_a_month_changes_its_statement(town: Town) -> None:
    set_revenue_share(town.db, "op1", date(2026, 5, 1), 100)
    for car, fen in ((CAR, 1000), (OTHER, 1000)):
        town.enter(0, car)
        town.leave(2, car, paid=fen, tac="A1B2C3D4" if car == CAR else None)
    town.follow()
    months = [month_of(text, ZONE) for text in ("2026-05", "2026-08")]
    close_month(town.db, months[0], months[0].until + timedelta(days=3))
    decided = months[1].since + timedelta(days=3)
    ((terminal, serial),) = town.rows("SELECT terminal_no, terminal_serial FROM etc_transactions WHERE tac IS NULL")
    book_bad_debt(town.db, (terminal, serial), BECAUSE, decided, zone=ZONE)
    close_month(town.db, months[1], months[1].until)
    assert "operator_payable:op1" not in town.balances()  # August bears what May never got
    assert close_again(town.db, ZONE, months[1].until) == {"2026-05": {"op1": 2}}
    assert (town.balances()["operator_payable:op1"], town.balances()["district_share"]) == (-900, -100)
    assert close_again(town.db, ZONE, months[1].until) == {}
