"""What a replay must leave behind, computed from the CSV file alone: csv and plain Python, nothing of ours.

Times are whole microseconds since the epoch. `read` is a function from the file's text of a time to microseconds.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

HOUR_US = 3_600_000_000


@dataclass(frozen=True)
class RecordedFile:
    """A file of sessions and how to read it; `space` None: it names no bays, all sessions go to the bay ""."""

    path: Path
    arrival: str
    departure: str
    space: str | None = None
    delimiter: str = ","
    encoding: str = "utf-8"
    read: Callable[[str], int] = lambda text: int(text) * 1_000_000

    def stays(self) -> list[tuple[str, int, int | None]]:
        """(bay, arrival, departure or None) of every line."""
        with self.path.open(encoding=self.encoding, newline="") as file:
            lines = csv.DictReader(file, delimiter=self.delimiter)
            return [
                (
                    line[self.space] if self.space else "",
                    self.read(line[self.arrival]),
                    self.read(line[self.departure]) if line[self.departure] else None,
                )
                for line in lines
            ]


def expected_rows(file: RecordedFile, skew_us: Mapping[str, int] | None = None) -> list[tuple[str, int, bool]]:
    """Every (bay, occurred_at, occupied) that history must hold, sorted; equal ones as often as they happened.

    `skew_us` is how wrong the clock of each bay's device was.
    """
    skews = skew_us or {}
    rows = []
    for space, arrival, departure in file.stays():
        skew = skews.get(space, 0)
        rows.append((space, arrival + skew, True))
        if departure is not None:
            rows.append((space, departure + skew, False))
    return sorted(rows)


def _states(file: RecordedFile, skew_us: Mapping[str, int] | None) -> dict[str, list[tuple[int, bool]]]:
    """For each bay its instants in order, with the state that holds after each.

    A car that arrives at an instant and stays decides it; otherwise the bay is free after it.
    """
    skews = skew_us or {}
    after: dict[str, dict[int, bool]] = defaultdict(dict)
    for space, arrival, departure in file.stays():
        skew, instants = skews.get(space, 0), after[space]
        stays_on = departure is None or departure > arrival
        instants[arrival + skew] = instants.get(arrival + skew, False) or stays_on
        if departure is not None:
            instants.setdefault(departure + skew, False)
    return {space: sorted(instants.items()) for space, instants in after.items()}


def final_state(file: RecordedFile, skew_us: Mapping[str, int] | None = None) -> dict[str, tuple[int, bool]]:
    """For each bay the instant of its last event and whether it is occupied since."""
    return {space: instants[-1] for space, instants in _states(file, skew_us).items()}


def hourly_occupancy(
    file: RecordedFile, until_us: int | None = None, skew_us: Mapping[str, int] | None = None
) -> dict[int, float]:
    """Occupied space-minutes in each hour (its first microsecond), by the order of events, all bays together.

    Whoever arrives ends the state before, also where two recorded sessions of a bay overlap. A bay that is occupied
    after its last event counts up to `until_us` (None: not at all). Hours without occupancy are left out.
    """
    minutes: dict[int, float] = defaultdict(float)
    for instants in _states(file, skew_us).values():
        ends = [instant for instant, _ in instants[1:]]
        ends.append(instants[-1][0] if until_us is None else max(until_us, instants[-1][0]))
        for (begin, occupied), end in zip(instants, ends, strict=True):
            if occupied:
                _add_span(minutes, begin, end)
    return dict(minutes)


def _add_span(minutes: dict[int, float], begin_us: int, end_us: int) -> None:
    while begin_us < end_us:
        hour = begin_us - begin_us % HOUR_US
        stop = min(end_us, hour + HOUR_US)
        minutes[hour] += (stop - begin_us) / 60_000_000
        begin_us = stop
