"""What is asked of a night's desk and what it answers: requests, grants, refusals and the record of them (facts).

Times are minutes from the night's zero, money is fen.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Refusal(StrEnum):
    """Why a request is not served."""

    NOWHERE = "nowhere"  # no window of a lot near enough admits it
    FULL = "full"  # no admissible group has a space all the time
    KEPT = "kept"  # there is one, kept for requests of which more comes
    PERSON_CAP = "person_cap"  # the person has as many active grants as the policy allows


@dataclass(frozen=True, slots=True)
class Columns:
    """Groups a request may use: group int32[C], value int64[C] in fen (> 0), until int32[C] (space taken until then)."""

    group: NDArray[np.int32]
    value: NDArray[np.int64]
    until: NDArray[np.int32]

    def __post_init__(self) -> None:
        for name, kind in (("group", np.int32), ("value", np.int64), ("until", np.int32)):
            object.__setattr__(self, name, np.ascontiguousarray(getattr(self, name), dtype=kind))
        if not len(self.group) == len(self.value) == len(self.until):
            raise InvalidInputError("Columns of a request have groups, values and times of different lengths.")

    def with_others(self, others: Columns) -> Columns:
        """These columns, then the others."""
        return Columns(
            np.concatenate([self.group, others.group]),
            np.concatenate([self.value, others.value]),
            np.concatenate([self.until, others.until]),
        )


@dataclass(frozen=True, slots=True)
class Asker:
    """Who asks, as far as the desk counts.

    Attributes:
        key: of the request, unique in the night.
        person: whose active grants are capped; nobody's when absent.
        member: group of people that floors of acceptance tell apart.
        again: an alternative to an earlier request; demand is not counted twice.
    """

    key: str
    person: str | None = None
    member: int = 0
    again: bool = False


@dataclass(frozen=True, slots=True)
class Request:
    """A stay [arrive, depart) in minutes of the night, and where it may be.

    Attributes:
        asker: who asks.
        arrive: minute of arrival, >= 0.
        depart: minute of departure.
        columns: groups that admit it, ordered by walking distance for `nearest`; eligibility was decided there.
        others: groups further away, looked at for alternatives only, where the desk minds their windows itself.
        earliest: minute before which no alternative arrives (the moment of asking).

    Raises:
        InvalidInputError: it ends before it begins, or a column does.
    """

    asker: Asker
    arrive: int
    depart: int
    columns: Columns
    others: Columns | None = None
    earliest: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.arrive < self.depart:
            raise InvalidInputError(f"A stay from minute {self.arrive} to {self.depart} is none.")
        for columns in (self.columns, self.others):
            if columns is not None and columns.until.size and int(columns.until.min()) <= self.arrive:
                raise InvalidInputError("A space must be taken until after the arrival.")

    def instead(self, alternative: Alternative) -> Request:
        """The request for `alternative`, ready to be asked next under the same key."""
        only = Columns(
            np.array([alternative.group], np.int32),
            np.array([alternative.value], np.int64),
            np.array([alternative.until], np.int32),
        )
        moved = (self.arrive + alternative.shift, self.depart + alternative.shift)
        asker = replace(self.asker, again=True)
        return replace(self, asker=asker, arrive=moved[0], depart=moved[1], columns=only, others=None)


@dataclass(frozen=True, slots=True)
class Grant:
    """A promise: one space of the group's lot during [arrive, until), minutes."""

    asker: Asker
    group: int
    arrive: int
    until: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is served; value and price in fen at the moment of the decision."""

    grant: Grant
    value: int
    price: float


@dataclass(frozen=True, slots=True)
class Alternative:
    """What would be accepted now: the stay moved by `shift` minutes, in this group."""

    group: int
    lot: int
    shift: int
    value: int
    until: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The request is not served; alternatives, nearest first, hold until the next change of capacity or prices."""

    asker: Asker
    reason: Refusal
    alternatives: tuple[Alternative, ...]


@dataclass(frozen=True, slots=True)
class Cancelled:
    """The grant is given back as a whole."""

    key: str


@dataclass(frozen=True, slots=True)
class Departed:
    """The car left at minute `at`; what was booked after it is free."""

    key: str
    at: int


Answer = Accepted | Refused
Entry = Accepted | Refused | Cancelled | Departed
