"""A promise of a shared space, with all that stands or falls with it. The caller's transaction holds it.

reservation ─► events ─► hold ─► what covers the visit ─► gates that will raise ─► notice ─► capacity

Capacity comes last: everybody's promises meet in its rows, which are locked until the commit. When somebody else was
faster, nothing of the rest has happened.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import CommandKind, CommandOrder
from parking_core.errors import ConflictError
from parking_core.offers import kept_until
from parking_core.reservations import Event, EventKind, ReservationState
from parking_core.settlement import Hold
from parking_core.slots import slots_of
from parking_core.store import capacity, commands, covering, holds, notices, reservations
from parking_core.store.reservations import NewReservation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

    from parking_core.offers import Offer
    from parking_core.reservations import Ask, Reservation
    from parking_core.sharing import AllocationPolicy, SharedLot

HOLD_AFTER: Final = timedelta(days=7)  # after the promised end: an overstay has reached its highest fee long before
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # none is mistaken for another (Crockford)


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A promise that is about to be made."""

    user_id: int
    key: str  # idempotency key
    ask: Ask
    class_id: int
    walk_m: int
    buffer_min: int
    value_fen: int
    price_fen: int
    waiting: Reservation | None = None  # whose wait it ends; locked
    detail: Mapping[str, Any] = field(default_factory=dict)  # further, for the event


def new_code(letter: str) -> str:
    """A code that nobody can guess or misread: a letter and 50 random bits."""
    return f"{letter}-{''.join(secrets.choice(_ALPHABET) for _ in range(10))}"


def grant(connection: Connection[Any], offer: Offer, draft: Draft, now: datetime, *, by: str) -> Reservation:
    """Promises a space of a class and gives the reservation.

    Raises:
        CapacityTakenError: the class has no space for all of the stay; the transaction is void.
        ConflictError: the person's key was used already, or the reservation no longer waits; the same.
    """
    if draft.waiting is not None and draft.waiting.state is not ReservationState.WAITING:
        raise ConflictError(f"Reservation {draft.waiting.code} does not wait any more.")
    lot, ask = offer.lot_of(draft.class_id), draft.ask
    waited = draft.waiting
    code = waited.code if waited else new_code("R")
    promised = draft.price_fen + (offer.policy.overstay.most_fen or 0)
    new = NewReservation(
        code=code,
        user_id=draft.user_id,
        key=draft.key,
        digest=ask.digest(),
        ask=ask,
        state=ReservationState.GRANTED,
        until_at=kept_until(ask, draft.buffer_min),
        walk_m=draft.walk_m,
        lot_id=lot.id,
        class_id=draft.class_id,
        price_fen=draft.price_fen,
        value_fen=draft.value_fen,
        hold_key=f"reservation:{code}" if promised else None,
    )
    granted = Event(EventKind.GRANTED, now, by, _said(new, lot, draft))
    asked = [] if waited else [Event(EventKind.ASKED, now, by, {"walk_m": ask.walk_m, "group": ask.group})]
    with capacity.taken(), reservations.used_once(), connection.pipeline():
        if waited:
            reservations.grant_waiting(connection, new, now)
        else:
            reservations.add(connection, new, now)
        reservations.add_events(connection, code, [*asked, granted])
        if new.hold_key:
            holds.place(
                connection,
                Hold(
                    key=new.hold_key,
                    channel=offer.channel,
                    amount_fen=promised,
                    placed_at=now,
                    expires_at=ask.depart_at + HOLD_AFTER,
                ),
            )
        _let_in(connection, new, lot, offer.policy, now)
        notices.tell(connection, draft.user_id, "reservation_granted", now, {"reservation": code, "lot": lot.code})
        capacity.shift(connection, draft.class_id, list(slots_of(ask.arrive_at, new.until_at)), -1)
        return reservations.lock_code(connection, code)


def _said(new: NewReservation, lot: SharedLot, draft: Draft) -> dict[str, Any]:
    """What the event keeps: enough to tell the driver the same again, and to follow the state."""
    return {
        "lot": lot.code,
        "class_id": draft.class_id,
        "walk_m": draft.walk_m,
        "until": new.until_at.isoformat(),
        "price_fen": draft.price_fen,
        "value_fen": draft.value_fen,
        **draft.detail,
    }


def _let_in(
    connection: Connection[Any], new: NewReservation, lot: SharedLot, policy: AllocationPolicy, now: datetime
) -> None:
    """The visit will be covered, and the lot's lanes raise for the plate."""
    code, ask = new.code, new.ask
    opens = ask.arrive_at - timedelta(minutes=policy.early_min)
    covers_until = ask.depart_at + timedelta(minutes=policy.overstay.charged_from_min)
    covering.cover(connection, code, lot.id, ask.plate, (opens, covers_until))
    payload = {
        "plate": ask.plate,
        "from": opens.isoformat(),
        "until": ask.depart_at.isoformat(),
        "reservation": code,
    }
    orders = [
        CommandOrder(
            device_id=barrier,
            kind=CommandKind.EXPECT_VEHICLE,
            payload=payload,
            cause=f"reservation:{code}",
            deadline=ask.depart_at,
        )
        for barrier in lot.barriers
    ]
    commands.queue_each(connection, orders, now)
