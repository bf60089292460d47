"""What derived visits mean for promises of shared spaces. The caller's transaction holds it.

visits of a batch, by plate and lot
  ─► void, or of another lot or time    the reading was another car's: another visit of the car, else not arrived
  ─► ended                              leave_guest: covered, captured, completed; its capacity is the caller's last step
  ─► open, with a promise near its entry    to be seated when the batch is stored (seat_guests)
  ─► with a promise that had lapsed         the driver had come in time, and the lane told it late: not his violation

Policies
- Of several promises near an entry the one that begins nearest counts; the others wait for theirs.
- A car that came before its promise may begin is inside: it arrives when the time begins (watch_promises), and pays the
  tariff until then.
- A promise that has lapsed or was moved is no promise: the visit is charged as any other.
- The ledger may change its mind. A promise whose visit turns out to be another car's is given back; one that is
  completed stays so: its money was taken, a person gives it back, and what its visit is longer by costs the tariff.
- An exit that nobody saw costs the price and no fee.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog

from parking_core.errors import ParkingError
from parking_core.flows.leave_guest import GivenBack, leave_guest
from parking_core.flows.seat_guest import BY, Seated, seat_guest, seat_permit
from parking_core.reservations import Event, EventKind, ReservationState, ViolationKind, next_standing
from parking_core.store import guests, notices, promises, reservations, sharing
from parking_core.store.guests import VisitInside
from parking_core.visits import VisitState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from parking_core.flows.derive_visits import Derivation
    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.reservations import Reservation
    from parking_core.sharing import AllocationPolicy
    from parking_core.store.guests import PermitOpening

log = structlog.get_logger()

_ENDED: Final = frozenset({VisitState.CLOSED, VisitState.MISSING_ENTRY, VisitState.MISSING_EXIT})
_LOOK_BACK: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Guests:
    """What a batch leaves to do."""

    freed: tuple[GivenBack, ...] = ()
    arriving: tuple[tuple[int, VisitInside], ...] = ()  # reservation, visit
    permits: tuple[tuple[PermitOpening, VisitInside], ...] = ()


@dataclass(frozen=True, slots=True)
class _Seen:
    """A visit that stands, as far as promises are concerned."""

    id: int
    vehicle: str
    lot_id: int
    state: VisitState
    entered_at: datetime | None
    exited_at: datetime | None


@dataclass(slots=True)
class _Books:
    policy: AllocationPolicy
    now: datetime
    visits: dict[int, _Seen]
    used: set[int]  # visits that belong to a promise
    freed: list[GivenBack] = field(default_factory=list)
    arriving: list[tuple[int, VisitInside]] = field(default_factory=list)

    def fits(self, visit: _Seen, reservation: Reservation) -> bool:
        """Whether a visit can be about a promise."""
        early = reservation.arrive_at - timedelta(minutes=self.policy.early_min)
        return (
            visit.lot_id == reservation.lot_id
            and visit.vehicle == reservation.plate
            and visit.entered_at is not None
            and early <= visit.entered_at < reservation.until_at
        )


def follow_guests(connection: Connection[Any], derived: Derivation, now: datetime) -> Guests:
    """Brings promises to what the visits of their cars say."""
    seen = _seen(derived)
    plates = {one.vehicle for one in seen.values()} | {visit.vehicle for visit in derived.void}
    if not plates:
        return Guests()
    times = [at for one in seen.values() for at in (one.entered_at, one.exited_at) if at is not None]
    since = min([*times, now]) - _LOOK_BACK
    void = {visit.id for visit in derived.void}
    found = guests.of_visits(connection, plates, seen.keys() | void, since)
    permits = _permits(connection, seen, plates, since, now)
    if not found:
        return Guests(permits=permits)
    open_ids = [one.id for one in found if one.state is not ReservationState.COMPLETED]
    standing = guests.lock(connection, open_ids)
    used = {one.visit_id for one in found if one.visit_id and one.state is ReservationState.COMPLETED}
    used |= {one.visit_id for one in standing if one.visit_id and one.state is ReservationState.ARRIVED}
    books = _Books(sharing.policy(connection, now), now, seen, used)
    for one in standing:
        if one.state is ReservationState.ARRIVED:
            _follow_inside(connection, books, one, void)
    waiting = [one for one in standing if one.state in {ReservationState.GRANTED, ReservationState.LAPSED}]
    for one, visit in _matched(books, waiting):
        _follow_arrival(connection, books, one, visit)
    return Guests(tuple(books.freed), tuple(books.arriving), permits)


def _seen(derived: Derivation) -> dict[int, _Seen]:
    found = {}
    for one in derived.standing:
        if one.id is not None:
            draft = one.draft
            found[one.id] = _Seen(one.id, one.vehicle, draft.lot_id, draft.state, draft.entered_at, draft.exited_at)
    return found


def _follow_inside(connection: Connection[Any], books: _Books, reservation: Reservation, void: set[int]) -> None:
    """A promise whose car is inside: is it still, and by which visit?"""
    visit = books.visits.get(reservation.visit_id or 0)
    if visit is None and reservation.visit_id not in void:
        return  # nothing new of it
    kept = visit is not None and visit.lot_id == reservation.lot_id and visit.vehicle == reservation.plate
    if visit is None or not kept:
        others = (one for one in books.visits.values() if one.id not in books.used and books.fits(one, reservation))
        other = min(others, key=lambda one: one.id, default=None)
        if other is None:
            _not_arrived(connection, books, reservation)
            return
        books.used.add(other.id)
        guests.link(connection, reservation.id, other.id)
        visit = other
    if visit.state in _ENDED:
        exited_at = None if visit.state is VisitState.MISSING_EXIT else visit.exited_at
        books.freed += leave_guest(connection, books.policy, reservation, exited_at, books.now, visit_id=visit.id)


def _not_arrived(connection: Connection[Any], books: _Books, reservation: Reservation) -> None:
    event = Event(EventKind.NOT_ARRIVED, books.now, BY, {"fee_fen": 0, "space_id": None})
    standing = next_standing(reservation, event)
    reservations.stand(connection, reservation.id, standing)
    guests.unlink(connection, reservation.id)
    reservations.add_events(connection, reservation.id, [event])
    guests.leave_space(connection, books.now, reservation_id=reservation.id)
    covers_until = reservation.depart_at + timedelta(minutes=books.policy.overstay.charged_from_min)
    guests.cover_until(connection, reservation.code, covers_until)
    promises.forgive(connection, reservation, ViolationKind.OVERSTAY, books.now, since=reservation.arrive_at)
    told = {"reservation": reservation.code}
    notices.tell(connection, reservation.user_id, "reservation_waits_again", books.now, told)


def _matched(books: _Books, waiting: Sequence[Reservation]) -> list[tuple[Reservation, _Seen]]:
    """Pairs of promise and visit, nearest first; each belongs to one pair."""
    pairs = [
        (abs(visit.entered_at - one.arrive_at), one.id, visit.id, one, visit)
        for one in waiting
        for visit in books.visits.values()
        if visit.id not in books.used
        and visit.entered_at is not None
        and visit.state in {VisitState.OPEN, VisitState.CLOSED}
        and books.fits(visit, one)
    ]
    taken: set[int] = set()
    matched = []
    for _, number, visit_id, one, visit in sorted(pairs, key=lambda pair: pair[:3]):
        if number not in taken and visit_id not in books.used:
            taken.add(number)
            books.used.add(visit_id)
            matched.append((one, visit))
    return matched


def _follow_arrival(connection: Connection[Any], books: _Books, reservation: Reservation, visit: _Seen) -> None:
    if visit.entered_at is None:
        return
    if reservation.state is ReservationState.LAPSED:
        if promises.forgive(connection, reservation, ViolationKind.NO_SHOW, books.now, since=visit.entered_at):
            told = {"reservation": reservation.code}
            notices.tell(connection, reservation.user_id, "no_show_withdrawn", books.now, told)
        return
    if visit.state is VisitState.OPEN:
        books.arriving.append((reservation.id, VisitInside(visit.id, visit.entered_at)))
        return
    # Both records came at once, after the fact: where it stood nobody knows.
    event = Event(
        EventKind.ARRIVED,
        books.now,
        BY,
        {"entered_at": visit.entered_at.isoformat(), "outcome": "late_record", "space_id": None},
    )
    standing = next_standing(reservation, event)
    arrived_at = max(visit.entered_at, reservation.asked_at)
    reservations.stand(connection, reservation.id, standing, visit_id=visit.id, arrived_at=arrived_at)
    reservations.add_events(connection, reservation.id, [event])
    (arrived,) = guests.lock(connection, [reservation.id])
    books.freed += leave_guest(connection, books.policy, arrived, visit.exited_at, books.now, visit_id=visit.id)


def _permits(
    connection: Connection[Any], seen: dict[int, _Seen], plates: set[str], since: datetime, now: datetime
) -> tuple[tuple[PermitOpening, VisitInside], ...]:
    """Ends stays of permits whose car is no longer inside; gives cars of permits that have come."""
    inside = {(one.lot_id, one.vehicle): one for one in seen.values() if one.state is VisitState.OPEN}
    for stay in guests.permit_stays(connection, plates):
        if (stay.lot_id, stay.plate) in inside:
            continue
        exits = [
            one.exited_at
            for one in seen.values()
            if (one.lot_id, one.vehicle) == (stay.lot_id, stay.plate) and one.exited_at is not None
        ]
        left_at = max((at for at in exits if at >= stay.since), default=None)
        guests.leave_space(connection, left_at or now, stay_id=stay.stay_id)
        if left_at is not None:
            times = (stay.promised_until, stay.promised_until, left_at)
            guests.departed(connection, stay.lot_id, times)
    found = guests.openings_of_permits(connection, {one.vehicle for one in inside.values()}, since, now)
    chosen: dict[int, tuple[PermitOpening, VisitInside]] = {}
    for one in found:
        visit = inside.get((one.lot_id, one.plate))
        if visit is not None and visit.entered_at is not None and one.since <= now < one.until:
            chosen[one.permit_id] = (one, VisitInside(visit.id, visit.entered_at))
    return tuple(chosen.values())


def seat_guests(
    connection: Connection[Any], offers: OffersInForce, came: Iterable[Guests], now: datetime
) -> list[Seated]:
    """Seats the cars that a batch has found, a transaction each; one that fails is left to the minute's pass."""
    outcomes = []
    for one in came:
        for reservation_id, visit in one.arriving:
            try:
                outcomes.append(seat_guest(connection, offers, reservation_id, visit, now))
            except (ParkingError, psycopg.IntegrityError) as error:
                log.warning("a guest has no space yet", reservation=reservation_id, error=type(error).__name__)
        for opening, visit in one.permits:
            try:
                outcomes.append(seat_permit(connection, offers, opening, visit, now))
            except (ParkingError, psycopg.IntegrityError) as error:
                log.warning("a permit's car has no space yet", permit=opening.code, error=type(error).__name__)
    return outcomes
