"""What one side says of the other's message: eight results, and why a transaction is disputed (facts)."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Final

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping


class PackageResult(IntEnum):
    """Result of a response, the same for every message (hh9net/etc, `responsexmlTypes`)."""

    ACCEPTED = 1
    HEADER = 2  # class, type or sender unknown
    SCHEMA = 3
    CONTENT = 4  # counts do not match, or a record stands twice
    DUPLICATE = 5
    ADVICE_DECLINED = 6  # taken, but its advice is not followed
    VERSION = 7
    TOTALS = 8  # the day's statistics do not agree with the receiver's books


class MessageError(InvalidInputError):
    """A message that arrived whole and cannot be used; `result` is what the sender is told."""

    def __init__(self, sentence: str, result: PackageResult = PackageResult.SCHEMA) -> None:
        super().__init__(sentence)
        self.result = result


# Why the issuer disputes a record (hh9net/etc, `keepAccountXmlTypes`).
DISPUTE_REASONS: Final[Mapping[int, str]] = {
    1: "not verified, such as a wrong TAC",
    2: "repeated transaction",
    3: "the user's state has changed",
    4: "kind of transaction not valid",
    5: "later than allowed",
    6: "a field of the transaction is wrong",
    7: "above the limit of a transaction",
    8: "card number does not exist",
    9: "state of the card does not match",
    10: "card has expired",
    11: "transaction not allowed",
    12: "serial number of the card does not match",
    13: "test transaction",
    14: "card and account disagree (stored value)",
    15: "kind of card not valid",
    16: "clock of the lane is wrong",
    17: "OBU number does not exist",
    100: "other",
}
