"""What an ended visit says of money: its channel, and the differences that name what is odd about it (rules)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from parking_core.reconciliation import Difference, DifferenceName
from parking_core.visits.facts import Oddity, VisitState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime
    from zoneinfo import ZoneInfo


class VisitChannel(StrEnum):
    """How an ended visit was paid."""

    ETC = "etc"
    QR = "qr"
    CASH = "cash"
    MIXED = "mixed"  # by more than one of them
    PERMIT = "permit"  # nothing to pay, for a permit's sake
    FREE = "free"  # nothing to pay
    LATER = "later"  # left without paying


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitReview:
    """A visit as the journal knows it. Amounts in fen."""

    visit_id: int
    lot_id: int
    state: VisitState
    reasons: frozenset[str]
    entered_at: datetime | None
    exited_at: datetime | None
    exit_device_id: int | None
    linked_event_id: int | None
    owed_fen: int  # balance of the receivable: > 0 arrears, < 0 owed back
    paid_by: frozenset[str]  # VisitChannel values etc, qr, cash
    charge_fen: int | None  # None: never charged
    tariff_id: int | None  # of the newest charge
    by_permit: bool  # one of its lines is a permit's
    etc_fen: int | None  # what lanes took; None: nothing


# Every difference that `findings` may give: one that it no longer gives has dissolved.
NAMES: Final = frozenset(
    {
        DifferenceName.MISSING_ENTRY,
        DifferenceName.MISSING_EXIT,
        DifferenceName.EXIT_ELSEWHERE,
        DifferenceName.TAILGATED,
        DifferenceName.AMOUNT_DIFFERS,
        DifferenceName.ARREARS,
        DifferenceName.OVERPAID,
        DifferenceName.NO_TARIFF,
    }
)


def channel_of(visit: VisitReview) -> VisitChannel | None:
    """How it was paid; None while it is open, or when it was not charged because it is not known what happened."""
    if visit.state not in {VisitState.CLOSED, VisitState.MISSING_ENTRY}:
        return None
    if visit.paid_by:
        return VisitChannel(next(iter(visit.paid_by))) if len(visit.paid_by) == 1 else VisitChannel.MIXED
    if visit.charge_fen is not None and visit.charge_fen > 0:
        return VisitChannel.LATER
    if visit.tariff_id is None:
        return None
    return VisitChannel.PERMIT if visit.by_permit else VisitChannel.FREE


def findings(visit: VisitReview, zone: ZoneInfo) -> list[Difference]:
    """What is odd about it: at most one difference for what happened, and one for a balance that is not zero."""
    at = visit.exited_at or visit.entered_at
    if visit.state is VisitState.OPEN or (at is None and not visit.owed_fen):
        return []
    names = [name for name in (_happened(visit), _balance(visit)) if name is not None]
    return [_difference(visit, name, zone) for name in dict.fromkeys(names)]


def _happened(visit: VisitReview) -> DifferenceName | None:
    match visit.state:
        case VisitState.MISSING_ENTRY | VisitState.MISSING_EXIT if Oddity.EXIT_ELSEWHERE in visit.reasons:
            return DifferenceName.EXIT_ELSEWHERE
        case VisitState.MISSING_ENTRY:
            return DifferenceName.MISSING_ENTRY
        case VisitState.MISSING_EXIT:
            return DifferenceName.MISSING_EXIT
        case VisitState.CLOSED if visit.tariff_id is None:
            return DifferenceName.NO_TARIFF
        case _:
            return None


def _balance(visit: VisitReview) -> DifferenceName | None:
    if not visit.owed_fen:
        return None
    if visit.state is VisitState.CLOSED and visit.tariff_id is None:
        return DifferenceName.NO_TARIFF
    if visit.state is VisitState.CLOSED and visit.etc_fen is not None:
        return DifferenceName.AMOUNT_DIFFERS
    if visit.owed_fen < 0:
        return DifferenceName.OVERPAID
    return DifferenceName.TAILGATED if Oddity.TAILGATED in visit.reasons else DifferenceName.ARREARS


_OF_MONEY: Final = frozenset(
    {
        DifferenceName.AMOUNT_DIFFERS,
        DifferenceName.ARREARS,
        DifferenceName.OVERPAID,
        DifferenceName.TAILGATED,
        DifferenceName.NO_TARIFF,
    }
)


def _difference(visit: VisitReview, name: DifferenceName, zone: ZoneInfo) -> Difference:
    at = visit.exited_at or visit.entered_at
    if at is None:
        raise ValueError(f"Visit {visit.visit_id} has no time.")
    channel = channel_of(visit)
    return Difference(
        key=f"{name.value}:{visit.visit_id}",
        name=name,
        day=at.astimezone(zone).date(),
        lot_id=visit.lot_id,
        device_id=visit.exit_device_id,
        visit_id=visit.visit_id,
        channel=None if channel is None else channel.value,
        records=1,
        amount_fen=visit.owed_fen if name in _OF_MONEY else 0,
        detail=dict(_detail(visit)),
    )


def _detail(visit: VisitReview) -> Iterator[tuple[str, Any]]:
    if visit.charge_fen is not None:
        yield "charged_fen", visit.charge_fen
    if visit.etc_fen is not None:
        yield "taken_at_lane_fen", visit.etc_fen
    if visit.linked_event_id is not None:
        yield "linked_event_id", visit.linked_event_id
    if visit.reasons:
        yield "reasons", sorted(visit.reasons)
