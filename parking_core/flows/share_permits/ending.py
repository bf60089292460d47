"""Permits end: by time, by their holder, for violations, by the owner."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import ConflictError
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.share_permits import openings
from parking_core.flows.share_permits.money import count_lost, release_months
from parking_core.reservations import PERMIT_CHANGES, EventKind, PermitState, ReservationState, ViolationKind
from parking_core.share_permits import DrawState, PermitRefusal
from parking_core.sharing import read_terms
from parking_core.store import notices, permit_draws, permit_months, permits, reservations, share_permits
from parking_core.store.permit_months import Violation
from parking_core.store.share_permits import PermitEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.share_permits import Draw, SharedPermit

_BITE: Final = 200
_LOOK_AROUND: Final = timedelta(days=1)  # windows that end are looked for so long before


def end(
    connection: Connection[Any],
    permit: SharedPermit,
    state: PermitState,
    now: datetime,
    *,
    by: str,
    zone: ZoneInfo,
    **detail: Any,  # noqa: ANN401  # values of a JSON object
) -> SharedPermit:
    """Ends a locked permit or application. The caller's transaction holds it.

    An opening that has begun stays its holder's until it ends: the car may stand there, and must be let out in time.

    Raises:
        ConflictError: the life cycle does not allow it.
    """
    if state not in PERMIT_CHANGES[permit.state]:
        raise ConflictError(f"Permit {permit.code} is {permit.state.value}; it cannot become {state.value} any more.")
    over = replace(permit, state=state, ended_at=now)
    share_permits.stand(connection, over, decided_at=now, ended_at=now)
    share_permits.add_event(connection, permit.id, PermitEvent(state.value, now, by, detail))
    release_months(connection, permit, permit.valid_from if permit.state is PermitState.APPLIED else now, now)
    told = {"permit": permit.code, **detail}
    if permit.state is PermitState.APPLIED:
        notices.tell(connection, permit.user_id, f"permit_{state.value}", now, told)
        return over
    lost = state is PermitState.ENDED_BY_OWNER
    coming = _leave(connection, permit, now, now, DrawState.REFUNDED if lost else DrawState.GIVEN_BACK)
    if lost:
        count_lost(connection, over, zone)
    notices.tell(connection, permit.user_id, f"permit_{state.value}", now, told)
    openings.shift(connection, coming, 1)
    return over


def _leave(
    connection: Connection[Any], permit: SharedPermit, since: datetime, now: datetime, state: DrawState
) -> list[Draw]:
    """Lets go of openings that begin at a moment or later, all but their capacity; gives those whose it is to give."""
    known = permit_draws.of_permit(connection, permit.id, since)
    coming = [each for each in known if each.state is DrawState.DRAWN and each.since >= since]
    running = [each.until for each in known if each.state is DrawState.DRAWN and each.since < since]
    permits.end_permit(connection, permit.code, max([since, *running]))
    for each in coming:
        permit_draws.stand(connection, replace(each, state=state))
    openings.forget(connection, permit, coming, now)
    if state is DrawState.GIVEN_BACK:  # what an owner ends was paid for: what stands elsewhere for it is kept
        _leave_elsewhere(connection, permit, [each for each in known if each.state is DrawState.MOVED], since, now)
    return coming


def _leave_elsewhere(
    connection: Connection[Any], permit: SharedPermit, moved: Sequence[Draw], since: datetime, now: datetime
) -> None:
    """Cancels reservations that stand for openings from a moment on; one that has begun before it is kept whole."""
    for number in sorted({each.reservation_id for each in moved if each.reservation_id is not None}):
        promise = reservations.lock(connection, number)
        if promise.state is not ReservationState.GRANTED or promise.arrive_at < since:
            continue
        end_reservation(connection, promise, EventKind.CANCELLED, now, by=f"permit:{permit.code}", cause="permit_ended")
        for each in moved:
            if each.reservation_id == number:
                permit_draws.stand(connection, replace(each, state=DrawState.GIVEN_BACK))


def withdraw(connection: Connection[Any], user_id: int, code: str, now: datetime, *, zone: ZoneInfo) -> SharedPermit:
    """The holder wants no further month: capacity after the paid one is free at once. Again, it changes nothing.

    An application, or a permit that has not begun, ends at once and costs nothing.

    Raises:
        NotFoundError: the person has no such permit.
        ConflictError: it is over.
    """
    with connection.transaction():
        permit = share_permits.lock_of_person(connection, user_id, code)
        if permit.withdrawn_at is not None:
            return permit
        asked = replace(permit, withdrawn_at=now)
        if permit.state is PermitState.APPLIED or now < permit.valid_from:
            share_permits.stand(connection, permit, withdrawn_at=now)
            return end(connection, asked, PermitState.WITHDRAWN, now, by="driver", zone=zone)
        if permit.state is not PermitState.ACTIVE:
            raise ConflictError(f"Permit {code} is {permit.state.value}; there is nothing to withdraw.")
        paid = [month.ends for month in permit_months.of_permit(connection, permit.id) if month.begins <= now]
        until = min(max([*paid, now]), permit.valid_until)
        shorter = replace(asked, valid_until=until)
        share_permits.stand(connection, shorter, withdrawn_at=now)
        detail = {"until": until.isoformat()}
        share_permits.add_event(connection, permit.id, PermitEvent("withdraws", now, "driver", detail))
        release_months(connection, permit, until, now)
        coming = _leave(connection, permit, until, now, DrawState.GIVEN_BACK) if until < permit.valid_until else []
        openings.shift(connection, coming, 1)
        return shorter


def give_back(connection: Connection[Any], user_id: int, code: str, at: datetime, now: datetime) -> Draw:
    """The holder does not come: the opening that holds a moment is free for others. Nothing is paid back for it.

    Raises:
        NotFoundError: the person has no such permit.
        ConflictError: it has no opening then, the opening has begun and the car is inside, or it is over.
    """
    with connection.transaction():
        permit = share_permits.lock_of_person(connection, user_id, code)
        known = permit_draws.of_permit(connection, permit.id, now)
        drawn = next((each for each in known if each.since <= at < each.until), None)
        if drawn is not None and drawn.state is DrawState.GIVEN_BACK:
            return drawn
        if drawn is None or drawn.state is not DrawState.DRAWN:
            raise ConflictError(f"Permit {code} has no opening to come at that time that could be given back.")
        if drawn.since <= now:
            raise ConflictError(f"That opening of permit {code} has begun; it can be given back before it begins.")
        given = replace(drawn, state=DrawState.GIVEN_BACK)
        permit_draws.stand(connection, given)
        detail = {"from": drawn.since.isoformat(), "until": drawn.until.isoformat()}
        share_permits.add_event(connection, permit.id, PermitEvent("given_back", now, "driver", detail))
        openings.forget(connection, permit, [given], now)
        openings.shift(connection, [given], 1)
        return given


def expire_permits(connection: Connection[Any], now: datetime, *, zone: ZoneInfo) -> int:
    """Ends permits whose time is over and applications that nobody decided; gives how many. A transaction each."""
    ended = 0
    while True:
        bite = share_permits.due(connection, now, _BITE)
        for permit_id in bite:
            with connection.transaction():
                permit = share_permits.lock(connection, permit_id)
                if permit.state is PermitState.APPLIED and permit.valid_from <= now:
                    reason = PermitRefusal.NOT_DECIDED.value
                    end(connection, permit, PermitState.REFUSED, now, by="worker", zone=zone, reason=reason)
                elif permit.state is PermitState.ACTIVE and permit.valid_until <= now:
                    state = PermitState.WITHDRAWN if permit.withdrawn_at else PermitState.EXPIRED
                    end(connection, permit, state, now, by="worker", zone=zone)
            ended += 1
        if len(bite) < _BITE:
            return ended


def end_for_owner(
    connection: Connection[Any], class_ids: Sequence[int], now: datetime, *, by: str, cause: str, zone: ZoneInfo
) -> int:
    """Ends permits of classes that are no more, refuses applications for them; gives how many. A transaction each.

    What has not begun of a month is given back. Resumable: what is over stays as it is.
    """
    ended = 0
    states = (PermitState.APPLIED, PermitState.ACTIVE)
    for permit_id in share_permits.ids_of_classes(connection, class_ids, *states):
        with connection.transaction():
            permit = share_permits.lock(connection, permit_id)
            if permit.state is PermitState.APPLIED:
                reason = PermitRefusal.NOT_OFFERED.value
                end(connection, permit, PermitState.REFUSED, now, by=by, zone=zone, reason=reason, cause=cause)
            elif permit.state is PermitState.ACTIVE:
                end(connection, permit, PermitState.ENDED_BY_OWNER, now, by=by, zone=zone, cause=cause)
            else:
                continue
        ended += 1
    return ended


def note_violation(connection: Connection[Any], violation: Violation, now: datetime, *, zone: ZoneInfo) -> bool:
    """Keeps a violation, tells the person, and ends a permit that has too many. The caller's transaction holds it.

    Returns:
        Whether it is new; a key that is known changes nothing.
    """
    permit = share_permits.lock(connection, violation.shared_permit_id) if violation.shared_permit_id else None
    if not permit_months.note(connection, violation):
        return False
    told: dict[str, Any] = {"kind": violation.kind.value, **violation.detail}
    if permit is None or permit.class_id is None:
        notices.tell(connection, violation.user_id, "violation", now, told)
        return True
    allowed = read_terms(share_permits.agreement(connection, permit.class_id).terms).most_violations
    count = permit_months.violations_of_permit(connection, permit.id)
    told |= {"permit": permit.code, "count": count, "allowed": allowed}
    share_permits.add_event(connection, permit.id, PermitEvent("violation", now, "worker", told))
    notices.tell(connection, violation.user_id, "violation", now, told)
    if count > allowed and permit.state is PermitState.ACTIVE:
        end(connection, permit, PermitState.CANCELLED, now, by="worker", zone=zone, violations=count)
    return True


def cars_outside_window(
    connection: Connection[Any], now: datetime, *, zone: ZoneInfo, grace: timedelta
) -> list[Violation]:
    """Cars of active permits that stand in their lot though none of its openings holds, since `grace` or longer.

    The windows are closed, or the opening was given back, moved or lost. Each with the key under which it is noted once
    a closing: a car that stays through the next opening has another one after it.
    """
    found = []
    for car in permit_months.cars_inside(connection, now):
        permit = share_permits.find_by_id(connection, car.permit_id)
        if permit is None or permit.class_id is None or permit.lot_id is None:
            continue
        since = _without_opening_since(connection, permit, car.entered_at, now, zone)
        if since is None or now - since < grace:
            continue
        found.append(
            Violation(
                key=f"outside_window:{permit.code}:{car.visit_id}:{since.isoformat()}",
                user_id=permit.user_id,
                kind=ViolationKind.OUTSIDE_WINDOW,
                at=since,
                shared_permit_id=permit.id,
                detail={"permit": permit.code, "since": since.isoformat()},
            )
        )
    return found


def _without_opening_since(
    connection: Connection[Any], permit: SharedPermit, entered_at: datetime, now: datetime, zone: ZoneInfo
) -> datetime | None:
    """Since when a car inside stands there without an opening; None: it has one.

    What was drawn ends with the buffer before the owner's return; the car may use that, too, so the windows count.
    """
    if permit.class_id is None:
        return None
    windows = share_permits.agreement(connection, permit.class_id).windows
    begins = max(now - _LOOK_AROUND, permit.valid_from)
    known = permit_draws.of_permit(connection, permit.id, begins)
    gone = [each for each in known if each.state is not DrawState.DRAWN]
    since = max(entered_at, begins)
    for opening in openings.windows_openings(windows, zone, begins, now + _LOOK_AROUND):
        ends = min(
            [each.since for each in gone if each.since < opening.ends and opening.begins < each.until] + [opening.ends]
        )
        if opening.begins <= now < ends:
            return None
        if opening.begins < ends <= now:
            since = max(since, ends)
    return since
