"""Permits take their openings from capacity: all that are known when one begins, new days as they come."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from parking_core.flows.share_permits import openings
from parking_core.flows.share_permits.money import count_lost
from parking_core.reservations import PermitState
from parking_core.share_permits import Draw, DrawState
from parking_core.slots import SLOTS, begins_of, day_of
from parking_core.store import notices, permit_draws, share_permits
from parking_core.store.share_permits import PermitEvent

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.share_permits.openings import ClassDays
    from parking_core.share_permits import Opening, SharedPermit


@dataclass(frozen=True, slots=True)
class Drawn:
    """Openings that permits drew, and those that they lost because nothing is offered, or left, then."""

    drawn: int = 0
    lost: int = 0


def activate(
    connection: Connection[Any], permit: SharedPermit, days: ClassDays, now: datetime, *, by: str, zone: ZoneInfo
) -> SharedPermit:
    """Makes a locked application a permit, with its openings. The caller's transaction holds it.

    permit ─► event ─► covering ─► openings ─► gates ─► notice ─► capacity

    Raises:
        CapacityTakenError: somebody else was faster; the transaction is void.
    """
    terms = share_permits.agreement(connection, days.class_id)
    active = replace(permit, state=PermitState.ACTIVE, decided_at=now)
    share_permits.stand(connection, active, decided_at=now)
    share_permits.cover(connection, active, terms.windows)
    wanted = openings.windows_openings(
        terms.windows, zone, max(now, permit.valid_from), min(permit.valid_until, openings.known_until(days))
    )
    draws = [_drawn(permit, days, opening) for opening in wanted]
    openings.store_draws(connection, active, draws, now)
    lost = sum(each.state is DrawState.REFUNDED for each in draws)
    event = PermitEvent("active", now, by, {"openings": len(draws) - lost, "lost": lost})
    share_permits.add_event(connection, permit.id, event)
    count_lost(connection, active, zone)
    told = {"permit": permit.code, "lot": terms.names.lot, "class": terms.names.code}
    notices.tell(connection, permit.user_id, "permit_active", now, told)
    openings.shift(connection, [each for each in draws if each.state is DrawState.DRAWN], -1)
    return active


def _drawn(permit: SharedPermit, days: ClassDays, opening: Opening) -> Draw:
    """An opening that is offered is drawn, whether or not a space is left: the database decides."""
    part, _ = days.drawable(opening)
    state = DrawState.REFUNDED if part is None else DrawState.DRAWN
    return Draw(permit.id, days.class_id, *(part or opening), state)


def draw(connection: Connection[Any], class_ids: Sequence[int], now: datetime, *, zone: ZoneInfo) -> Drawn:
    """Draws the openings that active permits of classes do not have yet. The caller's transaction holds it.

    To be called in the transaction that makes days of capacity known, before anybody else can take of them; best with
    `store.share_permits.take_turns` as its first statement, before it touches capacity. An opening of which nothing is
    offered or left is refunded, and the holder told.
    """
    share_permits.take_turns(connection, class_ids)
    drawn = lost = 0
    found: dict[int, ClassDays] = {}
    for permit in share_permits.lock_of_classes(connection, class_ids, PermitState.ACTIVE):
        missing = _missing(connection, permit, now, zone)
        if not missing or permit.class_id is None:
            continue
        if permit.class_id not in found:
            found[permit.class_id] = openings.read_days(connection, permit.class_id, now, lock=True)
        draws = [_taken(permit, found[permit.class_id], opening) for opening in missing]
        openings.store_draws(connection, permit, draws, now)
        openings.shift(connection, [each for each in draws if each.state is DrawState.DRAWN], -1)
        gone = [each for each in draws if each.state is DrawState.REFUNDED]
        if gone:
            refund(connection, permit, gone, now, zone=zone, by="worker", cause="not_offered")
        drawn, lost = drawn + len(draws) - len(gone), lost + len(gone)
    return Drawn(drawn, lost)


def _taken(permit: SharedPermit, days: ClassDays, opening: Opening) -> Draw:
    part, has_space = days.drawable(opening)
    if part is None or not has_space:
        return Draw(permit.id, days.class_id, *(part or opening), DrawState.REFUNDED)
    days.take(part)
    return Draw(permit.id, days.class_id, *part, DrawState.DRAWN)


def _missing(connection: Connection[Any], permit: SharedPermit, now: datetime, zone: ZoneInfo) -> list[Opening]:
    """Openings yet to begin, on days whose capacity is known, that nothing was decided of."""
    if permit.class_id is None:
        return []
    today = begins_of(day_of(now))
    last = permit_draws.last_day(connection, permit.class_id, day_of(now))
    if last is None:
        return []
    known = permit_draws.of_permit(connection, permit.id, today)
    windows = share_permits.agreement(connection, permit.class_id).windows
    until = min(permit.valid_until, begins_of(last, SLOTS))
    return [
        opening
        for opening in openings.windows_openings(windows, zone, max(permit.valid_from, today), until)
        if opening.begins >= now
        and not any(each.since < opening.ends and opening.begins < each.until for each in known)
    ]


def refund(
    connection: Connection[Any],
    permit: SharedPermit,
    lost: Sequence[Draw],
    now: datetime,
    *,
    zone: ZoneInfo,
    by: str,
    cause: str,
) -> None:
    """Counts openings, stored as refunded, into what a locked permit's months owe back, and tells the holder."""
    count_lost(connection, permit, zone)
    spans = [{"from": each.since.isoformat(), "until": each.until.isoformat()} for each in lost]
    detail = {"openings": spans, "cause": cause}
    share_permits.add_event(connection, permit.id, PermitEvent("refunded", now, by, detail))
    notices.tell(connection, permit.user_id, "permit_opening_refunded", now, {"permit": permit.code, **detail})
