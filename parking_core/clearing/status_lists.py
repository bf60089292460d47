"""Status lists: which cards and OBUs lanes must refuse, version by version (facts and rules).

A full list says all, an increment what changed since its base. Versions are texts that sort by time. The reasons are
those of the Jiangsu lists for cards (1-7) and OBUs (1-4, 101-105).

A lane is told a delta: of every number that changed after `base`, how it stands at `version`. It fits a lane that has
`base` or any version between the two, so a command that overtakes another does no harm.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime


STATUS_LISTED: Final = "status_listed"  # reason on a transaction: its card or OBU stood on the list that the lane used


class Medium(StrEnum):
    """What is listed."""

    CARD = "card"
    OBU = "obu"


REASONS: Final[Mapping[Medium, Mapping[int, str]]] = {
    Medium.CARD: {
        1: "lost",
        2: "suspended without card",
        3: "cancelled without card",
        4: "account overdrawn",
        5: "listed by a partner",
        6: "vehicle class does not match",
        7: "balance of the stored-value card too low",
    },
    Medium.OBU: {
        1: "lost",
        2: "suspended without tag",
        3: "cancelled without tag",
        4: "vehicle class does not match",
        101: "written off",
        102: "suspended",
        103: "no way of payment bound",
        104: "account overdrawn",
        105: "restricted by the payment institution",
    },
}


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """One number; `reason` None: no longer listed (in increments only)."""

    medium: Medium
    number: str
    reason: int | None


@dataclass(frozen=True, slots=True)
class StatusList:
    """A list as the centre gives it out; `base` None: a full one."""

    version: str
    base: str | None
    published_at: datetime
    entries: tuple[StatusEntry, ...]


class Fit(StrEnum):
    """How a list fits what is known."""

    APPLIES = "applies"
    OLD = "old"  # not newer than what is known: nothing to do
    GAP = "gap"  # an increment to a version that is not ours: the full list is needed


@dataclass(frozen=True, slots=True)
class Listing:
    """An interval in which a number is listed: from a version on, until another one (None: still)."""

    medium: Medium
    number: str
    reason: int
    from_version: str
    until_version: str | None

    def holds_in(self, version: str) -> bool:
        """Whether the number is listed in that version."""
        return self.from_version <= version and (self.until_version is None or version < self.until_version)

    @property
    def meaning(self) -> str:
        """The reason in words."""
        return REASONS[self.medium].get(self.reason, f"reason {self.reason}")


@dataclass(frozen=True, slots=True)
class StatusExplanation:
    """Why a number was let through or refused at a moment."""

    number: str
    at: datetime
    in_force: str | None  # the newest version that the centre had published then
    at_lane: str | None  # the version that the lane used; None: it did not say
    listed_at_lane: Listing | None
    listed_in_force: Listing | None

    def sentence(self) -> str:
        """For a person."""
        if self.listed_at_lane:
            listing = self.listed_at_lane
            return (
                f"listed ({listing.meaning}) since version {listing.from_version}, and the lane had {self.at_lane}: "
                "it should have refused"
            )
        if self.listed_in_force and self.at_lane:
            listing = self.listed_in_force
            return f"listed ({listing.meaning}) since version {listing.from_version}, the lane had {self.at_lane}"
        if self.listed_in_force:
            listing = self.listed_in_force
            return f"listed ({listing.meaning}) since version {listing.from_version}; the lane did not say its version"
        return f"not listed in version {self.in_force}" if self.in_force else "no list had been published"


def check(candidate: StatusList) -> None:
    """Refuses a list that cannot be right.

    Raises:
        InvalidInputError: a version or number is empty, a number stands twice, a reason is unknown for its medium.
    """
    if not candidate.version or (candidate.base is not None and candidate.base >= candidate.version):
        raise InvalidInputError(
            f"Status list {candidate.version!r} builds on {candidate.base!r}; a version must sort after its base."
        )
    seen = set[tuple[Medium, str]]()
    for entry in candidate.entries:
        if not entry.number or (entry.medium, entry.number) in seen:
            raise InvalidInputError(f"Status list {candidate.version} names a number twice, or an empty one.")
        seen.add((entry.medium, entry.number))
        if entry.reason is None and candidate.base is None:
            raise InvalidInputError(f"Status list {candidate.version} is full and takes a number off; increments do.")
        if entry.reason is not None and entry.reason not in REASONS[entry.medium]:
            raise InvalidInputError(
                f"Status list {candidate.version} gives reason {entry.reason} for a {entry.medium}, which is unknown."
            )


def fit(candidate: StatusList, current: str | None) -> Fit:
    """How a list fits when `current` is the newest version that is known (None: none)."""
    if current is not None and candidate.version <= current:
        return Fit.OLD
    return Fit.APPLIES if candidate.base is None or candidate.base == current else Fit.GAP


def command_body(version: str, base: str | None, entries: Sequence[StatusEntry]) -> dict[str, Any]:
    """What a lane is told: `{"version", "base", "entries": [["card" | "obu", number, reason | null], ...]}`.

    `base` null: forget what was known, this is all.
    """
    return {
        "version": version,
        "base": base,
        "entries": [[entry.medium.value, entry.number, entry.reason] for entry in entries],
    }
