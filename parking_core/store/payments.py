"""Links, orders and notices as the API reads and writes them; the worker's side is in payment_booking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.payments import LinkState, OrderState, link_state

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from psycopg import AsyncConnection

CHANNEL: Final = "payments"  # pg_notify: a notice waits

# Paid: money that was not given back was booked after the link's amount was computed, as payments.judge sees it, too.
_LINK = """
SELECT l.digest, l.visit_id, l.amount_fen, l.lines, l.created_at, l.expires_at, l.superseded_at, lot.code, lot.name,
       v.vehicle, v.entered_at,
       EXISTS (
           SELECT FROM payments p
           WHERE p.visit_id = l.visit_id AND p.booked_at > l.created_at
             AND p.amount_fen > (SELECT coalesce(sum(r.amount_fen), 0) FROM payment_refunds r
                                 WHERE (r.acquirer, r.transaction_ref) = (p.acquirer, p.transaction_ref))
       )
FROM payment_links l JOIN visits v ON v.id = l.visit_id JOIN lots lot ON lot.id = v.lot_id
WHERE l.digest = %s
"""

_LIVE_ORDER = """
SELECT id, state, amount_fen, code_url, created_at FROM payment_orders
WHERE link_digest = %s AND state IN ('created', 'pending')
"""

# Of several requests at once one makes the order; the index payment_orders_live sees to it.
_ADD_ORDER = """
INSERT INTO payment_orders (id, acquirer, link_digest, visit_id, amount_fen, state, created_at, changed_at, next_ask_at)
VALUES (%(id)s, %(acquirer)s, %(digest)s, %(visit)s, %(amount)s, 'created', %(now)s, %(now)s, %(ask_at)s)
ON CONFLICT DO NOTHING
"""

# The notice may have come before the answer: what the worker made of the order stays.
_MARK_PENDING = """
UPDATE payment_orders SET state = 'pending', code_url = %(code_url)s, changed_at = %(now)s
WHERE id = %(id)s AND state = 'created'
"""

# A number that is known is a repetition, whatever it says; a payment that would hide behind it is found by asking.
_ADD_NOTICE = """
INSERT INTO payment_notices AS known (acquirer, notice_id, body) VALUES (%s, %s, %s)
ON CONFLICT (acquirer, notice_id) DO UPDATE SET repeats = known.repeats + 1
RETURNING known.repeats
"""

_NOTIFY = "SELECT pg_notify(%s, '')"


@dataclass(frozen=True, slots=True)
class Link:
    """A payment link with what its page shows. `vehicle` is personal data: only masked may it leave."""

    digest: bytes
    visit_id: int
    amount_fen: int
    lines: Sequence[Mapping[str, Any]]
    created_at: datetime
    expires_at: datetime
    superseded_at: datetime | None
    lot: str  # code
    lot_name: str
    vehicle: str
    entered_at: datetime | None
    paid: bool

    def state(self, now: datetime) -> LinkState:
        """What it is good for."""
        return link_state(expires_at=self.expires_at, superseded_at=self.superseded_at, paid=self.paid, now=now)


@dataclass(frozen=True, slots=True)
class Order:
    """A live order."""

    id: UUID
    state: OrderState
    amount_fen: int
    code_url: str | None  # None until the acquirer has answered
    created_at: datetime


async def link(connection: AsyncConnection[Any], digest: bytes) -> Link | None:
    """The link of a token's digest; None: there is none."""
    row = await (await connection.execute(_LINK, (digest,))).fetchone()
    return None if row is None else Link(*row)


async def live_order(connection: AsyncConnection[Any], digest: bytes) -> Order | None:
    """The order of a link that can be paid, or is about to."""
    row = await (await connection.execute(_LIVE_ORDER, (digest,))).fetchone()
    return None if row is None else Order(row[0], OrderState(row[1]), *row[2:])


async def add_order(
    connection: AsyncConnection[Any], link: Link, *, order_id: UUID, acquirer: str, ask_at: datetime, now: datetime
) -> None:
    """Makes an order for a link; where there is a live one it stays the only one."""
    await connection.execute(
        _ADD_ORDER,
        {
            "id": order_id,
            "acquirer": acquirer,
            "digest": link.digest,
            "visit": link.visit_id,
            "amount": link.amount_fen,
            "ask_at": ask_at,
            "now": now,
        },
    )


async def mark_pending(connection: AsyncConnection[Any], order_id: UUID, code_url: str, now: datetime) -> None:
    """The acquirer has the order, and the driver can pay it."""
    await connection.execute(_MARK_PENDING, {"id": order_id, "code_url": code_url, "now": now})


async def add_notice(connection: AsyncConnection[Any], acquirer: str, notice_id: str, body: bytes) -> int:
    """Keeps a notice as it came and tells the worker; gives how often it came before."""
    row = await (await connection.execute(_ADD_NOTICE, (acquirer, notice_id, body))).fetchone()
    repeats = 0 if row is None else int(row[0])
    if repeats == 0:
        await connection.execute(_NOTIFY, (CHANNEL,))
    return repeats
