"""The simulated acquirer's books, and how unreliably it tells of payments."""

from __future__ import annotations

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest

from parking_core import acquirers
from parking_core.acquirers import AcquirerState, BillKind, OrderRequest
from simulators.acquirer import SimulatedAcquirer, Wallets
from simulators.acquirer_books import Books, RefusedError
from simulators.acquirer_callbacks import Callbacks, Faults, notice_body

if TYPE_CHECKING:
    from pathlib import Path

ZONE = ZoneInfo("Asia/Shanghai")
NOW = datetime(2026, 11, 23, 15, 59, 59, tzinfo=UTC)  # a second before midnight there
SECOND = timedelta(seconds=1)


def wanted(amount_fen: int = 1000, **other: Any) -> OrderRequest:
    facts: dict[str, Any] = {
        "order_id": uuid.uuid4(),
        "amount_fen": amount_fen,
        "currency": "CNY",
        "description": "Parking, P01",
        "expires_at": NOW + 60 * SECOND,
    }
    return OrderRequest(**(facts | other))


def test_days_are_local_and_bills_add_up() -> None:
    books = Books(ZONE)
    first, second = (books.order(wanted(amount), "w") for amount in (1000, 2000))
    taken = books.pay(first, NOW)
    books.pay(second, NOW + SECOND)
    books.give_back(uuid.uuid4(), first.id, taken.reference, 400, NOW + 2 * SECOND)
    assert books.truth() == {
        "2026-11-23": {"payments": 1, "payments_fen": 1000, "refunds": 0, "refunds_fen": 0, "fee_fen": 4},
        "2026-11-24": {"payments": 1, "payments_fen": 2000, "refunds": 1, "refunds_fen": 400, "fee_fen": 8},
    }
    kinds = [line.kind for line in books.bill(date(2026, 11, 24))]
    assert kinds == [BillKind.PAYMENT, BillKind.REFUND]


def test_the_same_number_is_the_same_order_and_refund() -> None:
    books = Books(ZONE)
    request = wanted()
    order = books.order(request, "w")
    assert books.order(request, "w") is order
    with pytest.raises(RefusedError, match="another amount"):
        books.order(wanted(999, order_id=request.order_id), "w")
    with pytest.raises(RefusedError, match="CNY"):
        books.order(wanted(currency="USD"), "w")
    taken = books.pay(order, NOW)
    number = uuid.uuid4()
    given = books.give_back(number, order.id, taken.reference, 600, NOW)
    assert books.give_back(number, order.id, taken.reference, 600, NOW) is given
    with pytest.raises(RefusedError):
        books.give_back(uuid.uuid4(), order.id, taken.reference, 401, NOW)
    with pytest.raises(RefusedError):
        books.give_back(uuid.uuid4(), uuid.uuid4(), taken.reference, 1, NOW)
    books.give_back(uuid.uuid4(), order.id, taken.reference, 400, NOW)
    assert order.state is AcquirerState.REFUNDED


def test_what_is_closed_or_over_is_not_paid() -> None:
    books = Books(ZONE)
    closed, over = (books.order(wanted(), "w") for _ in range(2))
    books.close(closed)
    for order, at in ((closed, NOW), (over, NOW + 60 * SECOND)):
        with pytest.raises(RefusedError, match="closed"):
            books.pay(order, at)
    assert books.answer(over, NOW + 60 * SECOND).state is AcquirerState.CLOSED
    assert books.truth() == {}


def test_books_that_are_opened_again_go_on_where_they_were(tmp_path: Path) -> None:
    journal = tmp_path / "acquirer" / "books.journal"
    before = Books(ZONE, journal)
    paid, refunded, closed, still_open = (before.order(wanted(), "w") for _ in range(4))
    references = [before.pay(one, NOW).reference for one in (paid, refunded)]
    before.give_back(uuid.uuid4(), refunded.id, references[1], 1000, NOW)
    before.close(closed)
    before.end()
    with journal.open("ab") as file:
        file.write(b'{"order": {"id"')  # the power failed
    again = Books(ZONE, journal)
    assert (again.orders, again.transactions, again.refunds) == (before.orders, before.transactions, before.refunds)
    assert again.truth() == before.truth()
    assert again.pay(again.orders[still_open.id], NOW).reference not in references, "a number is never given twice"
    with pytest.raises(RefusedError, match="closed"):
        again.pay(again.orders[closed.id], NOW)
    again.end()
    third = Books(ZONE, journal)
    assert third.orders[still_open.id].state is AcquirerState.PAID
    third.end()


