"""Sharing agreements from the first proposal to their end. One transaction each.

propose ─► change ... ─► sign ─► publish (a lane lets cars in): capacity is offered at once ─► suspend, resume: no new promises, again
                                                                     └─► terminate: every promise after the notice is
                                                                         moved or refunded by the worker

A version moves with every change; whoever changes names the one he has seen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import ConflictError, InvalidInputError
from parking_core.flows.offers_in_force import read_offer
from parking_core.flows.plan_classes import plan_classes
from parking_core.flows.roll_capacity import roll_agreement
from parking_core.flows.suspend_sharing import FOREVER, TakenBack, check_notice, take_back
from parking_core.sharing import CHANGES, AgreementState, may_become
from parking_core.store import agreements, sharing
from parking_core.store.agreements import AgreementEvent, NewAgreement
from parking_core.tariffs import Interval
from parking_core.windows import publication_advice
from parking_core.work_calendar import WorkCalendar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.plan_classes import Plan, ProposedClass
    from parking_core.sharing import Terms
    from parking_core.store.agreements import Agreement
    from parking_core.windows import Advice

_COMPARED: Final = timedelta(days=31)  # a month of windows shows what recurs
_CALENDAR: Final = WorkCalendar()


class VersionMovedError(ConflictError):
    """Somebody else has changed it meanwhile."""

    code = "version_moved"


@dataclass(frozen=True, slots=True)
class Proposal:
    """What an owner offers: a lot's spaces in classes, and on which terms."""

    code: str
    lot: str  # code
    terms: Terms
    classes: tuple[ProposedClass, ...]


@dataclass(frozen=True, slots=True)
class Agreed:
    """An agreement after a step, and what its owner should know about its windows.

    new: it was not there before.
    taken_back: what a termination does to promises.
    """

    agreement: Agreement
    advice: tuple[Advice, ...] = ()
    new: bool = False
    taken_back: TakenBack | None = None


def propose(connection: Connection[Any], proposal: Proposal, now: datetime, *, by: str, zone: ZoneInfo) -> Agreed:
    """Begins to negotiate. The same proposal again gives what has become of it.

    Raises:
        NotFoundError: there is no such lot.
        InvalidInputError: classes cannot be used.
        ConflictError: the code is that of another agreement, or the lot has one already.
    """
    with connection.transaction():
        lot = agreements.lot_spaces(connection, proposal.lot)
        plan = plan_classes(proposal.classes, lot)
        new = NewAgreement(code=proposal.code, lot_id=lot.id, terms=proposal.terms, classes=plan.classes)
        added = agreements.add(connection, new, now, by=by)
        found = agreements.find(connection, proposal.code)
        if added is None and (found is None or not _is_same(connection, found, new)):
            raise ConflictError(_why_not(connection, found, proposal, lot.id))
        if found is None:
            raise AssertionError("What was added is found.")
        return Agreed(found, advice_on(plan, now, zone), new=added is not None)


def change(
    connection: Connection[Any],
    code: str,
    version: int,
    now: datetime,
    *,
    by: str,
    zone: ZoneInfo,
    terms: Terms | None = None,
    classes: Sequence[ProposedClass] | None = None,
) -> Agreed:
    """Changes terms, windows or both while they are negotiated.

    Raises:
        NotFoundError: there is no such agreement.
        VersionMovedError: it is not the version that was seen.
        ConflictError: it is signed.
        InvalidInputError: classes cannot be used.
    """
    with connection.transaction():
        found = _locked(connection, code, version)
        if found.state is not AgreementState.NEGOTIATING:
            raise ConflictError(
                f"Agreement {code} is {found.state.value}; terms and windows change only while it is negotiated."
            )
        advice: tuple[Advice, ...] = ()
        if terms is not None and terms != found.terms:
            agreements.set_terms(connection, found.id, terms, now)
            agreements.add_event(connection, found.id, AgreementEvent("terms", now, by, terms.document()))
        if classes is not None:
            plan = plan_classes(classes, agreements.lot_spaces(connection, found.lot))
            agreements.retire_classes(connection, found.id, now)
            agreements.add_classes(connection, found.id, found.lot_id, plan.classes)
            agreements.touch(connection, found.id, now)
            said = {each.code: len(each.spaces) + len(each.picked) for each in plan.classes}
            agreements.add_event(connection, found.id, AgreementEvent("windows", now, by, {"spaces": said}))
            advice = advice_on(plan, now, zone)
        return Agreed(agreements.lock(connection, code), advice)


