"""A person applies for a permit: granted, kept for the operator, or refused with reasons and alternatives. One transaction.

known key? ─► the same answer
limits of the person and of time ─► refused
classes, the nearest first: eligible? permits left? every coming opening free? ─► the first that has all
                                            └─► refused: why of the nearest, which openings are full, what is free instead
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import CapacityTakenError, ConflictError, InvalidInputError, NotFoundError
from parking_core.flows.grant_reservation import new_code
from parking_core.flows.share_permits import openings
from parking_core.flows.share_permits.drawing import activate
from parking_core.flows.share_permits.money import hold_month
from parking_core.offers import LEAST_WALK_M, LONGEST_WALK_M
from parking_core.reservations import Ask, PermitState
from parking_core.share_permits import MOST_MONTHS, PermitRefusal, months_of, most_at_once, most_permits
from parking_core.store import notices, permit_months, share_permits
from parking_core.store.share_permits import NewPermit, PermitEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.flows.share_permits.openings import ClassDays
    from parking_core.offers import Offer
    from parking_core.people import Person
    from parking_core.share_permits import Month, Opening, PermitAsk, SharedPermit
    from parking_core.sharing import SpaceClass

_TRIES: Final = 4
_MOST_ALTERNATIVES: Final = 3
_MOST_NAMED: Final = 10  # openings that are full, in an answer
_VIOLATIONS_COUNT: Final = timedelta(days=90)


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What a class says to an application; `refusal` None: it has a space."""

    refusal: PermitRefusal | None
    days: ClassDays | None = None
    full: tuple[Opening, ...] = ()


@dataclass(frozen=True, slots=True)
class _Place:
    """A class that may be asked, and how far it is."""

    shared: SpaceClass
    walk_m: int


