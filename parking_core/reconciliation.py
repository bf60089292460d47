"""Differences between what two sides say: each has a name, an owner and a state (facts and rules)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date, datetime


class Owner(StrEnum):
    """Who has to settle a difference."""

    OPERATOR = "operator"
    DISTRICT = "district"
    CLEARING_CENTRE = "clearing_centre"
    ACQUIRER = "acquirer"
    MAINTENANCE = "maintenance"


class DifferenceState(StrEnum):
    """Where a difference stands."""

    OPEN = "open"
    EXPLAINED = "explained"  # its cause is known and no money is wrong
    SETTLED = "settled"  # postings or late records have made both sides equal
    WRITTEN_OFF = "written_off"


CHANGES: Final[Mapping[DifferenceState, frozenset[DifferenceState]]] = {
    DifferenceState.OPEN: frozenset({DifferenceState.EXPLAINED, DifferenceState.SETTLED, DifferenceState.WRITTEN_OFF}),
    DifferenceState.EXPLAINED: frozenset({DifferenceState.OPEN, DifferenceState.SETTLED}),
    DifferenceState.SETTLED: frozenset(),
    DifferenceState.WRITTEN_OFF: frozenset(),
}


class DifferenceName(StrEnum):
    """What does not agree. Stable codes: people filter by them."""

    # lane records
    RECORD_MISSING = "record_missing"  # a number that the lane used and nobody received
    RECORD_NO_REUSED = "record_no_reused"  # one number, two contents
    TRANSACTION_REPEATED = "transaction_repeated"  # one terminal serial under two numbers: charged once
    HOUR_RECORDS = "hour_records"  # the lane's count of an hour is not the ledger's
    HOUR_AMOUNT = "hour_amount"  # the lane's money of an hour is not the ledger's
    HOUR_TOTAL_MISSING = "hour_total_missing"
    CHECK_FAILED = "check_failed"  # a transaction is held back; detail.reasons says why
    TAC_MISSING = "tac_missing"  # the reply was lost and no completion came
    COMPLETION_DIFFERS = "completion_differs"  # a late reply says otherwise than the first: the first counts
    REFERENCE_MISSING = "reference_missing"  # a completion or correction of a record that nobody has
    MANUAL_OPEN = "manual_open"  # a barrier was opened by hand without a visit to explain it
    # visits and charges
    MISSING_ENTRY = "missing_entry"
    MISSING_EXIT = "missing_exit"
    EXIT_ELSEWHERE = "exit_elsewhere"
    TAILGATED = "tailgated"
    AMOUNT_DIFFERS = "amount_differs"  # the lane charged another amount than the tariff gives
    ARREARS = "arrears"  # left without paying
    OVERPAID = "overpaid"  # more was paid than is due
    NO_TARIFF = "no_tariff"  # the lot has no tariff for the visit: not charged
    EVENT_SET_ASIDE = "event_set_aside"  # a lane record that could not be processed: not in any visit or sum
    # channels
    PACKAGE_REFUSED = "package_refused"
    DISPUTED = "disputed"
    CLEARING_TOTAL = "clearing_total"  # the centre's day is not ours
    NOT_CLEARED = "not_cleared"  # packed or sent, and no day has cleared it
    PAYMENT_UNKNOWN = "payment_unknown"  # the acquirer has a payment that we did not order
    PAYMENT_MISSING = "payment_missing"  # we booked a payment that is not on the acquirer's bill
    PAYMENT_NOTICE_LOST = "payment_notice_lost"  # paid at the acquirer, found by asking: the callback never came
    PAYMENT_AMOUNT = "payment_amount"
    PAID_TWICE = "paid_twice"


OWNERS: Final[Mapping[DifferenceName, Owner]] = {
    DifferenceName.RECORD_MISSING: Owner.MAINTENANCE,
    DifferenceName.RECORD_NO_REUSED: Owner.MAINTENANCE,
    DifferenceName.TRANSACTION_REPEATED: Owner.MAINTENANCE,
    DifferenceName.HOUR_RECORDS: Owner.MAINTENANCE,
    DifferenceName.HOUR_AMOUNT: Owner.OPERATOR,
    DifferenceName.HOUR_TOTAL_MISSING: Owner.MAINTENANCE,
    DifferenceName.CHECK_FAILED: Owner.DISTRICT,
    DifferenceName.TAC_MISSING: Owner.MAINTENANCE,
    DifferenceName.COMPLETION_DIFFERS: Owner.MAINTENANCE,
    DifferenceName.REFERENCE_MISSING: Owner.MAINTENANCE,
    DifferenceName.MANUAL_OPEN: Owner.OPERATOR,
    DifferenceName.MISSING_ENTRY: Owner.OPERATOR,
    DifferenceName.MISSING_EXIT: Owner.OPERATOR,
    DifferenceName.EXIT_ELSEWHERE: Owner.OPERATOR,
    DifferenceName.TAILGATED: Owner.OPERATOR,
    DifferenceName.AMOUNT_DIFFERS: Owner.OPERATOR,
    DifferenceName.ARREARS: Owner.OPERATOR,
    DifferenceName.OVERPAID: Owner.DISTRICT,
    DifferenceName.NO_TARIFF: Owner.OPERATOR,
    DifferenceName.EVENT_SET_ASIDE: Owner.MAINTENANCE,
    DifferenceName.PACKAGE_REFUSED: Owner.DISTRICT,
    DifferenceName.DISPUTED: Owner.CLEARING_CENTRE,
    DifferenceName.CLEARING_TOTAL: Owner.CLEARING_CENTRE,
    DifferenceName.NOT_CLEARED: Owner.CLEARING_CENTRE,
    DifferenceName.PAYMENT_UNKNOWN: Owner.ACQUIRER,
    DifferenceName.PAYMENT_MISSING: Owner.ACQUIRER,
    DifferenceName.PAYMENT_NOTICE_LOST: Owner.ACQUIRER,
    DifferenceName.PAYMENT_AMOUNT: Owner.ACQUIRER,
    DifferenceName.PAID_TWICE: Owner.DISTRICT,
}


_OF_MONEY: Final = frozenset(
    {
        DifferenceName.ARREARS,
        DifferenceName.OVERPAID,
        DifferenceName.PAID_TWICE,
        DifferenceName.DISPUTED,
        DifferenceName.TAC_MISSING,
        DifferenceName.CHECK_FAILED,  # held; one that was only told carries no amount
    }
)


def is_ended_by_money(name: DifferenceName, amount_fen: int) -> bool:
    """Whether only money that moves, or is given up, ends such a difference: knowing its cause does not."""
    return amount_fen != 0 and name in _OF_MONEY


@dataclass(frozen=True, slots=True)
class KnownDifference:
    """A difference as it stands."""

    key: str
    name: DifferenceName
    state: DifferenceState
    amount_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One finding. `key` names the thing, so that finding it again is the same row; `amount_fen` is ours minus theirs."""

    key: str
    name: DifferenceName
    day: date  # local
    lot_id: int | None = None
    device_id: int | None = None
    visit_id: int | None = None
    event_id: int | None = None
    hour_at: datetime | None = None
    channel: str | None = None
    records: int = 0
    amount_fen: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def owner(self) -> Owner:
        """Who has to settle it."""
        return OWNERS[self.name]