class Merchant:
    """Counts notices as they come, and takes only the second copy of each when told so."""

    def __init__(self, status: int = 200) -> None:
        self.bodies: list[bytes] = []
        self.status = status

    def answer(self, request: httpx.Request) -> httpx.Response:
        self.bodies.append(request.content)
        return httpx.Response(self.status)


def told(faults: Faults, merchant: Merchant, *, payments: int = 200, seed: int = 3) -> Callbacks:
    """What happens to so many notices."""

    async def run() -> Callbacks:
        key = _key()
        callbacks = Callbacks("http://merchant/", key, faults=faults, seed=seed, clock=lambda: NOW)
        await callbacks._http.aclose()
        callbacks._http = httpx.AsyncClient(transport=httpx.MockTransport(merchant.answer))
        books = Books(ZONE)
        for _ in range(payments):
            callbacks.tell(books.take("o", 100, NOW))
        await callbacks.idle()
        await callbacks.close()
        return callbacks

    return asyncio.run(run())


def _key() -> acquirers.SigningKey:
    from cryptography.hazmat.primitives.asymmetric import rsa

    return acquirers.SigningKey(rsa.generate_private_key(public_exponent=65_537, key_size=2048))


def test_without_faults_every_notice_comes_once() -> None:
    merchant = Merchant()
    callbacks = told(Faults(), merchant)
    assert len(merchant.bodies) == len(set(merchant.bodies)) == callbacks.counts["taken"] == 200


def test_faults_come_as_often_as_asked_and_are_counted() -> None:
    merchant = Merchant()
    callbacks = told(Faults(lose=0.25, repeat=0.25, reorder=0.5, hold_s=0.05), merchant)
    counts = callbacks.counts
    assert 30 <= counts["lost"] <= 70
    assert len(set(merchant.bodies)) == 200 - counts["lost"]
    assert len(merchant.bodies) == 200 - counts["lost"] + counts["repeated"]
    order = list(dict.fromkeys(merchant.bodies))
    assert order != sorted(order), "some overtook others"
    again = told(Faults(lose=0.25, repeat=0.25, reorder=0.5, hold_s=0.05), Merchant())
    assert (again.counts["lost"], again.counts["repeated"]) == (counts["lost"], counts["repeated"]), "by its seed"


def test_a_notice_that_is_not_taken_is_sent_again_and_given_up_at_last() -> None:
    merchant = Merchant(500)
    callbacks = told(Faults(retry_s=0.001, tries=3), merchant, payments=1)
    assert callbacks.counts == {"sent": 3, "refused": 3, "given_up": 1}
    assert len(set(merchant.bodies)) == 1, "the same notice"


def test_a_copy_is_the_same_bytes() -> None:
    taken = Books(ZONE).take("o", 100, NOW)
    assert notice_body(taken) == notice_body(taken)
    assert acquirers.read_notice(notice_body(taken)).amount_fen == 100


def test_orders_are_paid_by_themselves_where_wallets_do_so() -> None:
    """Signed by the merchant, refused unsigned, paid after a while, told."""

    async def run() -> None:
        key, merchant = _key(), Merchant()
        public = acquirers.VerifyingKeys((key.key.public_key(),))
        callbacks = Callbacks("http://merchant/", key, faults=Faults(), seed=1, clock=lambda: NOW)
        await callbacks._http.aclose()
        callbacks._http = httpx.AsyncClient(transport=httpx.MockTransport(merchant.answer))
        wallets = Wallets(share=1.0, after_s=0.02)
        acquirer = SimulatedAcquirer(key, public, callbacks, wallets=wallets, clock=lambda: NOW)
        transport = httpx.ASGITransport(acquirer.application())
        async with httpx.AsyncClient(transport=transport, base_url="http://acquirer") as http:
            body = msgspec.json.encode(wanted())
            stamp = key.stamp_request("POST", "/v1/orders", body, nonce="n" * 16, now=NOW)
            refused = await http.post("/v1/orders", content=body)
            assert refused.status_code == 401
            public.verify_answer(refused.content, stamp=acquirers.Stamp.of_headers(refused.headers), now=NOW)
            taken = await http.post("/v1/orders", content=body, headers=stamp.headers())
            assert taken.status_code == 200, taken.text
            await asyncio.gather(*acquirer._paying)
            await callbacks.idle()
            assert len(merchant.bodies) == 1
            truth = (await http.get("/_truth")).json()
            assert truth["days"]["2026-11-23"]["payments"] == 1
        await callbacks.close()

    asyncio.run(run())
