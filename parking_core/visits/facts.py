"""What visits are made of: passages, drafts, states and oddities, and the figures of the odd cases (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime


class VisitState(StrEnum):
    """Where a visit stands."""

    OPEN = "open"  # inside
    CLOSED = "closed"  # entry and exit are known: it is charged
    MISSING_EXIT = "missing_exit"  # left unseen: not charged, not counted as inside
    MISSING_ENTRY = "missing_entry"  # came unseen: costs what the lane took, no more
    VOID = "void"  # its records turned out to belong to other visits


# Records that come late or are corrected move a visit in every direction; only a void one stays what it is.
CHANGES: Final[Mapping[VisitState, frozenset[VisitState]]] = {
    VisitState.OPEN: frozenset({VisitState.CLOSED, VisitState.MISSING_EXIT, VisitState.VOID}),
    VisitState.CLOSED: frozenset({VisitState.OPEN, VisitState.MISSING_EXIT, VisitState.MISSING_ENTRY, VisitState.VOID}),
    VisitState.MISSING_EXIT: frozenset({VisitState.OPEN, VisitState.CLOSED, VisitState.VOID}),
    VisitState.MISSING_ENTRY: frozenset({VisitState.CLOSED, VisitState.VOID}),
    VisitState.VOID: frozenset(),
}


class Oddity(StrEnum):
    """What is unusual about a visit. Stable codes."""

    MISSING_ENTRY = "missing_entry"
    MISSING_EXIT = "missing_exit"
    RE_ENTRY = "re_entry"  # the entry was read more than once
    REPEATED_EXIT = "repeated_exit"  # the exit was read more than once
    EXIT_ELSEWHERE = "exit_elsewhere"  # entered in one lot, left through another: on both visits
    SEEN_ELSEWHERE = "seen_elsewhere"  # entered another lot without having left this one
    TAILGATED = "tailgated"  # left close behind another vehicle, without a transaction of its own
    STAYS_DAYS = "stays_days"
    CLOCK_SKEW = "clock_skew"  # the exit lane's clock is behind the entry lane's
    ENTRY_AFTER_EXIT = "entry_after_exit"  # an exit without entry, and an entry minutes after it: a clock is wrong
    PLATE_CORRECTED = "plate_corrected"
    MANUAL = "manual"  # a barrier was opened by hand for it


class Direction(StrEnum):
    """Which way a vehicle passed."""

    ENTRY = "entry"
    EXIT = "exit"
    EITHER = "either"  # opened by hand at a lane for both ways: out if the vehicle is inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Figures of the odd cases."""

    repeat: timedelta = timedelta(seconds=60)
    """A vehicle that is read again in the same lot, in the same direction, so soon after the first reading has not passed
    twice: antenna and camera read a vehicle that waits, backs off or changes lanes at the barrier."""
    skew: timedelta = timedelta(seconds=120)
    """An exit so long before the entry, at another lane of the lot, is one stay of length zero: lanes keep time by NTP
    once an hour at best, and the pilot's own records differ by seconds to two minutes. Longer: two odd visits."""
    clock_error: timedelta = timedelta(minutes=10)
    """An exit without an entry, and an entry at another lane of the lot so soon after it, are two odd visits, the first
    named `entry_after_exit`: more likely a wrong clock than a vehicle that came back."""
    longest_stay: timedelta = timedelta(days=15)
    """Without an exit for so long the vehicle left unseen: the longest holiday (nine days) with leave around it is
    shorter. A later exit does not pair with so old an entry."""
    tailgate: timedelta = timedelta(seconds=5)
    """Two vehicles that leave through one lane within this passed one opening of the barrier: an arm alone takes longer
    to fall and rise."""
    long_stay: timedelta = timedelta(days=1)
    """A visit is named `stays_days` when it is longer."""

    @property
    def slack(self) -> timedelta:
        """How far a passage may influence what the ones around it mean, beside a stay that is open."""
        return max(self.repeat, self.skew, self.clock_error)


@dataclass(frozen=True, slots=True)
class LaneCount:
    """How many vehicles are inside a lot by its lanes."""

    inside: int  # open visits
    sensors: bool  # whether its spaces have sensors; without, the lanes say what is free
    drift: int | None  # inside minus what the sensors see occupied; None: no sensors, or nothing is known of them
    counted_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One reading of one vehicle at one lane: an entry, an exit, or a barrier opened by hand for it."""

    event_id: int
    lot_id: int
    device_id: int
    record_no: int
    direction: Direction
    at: datetime
    manual: bool = False
    amount_fen: int | None = None  # what the lane charged with it; None: no transaction
    close_behind: bool = False  # another vehicle left through the lane within Policy.tailgate before
    corrected: bool = False  # by a correction record
    plate_color: str | None = None
    vehicle_class: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VisitDraft:
    """A visit as its passages tell it. Times are those that count; at least one of entry and exit is there."""

    lot_id: int
    state: VisitState
    reasons: tuple[Oddity, ...]  # sorted
    entry_event_id: int | None
    exit_event_id: int | None
    entered_at: datetime | None
    exited_at: datetime | None
    matters_until: datetime  # passages after that leave the visit as it is
    event_ids: tuple[int, ...]  # all readings that it is made of
    paid_at_lane_fen: int | None  # None: no transaction
    linked_event_id: int | None = None  # EXIT_ELSEWHERE: the entry in the other lot, or the exit there
    plate_color: str | None = None
    vehicle_class: int | None = None
