"""A car with a promise has left its lot: what it owes is taken, the rest is free. The caller's transaction holds it.

steps of lateness that it reached ─► event ─► space empty ─► visit covered until then ─► hold captured ─► gates forget
─► notice; the capacity that is given back is the caller's last step

Where nothing is held (an opening of a permit that was moved: its holder owes nothing more) staying too long costs no fee.
The steps are taken and the violation stands; the visit is covered until a fee would begin, and pays the tariff from then on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.flows.end_reservation import forget_vehicle, freed_from
from parking_core.flows.hold_money import capture_promise
from parking_core.lateness import OverstayStage, overstay_fen, overstay_state, stages_reached
from parking_core.reservations import Event, EventKind, Lateness, ViolationKind, next_standing
from parking_core.slots import slots_of
from parking_core.store import capacity, guests, journal, notices, promises, reservations

if TYPE_CHECKING:
    from collections.abc import Iterable

    from psycopg import Connection

    from parking_core.reservations import Reservation
    from parking_core.sharing import AllocationPolicy, Terms

_EVENTS: Final = {
    OverstayStage.WARNED: EventKind.WARNED,
    OverstayStage.CHARGED: EventKind.CHARGED,
    OverstayStage.VIOLATION: EventKind.VIOLATION,
}
_REACHED: Final = (Lateness.NONE, Lateness.WARNED, Lateness.CHARGED, Lateness.VIOLATION)
_LONG_BEFORE: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class GivenBack:
    """Capacity of a class that nobody needs from `since` on."""

    class_id: int
    since: datetime
    until: datetime


def give_back(connection: Connection[Any], freed: Iterable[GivenBack]) -> None:
    """Frees capacity in the order of classes: the last step of a transaction."""
    for one in sorted(freed, key=lambda each: (each.class_id, each.since)):
        capacity.shift(connection, one.class_id, list(slots_of(one.since, one.until)), 1)


def fee_of(policy: AllocationPolicy, terms: Terms, reservation: Reservation, at: datetime) -> int:
    """What staying until `at` costs beside the price, fen; nothing where nothing is held that it could be taken of."""
    if reservation.hold_key is None:
        return 0
    state = overstay_state(policy.overstay, reservation.depart_at, at)
    late_min = -int(-state.late.total_seconds() // 60)
    return overstay_fen(policy.overstay, state, terms.price_fen(late_min))


def step_lateness(
    connection: Connection[Any],
    policy: AllocationPolicy,
    reservation: Reservation,
    at: datetime,
    now: datetime,
    *,
    by: str,
) -> Reservation:
    """Takes the steps that a car has reached by `at`, each once; gives the reservation as it stands then."""
    if reservation.class_id is None:
        return reservation
    terms, _ = guests.terms_of(connection, reservation.class_id)
    reached = stages_reached(policy.overstay, reservation.depart_at, reservation.depart_at - _LONG_BEFORE, at)
    known = _REACHED.index(reservation.lateness)
    for stage, moment in reached[known:]:
        fee = fee_of(policy, terms, reservation, at)
        detail = {"stage_at": moment.isoformat(), "fee_fen": fee, **_no_fee(reservation)}
        event = Event(_EVENTS[stage], now, by, detail)
        standing = next_standing(reservation, event)
        reservations.stand(connection, reservation.id, standing)
        reservations.add_events(connection, reservation.id, [event])
        if stage is OverstayStage.VIOLATION:
            promises.violate(connection, reservation, ViolationKind.OVERSTAY, now, {"late_since": _text(reservation)})
        told = {
            "reservation": reservation.code,
            "depart_at": _text(reservation),
            "fee_fen": fee,
            **_no_fee(reservation),
        }
        notices.tell(connection, reservation.user_id, f"overstay_{stage.value}", now, told)
        reservation = replace(reservation, lateness=standing.lateness, fee_fen=standing.fee_fen)
    return reservation


def _no_fee(reservation: Reservation) -> dict[str, str]:
    """Why an overstay costs no fee, for events and notices; empty: it may cost one."""
    return {} if reservation.hold_key is not None else {"no_fee": "no_hold"}


def _text(reservation: Reservation) -> str:
    return reservation.depart_at.isoformat()


def take_payment(
    connection: Connection[Any], reservation: Reservation, fee_fen: int, now: datetime, visit_id: int | None
) -> int:
    """Captures price and fee of the hold, and lets the rest go; gives the fee, at most what the hold has room for.

    A hold that was captured before it expired, while the car was inside, stays as it is.
    """
    if reservation.hold_key is None or reservation.class_id is None:
        return 0
    terms, lot = guests.terms_of(connection, reservation.class_id)
    taken = capture_promise(
        connection,
        reservation.hold_key,
        reservation.price_fen + fee_fen,
        now,
        lot=lot,
        owner_permille=terms.owner_permille,
        visit_id=visit_id,
    )
    booked = taken or bool(journal.booked(connection, [reservation.hold_key]))
    return max(taken - reservation.price_fen, 0) if booked else fee_fen


def leave_guest(
    connection: Connection[Any],
    policy: AllocationPolicy,
    reservation: Reservation,
    left_at: datetime | None,
    now: datetime,
    *,
    visit_id: int | None = None,
    by: str = "barrier",
) -> list[GivenBack]:
    """Completes a reservation whose car is inside; gives the capacity that its caller frees last.

    left_at None: the exit was not seen. Then nobody can say that it stayed too long: it costs its price, a violation is
    taken back, and nothing is learned from it.
    """
    lot_id, class_id = reservation.lot_id, reservation.class_id
    if lot_id is None or class_id is None:
        return []
    fee = 0
    if left_at is None:
        promises.forgive(connection, reservation, ViolationKind.OVERSTAY, now, since=reservation.depart_at)
    else:
        reservation = step_lateness(connection, policy, reservation, left_at, now, by=by)
        terms, _ = guests.terms_of(connection, class_id)
        fee = fee_of(policy, terms, reservation, left_at)
        times = (reservation.depart_at, reservation.until_at, left_at)
        guests.departed(connection, lot_id, times, reservation.id)
        guests.cover_until(connection, reservation.code, _covered_until(policy, reservation, left_at))
    guests.leave_space(connection, left_at or now, reservation_id=reservation.id)
    fee = take_payment(connection, reservation, fee, now, visit_id or reservation.visit_id)
    shown = None if left_at is None else left_at.isoformat()
    event = Event(EventKind.LEFT, now, by, {"left_at": shown, "fee_fen": fee})
    standing = next_standing(reservation, event)
    reservations.stand(connection, reservation.id, standing, visit_id=visit_id, left_at=left_at, ended_at=now)
    reservations.add_events(connection, reservation.id, [event])
    if now < reservation.depart_at:  # gates forget by themselves what is over
        forget_vehicle(connection, reservation, now)
    told = {"reservation": reservation.code, "price_fen": reservation.price_fen, "fee_fen": fee}
    notices.tell(connection, reservation.user_id, "reservation_completed", now, told)
    return [GivenBack(class_id, freed_from(reservation, now), reservation.until_at)]


def _covered_until(policy: AllocationPolicy, reservation: Reservation, left_at: datetime) -> datetime:
    if reservation.hold_key is not None:
        return left_at
    return min(left_at, reservation.depart_at + timedelta(minutes=policy.overstay.charged_from_min))
