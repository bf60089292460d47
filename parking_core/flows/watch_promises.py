"""Promises by the clock: one pass a minute. A transaction each, and what another worker has at the moment is left to it.

granted, its time has come   ─► car inside: it arrives (it came early, or the batch that saw it was interrupted)
                             ─► nobody after the grace: lapsed, a violation, capacity and money free
                             ─► nobody, and it stands for an opening of a permit: lapsed when it ends, no violation
arrived, its end comes       ─► warned ─► charged ─► violation
a car past its time          ─► promises of the next 10 minutes that will find no space: elsewhere, before they come
waiting, its time has come   ─► refused
holds about to expire        ─► captured while the car is inside; of promises that are over (there are none): let go

Policies
- Of two promises of one car in one lot, one after the other, the second begins when its time comes: the car stays, the
  first one is completed then.
- A car that is inside for nearly as long as its hold lives has its price and its fee captured before the hold expires.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from psycopg.errors import DeadlockDetected

from parking_core.allocation.binding import unserved
from parking_core.errors import ConflictError, ParkingError
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.hold_money import release_hold
from parking_core.flows.leave_guest import fee_of, give_back, leave_guest, step_lateness, take_payment
from parking_core.flows.move_reservation import accommodate
from parking_core.flows.seat_guest import Seated, seat_guest, seat_permit, view_of
from parking_core.reservations import Event, EventKind, Refusal, ReservationState, ViolationKind, next_standing
from parking_core.store import guests, lane_work, permit_draws, promises, reservations
from parking_core.store.guests import PermitOpening, VisitInside

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.offers import Offer
    from parking_core.reservations import Reservation

log = structlog.get_logger()

BY: Final = "worker"
_BITE: Final = 200  # ids read at once
# The least that spares a driver the way. The simulated month (benchmarks/hospital_month.py, fixed buffers of 30 minutes) let
# down 5.6 drivers in 1,000 when it asked ten minutes ahead and 3.2 when it asked as a promise begins: the earlier it asks,
# the more late cars are gone by the time that the promise needs the space.
_AHEAD: Final = timedelta(minutes=10)
_BEFORE_EXPIRY: Final = timedelta(days=1)
_PERMITS_BACK: Final = timedelta(minutes=5)


@dataclass(slots=True)
class Watched:
    """What a pass did."""

    seated: int = 0
    lapsed: int = 0
    stepped: int = 0  # overstays that reached a further step
    moved: int = 0  # before they came
    refused: int = 0  # waits that ended
    captured: int = 0  # before the hold expires
    released: int = 0  # holds without a promise: more than none is a fault
    failed: int = 0  # left to the next pass

    @property
    def anything(self) -> bool:
        """Whether there is something to say."""
        return any(asdict(self).values())


def watch_promises(connection: Connection[Any], offers: OffersInForce, now: datetime) -> Watched:
    """One pass. Running it again at the same moment changes nothing."""
    done = Watched()
    offer = offers.of(connection, now)
    _watch_due(connection, offers, offer, now, done)
    _watch_late(connection, offer, now, done)
    _watch_next(connection, offers, offer, now, done)
    for number in promises.waited(connection, now, _BITE):
        done.refused += _try(connection, number, done, lambda found: _refuse(connection, found, now))
    for number in promises.ending_holds(connection, now + _BEFORE_EXPIRY, _BITE):
        done.captured += _try(connection, number, done, lambda found: _capture(connection, offer, found, now))
    for key in promises.orphan_holds(connection):
        log.error("a hold whose promise is over is let go", hold=key)
        release_hold(connection, key, now)
        done.released += 1
    for row in promises.permits_inside(connection, now, _PERMITS_BACK):
        opening, visit = PermitOpening(*row[:8]), VisitInside(row[8], row[9])
        done.seated += seat_permit(connection, offers, opening, visit, now) is Seated.SEATED
    return done


def _try(connection: Connection[Any], reservation_id: int, done: Watched, step: Callable[[Reservation], bool]) -> bool:
    """One step in a transaction; False: somebody else has the reservation, or there was nothing to do."""
    try:
        with connection.transaction():
            found = promises.take(connection, reservation_id)
            return found is not None and step(found)
    except (ParkingError, DeadlockDetected) as error:
        done.failed += 1
        log.warning("a promise is left to the next pass", reservation=reservation_id, error=str(error))
        return False


def _bites(read: Callable[[int], list[int]]) -> Iterator[list[int]]:
    """Ids in order, so many at once."""
    after = 0
    while bite := read(after):
        yield bite
        if len(bite) < _BITE:
            return
        after = bite[-1]


def _watch_due(connection: Connection[Any], offers: OffersInForce, offer: Offer, now: datetime, done: Watched) -> None:
    begun = now + timedelta(minutes=offer.policy.early_min)
    for bite in _bites(lambda after: promises.due(connection, begun, after, _BITE)):
        inside = guests.visits_inside(connection, bite)
        for number in bite:
            visit = inside.get(number)
            if visit is None:
                done.lapsed += _try(connection, number, done, lambda found: _lapse(connection, offer, found, now))
                continue
            try:
                if visit.of is not None and not _take_over(connection, offer, number, visit.of, now):
                    continue
                done.seated += seat_guest(connection, offers, number, visit, now) is Seated.SEATED
            except (ParkingError, DeadlockDetected) as error:
                done.failed += 1
                log.warning("a guest has no space yet", reservation=number, error=str(error))


def _take_over(connection: Connection[Any], offer: Offer, following: int, before: int, now: datetime) -> bool:
    """The promise that its car is inside by is completed when the next one of the same car begins."""
    with connection.transaction():
        lane_work.take_turn(connection)
        found = {one.id: one for one in guests.lock(connection, [before, following])}
        first, then = found[before], found[following]
        if first.state is not ReservationState.ARRIVED or now < then.arrive_at:
            return False
        left_at = max(then.arrive_at, first.depart_at)
        give_back(connection, leave_guest(connection, offer.policy, first, left_at, now, by=BY))
    return True


def _lapse(connection: Connection[Any], offer: Offer, found: Reservation, now: datetime) -> bool:
    """Nobody has come within the grace; a stay that is over before that lapses at its end.

    What stands for an opening of a permit is kept until its end, like the opening, and lapses without a violation: a permit
    obliges nobody to come.
    """
    if found.state is not ReservationState.GRANTED or found.class_id is None:
        return False
    grace_min = offer.policy.no_show.most_min
    if found.class_id in offer.row_of:
        grace_min = offer.buffers(offer.lot_of(found.class_id), found.arrive_at).grace_min
    if now < min(found.arrive_at + timedelta(minutes=grace_min), found.depart_at):
        return False
    if permit_draws.stands_for(connection, found.id):
        if now >= found.depart_at:
            end_reservation(connection, found, EventKind.LAPSED, now, by=BY, cause="permit")
        return now >= found.depart_at
    end_reservation(connection, found, EventKind.LAPSED, now, by=BY, grace_min=grace_min)
    promises.violate(connection, found, ViolationKind.NO_SHOW, now, {"arrive_at": found.arrive_at.isoformat()})
    return True


def _watch_late(connection: Connection[Any], offer: Offer, now: datetime, done: Watched) -> None:
    ends = now - timedelta(minutes=offer.policy.overstay.warned_from_min)

    def step(found: Reservation) -> bool:
        if found.state is not ReservationState.ARRIVED:
            return False
        after = step_lateness(connection, offer.policy, found, now, now, by=BY)
        return after.lateness is not found.lateness

    for bite in _bites(lambda after: promises.late(connection, ends, after, _BITE)):
        for number in bite:
            done.stepped += _try(connection, number, done, step)


def _watch_next(connection: Connection[Any], offers: OffersInForce, offer: Offer, now: datetime, done: Watched) -> None:
    """Whoever will find no space because of cars that are late is moved before he comes."""
    soon = now + _AHEAD
    for lot_id in promises.troubled_lots(connection, now, soon):
        view = view_of(connection, offer, lot_id, now, until=soon, opening_at=soon)
        left = dict[Any, list[int]]()
        for promise, car in zip(view.now.to_come, view.expected, strict=True):
            if car.reservation_id is not None:
                left.setdefault(promise, []).append(car.reservation_id)
        for promise in unserved(view.now, view.minute(now)):
            if left.get(promise):  # else a permit's, whose car is told at the barrier
                number = left[promise].pop()
                move = partial(_move, connection, offers, view.classes, now)
                done.moved += _try(connection, number, done, move)


def _move(
    connection: Connection[Any], offers: OffersInForce, classes: tuple[int, ...], now: datetime, found: Reservation
) -> bool:
    if found.state is not ReservationState.GRANTED:
        return False
    promises.let_down(connection, found, now, at_barrier=False)
    accommodate(connection, offers, found.id, now, by=BY, cause="overstay", not_in=frozenset(classes))
    return True


def _refuse(connection: Connection[Any], found: Reservation, now: datetime) -> bool:
    if found.state is not ReservationState.WAITING:
        return False
    try:
        end_reservation(connection, found, EventKind.REFUSED, now, by=BY, reason=Refusal.PAST.value)
    except ConflictError:
        return False
    return True


def _capture(connection: Connection[Any], offer: Offer, found: Reservation, now: datetime) -> bool:
    """Price and fee of a car that is still inside; what it stays after that costs no more."""
    if found.state is not ReservationState.ARRIVED or found.class_id is None:
        return False
    found = step_lateness(connection, offer.policy, found, now, now, by=BY)
    if found.class_id is None:
        return False
    terms, _ = guests.terms_of(connection, found.class_id)
    fee = take_payment(connection, found, fee_of(offer.policy, terms, found, now), now, found.visit_id)
    event = Event(EventKind.VIOLATION, now, BY, {"fee_fen": fee, "captured": True})
    reservations.stand(connection, found.id, next_standing(found, event))
    reservations.add_events(connection, found.id, [event])
    return True
