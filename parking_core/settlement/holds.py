"""Holds: money that is promised and not yet charged (rules).

placed ──► captured | released | expired     each once; what is captured is at most what was promised
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class HoldState(StrEnum):
    """Where a hold stands."""

    PLACED = "placed"
    CAPTURED = "captured"
    RELEASED = "released"
    EXPIRED = "expired"


CHANGES: Final[Mapping[HoldState, frozenset[HoldState]]] = {
    HoldState.PLACED: frozenset({HoldState.CAPTURED, HoldState.RELEASED, HoldState.EXPIRED}),
    HoldState.CAPTURED: frozenset(),
    HoldState.RELEASED: frozenset(),
    HoldState.EXPIRED: frozenset(),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A promise of money by a channel ("hold:<acquirer>", ...), until `expires_at`."""

    key: str
    channel: str
    amount_fen: int
    placed_at: datetime
    expires_at: datetime
    visit_id: int | None = None
    state: HoldState = HoldState.PLACED
    captured_fen: int = 0
    ended_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.amount_fen <= 0:
            raise InvalidInputError(f"Hold {self.key} is over {self.amount_fen} fen; promise more than 0.")
        if self.expires_at <= self.placed_at:
            raise InvalidInputError(f"Hold {self.key} expires before it is placed; give a later time.")


def capture(hold: Hold, amount_fen: int, now: datetime) -> Hold:
    """Takes `amount_fen` of what was promised, and lets go of the rest. The same capture again changes nothing.

    Raises:
        InvalidInputError: it is more than was promised, another amount was captured, or the hold has ended or expired.
    """
    if hold.state is HoldState.CAPTURED and hold.captured_fen == amount_fen:
        return hold
    _only_placed(hold, "captured", now)
    if not 0 < amount_fen <= hold.amount_fen:
        raise InvalidInputError(
            f"Hold {hold.key} is over {hold.amount_fen} fen; {amount_fen} fen cannot be captured of it."
        )
    return replace(hold, state=HoldState.CAPTURED, captured_fen=amount_fen, ended_at=now)


def release(hold: Hold, now: datetime) -> Hold:
    """Lets go of all that was promised. Releasing what is released or expired changes nothing.

    Raises:
        InvalidInputError: money of it was captured; that is given back by a refund.
    """
    if hold.state in {HoldState.RELEASED, HoldState.EXPIRED}:
        return hold
    if HoldState.RELEASED not in CHANGES[hold.state]:
        raise InvalidInputError(f"Hold {hold.key} is captured; give the money back by a refund.")
    return replace(hold, state=HoldState.RELEASED, ended_at=now)


def is_expired(hold: Hold, now: datetime) -> bool:
    """Whether it is still placed and its time has passed: the clock alone decides."""
    return hold.state is HoldState.PLACED and now >= hold.expires_at


def _only_placed(hold: Hold, wanted: str, now: datetime) -> None:
    if is_expired(hold, now):
        raise InvalidInputError(f"Hold {hold.key} expired at {hold.expires_at.isoformat()}; it cannot be {wanted}.")
    if hold.state is not HoldState.PLACED:
        raise InvalidInputError(f"Hold {hold.key} is {hold.state.value}; it cannot be {wanted}.")
