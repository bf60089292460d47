"""An owner takes back a stretch of time. One transaction: nobody is promised anything in it from then on.

notice of the terms ─► stretch recorded ─► offered capacity falls ─► promises that meet it counted ─► worker woken

The promises themselves are moved or refunded one by one (parking_core.flows.resolve_suspensions).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import ConflictError, InvalidInputError
from parking_core.flows.offers_in_force import read_offer
from parking_core.flows.roll_capacity import roll_agreement
from parking_core.reservations import ReservationState
from parking_core.sharing import AgreementState
from parking_core.store import agreements, permit_draws, suspensions
from parking_core.store.agreements import AgreementEvent

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.store.agreements import Agreement
    from parking_core.store.suspensions import Meeting, Suspension
    from parking_core.tariffs import Interval


FOREVER: Final = datetime(9999, 1, 1, tzinfo=UTC)  # the suspension of a termination has no end


class NoticeTooShortError(ConflictError):
    """A date is taken back later than the terms allow."""

    code = "notice_too_short"


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A stretch that was taken back.

    inside: cars that are in the lot and stay beyond its beginning: nobody moves these but people.
    short: the notice was shorter than that of the terms, by leave of the district.
    new: it was not taken back before.
    """

    suspension: Suspension
    inside: tuple[Meeting, ...] = ()
    short: bool = False
    new: bool = True


def suspend_stretch(
    connection: Connection[Any],
    code: str,
    stretch: Interval,
    now: datetime,
    *,
    reason: str,
    by: str,
    zone: ZoneInfo,
    override: bool = False,
) -> TakenBack:
    """Takes a stretch back. The same stretch again gives the same suspension as it stands.

    Raises:
        NotFoundError: there is no such agreement.
        InvalidInputError: the stretch is none, or over.
        ConflictError: the agreement promises nothing.
        NoticeTooShortError: it begins earlier than the notice allows, and the district does not override it.
    """
    if not stretch.begins_at < stretch.ends_at or stretch.ends_at <= now:
        raise InvalidInputError("The stretch to suspend ends before it begins, or is over; give since before until.")
    with connection.transaction():
        found = agreements.lock(connection, code)
        known = suspensions.same(connection, found.id, (stretch.begins_at, stretch.ends_at))
        if known is not None:
            return TakenBack(known, _inside(connection, known, now), new=False)
        if found.state not in {AgreementState.PUBLISHED, AgreementState.SUSPENDED}:
            raise ConflictError(
                f"Agreement {code} is {found.state.value} and promises nothing; there is no date to take back."
            )
        short = check_notice(found, stretch, now.astimezone(zone), override=override)
        taken = replace(take_back(connection, found, stretch, reason=reason, by=by, now=now, zone=zone), short=short)
        agreements.announce(connection)
        return taken


def check_notice(agreement: Agreement, stretch: Interval, now: datetime, *, override: bool) -> bool:
    """Whether a stretch begins earlier than the terms allow; what is said of it is in the zone of `now`.

    Raises:
        NoticeTooShortError: it does, and nobody overrides that.
    """
    earliest = now + timedelta(hours=agreement.terms.notice_h)
    if stretch.begins_at >= earliest:
        return False
    if not override:
        raise NoticeTooShortError(
            f"Agreement {agreement.code} asks for {agreement.terms.notice_h} hours of notice: begin at "
            f"{earliest.isoformat(timespec='minutes')} or later, or have the district override it."
        )
    return True


def take_back(
    connection: Connection[Any],
    agreement: Agreement,
    stretch: Interval,
    *,
    reason: str,
    by: str,
    now: datetime,
    zone: ZoneInfo,
) -> TakenBack:
    """Records a stretch of a locked agreement and lowers what it offers. The caller's transaction holds it."""
    added = suspensions.add(
        connection, agreement.id, (stretch.begins_at, stretch.ends_at), reason=reason, by=by, now=now
    )
    detail = {"suspension": added.id, "since": added.since.isoformat(), "until": added.until.isoformat()}
    agreements.add_event(connection, agreement.id, AgreementEvent("exception", now, by, {**detail, "reason": reason}))
    offer = read_offer(connection, now, zone, "")  # nobody pays here
    for lot in offer.lots:
        if lot.agreement_id == agreement.id:
            roll_agreement(connection, offer, lot, now)
    # Promises that were made until now are seen: whoever still makes one waits for the rows above, or was waited for.
    ids = [each.id for each in agreements.classes_of(connection, agreement.id, retired_too=True)]
    affected = len(suspensions.meeting(connection, added, ReservationState.GRANTED, now))
    affected += len(permit_draws.to_resolve(connection, ids, max(added.since, now), added.until))
    suspensions.count(connection, added.id, affected=affected)
    return TakenBack(replace(added, affected=affected), _inside(connection, added, now))


def _inside(connection: Connection[Any], suspension: Suspension, now: datetime) -> tuple[Meeting, ...]:
    return (
        *suspensions.meeting(connection, suspension, ReservationState.ARRIVED, now),
        *suspensions.permits_inside(connection, suspension, now),
    )
