"""A driver asks for a shared space and is answered at once, for ever: one transaction.

known key? ─► the same answer
limits of the person and of time ─► refused
capacity and prices of the classes in reach ─► the best of them that is worth it ─► granted
                                            └─► refused: why, and what would be granted instead

Capacity is read without locks; whoever is overtaken between reading and taking decides again, the last time with the
rows locked.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import CapacityTakenError, ConflictError, InvalidInputError
from parking_core.flows.decide_reservation import Look, Refused, decided, reach_of
from parking_core.flows.grant_reservation import Draft, grant, new_code
from parking_core.reservations import Event, EventKind, Refusal, ReservationState
from parking_core.store import notices, reservations
from parking_core.store.granting import key_used_once
from parking_core.store.reservations import NewReservation
from parking_core.store.reserving import look

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.people import Person
    from parking_core.reservations import Ask, Reservation
    from parking_core.sharing import AllocationPolicy
    from parking_core.store.reservations import PersonNow

_TRIES: Final = 4
_NO_SHOWS_COUNT: Final = timedelta(days=90)
_LATEST_REQUEST: Final = timedelta(minutes=5)  # an arrival so long ago is "now"


def reserve(
    connection: Connection[Any], offers: OffersInForce, person: Person, ask: Ask, *, key: str, now: datetime
) -> Reservation:
    """Grants or refuses; the reservation's last event says which and why. The same key again gives the same answer.

    Raises:
        ConflictError: the key was used for another request.
        InvalidInputError: the stay is none, or the plate or the group is not the person's.
    """
    if ask.arrive_at >= ask.depart_at:
        raise InvalidInputError("The stay ends before it begins; give depart_at after arrive_at.")
    for attempt in range(1, _TRIES + 1):
        try:
            with connection.transaction():
                return _answer(connection, offers, person, ask, (key, now), last=attempt == _TRIES)
        except CapacityTakenError:
            if attempt == _TRIES:
                raise
    raise AssertionError("Every try answers, or is not the last.")


def _check(ask: Ask, person: Person) -> None:
    if not person.belongs_to(ask.group):
        raise InvalidInputError(f"You are not registered as {ask.group!r}; leave the group out, or have it confirmed.")
    if ask.plate not in person.plates:
        raise InvalidInputError("The plate is none of yours; add it to your account first.")


def _answer(
    connection: Connection[Any],
    offers: OffersInForce,
    person: Person,
    ask: Ask,
    request: tuple[str, datetime],
    *,
    last: bool,
) -> Reservation:
    key, now = request
    offer, version = offers.known(connection, now)
    reach = reach_of(offer, ask)
    since = now - _NO_SHOWS_COUNT
    sight = look(connection, person.id, key, ask, reach.wanted, no_shows_since=since, lock=last)
    if sight.version != version:
        offer = offers.of(connection, now)
        reach = reach_of(offer, ask)
        sight = look(connection, person.id, key, ask, reach.wanted, no_shows_since=since, lock=last)
    if sight.known is not None:
        if sight.known.request_digest != ask.digest():
            raise ConflictError("This idempotency key was used for another request; use a new one.")
        return sight.known
    _check(ask, person)  # of what was answered already his plates and groups of today say nothing
    if (limit := _limit(offer.policy, sight.person, ask, now)) is not None:
        return refuse(connection, person, ask, Refused(limit), key=key, now=now)
    if ask.waits:
        return _wait(connection, person, ask, key, now)
    answer = decided(connection, offer, ask, reach, Look(sight.capacity, now, sight.bonus_fen))
    if isinstance(answer, Refused):
        return refuse(connection, person, ask, answer, key=key, now=now)
    draft = Draft(
        user_id=person.id,
        key=key,
        ask=ask,
        class_id=answer.class_id,
        walk_m=answer.walk_m,
        buffer_min=answer.buffer_min,
        value_fen=answer.value_fen,
        price_fen=answer.price_fen,
        is_demand=ask.instead_of is None,
    )
    return grant(connection, offer, draft, now, by=f"driver:{person.code}")


def _limit(policy: AllocationPolicy, here: PersonNow, ask: Ask, now: datetime) -> Refusal | None:
    """What refuses the request whatever capacity there is."""
    limits = (
        (Refusal.PAST, ask.arrive_at < now - _LATEST_REQUEST or ask.depart_at <= now),
        (Refusal.TOO_FAR_AHEAD, ask.depart_at > now + timedelta(days=policy.horizon_days - 1)),
        (Refusal.STAY_LENGTH, not policy.shortest_stay_min <= ask.minutes <= policy.longest_stay_h * 60),
        (Refusal.PLATE_EXPECTED, here.overlaps),
        (Refusal.TOO_MANY_ACTIVE, here.active >= policy.most_active),
        (Refusal.SUSPENDED_PERSON, here.no_shows > policy.no_shows_allowed),
    )
    return next((reason for reason, applies in limits if applies), None)


def _wait(connection: Connection[Any], person: Person, ask: Ask, key: str, now: datetime) -> Reservation:
    """Keeps a request for the day-ahead round."""
    new = _new(person, ask, key, ReservationState.WAITING)
    with key_used_once():
        added = reservations.add(connection, new, [_asked(person, ask, now)], now, is_demand=ask.instead_of is None)
    notices.tell(connection, person.id, "reservation_waiting", now, {"reservation": new.code})
    return added


def refuse(
    connection: Connection[Any], person: Person, ask: Ask, answer: Refused, *, key: str, now: datetime
) -> Reservation:
    """Keeps a refusal, so that asking again under the same key gets the same answer. The caller's transaction holds it."""
    detail = {"reason": answer.reason.value, "alternatives": list(answer.alternatives)}
    events = [_asked(person, ask, now), Event(EventKind.REFUSED, now, "allocator", detail)]
    new = _new(person, ask, key, ReservationState.REFUSED)
    refusal = (answer.reason.value, len(answer.alternatives))
    with key_used_once():
        return reservations.add(connection, new, events, now, refusal=refusal, is_demand=ask.instead_of is None)


def _asked(person: Person, ask: Ask, now: datetime) -> Event:
    return Event(EventKind.ASKED, now, f"driver:{person.code}", {"walk_m": ask.walk_m, "group": ask.group})


def _new(person: Person, ask: Ask, key: str, state: ReservationState) -> NewReservation:
    return NewReservation(
        code=new_code("R"),
        user_id=person.id,
        key=key,
        digest=ask.digest(),
        ask=ask,
        state=state,
        until_at=ask.depart_at,
        walk_m=ask.walk_m,
    )
