"""An owner takes a stretch of time back: each opening of a permit is moved to the nearest equivalent, or refunded.

Openings that touch are moved together, so that a car need not move between them; where nothing fits all of them, each is
moved alone. An opening that runs already lasts until the stretch begins; what is left of it is moved or refunded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import CapacityTakenError
from parking_core.flows.decide_reservation import Chosen, decide
from parking_core.flows.grant_reservation import Draft, grant
from parking_core.flows.share_permits import openings
from parking_core.flows.share_permits.drawing import refund
from parking_core.reservations import Ask
from parking_core.share_permits import DrawState, joined
from parking_core.slots import begins_of, slots_of
from parking_core.store import notices, permit_draws, share_permits
from parking_core.store.share_permits import PermitEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.offers import Offer
    from parking_core.share_permits import Draw, SharedPermit

_TRIES: Final = 4
_WALK_M: Final = 800  # who has a permit at the door walks so far for a night rather than drive home
_BITE: Final = 200


@dataclass(frozen=True, slots=True)
class Resolved:
    """Openings that a suspension took back."""

    moved: int = 0
    refunded: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Case:
    """What openings are resolved for."""

    now: datetime
    by: str
    cause: str
    out: frozenset[int]  # classes that are out of the question


def resolve_draws(
    connection: Connection[Any],
    offers: OffersInForce,
    class_ids: Sequence[int],
    since: datetime,
    until: datetime,
    *,
    now: datetime,
    by: str,
    cause: str = "suspension",
) -> Resolved:
    """Moves or refunds every opening of permits that takes space of the classes within [since, until).

    One transaction for each permit and stretch of openings that touch. Resumable: what is resolved stays so.

    Args:
        connection: without an open transaction, so that each step commits.
        offers: of the process.
        class_ids: classes that are taken back.
        since: from when on.
        until: to when.
        now: the moment.
        by: who takes them back, for the history.
        cause: why, as the holders are told.

    Raises:
        CapacityTakenError: others were faster four times; call it again.
    """
    case = _Case(now=now, by=by, cause=cause, out=frozenset(class_ids))
    affected = permit_draws.to_resolve(connection, class_ids, max(since, now), until)
    total = Resolved()
    for permit_id, draws in groupby(affected, key=lambda each: each.permit_id):
        for group in joined(list(draws)):
            one = _resolve(connection, offers, permit_id, (group, since), case)
            total = Resolved(total.moved + one.moved, total.refunded + one.refunded)
    return total


def _resolve(
    connection: Connection[Any],
    offers: OffersInForce,
    permit_id: int,
    taken_back: tuple[Sequence[Draw], datetime],
    case: _Case,
) -> Resolved:
    group, since = taken_back
    for attempt in range(1, _TRIES + 1):
        try:
            with connection.transaction():
                offer = offers.of(connection, case.now)
                permit = share_permits.lock(connection, permit_id)
                standing = {each.since: each for each in permit_draws.of_permit(connection, permit_id, case.now)}
                draws = [
                    standing[each.since]
                    for each in group
                    if each.since in standing and standing[each.since].state is DrawState.DRAWN
                ]
                coming = [part for each in draws for part in _still_to_come(connection, permit, each, since, case.now)]
                return _answer(connection, offer, permit, coming, case, lock=attempt == _TRIES)
        except CapacityTakenError:
            if attempt == _TRIES:
                raise
    raise AssertionError("Every try resolves, or is not the last.")


def _still_to_come(
    connection: Connection[Any], permit: SharedPermit, drawn: Draw, since: datetime, now: datetime
) -> list[Draw]:
    """The opening; of one that has begun what is left when the stretch begins, as an opening of its own."""
    if drawn.since > now:
        return [drawn]
    used = list(slots_of(drawn.since, max(since, now)))
    cut = begins_of(used[-1].day, used[-1].until) if used else drawn.since
    if cut >= drawn.until:
        return []
    openings.forget(connection, permit, [drawn], now)
    rest = replace(drawn, since=cut)
    permit_draws.stand(connection, replace(drawn, until=cut))
    permit_draws.add(connection, rest)
    return [rest]


def _answer(
    connection: Connection[Any], offer: Offer, permit: SharedPermit, draws: Sequence[Draw], case: _Case, *, lock: bool
) -> Resolved:
    """Moves draws together, or each alone, or refunds them; their own space is free last."""
    if not draws:
        return Resolved()
    together = _moved_to(connection, offer, permit, draws, case, lock=lock)
    if together is None and len(draws) > 1:
        lost = [each for each in draws if _moved_to(connection, offer, permit, [each], case, lock=lock) is None]
    else:
        lost = list(draws) if together is None else []
    for each in lost:
        permit_draws.stand(connection, replace(each, state=DrawState.REFUNDED))
    if lost:
        refund(connection, permit, lost, case.now, zone=offer.zone, by=case.by, cause=case.cause)
    openings.forget(connection, permit, draws, case.now)
    openings.shift(connection, draws, 1)
    return Resolved(len(draws) - len(lost), len(lost))


def _moved_to(
    connection: Connection[Any], offer: Offer, permit: SharedPermit, draws: Sequence[Draw], case: _Case, *, lock: bool
) -> str | None:
    """The reservation, free of charge, that stands for the openings; None: there is no equivalent."""
    agreement = share_permits.agreement(connection, draws[0].class_id)
    depart_at = _promised_end(offer, permit, draws[-1].until)
    if depart_at <= draws[0].since:
        return None
    ask = Ask(
        plate=permit.plate,
        group=permit.group,
        lat=agreement.lat,
        lon=agreement.lon,
        walk_m=_WALK_M,
        arrive_at=draws[0].since,
        depart_at=depart_at,
    )
    out = case.out | {draws[0].class_id}
    found = decide(connection, offer, ask, case.now, not_in=out, priced=False, lock=lock)
    if not isinstance(found, Chosen):
        return None
    draft = Draft(
        user_id=permit.user_id,
        key=f"permit:{draws[0].name(permit.code)}",
        ask=ask,
        class_id=found.class_id,
        walk_m=found.walk_m,
        buffer_min=found.buffer_min,
        value_fen=found.value_fen,
        price_fen=0,
        holds_overstay=False,
        detail={"permit": permit.code, "cause": case.cause},
    )
    promise = grant(connection, offer, draft, case.now, by=case.by)
    for each in draws:
        permit_draws.stand(connection, replace(each, state=DrawState.MOVED, reservation_id=promise.id))
    told = {
        "permit": permit.code,
        "from": draws[0].since.isoformat(),
        "until": depart_at.isoformat(),
        "reservation": promise.code,
        "lot": offer.lot_of(found.class_id).code,
        "cause": case.cause,
    }
    share_permits.add_event(connection, permit.id, PermitEvent("moved", case.now, case.by, told))
    notices.tell(connection, permit.user_id, "permit_opening_moved", case.now, told)
    return promise.code


def _promised_end(offer: Offer, permit: SharedPermit, until: datetime) -> datetime:
    """When a guest of the lot would have to leave at the latest: an opening takes its space for his buffer, too."""
    lot = next((each for each in offer.lots if each.id == permit.lot_id), None)
    return until - timedelta(minutes=offer.buffers(lot, until).guest_min) if lot else until


def refund_lost_elsewhere(connection: Connection[Any], offers: OffersInForce, now: datetime) -> int:
    """Refunds openings whose reservation elsewhere was withdrawn, too; gives how many. A transaction each."""
    count = 0
    while True:
        bite = permit_draws.lost_elsewhere(connection, _BITE)
        for each in bite:
            with connection.transaction():
                permit = share_permits.lock(connection, each.permit_id)
                gone = replace(each, state=DrawState.REFUNDED)
                permit_draws.stand(connection, gone)
                refund(connection, permit, [gone], now, zone=offers.zone, by="worker", cause="no_equivalent")
            count += 1
        if len(bite) < _BITE:
            return count
