"""At the barrier: which concrete space a car with a promise gets (pure).

A promise is for a lot; it is counted in one class of the lot's spaces, those with the same window. Only the car that
stands before the barrier gets a space, because by then it is known which of the others left early, came not at all or
are late. A space fixed at booking inherits the one delay of the one car before it; a space chosen at the barrier fails
only when all that could serve are taken.

The car may get a space of any class whose window holds its stay, and is then counted there. What is kept:

    in each class, at each minute from now on: cars inside + promises to come <= spaces

As cars of one class can always be placed when that holds (an interval graph needs as many colours as its busiest
instant has intervals), every promise keeps a space as long as everybody is punctual. A car past its promised time is
counted for `overstay_min` more, whoever needs its space is bound elsewhere.

Of the classes that keep the law the one with the tightest window is taken, so that long windows stay free for those
who need them. Where none does, but a space is empty, the car gets it (somebody stands there now; a shortage later may
dissolve) from the class whose first shortage is latest, and is told so: STRAINED. Where no space serves: NONE, and the
driver is to be accommodated elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np

OVERSTAY_MIN = 30  # how long a late car is counted on; the median of late ones is 18 minutes (parking_core.lateness)

_Load = np.ndarray[Any, np.dtype[np.int32]]  # classes x minutes from now


class Outcome(StrEnum):
    """How a car fared at the barrier."""

    BOUND = "bound"  # every promise keeps its space
    STRAINED = "strained"  # it has a space, but a later promise has none unless somebody leaves earlier
    NONE = "none"  # no empty space whose window holds its stay


@dataclass(frozen=True, slots=True)
class WindowClass:
    """Spaces of a lot that are open from `start` until `end` (minutes, half-open). Those out of order are left out."""

    start: int
    end: int
    spaces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CarInside:
    """A car in a space; `until` is its promised departure with the buffer, and passed where it is late.

    leaves: its promised departure without the buffer, where that is known.
    """

    space: int
    until: int
    leaves: int | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """A promise that is still to come, counted in a class from `arrive` until `until` (departure with the buffer).

    home_by: departure with the owner's buffer; another class serves when its window lasts until then.
    """

    window_class: int
    arrive: int
    until: int
    home_by: int


@dataclass(frozen=True)
class LotNow:
    """A lot at a moment: its classes, who is inside and who is still to come."""

    classes: tuple[WindowClass, ...]
    inside: tuple[CarInside, ...] = ()
    to_come: tuple[Promise, ...] = ()

    @cached_property
    def class_of_space(self) -> dict[int, int]:
        """Class of each space."""
        return {space: number for number, each in enumerate(self.classes) for space in each.spaces}


@dataclass(frozen=True, slots=True)
class Binding:
    """The space a car got, and the class in which it is counted from now on.

    short_at: where STRAINED, the first minute at which its class has fewer spaces than cars and promises.
    """

    outcome: Outcome
    space: int | None = None
    window_class: int | None = None
    short_at: int | None = None


def bind(lot: LotNow, arriving: Promise, now: int, *, overstay_min: int = OVERSTAY_MIN) -> Binding:
    """The space for a car that arrives `now`, early or late, with a promise.

    Args:
        lot: without the promise of this car.
        arriving: its promise.
        now: minutes, on the clock of the windows.
        overstay_min: for how long cars that are late are counted on.
    """
    until = max(arriving.until, now + 1)
    serving = [number for number in range(len(lot.classes)) if _serves(lot.classes[number], arriving, number, now)]
    empty = _empty(lot)
    serving = [number for number in serving if empty[number]]
    if not serving:
        return Binding(Outcome.NONE)
    short = _first_shortages(_load(lot, now, until, overstay_min), lot, now)
    kept = [number for number in serving if short[number] is None]
    if kept:
        chosen = min(kept, key=lambda number: _tightness(lot.classes[number], number, arriving))
        return Binding(Outcome.BOUND, empty[chosen][0], chosen)
    chosen = min(
        serving, key=lambda number: (-(short[number] or now), *_tightness(lot.classes[number], number, arriving))
    )
    return Binding(Outcome.STRAINED, empty[chosen][0], chosen, short[chosen])


def unserved(lot: LotNow, now: int, *, overstay_min: int = OVERSTAY_MIN) -> tuple[Promise, ...]:
    """Promises to come for which no space will be left, by arrival: their drivers can be accommodated elsewhere early.

    A car is taken to leave when it promised, one that is late by the end of its buffer, one that is later than that
    `overstay_min` from now. (Taking all buffers for used up sends drivers away from spaces that most of them would
    have found empty: five in six cars leave in time.) Best asked when promises begin: asked ten minutes ahead it let
    5.6 drivers in 1,000 down instead of 3.2 (benchmarks.hospital_month, fixed buffers of 30 minutes).
    """
    unlucky = []
    here = replace(lot, inside=tuple(_until_expected(car, now, overstay_min) for car in lot.inside))
    waiting = sorted(lot.to_come, key=lambda each: (each.arrive, each.until, each.window_class, each.home_by))
    for place, promise in enumerate(waiting):
        at = max(promise.arrive, now)
        inside = tuple(car for car in here.inside if car.until > at)
        here = replace(here, inside=inside, to_come=tuple(waiting[place + 1 :]))
        bound = bind(here, promise, at, overstay_min=overstay_min)
        if bound.space is None:
            unlucky.append(promise)
        else:
            here = replace(here, inside=(*here.inside, CarInside(bound.space, max(promise.until, at + 1))))
    return tuple(unlucky)


def _until_expected(car: CarInside, now: int, overstay_min: int) -> CarInside:
    if car.until <= now:
        return CarInside(car.space, now + overstay_min)
    on_time = car.leaves is not None and car.leaves > now
    return CarInside(car.space, car.leaves) if on_time and car.leaves is not None else car


def _serves(window: WindowClass, arriving: Promise, number: int, now: int) -> bool:
    """Whether the window is open and holds the stay; the class in which it was booked was chosen to."""
    booked = number == arriving.window_class
    return window.start <= now < window.end and (booked or arriving.home_by <= window.end)


def _tightness(window: WindowClass, number: int, arriving: Promise) -> tuple[int, int, bool, int]:
    """Smallest first: the window that ends first, then the one that begins last, then the booked class."""
    return window.end, -window.start, number != arriving.window_class, number


def _empty(lot: LotNow) -> list[list[int]]:
    """Empty spaces of each class, in the classes' order."""
    taken = {car.space for car in lot.inside}
    return [[space for space in each.spaces if space not in taken] for each in lot.classes]


