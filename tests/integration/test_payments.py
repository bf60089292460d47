"""QR payments through the real application, a real database and an acquirer over HTTP: each is booked once."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.payments import PaymentResult
from parking_core.settlement.postings import cash_paid
from parking_core.store import journal
from simulators.acquirer_callbacks import Faults
from tests.integration.payment_stage import PLATE, Stage, play, results, stage

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.services


def test_a_payment_is_shown_ordered_told_booked_and_opens_the_barrier(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            token = on.lot.offer(visit)
            page = (await on.http.get(f"/v1/payments/{token}")).json()
            assert (page["lot"], page["amount_fen"], page["paid"]) == ("P01", 1000, False)
            assert page["plate"] == "苏B·**345"
            assert page["lines"][0]["text"]["en"] == "2 hours"
            first, again = await on.scan(token), await on.scan(token)
            assert first == again, "the live order is returned"
            assert (await on.wallet.post(f"/w/{first}")).status_code == 204
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.BOOKED: 1}
            assert on.lot.balances() == {"acquirer:acq": 1000, "receivable:P01": -1000}
            gate = on.lot.rows("SELECT kind, cause, device_id FROM commands")
            assert gate == [("open_gate", f"payment_order:{first}", on.lot.lane)]
            assert on.lot.one("SELECT state FROM payment_orders") == "paid"
            assert (await on.http.get(f"/v1/payments/{token}")).json()["paid"] is True
            refused = await on.http.post(f"/v1/payments/{token}")
            assert (refused.status_code, refused.json()["code"]) == (409, "already_paid")
            assert on.lot.differences() == []

    play(run)


def test_repeated_reordered_lost_and_delayed_notices_book_every_payment_once(database_url: str, tmp_path: Path) -> None:
    """Sixty payments through the worst of it; what was lost is found by asking, and days agree with his own books."""
    faults = Faults(lose=0.3, repeat=0.5, reorder=0.4, delay_s=0.1, hold_s=0.5, retry_s=0.1)

    async def run() -> None:
        async with stage(database_url, tmp_path, faults=faults) as on:
            tokens = [on.lot.offer(on.lot.enter(f"苏B{n:05}"), 500 + n) for n in range(60)]
            for token in tokens:
                await on.pay(token)
                if token == tokens[30]:
                    on.lot.book()
            await on.acquirer.callbacks.idle()
            while on.lot.book().notices:
                pass
            lost = on.acquirer.callbacks.counts["lost"]
            assert lost > 5, "the seed loses some"
            assert on.acquirer.callbacks.counts["repeated"] > 10
            assert on.lot.one("SELECT count(*) FROM payments") == 60 - lost
            on.clock.ahead = timedelta(seconds=20)
            await on.asking.step()
            assert results(on.lot.book()) == {PaymentResult.BOOKED: lost}
            await _agree(on)
            assert {(name, state) for name, state, _ in on.lot.differences()} == {("payment_notice_lost", "explained")}
            assert len(on.lot.differences()) == lost
            assert on.lot.one("SELECT sum(repeats) FROM payment_notices") == on.acquirer.callbacks.counts["repeated"]

    play(run)


async def _agree(on: Stage) -> None:
    """Our account of the acquirer is what his books say, with fees apart."""
    days = (await on.truth())["days"].values()
    taken = sum(day["payments_fen"] - day["refunds_fen"] for day in days)
    assert on.lot.balances()["acquirer:acq"] == taken
    assert on.lot.one("SELECT count(*) FROM payments") == sum(day["payments"] for day in days)


def test_a_notice_that_comes_after_all_changes_nothing(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            order = await on.scan(on.lot.offer(on.lot.enter()))
            await on.pay_oddly(order_id=order, silent=True)
            on.clock.ahead = timedelta(seconds=20)
            await on.asking.step()
            assert results(on.lot.book()) == {PaymentResult.BOOKED: 1}
            on.clock.ahead = timedelta()
            on.acquirer.callbacks.tell(next(iter(on.acquirer.books.transactions.values())))
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.REPEATED: 1}
            await _agree(on)

    play(run)


def test_another_amount_is_booked_as_it_was_paid_and_named(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            order = await on.scan(on.lot.offer(on.lot.enter()))
            await on.pay_oddly(order_id=order, amount_fen=400)
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.OTHER_AMOUNT: 1}
            assert on.lot.balances() == {"acquirer:acq": 400, "receivable:P01": -400}
            assert on.lot.differences() == [("payment_amount", "open", 600)]
            assert on.lot.rows("SELECT FROM commands") == [], "the barrier stays down for too little"

    play(run)


def test_a_second_payment_is_given_back_through_the_acquirer(database_url: str, tmp_path: Path) -> None:
    """An older code and a newer one are both paid: the smaller amount goes back, and every account agrees."""

    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            older = await on.scan(on.lot.offer(visit, 1000))
            newer = await on.scan(on.lot.offer(visit, 1500))
            for order in (newer, older):
                assert (await on.wallet.post(f"/w/{order}")).status_code == 204
                await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.BOOKED: 1, PaymentResult.PAID_TWICE: 1}
            assert on.lot.balances() == {"acquirer:acq": 2500, "receivable:P01": -1500, "refunds_payable": -1000}
            assert on.lot.differences() == [("paid_twice", "open", -1000)]
            on.acquirer.away = True
            await on.asking.step()
            assert on.lot.rows("SELECT state, tries FROM payment_refunds") == [("due", 1)]
            on.acquirer.away = False
            on.clock.ahead = timedelta(seconds=30)
            await on.asking.step()
            assert on.lot.rows("SELECT state FROM payment_refunds") == [("refunded",)]
            assert on.lot.balances() == {"acquirer:acq": 1500, "receivable:P01": -1500}
            assert on.lot.differences() == [("paid_twice", "settled", -1000)]
            assert sorted(on.lot.rows("SELECT state FROM payment_orders")) == [("paid",), ("refunded",)]
            await _agree(on)

    play(run)


def test_two_transactions_for_one_order_are_two_payments(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            order = await on.pay(on.lot.offer(on.lot.enter()))
            await on.pay_oddly(order_id=order)
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.BOOKED: 1, PaymentResult.PAID_TWICE: 1}
            await on.asking.step()
            assert on.lot.balances() == {"acquirer:acq": 1000, "receivable:P01": -1000}
            assert on.lot.one("SELECT state FROM payment_orders") == "paid", "half of it was given back"

    play(run)


def test_a_payment_after_leaving_ends_arrears_and_what_is_too_much_is_overpaid(
    database_url: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            on.lot.leave(visit)
            on.lot.charge(visit, 1000)
            on.lot.connection.execute(
                "INSERT INTO differences (key, name, owner, state, visit_id, day)"
                " VALUES ('arrears:1', 'arrears', 'operator', 'open', %s, current_date)",
                (visit,),
            )
            await on.pay(on.lot.offer(visit, 1000, at_lane=False))
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.BOOKED: 1}
            assert on.lot.differences() == [("arrears", "settled", 0)]
            on.lot.charge(visit, 700)
            await on.pay(on.lot.offer(visit, 200, at_lane=False))
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.OVERPAID: 1}
            assert [(name, abs(fen)) for name, state, fen in on.lot.differences() if state == "open"] == [
                ("overpaid", 500)
            ]
            assert on.lot.rows("SELECT FROM commands") == []

    play(run)


def test_money_for_an_order_that_nobody_gave_is_named_and_not_lost(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            await on.pay_oddly(order_id=str(uuid.uuid4()), amount_fen=700)
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.UNKNOWN_ORDER: 1}
            assert on.lot.balances() == {}
            assert on.lot.differences() == [("payment_unknown", "open", -700)]
            assert on.lot.one("SELECT amount_fen FROM payments WHERE order_id IS NULL") == 700

    play(run)


def test_a_link_ends_when_the_visit_was_paid_another_way(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            token = on.lot.offer(visit)
            order = await on.scan(token)
            on.lot.leave(visit)
            on.lot.charge(visit, 1000)
            on.lot.review(visit)
            assert (await on.http.get(f"/v1/payments/{token}")).status_code == 200, "arrears can be paid by it"
            cash = cash_paid(
                operator="op1", reference="1", visit_id=visit, lot="P01", amount_fen=1000, at=datetime.now(UTC)
            )
            journal.book(on.lot.connection, [cash])
            on.lot.review(visit)
            assert (await on.http.get(f"/v1/payments/{token}")).status_code == 410
            await on.asking.step()
            assert on.lot.one("SELECT state FROM payment_orders") == "expired"
            assert (await on.wallet.post(f"/w/{order}")).status_code == 410

    play(run)


def test_orders_that_nobody_needs_are_closed_at_the_acquirer(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            token = on.lot.offer(visit, 1000)
            order = await on.scan(token)
            same = on.lot.offer(visit, 1000)
            assert (await on.http.get(f"/v1/payments/{token}")).status_code == 200, "asked again for the same amount"
            on.lot.offer(visit, 1500)
            for old in (token, same):
                assert (await on.http.get(f"/v1/payments/{old}")).status_code == 410
                assert (await on.http.post(f"/v1/payments/{old}")).status_code == 410
            await on.asking.step()
            assert on.lot.one("SELECT state FROM payment_orders") == "expired"
            assert (await on.wallet.post(f"/w/{order}")).status_code == 410

    play(run)


def test_an_acquirer_that_is_away_costs_a_503_and_the_order_is_the_same_afterwards(
    database_url: str, tmp_path: Path
) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            token = on.lot.offer(on.lot.enter())
            on.acquirer.away = True
            refused = await on.http.post(f"/v1/payments/{token}")
            assert (refused.status_code, refused.json()["code"]) == (503, "acquirer_away")
            waiting = on.lot.one("SELECT id FROM payment_orders WHERE state = 'created'")
            on.acquirer.away = False
            orders = await asyncio.gather(*(on.scan(token) for _ in range(8)))
            assert set(orders) == {str(waiting)}
            assert len(on.acquirer.books.orders) == 1

    play(run)


def test_the_bill_of_a_day_is_fetched_once_and_is_his_books(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            for number in range(3):
                await on.pay(on.lot.offer(on.lot.enter(f"苏B0000{number}"), 1000 + number))
            await on.acquirer.callbacks.idle()
            on.lot.book()
            await on.asking.step()
            assert on.lot.rows("SELECT FROM acquirer_bill_days") == [], "the day is not over"
            day = next(iter((await on.truth())["days"]))
            figures = (await on.truth())["days"][day]
            for _ in range(2):
                await on.asking._fetch_bills(datetime.now(UTC) + timedelta(hours=35))
            stored = on.lot.rows(
                "SELECT payments, payments_fen, refunds, refunds_fen, fee_fen FROM acquirer_bill_days WHERE day = %s",
                day,
            )
            assert stored == [
                tuple(figures[name] for name in ("payments", "payments_fen", "refunds", "refunds_fen", "fee_fen"))
            ]
            ours = on.lot.rows("SELECT transaction_ref, amount_fen FROM payments ORDER BY 1")
            assert on.lot.rows("SELECT transaction_ref, amount_fen FROM acquirer_bills ORDER BY 1") == ours

    play(run)


def test_no_plate_and_no_token_is_stored_or_shown(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            token = on.lot.offer(on.lot.enter())
            await on.pay(token)
            await on.acquirer.callbacks.idle()
            on.lot.book()
            kept: list[Any] = []
            for table in ("payment_links", "payment_orders", "payment_notices", "payments", "commands", "differences"):
                kept += on.lot.rows(f"SELECT t::text FROM {table} t")
            kept.append((await on.http.get(f"/v1/payments/{token}")).text)
            assert PLATE not in str(kept)
            assert token not in str(kept)

    play(run)


def test_a_payment_for_a_visit_that_was_given_up_has_a_name(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            order = await on.scan(on.lot.offer(visit))
            on.lot.rows("UPDATE visits SET state = 'missing_exit' WHERE id = %s RETURNING id", visit)  # never charged
            await on.pay_oddly(order_id=order)
            await on.acquirer.callbacks.idle()
            assert results(on.lot.book()) == {PaymentResult.OVERPAID: 1}
            assert ("overpaid", "open", -1000) in on.lot.differences()

    play(run)
