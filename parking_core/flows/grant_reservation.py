"""A promise of a shared space, with all that stands or falls with it. The caller's transaction holds it.

capacity ─ reservation ─ events ─ hold ─ what covers the visit ─ gates that will raise ─ notice

Everybody's promises meet in the rows of capacity. When somebody else was faster, nothing of the rest has happened.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import ConflictError
from parking_core.offers import kept_until
from parking_core.reservations import Event, EventKind, ReservationState
from parking_core.settlement import Hold
from parking_core.store import granting
from parking_core.store.reservations import NewReservation, stored

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
    holds_overstay: bool = True  # with the price, the most that an overstay may cost is held
    is_demand: bool = False  # somebody asked for it, who was not counted yet
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
    overstay_fen = (offer.policy.overstay.most_fen or 0) if draft.holds_overstay else 0
    promised = draft.price_fen + overstay_fen
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
    number = granting.grant(
        connection,
        new,
        [*asked, granted],
        _hold(new, promised, offer.channel, now),
        covers=_covers(ask, offer.policy),
        barriers=lot.barriers,
        notice={"reservation": code, "lot": lot.code},
        waited=waited is not None,
        is_demand=draft.is_demand,
    )
    return stored(number, new, now)


def _hold(new: NewReservation, promised_fen: int, channel: str, now: datetime) -> Hold | None:
    if new.hold_key is None:
        return None
    return Hold(
        key=new.hold_key,
        channel=channel,
        amount_fen=promised_fen,
        placed_at=now,
        expires_at=new.ask.depart_at + HOLD_AFTER,
    )


def _covers(ask: Ask, policy: AllocationPolicy) -> tuple[datetime, datetime]:
    """When the visit is paid for by the promise, as far as is known."""
    begins = ask.arrive_at - timedelta(minutes=policy.early_min)
    return begins, ask.depart_at + timedelta(minutes=policy.overstay.charged_from_min)


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
