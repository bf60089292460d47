"""QR payments: notices into the journal at once, and the acquirer asked for what he did not tell.

    booking   notify "payments" or 1 s ─► batches of notices, one transaction each
    asking    every 2 s    orders without a notice ─► query, close ─► kept as a notice
                           refunds that are due ─► refund ─► booked
                           after 10:00: bills of the days before ─► rows for the reconciliation

No question is asked inside a transaction. One that gets no answer is repeated later, with pauses that grow: of an order and
a refund each its own, of a bill ten minutes.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeVar
from zoneinfo import ZoneInfo

import structlog

from parking_core.acquirers import CURRENCY, RefundRequest
from parking_core.flows import chase_payments
from parking_core.flows.book_payments import book_payments
from parking_core.payments import Asked
from parking_core.store.acquirer import AcquirerAwayError, AcquirerRefusedError
from parking_core.store.payment_booking import listen, wait
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import date
    from uuid import UUID

    from psycopg import Connection

    from parking_core.acquirers import BillLine, OrderAnswer
    from parking_core.store.acquirer import AcquirerClient
    from parking_core.store.payment_asking import DueOrder
    from parking_core.store.payment_booking import RefundRow

log = structlog.get_logger()
Result = TypeVar("Result")

_WAIT_S: Final = 1.0  # a notice whose notification was lost is booked within this
_ASK_EVERY_S: Final = 2.0
_AT_ONCE: Final = 8  # questions under way
_BILL_HOUR: Final = 10  # local: acquirers have yesterday's bill by then
_BILL_PAUSE: Final = timedelta(minutes=10)


class Booking:
    """State of the loop: its connection, which listens."""

    def __init__(self, connection: Connection, time_zone: str) -> None:
        self._connection = connection
        self._zone = ZoneInfo(time_zone)
        self._listens = False

    async def step(self) -> float:
        """One batch, or a wait for one; gives the seconds until the next pass."""
        await in_thread(self._pass)
        return 0.0

    def _pass(self) -> None:
        if not self._listens:
            listen(self._connection)
            self._listens = True
        booked = book_payments(self._connection, datetime.now(UTC), self._zone)
        for result, count in booked.results.items():
            metrics.PAYMENT_NOTICES.labels(result.value).inc(count)
        if not booked.notices:
            wait(self._connection, _WAIT_S)


class Asking:
    """State of the loop: when the bills are asked for again."""

    def __init__(
        self,
        connection: Connection,
        acquirer: AcquirerClient,
        time_zone: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._acquirer = acquirer
        self._zone = ZoneInfo(time_zone)
        self._clock = clock
        self._bills_again_at = datetime.min.replace(tzinfo=UTC)
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._database = asyncio.Lock()  # one connection: answers are taken one after the other

    async def step(self) -> float:
        """Everything that is due; gives the seconds until the next pass."""
        now = self._clock()
        orders = await self._do(lambda: chase_payments.due_orders(self._connection, self._acquirer.code, now))
        refunds = await self._do(lambda: chase_payments.due_refunds(self._connection, now))
        async with asyncio.TaskGroup() as questions:
            for order in orders:
                questions.create_task(self._ask(order))
            for refund in refunds:
                questions.create_task(self._refund(refund))
        if now >= self._bills_again_at:
            self._bills_again_at = now + _BILL_PAUSE
            await self._fetch_bills(now)
        return _ASK_EVERY_S

    async def _do(self, function: Callable[[], Result]) -> Result:
        async with self._database:
            return await in_thread(function)

    async def _ask(self, order: DueOrder) -> None:
        try:
            outcome = await self._question(order, self._acquirer.query)
            if outcome is Asked.CLOSE:
                outcome = await self._question(order, self._acquirer.close)
        except (AcquirerAwayError, AcquirerRefusedError) as error:
            log.warning("acquirer gives no answer", order=str(order.id), error=str(error))
            return
        metrics.ACQUIRER_ASKED.labels(outcome.value).inc()

    async def _question(self, order: DueOrder, question: Callable[[UUID], Awaitable[OrderAnswer | None]]) -> Asked:
        async with self._at_once:
            answer = await question(order.id)
        code, now = self._acquirer.code, self._clock()
        return await self._do(lambda: chase_payments.take_answer(self._connection, code, order, answer, now=now))

    async def _refund(self, refund: RefundRow) -> None:
        request = RefundRequest(
            refund_id=refund.id,
            order_id=refund.order_id,
            transaction_ref=refund.reference,
            amount_fen=refund.amount_fen,
            currency=CURRENCY,
        )
        now = self._clock()
        try:
            async with self._at_once:
                answer = await self._acquirer.refund(request)
        except AcquirerAwayError as error:
            log.warning("acquirer gives no answer", refund=str(refund.id), error=str(error))
            await self._do(lambda: chase_payments.refund_unanswered(self._connection, refund, now))
        except AcquirerRefusedError as error:
            log.warning("refund refused: a person has to settle it", refund=str(refund.id), error=str(error))
            await self._do(lambda: chase_payments.refund_refused(self._connection, refund, now))
        else:
            await self._do(lambda: chase_payments.take_refund(self._connection, refund, answer, now))

    async def _fetch_bills(self, now: datetime) -> None:
        last = (now.astimezone(self._zone) - timedelta(days=1, hours=_BILL_HOUR)).date()
        code = self._acquirer.code
        for day in await self._do(lambda: chase_payments.missing_bills(self._connection, code, last, self._zone)):
            try:
                lines = await self._acquirer.bill(day)
            except (AcquirerAwayError, AcquirerRefusedError) as error:
                log.warning("bill cannot be had", day=day.isoformat(), error=str(error))
                return
            if lines is None:
                log.info("bill is not ready", day=day.isoformat())
                return
            await self._take_bill(day, lines, now)

    async def _take_bill(self, day: date, lines: Sequence[BillLine], now: datetime) -> None:
        code = self._acquirer.code
        await self._do(lambda: chase_payments.take_bill(self._connection, code, day, lines, now))
        log.info("bill fetched", day=day.isoformat(), lines=len(lines))
