"""Promises that meet a stretch which an owner took back: each is moved to the nearest equivalent, or refunded.

What is left to do follows from the rows: promises that are granted, and openings that permits drew, that meet a suspension.
One transaction a promise, which counts it too: a kill anywhere leaves the rest for the next pass. Openings of permits are
counted after they are resolved: there a kill may cost the count, never the answer. Where the agreement is terminated, its
permits end when the owner has his spaces back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from psycopg.errors import DeadlockDetected

from parking_core.errors import ParkingError
from parking_core.flows.move_reservation import accommodate
from parking_core.flows.share_permits import end_for_owner, resolve_draws
from parking_core.flows.suspend_sharing import FOREVER
from parking_core.reservations import ReservationState
from parking_core.store import agreements, reservations, suspensions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.store.suspensions import Suspension

log = structlog.get_logger()

_BITE: Final = 200  # promises of a suspension in one pass


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a pass did."""

    moved: int = 0
    refunded: int = 0
    failed: int = 0  # left for the next pass
    more: bool = False

    def __add__(self, other: Resolved) -> Resolved:
        return Resolved(
            self.moved + other.moved,
            self.refunded + other.refunded,
            self.failed + other.failed,
            self.more or other.more,
        )


def resolve_suspensions(
    connection: Connection[Any], offers: OffersInForce, now: datetime, *, most: int = _BITE
) -> Resolved:
    """Answers everybody whose promise meets a suspension, the one that was announced first first."""
    total = Resolved()
    for suspension in suspensions.standing(connection, now):
        total += _resolve(connection, offers, suspension, now, most)
    return total


def _resolve(
    connection: Connection[Any], offers: OffersInForce, suspension: Suspension, now: datetime, most: int
) -> Resolved:
    classes = agreements.classes_of(connection, suspension.agreement_id, retired_too=True)
    not_in = frozenset(each.id for each in classes)
    waiting = suspensions.meeting(connection, suspension, ReservationState.GRANTED, now, most=most)
    total = Resolved()
    for each in waiting:
        try:
            total += _answer(connection, offers, suspension, each.id, (now, not_in))
        except (ParkingError, DeadlockDetected) as error:  # one promise must not keep the others waiting
            log.warning("a promise could not be moved", reservation=each.code, error=str(error))
            total += Resolved(failed=1)
    total += Resolved(more=len(waiting) == most and total.failed < most)
    try:
        return total + _answer_permits(connection, offers, suspension, sorted(not_in), now)
    except (ParkingError, DeadlockDetected) as error:
        log.warning("openings of permits could not be moved", suspension=suspension.id, error=str(error))
        return total + Resolved(failed=1)


def _answer(
    connection: Connection[Any],
    offers: OffersInForce,
    suspension: Suspension,
    reservation_id: int,
    how: tuple[datetime, frozenset[int]],
) -> Resolved:
    """Moves or refunds one promise and counts it."""
    now, not_in = how
    with connection.transaction():
        if reservations.lock(connection, reservation_id).state is not ReservationState.GRANTED:
            return Resolved()
        moved_to = accommodate(
            connection,
            offers,
            reservation_id,
            now,
            by=f"suspension:{suspension.id}",
            cause="suspension",
            not_in=not_in,
        )
        done = Resolved(moved=1) if moved_to else Resolved(refunded=1)
        suspensions.count(connection, suspension.id, moved=done.moved, refunded=done.refunded)
    return done


def _answer_permits(
    connection: Connection[Any],
    offers: OffersInForce,
    suspension: Suspension,
    class_ids: Sequence[int],
    now: datetime,
) -> Resolved:
    """Moves or refunds openings of permits; ends the permits of a lot that is shared no more."""
    by = f"suspension:{suspension.id}"
    found = resolve_draws(connection, offers, class_ids, suspension.since, suspension.until, now=now, by=by)
    if found.moved or found.refunded:
        with connection.transaction():
            suspensions.count(connection, suspension.id, moved=found.moved, refunded=found.refunded)
    if suspension.until >= FOREVER and suspension.since <= now:
        end_for_owner(connection, class_ids, now, by=by, cause="termination", zone=offers.zone)
    return Resolved(found.moved, found.refunded)
