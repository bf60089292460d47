"""Guests of shared lots: who was promised a space comes to the barrier, mostly on time, and leaves, mostly on time."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from simulators.lane_vehicles import Car, Pays, new_car

if TYPE_CHECKING:
    from datetime import datetime

    from simulators.lane_memory import Expected

# Invented, like all of a simulated driver: the platform learns how late its own guests are.
_COMES_WITHIN_MIN: Final = 30.0  # of the moment from which the barrier rises for him
_NEVER_COMES: Final = 0.05
_LEAVES_EARLY_MIN: Final = 20.0
_LATE: Final = 0.1
_LATE_MIN: Final = 12.0  # mean of those who are late


def comes_at(guest: Expected) -> datetime | None:
    """When a guest is at the barrier; None: he never comes. The same guest always decides the same."""
    rng = _mood(guest)
    if rng.random() < _NEVER_COMES:
        return None
    open_for = guest.until_at - guest.begins_at
    return guest.begins_at + min(timedelta(minutes=rng.uniform(0.0, _COMES_WITHIN_MIN)), open_for / 2)


def car_of(guest: Expected, came_at: datetime) -> Car:
    """The guest's car; it pays by phone what the promise does not cover."""
    rng = _mood(guest)
    car = new_car(rng, Pays.PHONE)
    car.plate = guest.plate
    car.color = "green" if len(guest.plate) > 7 else "blue"  # new-energy plates are one character longer
    if rng.random() < _LATE:
        leaves_at = guest.until_at + timedelta(minutes=rng.expovariate(1 / _LATE_MIN))
    else:
        leaves_at = guest.until_at - timedelta(minutes=rng.uniform(0.0, _LEAVES_EARLY_MIN))
    car.leaves_at = max(leaves_at, came_at + timedelta(minutes=1)).isoformat()
    return car


def _mood(guest: Expected) -> random.Random:
    return random.Random(guest.reservation)
