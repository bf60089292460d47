"""Journal entries: postings that balance, under a key that books them once (facts)."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from parking_core.settlement.accounts import Account


class UnbalancedError(ValueError):
    """Postings that do not sum to zero: a bug, never input."""


class EntryKind(StrEnum):
    """Which rule made an entry."""

    CHARGE = "charge"
    ETC_PAYMENT = "etc_payment"
    ETC_READY = "etc_ready"  # completed by its TAC, or released by a person
    ETC_HELD = "etc_held"
    ETC_REJECTED = "etc_rejected"
    ETC_DISPUTED = "etc_disputed"
    ETC_BOOKED = "etc_booked"  # a dispute that was decided: pay
    BAD_DEBT = "bad_debt"
    CLEARING_DAY = "clearing_day"
    QR_PAYMENT = "qr_payment"
    CASH_PAYMENT = "cash_payment"
    HOLD_CAPTURED = "hold_captured"
    PROMISE_PAID = "promise_paid"  # of a shared space: captured and shared with the lot's owner
    ACQUIRER_BILL = "acquirer_bill"
    REFUND_ORDERED = "refund_ordered"
    REFUND_PAID = "refund_paid"
    WRITE_OFF = "write_off"
    MOVED_OUT = "moved_out"  # a payment leaves a visit
    MOVED_IN = "moved_in"  # and comes to another
    STATEMENT = "statement"


@dataclass(frozen=True, slots=True)
class Posting:
    """One line of an entry: fen, debit positive, credit negative, never 0."""

    account: Account
    amount_fen: int

    def __post_init__(self) -> None:
        if type(self.amount_fen) is not int or self.amount_fen == 0:
            raise UnbalancedError(
                f"A posting on {self.account.code} has {self.amount_fen!r} fen; whole fen, and not 0."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What happened to money, once. `occurred_at` is when its cause happened: it decides day and month.

    Raises:
        UnbalancedError: the postings do not sum to zero, or there are none.
        ValueError: the key is empty or the time has no zone.
    """

    key: str  # 'charge:<visit>:<version>', 'etc:<terminal>:<serial>', ...: booked once
    kind: EntryKind
    occurred_at: datetime
    postings: tuple[Posting, ...]
    visit_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)  # JSON: who and why of a correction

    def __post_init__(self) -> None:
        if not self.postings or sum(posting.amount_fen for posting in self.postings) != 0:
            lines = ", ".join(f"{posting.account.code} {posting.amount_fen:+}" for posting in self.postings)
            raise UnbalancedError(f"Entry {self.key} does not balance: {lines or 'no postings'}.")
        if not self.key:
            raise ValueError("An entry has no key; without one it cannot be booked once.")
        if self.occurred_at.tzinfo is None:
            raise ValueError(f"Entry {self.key} has a time without a zone.")

    def on(self, account: Account) -> int:
        """Fen of this entry on an account."""
        return sum(posting.amount_fen for posting in self.postings if posting.account == account)


def transfer(debit: Account, credit: Account, amount_fen: int) -> tuple[Posting, Posting]:
    """`amount_fen` from `credit` to `debit`; a negative amount goes the other way."""
    return Posting(debit, amount_fen), Posting(credit, -amount_fen)
