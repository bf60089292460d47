"""Promises that meet a stretch which an owner took back: each is moved to the nearest equivalent, or refunded.

What is left to do follows from the rows: promises that are granted and meet a suspension. One transaction a promise, which
counts it too: a kill anywhere leaves the rest for the next pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog

from parking_core.errors import ParkingError
from parking_core.flows.move_reservation import accommodate
from parking_core.reservations import ReservationState
from parking_core.store import agreements, reservations, suspensions

if TYPE_CHECKING:
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
    waiting = suspensions.meeting(connection, suspension, ReservationState.GRANTED, now, most=most)
    if not waiting:
        return Resolved()
    classes = agreements.classes_of(connection, suspension.agreement_id, retired_too=True)
    not_in = frozenset(each.id for each in classes)
    total = Resolved()
    for each in waiting:
        try:
            total += _answer(connection, offers, suspension, each.reservation_id, (now, not_in))
        except ParkingError as error:  # one promise must not keep the others waiting
            log.warning("a promise could not be moved", reservation=each.code, error=str(error))
            total += Resolved(failed=1)
    return total + Resolved(more=len(waiting) == most and total.failed < most)


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
