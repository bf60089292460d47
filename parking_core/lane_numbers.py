"""Which record numbers of a lane were used and never received (a rule).

A lane numbers its records without gaps. What was received is kept as runs: every number between the first and the last
of a run was received or is named as a gap. Numbers come in any order; whatever the order, the same set ends in the same
runs, and a number is named once.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

# A pilot lane makes under 1,000 records a day: no outage of a week loses so many. A number farther away is no gap but
# another count: a controller that was replaced or lost its memory, or a number that was written wrong.
REACH: Final = 10_000


@dataclass(frozen=True, slots=True)
class Run:
    """Numbers `first` to `last`, both included."""

    first: int
    last: int


@dataclass(frozen=True, slots=True, order=True)
class Received:
    """A number that was received."""

    record_no: int
    occurred_at: datetime
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers `first` to `last` that were used and not received; the record after them shows it."""

    first: int
    last: int
    after: Received


@dataclass(frozen=True, slots=True)
class Leap:
    """A number out of reach of all that came before. Upwards from `below`, or (None) where a count began anew below."""

    below: int | None  # the last number of the run before it
    to: Received


@dataclass(frozen=True, slots=True)
class Followed:
    """What new numbers show."""

    runs: tuple[Run, ...]  # in order, each farther than REACH from the next
    gaps: tuple[Gap, ...]
    leaps: tuple[Leap, ...]


def follow(runs: Sequence[Run], received: Iterable[Received]) -> Followed:
    """Takes numbers that lie in none of the runs; `runs` are in order."""
    known = sorted(runs, key=lambda run: run.first)
    gaps: list[Gap] = []
    leaps: list[Leap] = []
    had_any = bool(known)
    for new in sorted(received):
        number = new.record_no
        place = bisect_left(known, number, key=lambda run: run.first)
        below = known[place - 1] if place else None
        above = known[place] if place < len(known) else None
        if below is not None and number <= below.last:
            continue  # the same number twice among the new ones
        first = last = number
        is_alone = True
        if below is not None and number - below.last <= REACH:
            if number > below.last + 1:
                gaps.append(Gap(below.last + 1, number - 1, new))
            first, place, is_alone = below.first, place - 1, False
            del known[place]
        if above is not None and above.first - number <= REACH:
            if above.first > number + 1:
                gaps.append(Gap(number + 1, above.first - 1, new))
            last, is_alone = above.last, False
            del known[place]
        known.insert(place, Run(first, last))
        if is_alone and had_any:
            leaps.append(Leap(None if below is None else below.last, new))
        had_any = True
    return Followed(tuple(known), tuple(gaps), tuple(leaps))


def spaces(runs: Sequence[Run], highest: int = 2**63 - 1) -> list[tuple[int, int]]:
    """Where numbers lie that belong to no run: between the runs, before the first and after the last."""
    found, start = [], 0
    for run in sorted(runs, key=lambda one: one.first):
        if start < run.first:
            found.append((start, run.first - 1))
        start = run.last + 1
    found.append((start, highest))
    return found
