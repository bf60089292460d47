"""A driver gives a promise back before he comes: one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError
from parking_core.flows.end_reservation import end_reservation
from parking_core.reservations import EventKind, ReservationState
from parking_core.store import reservations

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.people import Person
    from parking_core.reservations import Reservation


def cancel_reservation(connection: Connection[Any], person: Person, code: str, now: datetime) -> Reservation:
    """Cancels a person's promise, or a wait; one that is cancelled already stays as it is.

    Raises:
        NotFoundError: the person has none of this code.
        ConflictError: the car is in the lot, or the promise has ended otherwise.
    """
    with connection.transaction():
        found = reservations.find(connection, code)
        if found is None or found.user_id != person.id:
            raise NotFoundError(f"You have no reservation {code!r}; `GET /v1/reservations` lists yours.")
        locked = reservations.lock(connection, found.id)
        if locked.state is ReservationState.CANCELLED:
            return locked
        end_reservation(connection, locked, EventKind.CANCELLED, now, by=f"driver:{person.code}")
        return reservations.lock(connection, found.id)
