"""A car with a promise is in its lot: it gets a space, or its driver another promise. One transaction each.

lock ─► lot as it is now: classes that are open, who stands where, who is to come ─► bind
   BOUND, STRAINED ─► space, event, notice ─► counted in the class of the space, if that has capacity
   NONE            ─► the promise is broken: kept for the record, another promise elsewhere or the money back
   not open yet    ─► the driver waits for the window to open; the minute's pass looks again

Nothing here is lost by a kill: a car that is inside without a space is found by the minute's pass (watch_promises).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from parking_core.allocation.binding import Binding, CarInside, LotNow, Outcome, Promise, WindowClass, bind
from parking_core.errors import CapacityTakenError
from parking_core.flows.end_reservation import freed_from
from parking_core.flows.grant_reservation import HOLD_AFTER
from parking_core.flows.move_reservation import accommodate
from parking_core.reservations import Event, EventKind, ReservationState, next_standing
from parking_core.slots import minute_of, slots_of
from parking_core.store import capacity, guests, lane_work, notices, promises, reservations
from parking_core.store.guests import ExpectedCar
from parking_core.windows import openings, parse_schedule
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.offers import Offer
    from parking_core.reservations import Reservation
    from parking_core.store.guests import PermitOpening, VisitInside

BY: Final = "barrier"
_CALENDAR: Final = WorkCalendar()
_LOOK_AHEAD: Final = timedelta(days=4)  # longer than any stay
_BEFORE: Final = timedelta(hours=1)


class Seated(StrEnum):
    """How a guest fared."""

    SEATED = "seated"
    WAITS = "waits"  # its window is not open yet
    MOVED = "moved"  # to another promise, or the money is free
    OVER = "over"  # nothing to do any more


@dataclass(frozen=True, slots=True)
class LotView:
    """A lot as the binding looks at it, and what its numbers mean. Minutes count from `t0`."""

    now: LotNow
    t0: datetime
    classes: tuple[int, ...]  # ids
    expected: tuple[ExpectedCar, ...]  # of `now.to_come`, one each

    def minute(self, at: datetime) -> int:
        """Whole minutes from t0."""
        return minute_of(at, self.t0)


def view_of(
    connection: Connection[Any],
    offer: Offer,
    lot_id: int,
    now: datetime,
    *,
    until: datetime,
    without: int | None = None,
    opening_at: datetime | None = None,
) -> LotView:
    """A lot at a moment, with promises that begin before `until`.

    Each class stands with the stretch that it is open in, or opens next by `opening_at`; promises that begin outside it
    are left out: their time is another one. The reservation `without` is the one that asks.
    """
    expected = [one for one in guests.to_come(connection, lot_id, now, until) if one.reservation_id != without]
    t0 = now.replace(second=0, microsecond=0) - _BEFORE
    found = guests.classes_of_lot(connection, lot_id, [one.class_id for one in expected])
    classes = tuple(_window(each, offer, now, t0, opening_at or now) for each in found)
    number_of = {each.id: number for number, each in enumerate(found)}
    kept, to_come = list[ExpectedCar](), list[Promise]()
    for one in expected:
        number = number_of.get(one.class_id)
        begins = max(minute_of(one.arrive_at, t0), minute_of(now, t0))
        if number is not None and classes[number].start <= begins < classes[number].end:
            kept.append(one)
            to_come.append(_promise(offer, number, one, t0))
    standing = guests.inside(connection, lot_id)
    cars = tuple(CarInside(space, _up(until, t0), _up(leaves, t0)) for space, until, leaves in standing)
    return LotView(LotNow(classes, cars, tuple(to_come)), t0, tuple(each.id for each in found), tuple(kept))


def _window(each: guests.LotClass, offer: Offer, now: datetime, t0: datetime, by: datetime) -> WindowClass:
    schedule = parse_schedule(each.windows)
    stretches = openings(schedule, _CALENDAR, offer.zone, now - timedelta(minutes=1), now + _LOOK_AHEAD)
    for stretch in stretches:
        if stretch.ends_at > now and stretch.begins_at <= by:
            return WindowClass(minute_of(stretch.begins_at, t0), minute_of(stretch.ends_at, t0), each.spaces)
    return WindowClass(0, 0, each.spaces)


def _promise(offer: Offer, number: int, one: ExpectedCar, t0: datetime) -> Promise:
    home = one.depart_at
    if one.reservation_id is not None and one.class_id in offer.row_of:
        home += timedelta(minutes=offer.buffers(offer.lot_of(one.class_id), one.depart_at).owner_min)
    return Promise(number, minute_of(one.arrive_at, t0), _up(one.until_at, t0), _up(home, t0))


def _up(at: datetime, t0: datetime) -> int:
    return -minute_of(t0, at)


def seat_guest(
    connection: Connection[Any], offers: OffersInForce, reservation_id: int, visit: VisitInside, now: datetime
) -> Seated:
    """Gives the car of a promise a space of the lot; where none serves, its driver is accommodated elsewhere.

    Raises:
        CapacityTakenError: others were faster four times; ask again.
    """
    with connection.transaction():
        lane_work.take_turn(connection)
        offer = offers.of(connection, now)
        reservation = reservations.lock(connection, reservation_id)
        if reservation.state is not ReservationState.GRANTED or reservation.lot_id is None:
            return Seated.OVER
        seated = _seat(connection, offer, reservation, visit, now)
        if seated is not None:
            return seated
        promises.let_down(connection, reservation, now, at_barrier=True)
        others = frozenset(one.id for one in guests.classes_of_lot(connection, reservation.lot_id))
        accommodate(connection, offers, reservation_id, now, by=BY, cause="no_space", not_in=others)
    return Seated.MOVED


def _seat(
    connection: Connection[Any], offer: Offer, reservation: Reservation, visit: VisitInside, now: datetime
) -> Seated | None:
    """None: there is no space."""
    if reservation.lot_id is None or reservation.class_id is None:
        return Seated.OVER
    if now >= reservation.until_at:  # a record that came late: where the car stood nobody knows any more
        _arrive(connection, reservation, visit, now, None)
        return Seated.SEATED
    view = view_of(connection, offer, reservation.lot_id, now, until=reservation.until_at, without=reservation.id)
    if reservation.class_id not in view.classes:
        return None
    own = view.classes.index(reservation.class_id)
    if now < reservation.arrive_at and not view.now.classes[own].start <= view.minute(now) < view.now.classes[own].end:
        return Seated.WAITS
    asked = ExpectedCar(
        reservation.id, reservation.class_id, reservation.arrive_at, reservation.until_at, reservation.depart_at
    )
    bound = bind(view.now, _promise(offer, own, asked, view.t0), view.minute(now))
    if bound.outcome is Outcome.NONE or bound.space is None or bound.window_class is None:
        return None
    _arrive(connection, reservation, visit, now, bound)
    class_id = view.classes[bound.window_class]
    since = max(visit.entered_at, now - timedelta(days=1))
    guests.take_space(connection, bound.space, class_id, (since, reservation.until_at), reservation_id=reservation.id)
    if class_id != reservation.class_id:
        _count_in(connection, reservations.lock(connection, reservation.id), class_id, now)
    return Seated.SEATED


def _arrive(
    connection: Connection[Any], reservation: Reservation, visit: VisitInside, now: datetime, bound: Binding | None
) -> None:
    """Event, row and notice; the space as the driver reads it."""
    space = None if bound is None or bound.space is None else guests.space_code(connection, bound.space)
    outcome = "late_record" if bound is None else bound.outcome.value
    event = Event(
        EventKind.ARRIVED,
        now,
        BY,
        {
            "entered_at": visit.entered_at.isoformat(),
            "outcome": outcome,
            "space_id": None if bound is None else bound.space,
            "space": space,
        },
    )
    arrived_at = max(visit.entered_at, reservation.asked_at)
    standing = next_standing(reservation, event)
    reservations.stand(connection, reservation.id, standing, visit_id=visit.visit_id, arrived_at=arrived_at)
    reservations.add_events(connection, reservation.id, [event])
    # As long as it is inside a lane asks for nothing: what it stays too long costs a fee, not the tariff. Where nothing is
    # held for a fee it is the tariff, from when a fee would begin.
    if reservation.hold_key is not None:
        guests.cover_until(connection, reservation.code, reservation.depart_at + HOLD_AFTER)
    told = {"reservation": reservation.code, "space": space, "outcome": outcome}
    notices.tell(connection, reservation.user_id, "reservation_arrived", now, told)


def _count_in(connection: Connection[Any], reservation: Reservation, class_id: int, now: datetime) -> None:
    """Moves the rest of a promise to the class of its space; where that has no capacity, it stays counted where it was.

    Then a row says that one class has a space more and the other one less than stands there: when the car that is
    promised it comes, it is bound to a space of the other class.
    """
    old = reservation.class_id
    parts = list(slots_of(freed_from(reservation, now), reservation.until_at))
    if old is None or not parts:
        return
    try:
        with connection.transaction():
            for number, by in sorted(((old, 1), (class_id, -1))):
                capacity.shift(connection, number, parts, by)
    except CapacityTakenError:
        return
    event = Event(EventKind.REBOUND, now, BY, {"class_id": class_id, "class_before": old})
    reservations.stand(connection, reservation.id, next_standing(reservation, event))
    reservations.add_events(connection, reservation.id, [event])


def seat_permit(
    connection: Connection[Any], offers: OffersInForce, opening: PermitOpening, visit: VisitInside, now: datetime
) -> Seated:
    """Gives the car of a permit a space of the lot in an opening that the permit has drawn."""
    with connection.transaction():
        lane_work.take_turn(connection)
        offer = offers.of(connection, now)
        if any(one.permit_id == opening.permit_id for one in guests.permit_stays(connection, [opening.plate])):
            return Seated.OVER
        if now >= opening.until:
            return Seated.OVER
        view = view_of(connection, offer, opening.lot_id, now, until=opening.until)
        if opening.class_id not in view.classes:
            return Seated.OVER
        own = view.classes.index(opening.class_id)
        if now < opening.since:
            return Seated.WAITS
        mine = _of_opening(view.expected, opening)
        lot = view.now
        if mine is not None:
            lot = LotNow(lot.classes, lot.inside, (*lot.to_come[:mine], *lot.to_come[mine + 1 :]))
        asked = ExpectedCar(None, opening.class_id, opening.since, opening.until, opening.until)
        bound = bind(lot, _promise(offer, own, asked, view.t0), view.minute(now))
        told: dict[str, Any] = {"permit": opening.code, "outcome": bound.outcome.value, "space": None}
        if bound.space is not None and bound.window_class is not None:
            told["space"] = guests.space_code(connection, bound.space)
            since = max(visit.entered_at, now - timedelta(days=1))
            guests.take_space(
                connection,
                bound.space,
                view.classes[bound.window_class],
                (since, opening.until),
                permit_id=opening.permit_id,
            )
        notices.tell(connection, opening.user_id, "permit_arrived", now, told)
    return Seated.SEATED if bound.space is not None else Seated.OVER


def _of_opening(expected: Sequence[ExpectedCar], opening: PermitOpening) -> int | None:
    """The place of an opening among the cars to come; equal ones are alike."""
    for place, one in enumerate(expected):
        same = (one.class_id, one.arrive_at, one.until_at) == (opening.class_id, opening.since, opening.until)
        if one.reservation_id is None and same:
            return place
    return None
