"""What the payment routes refuse, and what each process may do with the payment tables."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import psycopg
import pytest
from psycopg import errors
from psycopg_pool import AsyncConnectionPool

from parking_core.acquirers import AcquirerState, BillKind, BillLine, Notice, OrderAnswer, RefundAnswer
from parking_core.flows import chase_payments
from parking_core.flows.book_payments import book_payments
from parking_core.flows.offer_payment import offer
from parking_core.flows.order_payment import look_up, order_payment
from parking_core.flows.take_notice import take_notice
from parking_core.payments import Asked, PaymentResult
from tests.integration.money_rows import ZONE
from tests.integration.payment_stage import Keys, Lot, Stage, play, results, stage
from worker.payments import Booking

if TYPE_CHECKING:
    from pathlib import Path

    import httpx

    from onebox.services import RunningServices
    from parking_core.acquirers import OrderRequest
    from parking_core.store.acquirer import AcquirerClient

pytestmark = pytest.mark.services

NOTICES = "/v1/payments/notices/acq"
MINUTES = timedelta(minutes=1)


def a_notice(**other: Any) -> bytes:
    facts: dict[str, Any] = {
        "notice_id": "N1",
        "order_id": str(uuid.UUID(int=5)),
        "transaction_ref": "T1",
        "amount_fen": 500,
        "currency": "CNY",
        "state": "paid",
        "paid_at": datetime.now(UTC).isoformat(),
    }
    return msgspec.json.encode(facts | other)


async def tell(
    on: Stage, body: bytes, *, side: str = "theirs", ago: timedelta = timedelta(), **headers: str
) -> httpx.Response:
    stamp = on.keys.signing(side).stamp_answer(body, nonce=uuid.uuid4().hex, now=datetime.now(UTC) - ago)
    return await on.http.post(NOTICES, content=body, headers=stamp.headers() | headers)


def seen(answer: httpx.Response) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_notices_of_strangers_late_changed_and_unreadable_ones_are_refused(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            body = a_notice()
            assert seen(await tell(on, body, side="ours")) == (401, "bad_signature")
            assert seen(await tell(on, body, ago=6 * MINUTES)) == (401, "bad_signature")
            assert seen(await tell(on, body, ago=-6 * MINUTES)) == (401, "bad_signature")
            assert seen(await on.http.post(NOTICES, content=body)) == (401, "bad_signature")
            stamp = on.keys.signing("theirs").stamp_answer(body, nonce=uuid.uuid4().hex, now=datetime.now(UTC))
            changed = await on.http.post(NOTICES, content=body.replace(b"500", b"501"), headers=stamp.headers())
            assert seen(changed) == (401, "bad_signature")
            assert changed.headers["www-authenticate"] == "Acquirer-Signature"
            for odd in (b"", b"[]", b"\xff", a_notice(amount_fen=0), a_notice(currency="USD"), a_notice(state="open")):
                assert seen(await tell(on, odd)) == (422, "invalid_input")
            assert seen(await tell(on, b" " * 8193)) == (413, "body_too_large")
            assert seen(await on.http.post(NOTICES, content=b" " * 70_000)) == (413, "body_too_large")
            assert seen(await on.http.post("/v1/payments/notices/other", content=body)) == (404, "not_found")
            assert (await on.http.get(NOTICES)).status_code == 405
            assert on.lot.rows("SELECT FROM payment_notices") == [], "nothing of it is kept"
            assert [(await tell(on, body)).status_code for _ in range(3)] == [200] * 3
            assert on.lot.rows("SELECT notice_id, repeats FROM payment_notices") == [("N1", 2)]

    play(run)


def test_who_sends_many_bad_notices_is_slowed_down(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            on.desk.strangers.rate = 0.01
            statuses = [(await tell(on, a_notice(), side="ours")).status_code for _ in range(22)]
            assert statuses[:20] == [401] * 20
            assert statuses[-1] == 429
            refused = await tell(on, a_notice())
            assert int(refused.headers["retry-after"]) >= 1

    play(run)


def test_unknown_mistyped_and_expired_links(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            visit = on.lot.enter()
            expired = on.lot.offer(visit, now=datetime.now(UTC) - 16 * MINUTES)
            answers = []
            for token in ("x", "A" * 32, expired[::-1], "A" * 33, "%00", "a" * 3000):
                for method in ("GET", "POST"):
                    answer = await on.http.request(method, f"/v1/payments/{token}")
                    assert seen(answer) == (404, "link_unknown")
                    answers.append(answer.json()["detail"])
            assert len(set(answers)) == 1, "a token that never was and one that looks wrong are answered alike"
            for method in ("GET", "POST"):
                assert seen(await on.http.request(method, f"/v1/payments/{expired}")) == (410, "link_over")
            big = await on.http.post(f"/v1/payments/{on.lot.offer(visit)}", content=b" " * 70_000)
            assert seen(big) == (413, "body_too_large")

    play(run)


def test_a_link_and_a_client_may_ask_so_often(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            token = on.lot.offer(on.lot.enter())
            on.desk.links.burst, on.desk.links.rate = 3, 0.01
            statuses = [(await on.http.get(f"/v1/payments/{token}")).status_code for _ in range(4)]
            assert statuses == [200, 200, 200, 429]
            on.desk.clients.burst, on.desk.clients.rate = 2, 0.01
            assert on.desk.clients is not on.desk.links
            guesses = [await on.http.get(f"/v1/payments/{number:032}") for number in range(4)]
            assert guesses[-1].status_code == 429
            assert int(guesses[-1].headers["retry-after"]) > 10
            assert token not in str(on.desk.links), "of a token only its digest is remembered"

    play(run)


def test_the_worker_hears_of_a_notice_and_books_it(database_url: str, tmp_path: Path) -> None:
    async def run() -> None:
        async with stage(database_url, tmp_path) as on:
            with psycopg.connect(database_url, autocommit=True) as connection:
                booking = Booking(connection, "Asia/Shanghai")
                await booking.step()
                waiting = asyncio.create_task(booking.step())
                began = asyncio.get_running_loop().time()
                assert (await tell(on, a_notice())).status_code == 200
                await waiting
                await booking.step()
                assert asyncio.get_running_loop().time() - began < 0.9, "it was woken, not late"
                assert on.lot.rows("SELECT result FROM payment_notices") == [("unknown_order",)]

    play(run)


class Wallet:
    """An acquirer that has nothing to say but that the order is open."""

    code = "acq"

    async def create_order(self, order: OrderRequest) -> OrderAnswer:
        return OrderAnswer(
            order_id=order.order_id,
            state=AcquirerState.OPEN,
            amount_fen=order.amount_fen,
            currency="CNY",
            code_url="https://pay.example/w",
        )


def login(services: RunningServices, process: str, database_url: str) -> str:
    """The process's own login to the test's database."""
    return urlunsplit(urlsplit(services.database_urls[process])._replace(path=urlsplit(database_url).path))


def test_each_process_may_do_its_part_and_no_more(services: RunningServices, database_url: str) -> None:
    """The API links, orders and keeps notices; the worker offers, books, gives back; neither can do the other's."""

    async def api_part(url: str, token: str) -> None:
        async with AsyncConnectionPool(url, min_size=1, max_size=1, open=False) as pool:
            acquirer: Any = Wallet()
            client: AcquirerClient = acquirer
            payable = await order_payment(pool, client, token, datetime.now(UTC))
            body = a_notice(order_id=str(payable.order.id), amount_fen=1000)
            async with pool.connection() as connection:
                for repeats in (0, 1):
                    assert await take_notice(connection, "acq", msgspec.json.decode(body, type=Notice), body) == repeats
            assert not (await look_up(pool, token)).paid

    worker_url, api_url = login(services, "worker", database_url), login(services, "api", database_url)
    with psycopg.connect(database_url, autocommit=True) as owner:
        visit = Lot(owner).enter()
        lane = owner.execute("SELECT device_id FROM lanes").fetchone()
    assert lane is not None
    with psycopg.connect(worker_url, autocommit=True) as worker:
        token = offer(worker, visit, lane[0], 1000, datetime.now(UTC) - MINUTES)
        asyncio.run(api_part(api_url, token))
        assert results(book_payments(worker, datetime.now(UTC), ZONE)) == {PaymentResult.BOOKED: 1}
        again = worker.execute("SELECT id FROM payment_orders").fetchone()
        assert again is not None
        _second_payment(worker, again[0])
        _worker_chases(worker, again[0])
        for statement in ("DELETE FROM payments", "UPDATE payments SET amount_fen = 1", "DELETE FROM payment_notices"):
            with pytest.raises(errors.InsufficientPrivilege):
                worker.execute(statement.encode())
    with psycopg.connect(api_url, autocommit=True) as api:
        for statement in (
            "SELECT body FROM payment_notices",
            "UPDATE payment_notices SET body = ''",
            "UPDATE payment_orders SET amount_fen = 1",
            "INSERT INTO payments SELECT * FROM payments",
            "UPDATE payment_links SET amount_fen = 1",
            "SELECT FROM journal",
            "SELECT FROM postings",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                api.execute(statement.encode())


def _second_payment(worker: psycopg.Connection[Any], order_id: uuid.UUID) -> None:
    body = a_notice(order_id=str(order_id), amount_fen=1000, transaction_ref="T2", notice_id="N2")
    worker.execute("INSERT INTO payment_notices (acquirer, notice_id, body) VALUES ('acq', 'N2', %s)", (body,))
    assert results(book_payments(worker, datetime.now(UTC), ZONE)) == {PaymentResult.PAID_TWICE: 1}


def _worker_chases(worker: psycopg.Connection[Any], order_id: uuid.UUID) -> None:
    now = datetime.now(UTC)
    assert chase_payments.due_orders(worker, "acq", now + 30 * MINUTES) == []
    (refund,) = chase_payments.due_refunds(worker, now + MINUTES)
    assert refund.order_id == order_id
    given = RefundAnswer(refund_id=refund.id, refund_ref="R1", amount_fen=refund.amount_fen, refunded_at=now)
    for _ in range(2):
        chase_payments.take_refund(worker, refund, given, now)
    assert chase_payments.due_refunds(worker, now + MINUTES) == []
    day = now.date()
    line = BillLine(
        transaction_ref="T1", order_id=str(order_id), kind=BillKind.PAYMENT, amount_fen=1000, fee_fen=4, at=now
    )
    for _ in range(2):
        chase_payments.take_bill(worker, "acq", day, [line], now)
    assert day not in chase_payments.missing_bills(worker, "acq", day, ZONE)


def test_an_order_the_acquirer_never_had_ends_with_its_link(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as store:
        lot = Lot(store)
        visit = lot.enter()
        began = datetime.now(UTC)
        lot.offer(visit, now=began)
        store.execute(
            "INSERT INTO payment_orders (id, acquirer, link_digest, visit_id, amount_fen, state, created_at, changed_at,"
            " next_ask_at) SELECT %s, 'acq', digest, visit_id, amount_fen, 'created', created_at, created_at, created_at"
            " FROM payment_links",
            (uuid.UUID(int=9),),
        )
        for minutes, follows, state in ((1, Asked.AGAIN, "created"), (16, Asked.CLOSED, "closed")):
            now = began + minutes * MINUTES
            (order,) = chase_payments.due_orders(store, "acq", now)
            assert chase_payments.due_orders(store, "acq", now) == [], "the next question is later"
            assert chase_payments.take_answer(store, "acq", order, None, now=now) is follows
            assert lot.one("SELECT state FROM payment_orders") == state


def test_without_an_acquirer_the_routes_say_which_setting_is_missing(tmp_path: Path) -> None:
    from api.payment_desk import PaymentDesk
    from api.state import ApiState, HttpSettings
    from tests.unit.api_builders import Clock, fetch

    missing = Keys(tmp_path).settings("").missing()
    api = ApiState.build(HttpSettings(), Clock(), payments=PaymentDesk(None, missing))
    for method, path in (("GET", "/v1/payments/x"), ("POST", "/v1/payments/x"), ("POST", NOTICES)):
        answer = fetch(api, path, method=method)
        assert (answer.status_code, answer.json()["code"]) == (503, "payments_off")
        assert "PARKING_ACQUIRER_URL" in answer.json()["detail"]


def test_the_document_describes_the_routes_and_their_refusals() -> None:
    from api.state import ApiState, HttpSettings
    from tests.unit.api_builders import Clock, fetch

    paths = fetch(ApiState.build(HttpSettings(), Clock()), "/openapi.json").json()["paths"]
    assert set(paths["/v1/payments/{token}"]["get"]["responses"]) == {"200", "404", "410", "429", "503"}
    assert {"409", "410", "413", "502"} <= set(paths["/v1/payments/{token}"]["post"]["responses"])
    assert {"401", "422", "413"} <= set(paths["/v1/payments/notices/{acquirer}"]["post"]["responses"])