def apply(
    connection: Connection[Any], offers: OffersInForce, person: Person, ask: PermitAsk, *, key: str, now: datetime
) -> SharedPermit:
    """Applies; the last event of the permit says why it was refused. The same key again gives the same answer.

    Raises:
        ConflictError: the key was used for another application, or others were faster four times.
        InvalidInputError: the plate or the group is not the person's, or time or place cannot be used.
        NotFoundError: the lot shares no spaces.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            with connection.transaction():
                share_permits.take_turn(connection, person.id)
                known = share_permits.of_key(connection, person.id, key)
                if known is not None:
                    if known.request_digest != ask.digest():
                        raise ConflictError("This idempotency key was used for another application; use a new one.")
                    return known
                _check(ask, person)  # of what was answered already his plates and groups of today say nothing
                offer = offers.of(connection, now)
                return _answer(connection, offer, person, ask, (key, now), lock=attempt == _TRIES)
        except CapacityTakenError:
            if attempt == _TRIES:
                raise
    raise AssertionError("Every try answers, or is not the last.")


def _check(ask: PermitAsk, person: Person) -> None:
    if ask.plate not in person.plates:
        raise InvalidInputError("The plate is not one of yours; add it to your account first.")
    if not person.belongs_to(ask.group):
        raise InvalidInputError(f"You are not a member of the group {ask.group!r}; apply as one of yours, or as any.")
    if not 1 <= ask.months <= MOST_MONTHS:
        raise InvalidInputError(f"A permit is for 1 to {MOST_MONTHS} months, not {ask.months}.")
    if ask.lot is None and (ask.lat is None or ask.lon is None):
        raise InvalidInputError("Name a lot, or where you want to go: lat and lon.")
    if not LEAST_WALK_M <= ask.walk_m <= LONGEST_WALK_M:
        raise InvalidInputError(f"A walk is from {LEAST_WALK_M} to {LONGEST_WALK_M} m, not {ask.walk_m}.")


def _answer(
    connection: Connection[Any],
    offer: Offer,
    person: Person,
    ask: PermitAsk,
    asked: tuple[str, datetime],
    *,
    lock: bool,
) -> SharedPermit:
    key, now = asked
    months = months_of(ask.first_day, ask.months, offer.zone)
    new = NewPermit(
        code=new_code("P"),
        user_id=person.id,
        key=key,
        ask=ask,
        valid_from=max(months[0].begins, now.replace(microsecond=0)),
        valid_until=max(months[-1].ends, now + timedelta(seconds=1)),  # of a day long past: refused below
    )
    limit = _limit(connection, offer, person, new, now)
    if limit is not None:
        return _refuse(connection, new, {"reason": limit.value, "alternatives": []}, now)
    asked_for, others, refusal = _places(offer, ask, months[0])
    share_permits.take_turns(connection, [each.shared.id for each in (*asked_for, *others)])
    looks = []
    for place in asked_for:
        found = look(connection, place.shared, new, now, zone=offer.zone, lock=lock)
        if found.refusal is None and found.days is not None:
            return _take(connection, offer, (place.shared, found.days), new, now)
        looks.append(found)
    detail = _why(looks, refusal, offer)
    detail["alternatives"] = _alternatives(connection, others, new, now, offer)
    return _refuse(connection, new, detail, now)


def _limit(
    connection: Connection[Any], offer: Offer, person: Person, new: NewPermit, now: datetime
) -> PermitRefusal | None:
    """What refuses the application whatever capacity there is."""
    span = new.valid_from, new.valid_until
    violations = permit_months.violations_of_person(connection, person.id, now - _VIOLATIONS_COUNT)
    limits = (
        (PermitRefusal.PAST, new.ask.first_day < now.astimezone(offer.zone).date()),
        (PermitRefusal.TOO_FAR_AHEAD, new.valid_from > now + timedelta(days=offer.policy.horizon_days - 1)),
        (PermitRefusal.SUSPENDED_PERSON, violations > offer.policy.no_shows_allowed),
        (PermitRefusal.TOO_MANY_ACTIVE, share_permits.plate_taken(connection, new.ask.plate, span)),
    )
    return next((reason for reason, applies in limits if applies), None)


def _places(offer: Offer, ask: PermitAsk, month: Month) -> tuple[list[_Place], list[_Place], PermitRefusal | None]:
    """Classes that are asked for, the nearest first, and others for alternatives; or why there are none of the first."""
    lat, lon = ask.lat, ask.lon
    if ask.lot is not None:
        lot = next((each for each in offer.lots if each.code == ask.lot), None)
        if lot is None:
            raise NotFoundError(f"No lot with the code {ask.lot!r} shares spaces; GET /v1/lots lists all lots.")
        lat, lon = (lot.lat, lot.lon) if lat is None or lon is None else (lat, lon)
    if lat is None or lon is None:
        raise InvalidInputError("Name a lot, or where you want to go: lat and lon.")
    stay = Ask(
        plate=ask.plate,
        group=ask.group,
        lat=lat,
        lon=lon,
        walk_m=ask.walk_m,
        arrive_at=month.begins,
        depart_at=month.ends,
        lot=ask.lot,
    )
    found = offer.near(stay)
    places = [
        _Place(offer.classes[row], walk_m)
        for row, walk_m in zip(found.row.tolist(), found.walk_m.tolist(), strict=True)
    ]
    near = [each for each in places[: found.near] if ask.class_code in {None, each.shared.code}]
    refusal = PermitRefusal(found.refusal.value) if found.refusal is not None else None
    if found.near and not near:
        raise NotFoundError(f"There is no class {ask.class_code!r} of shared spaces there.")
    return near, [each for each in places if each not in near], refusal


def look(
    connection: Connection[Any],
    shared: SpaceClass,
    new: NewPermit | SharedPermit,
    now: datetime,
    *,
    zone: ZoneInfo,
    lock: bool = False,
    but: int = 0,
) -> Look:
    """Whether a class has a space for a permit in all its coming openings; `but` is the application itself.

    An opening of which nothing is offered (its date was taken back) is in nobody's way: it is lost to all permits.
    """
    terms, span = shared.lot.terms, (new.valid_from, new.valid_until)
    if terms.permit_fen_per_month is None:
        return Look(PermitRefusal.NO_PERMITS)
    if not shared.lot.open:
        return Look(PermitRefusal.NOT_OFFERED)
    held = share_permits.spans(connection, shared.id, span, but=but)
    if most_at_once([*held, span]) > most_permits(shared.spaces, terms.most_permits_permille):
        return Look(PermitRefusal.PERMITS_USED_UP)
    days = openings.read_days(connection, shared.id, now, lock=lock)
    until = min(new.valid_until, openings.known_until(days))
    coming = list(openings.windows_openings(shared.windows, zone, max(now, new.valid_from), until))
    parts = [days.drawable(opening) for opening in coming]
    full = tuple(part for part, has_space in parts if part is not None and not has_space)
    if full:
        return Look(PermitRefusal.FULL, days, full)
    if not any(True for _ in openings.windows_openings(shared.windows, zone, *span)) or (
        coming and all(part is None for part, _ in parts)
    ):
        return Look(PermitRefusal.NEVER_OPEN, days)
    return Look(None, days)


def _take(
    connection: Connection[Any], offer: Offer, chosen: tuple[SpaceClass, ClassDays], new: NewPermit, now: datetime
) -> SharedPermit:
    """Stores the application with the hold of its first month, and makes it a permit where nobody has to decide."""
    shared, days = chosen
    terms, month = shared.lot.terms, months_of(new.ask.first_day, 1, offer.zone)[0]
    if terms.approve_permits and new.valid_from <= now:
        raise InvalidInputError("The operator decides on permits of this lot; apply from tomorrow on or later.")
    placed = replace(new, class_id=shared.id, lot_id=shared.lot.id, price_fen=terms.permit_fen_per_month or 0)
    permit_id = share_permits.add(connection, placed, now)
    permit = share_permits.lock(connection, permit_id)
    told = {"permit": permit.code, "lot": shared.lot.code, "class": shared.code}
    share_permits.add_event(connection, permit_id, PermitEvent("applied", now, "driver", told))
    hold_month(connection, permit, month, now, channel=offer.channel, zone=offer.zone)
    if terms.approve_permits:
        notices.tell(connection, permit.user_id, "permit_applied", now, told)
        return permit
    return activate(connection, permit, days, now, by="allocator", zone=offer.zone)


def _refuse(connection: Connection[Any], new: NewPermit, detail: dict[str, Any], now: datetime) -> SharedPermit:
    """Keeps a refusal, so that asking again under the same key gets the same answer."""
    permit_id = share_permits.add(connection, replace(new, state=PermitState.REFUSED), now)
    permit = share_permits.lock(connection, permit_id)
    share_permits.stand(connection, permit, decided_at=now, ended_at=now)
    share_permits.add_event(connection, permit_id, PermitEvent("applied", now, "driver", {}))
    share_permits.add_event(connection, permit_id, PermitEvent("refused", now, "allocator", detail))
    return share_permits.lock(connection, permit_id)


def _why(looks: Sequence[Look], refusal: PermitRefusal | None, offer: Offer) -> dict[str, Any]:
    """The reason of the nearest class, with its openings that are full."""
    nearest = looks[0] if looks else Look(refusal or PermitRefusal.NO_LOT_NEARBY)
    reason = nearest.refusal or PermitRefusal.NO_LOT_NEARBY
    named = [
        {"from": _text(opening.begins, offer), "until": _text(opening.ends, offer)}
        for opening in nearest.full[:_MOST_NAMED]
    ]
    return {"reason": reason.value, "full_openings": len(nearest.full), "full": named}


def _alternatives(
    connection: Connection[Any], others: Sequence[_Place], new: NewPermit, now: datetime, offer: Offer
) -> list[dict[str, Any]]:
    """Other classes that have a space for the same time, the nearest first."""
    found: list[dict[str, Any]] = []
    for place in others:
        if len(found) == _MOST_ALTERNATIVES:
            break
        if look(connection, place.shared, new, now, zone=offer.zone).refusal is None:
            lot = place.shared.lot
            price_fen = lot.terms.permit_fen_per_month
            names = {"lot": lot.code, "class": place.shared.code}
            found.append({**names, "walk_m": place.walk_m, "price_fen_per_month": price_fen})
    return found


def _text(moment: datetime, offer: Offer) -> str:
    return moment.astimezone(UTC).astimezone(offer.zone).isoformat(timespec="minutes")