def become(
    connection: Connection[Any],
    code: str,
    version: int,
    after: AgreementState,
    now: datetime,
    *,
    by: str,
    zone: ZoneInfo,
) -> Agreed:
    """Signs, publishes, suspends for new promises, or publishes again. Where it stands so already, nothing happens.

    Raises:
        NotFoundError: there is no such agreement.
        VersionMovedError: it is not the version that was seen.
        ConflictError: its life cycle does not allow it, or it is to be published and no lane lets cars into its lot.
        ValueError: it is to be terminated; see `terminate`.
    """
    if after is AgreementState.TERMINATED:
        raise ValueError("An agreement is terminated by `terminate`, which resolves its promises.")
    with connection.transaction():
        found = _locked(connection, code, version, standing=after)
        if found.state is not after:
            _reach(connection, found, after, now, by)
            if after is AgreementState.PUBLISHED:
                offer = read_offer(connection, now, zone, "")  # nobody pays here
                for lot in offer.lots:
                    if lot.agreement_id == found.id:
                        roll_agreement(connection, offer, lot, now)
            agreements.announce(connection)
        return Agreed(agreements.lock(connection, code))


def terminate(
    connection: Connection[Any],
    code: str,
    version: int,
    now: datetime,
    *,
    by: str,
    zone: ZoneInfo,
    since: datetime | None = None,
    override: bool = False,
) -> Agreed:
    """Ends an agreement: no new promise from now on, and every one that reaches beyond `since` is moved or refunded.

    `since` is when the owner has his spaces back, after the notice of the terms when it is left out; with `override` the
    district allows a shorter one.

    Raises:
        NotFoundError: there is no such agreement.
        VersionMovedError: it is not the version that was seen.
        NoticeTooShortError: `since` is earlier than the notice allows.
    """
    with connection.transaction():
        found = _locked(connection, code, version, standing=AgreementState.TERMINATED)
        if found.state is AgreementState.TERMINATED:
            return Agreed(found)
        taken = None
        if found.state in {AgreementState.PUBLISHED, AgreementState.SUSPENDED}:
            stretch = Interval(since or now + timedelta(hours=found.terms.notice_h), FOREVER)
            short = check_notice(found, stretch, now.astimezone(zone), override=override)
            taken = replace(
                take_back(connection, found, stretch, reason="termination", by=by, now=now, zone=zone), short=short
            )
        _reach(connection, found, AgreementState.TERMINATED, now, by)
        agreements.announce(connection)
        return Agreed(agreements.lock(connection, code), taken_back=taken)


def advice_on(plan: Plan, now: datetime, zone: ZoneInfo) -> tuple[Advice, ...]:
    """What the owner is told about his windows: the grid of 30 minutes, six classes a lot, and why."""
    return publication_advice(plan.proposed, _CALENDAR, zone, Interval(now, now + _COMPARED))


def _locked(
    connection: Connection[Any], code: str, version: int, *, standing: AgreementState | None = None
) -> Agreement:
    """The agreement, locked; `standing`: in that state the version does not matter, it was reached before."""
    found = agreements.lock(connection, code)
    if found.version != version and found.state is not standing:
        raise VersionMovedError(
            f"Agreement {code} is at version {found.version}, not {version}; read it again, then decide."
        )
    return found


def _reach(connection: Connection[Any], found: Agreement, after: AgreementState, now: datetime, by: str) -> None:
    if not may_become(found.state, after):
        allowed = " or ".join(sorted(each.value for each in CHANGES[found.state])) or "nothing else"
        raise ConflictError(
            f"Agreement {found.code} is {found.state.value}; it can become {allowed}, not {after.value}."
        )
    if after is AgreementState.PUBLISHED and not sharing.barriers(connection, found.lot_id):
        # Nobody would be seen to arrive: every promise would lapse as a no-show, and count against its driver.
        raise ConflictError(
            f"Lot {found.lot} has no enabled lane that lets cars in, so no arrival would be seen; register and enable one, "
            f"then publish agreement {found.code}."
        )
    agreements.set_state(connection, found.id, after, now)
    agreements.add_event(connection, found.id, AgreementEvent(after.value, now, by))


def _is_same(connection: Connection[Any], found: Agreement, new: NewAgreement) -> bool:
    """Whether what is stored is what is proposed."""
    stored = [(each.code, each.windows, sorted(each.space_ids)) for each in agreements.classes_of(connection, found.id)]
    asked = [(each.code, each.windows, sorted((*each.spaces, *each.picked))) for each in new.classes]
    return (found.lot_id, found.terms, stored) == (new.lot_id, new.terms, asked)


def _why_not(connection: Connection[Any], found: Agreement | None, proposal: Proposal, lot_id: int) -> str:
    if found is not None:
        return f"Agreement {found.code} exists with other contents, as version {found.version}; change it, or take another code."
    other = agreements.of_lot(connection, lot_id)
    if other is None:
        raise InvalidInputError(f"Agreement {proposal.code} could not be added; try again.")
    return (
        f"Lot {proposal.lot} is shared by agreement {other.code}, which is {other.state.value}; a space belongs to one "
        "agreement only: change or terminate that one."
    )
