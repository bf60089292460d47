"""The driver's phone wants to pay: an order at the acquirer, and what the wallet opens.

    link ─► live order? else a new one ─► commit ─► acquirer (outside any transaction) ─► code_url ─► commit

Stopped anywhere, the next request finds the order and asks the acquirer for the same one again.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.acquirers import CURRENCY, AcquirerState, OrderRequest
from parking_core.payments import (
    FIRST_ASK,
    AlreadyPaidError,
    LinkOverError,
    LinkState,
    LinkUnknownError,
    link_digest,
)
from parking_core.store import payments
from parking_core.store.acquirer import AcquirerAwayError

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg_pool import AsyncConnectionPool

    from parking_core.store.acquirer import AcquirerClient
    from parking_core.store.payments import Link, Order


@dataclass(frozen=True, slots=True)
class Payable:
    """An order that a wallet can pay."""

    order: Order
    link: Link
    code_url: str


async def look_up(database: AsyncConnectionPool[Any], token: str) -> Link:
    """The link of a token, whatever its state.

    Raises:
        LinkUnknownError: there is none.
    """
    digest = link_digest(token)
    async with database.connection() as connection, connection.transaction():
        found = await payments.link(connection, digest)
    if found is None:
        raise LinkUnknownError("There is no such payment link; scan the code on the lane's screen again.")
    return found


def require_open(link: Link, now: datetime) -> None:
    """Refuses a link that cannot be paid.

    Raises:
        AlreadyPaidError: it is paid.
        LinkOverError: its time is over, or another amount is due.
    """
    match link.state(now):
        case LinkState.PAID:
            raise AlreadyPaidError("This is paid already; nothing is due by this link.")
        case LinkState.EXPIRED:
            raise LinkOverError("This link's time is over; scan the code on the lane's screen again.")
        case LinkState.SUPERSEDED:
            raise LinkOverError("Nothing, or another amount, is due by now; scan the code on the lane's screen again.")
        case LinkState.OPEN:
            return


async def order_payment(
    database: AsyncConnectionPool[Any], acquirer: AcquirerClient, token: str, now: datetime
) -> Payable:
    """The order of a link, made where there is none.

    Raises:
        LinkUnknownError, AlreadyPaidError, LinkOverError: the link cannot be paid.
        AcquirerAwayError, AcquirerRefusedError: there is no order yet; the driver may try again.
    """
    link = await look_up(database, token)
    require_open(link, now)
    order = await _live_order(database, acquirer.code, link, now)
    if order.code_url is not None:
        return Payable(order, link, order.code_url)
    answer = await acquirer.create_order(
        OrderRequest(
            order_id=order.id,
            amount_fen=order.amount_fen,
            currency=CURRENCY,
            description=f"Parking, {link.lot}",
            expires_at=link.expires_at,
        )
    )
    if answer.state is not AcquirerState.OPEN or answer.code_url is None:
        raise AlreadyPaidError("This order was paid or closed in the meantime; look at the link again in a moment.")
    if answer.amount_fen != order.amount_fen:
        raise AcquirerAwayError("The acquirer answered with another amount than was ordered.")
    async with database.connection() as connection, connection.transaction():
        await payments.mark_pending(connection, order.id, answer.code_url, now)
    return Payable(order, link, answer.code_url)


async def _live_order(database: AsyncConnectionPool[Any], acquirer: str, link: Link, now: datetime) -> Order:
    async with database.connection() as connection, connection.transaction():
        order = await payments.live_order(connection, link.digest)
        if order is None:
            await payments.add_order(
                connection, link, order_id=uuid.uuid4(), acquirer=acquirer, ask_at=now + FIRST_ASK, now=now
            )
            order = await payments.live_order(connection, link.digest)
    if order is None:
        raise AlreadyPaidError("This order was paid or closed in the meantime; look at the link again in a moment.")
    return order