def _load(lot: LotNow, now: int, until: int, overstay_min: int) -> _Load:
    """Cars and promises of each class, for each minute from `now` until before `until`."""
    changes = np.zeros((len(lot.classes), until - now + 1), np.int32)
    number_of = lot.class_of_space
    spans = [
        (number_of[car.space], now, car.until if car.until > now else now + overstay_min)
        for car in lot.inside
        if car.space in number_of
    ]
    spans += [(each.window_class, max(each.arrive, now), each.until) for each in lot.to_come]
    relevant = [span for span in spans if span[1] < min(span[2], until)]
    if relevant:
        numbers, begins, ends = np.array(relevant, np.int64).T
        np.add.at(changes, (numbers, begins - now), 1)
        np.subtract.at(changes, (numbers, np.minimum(ends, until) - now), 1)
    return np.cumsum(changes[:, :-1], axis=1, dtype=np.int32)


def _first_shortages(load: _Load, lot: LotNow, now: int) -> list[int | None]:
    """For each class the first minute at which one more car is one too many; None: there is none."""
    capacities = np.array([len(each.spaces) for each in lot.classes], np.int32)
    over = load >= capacities[:, None]
    first = over.argmax(axis=1)
    return [now + int(at) if over[number, at] else None for number, at in enumerate(first)]
