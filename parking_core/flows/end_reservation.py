"""A promise that is over before its car was in the lot. The caller's transaction holds it, with the reservation locked.

event ─► hold let go ─► covering ends ─► gates forget ─► notice ─► capacity free from now on
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import CommandKind, CommandOrder
from parking_core.errors import ConflictError
from parking_core.reservations import STATE_AFTER, Event, EventKind, ReservationState, may_become, next_standing
from parking_core.settlement import holds as hold_rules
from parking_core.slots import begins_of, slots_of
from parking_core.store import capacity, commands, holds, notices, permits, reservations, sharing

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Reservation

ENDINGS: Final = frozenset(
    {EventKind.CANCELLED, EventKind.LAPSED, EventKind.MOVED, EventKind.WITHDRAWN, EventKind.REFUSED}
)


def end_reservation(
    connection: Connection[Any],
    reservation: Reservation,
    kind: EventKind,
    now: datetime,
    *,
    by: str,
    **detail: Any,  # noqa: ANN401  # values of a JSON object
) -> None:
    """Ends a promise, or a wait, of which the car has not come; the driver is told why.

    Raises:
        ConflictError: the life cycle does not allow it: it is over already, or the car is in the lot.
        ValueError: the event ends nothing.
    """
    if kind not in ENDINGS:
        raise ValueError(f"The event {kind.value} does not end a reservation.")
    after = STATE_AFTER[kind]
    if not may_become(reservation.state, after):
        raise ConflictError(
            f"Reservation {reservation.code} is {reservation.state.value}; it cannot become {after.value} any more."
        )
    event = Event(kind, now, by, detail)
    reservations.stand(connection, reservation.id, next_standing(reservation, event), ended_at=now)
    reservations.add_events(connection, reservation.id, [event])
    if reservation.state is ReservationState.GRANTED:
        _undo(connection, reservation, now)
    told = {"reservation": reservation.code, **detail}
    notices.tell(connection, reservation.user_id, f"reservation_{after.value}", now, told)
    if reservation.state is ReservationState.GRANTED:
        give_back(connection, reservation, now)


def give_back(connection: Connection[Any], reservation: Reservation, since: datetime) -> None:
    """Frees the slots that a promise still takes, from the one after the moment on: what was used was used."""
    if reservation.class_id is None:
        return
    capacity.shift(
        connection, reservation.class_id, list(slots_of(freed_from(reservation, since), reservation.until_at)), 1
    )


def freed_from(reservation: Reservation, since: datetime) -> datetime:
    """The first moment that nobody uses any more: the next slot of one that is used in part."""
    used = list(slots_of(reservation.arrive_at, since))
    return begins_of(used[-1].day, used[-1].until) if used else reservation.arrive_at


def _undo(connection: Connection[Any], reservation: Reservation, now: datetime) -> None:
    if reservation.hold_key:
        released = hold_rules.release(holds.lock(connection, reservation.hold_key), now)
        holds.end(connection, released)
    permits.end_permit(connection, reservation.code, now)
    forget_vehicle(connection, reservation, now)


def forget_vehicle(connection: Connection[Any], reservation: Reservation, now: datetime) -> None:
    """The gates of its lot raise for the promise no more."""
    if reservation.lot_id is None:
        return
    orders = [
        CommandOrder(
            device_id=barrier,
            kind=CommandKind.FORGET_VEHICLE,
            payload={"reservation": reservation.code},
            cause=f"reservation:{reservation.code}",
        )
        for barrier in sharing.barriers(connection, reservation.lot_id)
    ]
    commands.queue_each(connection, orders, now)
