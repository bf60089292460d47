"""A promise that cannot be kept where it was made: the nearest equivalent instead, or the money back. One transaction.

Equivalent is a space for the same stay within a walk that is at most twice as far as the driver would go; it never costs
him more than he was promised. Prices of capacity say nothing here: the promise was made.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import DeadlockDetected

from parking_core.errors import CapacityTakenError
from parking_core.flows.decide_reservation import Refused, decide
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.grant_reservation import Draft, grant
from parking_core.offers import LONGEST_WALK_M
from parking_core.reservations import EventKind, ReservationState
from parking_core.store import permit_draws, reservations

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.offers import Offer
    from parking_core.reservations import Ask, Reservation

_TRIES: Final = 4
_LEAST_WALK_M: Final = 500  # who was promised a space at the door walks so far rather than drive home


def accommodate(
    connection: Connection[Any],
    offers: OffersInForce,
    reservation_id: int,
    now: datetime,
    *,
    by: str,
    cause: str,
    not_in: frozenset[int] = frozenset(),
) -> str | None:
    """Moves a promise out of its class; gives the code of the new one, or None: there was none, the money is free.

    One that is over, or whose car is in the lot, stays as it is; a promise that was moved before gives where to.

    Args:
        connection: of the caller; a transaction of its own where he has none.
        offers: of the process.
        reservation_id: of the promise.
        now: the moment; a stay that has begun is promised from now on.
        by: who does it, for the history.
        cause: why, as the driver is told: "suspension", "overstay", "termination", ...
        not_in: classes that are out of the question, beside that of the promise itself.

    Raises:
        NotFoundError: there is no such reservation.
        CapacityTakenError: others were faster four times; ask again.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            with connection.transaction():
                return _move(
                    connection,
                    offers.of(connection, now),
                    reservation_id,
                    now,
                    (by, cause, not_in),
                    lock=attempt == _TRIES,
                )
        except (
            CapacityTakenError,
            DeadlockDetected,
        ):  # two that move in opposite directions meet in the rows of capacity
            if attempt == _TRIES:
                raise
    raise AssertionError("Every try moves or withdraws, or is not the last.")


def _move(
    connection: Connection[Any],
    offer: Offer,
    reservation_id: int,
    now: datetime,
    reason: tuple[str, str, frozenset[int]],
    *,
    lock: bool,
) -> str | None:
    by, cause, not_in = reason
    standing = reservations.lock(connection, reservation_id)
    if standing.state is not ReservationState.GRANTED or standing.class_id is None:
        return reservations.code_of(connection, standing.moved_to) if standing.moved_to else None
    ask = _asked_again(standing, now)
    out = not_in | {standing.class_id}
    found = decide(connection, offer, ask, now, not_in=out, priced=False, lock=lock) if ask else None
    if ask is None or found is None or isinstance(found, Refused):
        end_reservation(connection, standing, EventKind.WITHDRAWN, now, by=by, cause=cause, refunded=True)
        return None
    draft = Draft(
        user_id=standing.user_id,
        key=f"moved:{standing.code}",
        ask=ask,
        class_id=found.class_id,
        walk_m=found.walk_m,
        buffer_min=found.buffer_min,
        value_fen=found.value_fen,
        price_fen=min(found.price_fen, standing.price_fen),
        holds_overstay=standing.hold_key is not None,
        detail={"moved_from": standing.code, "cause": cause},
    )
    promise = grant(connection, offer, draft, now, by=by)
    permit_draws.move_on(connection, standing.id, promise.id)
    lot = offer.lot_of(found.class_id).code
    end_reservation(connection, standing, EventKind.MOVED, now, by=by, cause=cause, moved_to=promise.code, lot=lot)
    return promise.code


def _asked_again(standing: Reservation, now: datetime) -> Ask | None:
    """What is left of the stay; None: nothing."""
    if standing.depart_at <= now:
        return None
    walk_m = min(max(2 * standing.walk_m, _LEAST_WALK_M), LONGEST_WALK_M)
    return replace(standing.ask(), walk_m=walk_m, arrive_at=max(standing.arrive_at, now))
