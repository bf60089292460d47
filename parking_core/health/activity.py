"""How much the bays of a lot change: a clock for each lot that runs with its life (pure).

An hour of the clock is as many changes as an ordinary bay of the lot makes. It follows what is usual at this hour on this
kind of day, times how the day is compared with the usual: a lot that is closed stands still, and nobody of it is stuck.

    usual   (changes of the lot at the hour, on days of this kind + κ days of the district's shape) / bays and days
    today   (the lot's changes of the day + k * the district's) / (what was usual + k)
    a whole lot that stands still for days, and for longer than STILL changes would take, is not calm but dead: its clock runs
            with the district's

Shrinkage to the district keeps a lot of three bays from learning its chance. Both constants are in days and changes,
chosen where the simulated week (benchmarks) finds most.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

HOUR_US: Final = 3_600_000_000
HOURS: Final = 24
_DISTRICT_DAYS: Final = 2.0  # κ
_DISTRICT_CHANGES: Final = 10.0  # k
STILL: Final = 40.0  # e^-40: not by chance
_STILL_DAYS: Final = 2  # whole ones: a company's day off is no fault
_FACTOR: Final = (0.1, 3.0)  # of a whole district's day: holidays make a fifth, a fair two
_LEVEL_CHANGES: Final = 5.0


@dataclass(frozen=True, slots=True)
class LotDays:
    """What lots did on some days, the oldest first; hours that are not over yet count as far as they went.

    Attributes:
        changes: (days, lots, HOURS).
        bays: (days, lots), watched ones.
        kinds: of each day; days of one kind are alike.
        activity: (days, lots, HOURS), changes of an ordinary bay, as `activity_of` gave them on their day.
    """

    changes: Floats
    bays: Floats
    kinds: Integers
    activity: Floats


@dataclass(frozen=True, slots=True)
class LotClock:
    """Activity since the beginning of the known days: (lots, hours + 1), growing."""

    begins_us: int
    sums: Floats
    today_us: int  # beginning of the last day

    @classmethod
    def of(cls, begins_us: int, activity: Floats) -> LotClock:
        """From (days, lots, HOURS) of consecutive days."""
        hours = np.moveaxis(activity, 1, 0).reshape(activity.shape[1], -1)
        sums = np.concatenate([np.zeros((len(hours), 1)), np.cumsum(hours, axis=1)], axis=1)
        return cls(begins_us, sums, begins_us + (len(activity) - 1) * HOURS * HOUR_US)

    def at(self, lot: Integers, at_us: Integers) -> Floats:
        """Activity of lots (rows) up to moments; what lies before the known days is their beginning."""
        hours = np.clip((at_us - self.begins_us) / HOUR_US, 0, self.sums.shape[1] - 1)
        whole = np.minimum(hours.astype(np.int64), self.sums.shape[1] - 2)
        low = self.sums[lot, whole]
        return np.asarray(low + (self.sums[lot, whole + 1] - low) * (hours - whole))


def usual(past: LotDays, kind: int) -> Floats | None:
    """Changes of an ordinary bay by lot and hour (lots, HOURS) on a day of this kind; None: nothing is known."""
    alike = past.kinds == kind
    if not alike.any():
        alike = np.ones(len(past.kinds), np.bool_)
    days, bays = past.changes[alike], past.bays[alike]
    if not bays.sum():
        return None
    shape = days.sum(axis=(0, 1)) / bays.sum()
    bay_days = bays.sum(axis=0)
    level = (days.sum(axis=(0, 2)) + _LEVEL_CHANGES) / (bay_days * shape.sum() + _LEVEL_CHANGES)
    borrowed = _DISTRICT_DAYS * np.maximum(past.bays[-1], 1)
    own = days.sum(axis=0) + borrowed[:, None] * level[:, None] * shape
    return np.asarray(own / (bay_days + borrowed)[:, None])


def activity_of(changes: Floats, bays: Floats, expected: Floats | None, past: LotDays, hours: float) -> Floats:
    """Activity (lots, HOURS) of a day of which `hours` are over; `expected` as `usual` gave it."""
    watched = np.maximum(bays, 1)[:, None]
    if expected is None:
        return np.asarray(changes / watched)
    over = np.clip(hours - np.arange(HOURS), 0, 1)
    due = expected * over
    due_changes = (due * watched).sum(axis=1)
    seen = changes.sum(axis=1)
    district = np.clip((seen.sum() + _DISTRICT_CHANGES) / (due_changes.sum() + _DISTRICT_CHANGES), *_FACTOR)
    factor = (seen + _DISTRICT_CHANGES * district) / (due_changes + _DISTRICT_CHANGES)
    days, usual_changes = _still(past)
    still = (seen == 0) & (days >= _STILL_DAYS) & (usual_changes + due_changes * district > STILL)
    return np.asarray(due * np.where(still, district, factor)[:, None])


def _still(past: LotDays) -> tuple[Floats, Floats]:
    """The days before on which nothing at all changed, by lot, and how much would have been usual in them."""
    if not len(past.kinds):
        return np.zeros(past.bays.shape[1]), np.zeros(past.bays.shape[1])
    nothing = past.changes.sum(axis=2) == 0
    trailing = np.cumprod(nothing[::-1], axis=0).sum(axis=0).astype(np.float64)
    return trailing, np.asarray(trailing * past.changes.sum(axis=2).mean(axis=0))
