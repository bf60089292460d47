"""Accounts of the journal: what each kind means, and how its code is written (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from parking_core.errors import InvalidInputError


class AccountKind(StrEnum):
    """What an account holds. A debit balance (positive) is owed to us or lost, a credit balance earned or owed by us."""

    RECEIVABLE = "receivable"  # of a lot: what its visits owe (> 0) or are owed back (< 0)
    REVENUE = "revenue"  # of a lot: what its visits were charged
    ETC_CLEARING = "etc_clearing"  # taken from ETC cards, complete, not yet cleared by the centre
    ETC_AWAITING_TAC = "etc_awaiting_tac"  # taken, but the reply with the TAC was lost
    ETC_HELD = "etc_held"  # taken, but a check failed: a person decides
    ETC_DISPUTED = "etc_disputed"  # the centre disputes it
    ACQUIRER = "acquirer"  # of an acquirer: paid by QR code, not yet on our bank account
    PREAUTHORISED = "preauthorised"  # of an acquirer: captured of holds, not yet on any bill or bank account
    ACQUIRER_FEES = "acquirer_fees"  # what acquirers keep for their service
    CASH = "cash"  # of an operator: in the hands of its staff
    BANK = "bank"
    BAD_DEBT = "bad_debt"  # of a lot: money of ETC cards that nobody pays
    WRITE_OFF = "write_off"  # of a lot: arrears given up
    REFUNDS_PAYABLE = "refunds_payable"  # ordered and not yet paid back
    OPERATOR_PAYABLE = "operator_payable"  # of an operator: its part of a stated month
    DISTRICT_SHARE = "district_share"  # the district's part of stated months
    OWNER_PAYABLE = "owner_payable"  # of a lot: its owner's part of what promises of its spaces earned
    DISTRIBUTED = "distributed"  # of an operator: the money that statements have shared out
    MOVED = "moved"  # between visits: zero after every booking


OF_A_LOT: Final = frozenset(
    {
        AccountKind.RECEIVABLE,
        AccountKind.REVENUE,
        AccountKind.BAD_DEBT,
        AccountKind.WRITE_OFF,
        AccountKind.OWNER_PAYABLE,
    }
)
OF_AN_OPERATOR: Final = frozenset({AccountKind.CASH, AccountKind.OPERATOR_PAYABLE, AccountKind.DISTRIBUTED})
OF_AN_ACQUIRER: Final = frozenset({AccountKind.ACQUIRER, AccountKind.PREAUTHORISED})
_OWNED: Final = OF_A_LOT | OF_AN_OPERATOR | OF_AN_ACQUIRER


@dataclass(frozen=True, slots=True)
class Account:
    """An account: its kind, and the code of the lot, operator or acquirer it is of ("" where the kind has one only)."""

    kind: AccountKind
    of: str = ""

    def __post_init__(self) -> None:
        if bool(self.of) is not (self.kind in _OWNED):
            wanted = "needs the code of its lot, operator or acquirer" if self.kind in _OWNED else "is one only"
            raise ValueError(f"Account {self.kind.value} {wanted}; got {self.of!r}.")

    @property
    def code(self) -> str:
        """Its name in the journal: `bank`, `receivable:P03`."""
        return f"{self.kind.value}:{self.of}" if self.of else self.kind.value


@lru_cache(maxsize=4096)
def account(code: str) -> Account:
    """The account of a code.

    >>> account("receivable:P03").of
    'P03'

    Raises:
        InvalidInputError: no account is called so.
    """
    kind, _, of = code.partition(":")
    try:
        return Account(AccountKind(kind), of)
    except ValueError as error:
        raise InvalidInputError(f"There is no account {code!r}: {error}") from error


@lru_cache(maxsize=4096)
def receivable(lot: str) -> Account:
    """What visits of a lot owe."""
    return Account(AccountKind.RECEIVABLE, lot)


@lru_cache(maxsize=4096)
def revenue(lot: str) -> Account:
    """What visits of a lot were charged."""
    return Account(AccountKind.REVENUE, lot)


ETC_CLEARING: Final = Account(AccountKind.ETC_CLEARING)
ETC_AWAITING_TAC: Final = Account(AccountKind.ETC_AWAITING_TAC)
ETC_HELD: Final = Account(AccountKind.ETC_HELD)
ETC_DISPUTED: Final = Account(AccountKind.ETC_DISPUTED)
ACQUIRER_FEES: Final = Account(AccountKind.ACQUIRER_FEES)
BANK: Final = Account(AccountKind.BANK)
REFUNDS_PAYABLE: Final = Account(AccountKind.REFUNDS_PAYABLE)
DISTRICT_SHARE: Final = Account(AccountKind.DISTRICT_SHARE)
MOVED: Final = Account(AccountKind.MOVED)


def account_of_channel(channel: str) -> Account:
    """Where the money of a channel waits: "etc", "qr:<acquirer>", "hold:<acquirer>", "cash:<operator>" or "bank".

    What is captured of holds stands apart from payments by QR code: the bill of an acquirer's day has only these.

    >>> account_of_channel("qr:tongpay").code
    'acquirer:tongpay'
    >>> account_of_channel("hold:tongpay").code
    'preauthorised:tongpay'

    Raises:
        InvalidInputError: no channel is called so.
    """
    match channel.partition(":"):
        case ("etc", _, ""):
            return ETC_CLEARING
        case ("bank", _, ""):
            return BANK
        case ("qr", _, str(acquirer)) if acquirer:
            return Account(AccountKind.ACQUIRER, acquirer)
        case ("hold", _, str(acquirer)) if acquirer:
            return Account(AccountKind.PREAUTHORISED, acquirer)
        case ("cash", _, str(operator)) if operator:
            return Account(AccountKind.CASH, operator)
        case _:
            raise InvalidInputError(
                f"There is no channel {channel!r}; use etc, bank, qr:<acquirer>, hold:<acquirer> or cash:<operator>."
            )
