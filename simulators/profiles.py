"""How full lots are through a day by what they are used for, and the rates of arriving and leaving that follow.

The figures are invented, the shapes are the usual ones: offices fill in the morning and empty in the evening, homes
the other way round, schools have two peaks.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from simulators.district import Use

_DAY_S = 86_400
STEP_S = 900  # rates are constant for a quarter of an hour
_LOWEST, _HIGHEST = 0.01, 0.985  # shares; at 0 or 1 no finite rate holds the level


@dataclass(frozen=True, slots=True)
class Profile:
    """Share of occupied bays at each full hour, and the mean stay in seconds."""

    working_day: tuple[float, ...]
    day_off: tuple[float, ...]
    stay_s: float


def _curve(text: str) -> tuple[float, ...]:
    values = tuple(int(word) / 100 for word in text.split())
    if len(values) != 24:
        raise ValueError("a curve has 24 hours")
    return values


PROFILES: dict[Use, Profile] = {
    "office": Profile(
        _curve("6 5 5 5 5 6 10 28 62 82 86 87 80 80 86 87 84 72 44 26 18 13 10 8"),
        _curve("5 5 5 5 5 5 6 8 12 16 19 20 20 20 20 20 18 15 12 10 8 7 6 5"),
        5 * 3600,
    ),
    "school": Profile(
        _curve("3 3 3 3 3 4 18 66 72 60 58 60 62 58 58 62 80 58 24 10 6 5 4 3"),
        _curve("3 3 3 3 3 3 4 6 10 14 15 15 14 14 15 15 12 9 7 5 4 3 3 3"),
        2.5 * 3600,
    ),
    "hospital": Profile(
        _curve("20 18 17 17 18 24 46 78 93 96 96 92 82 84 91 90 82 66 50 42 36 30 26 22"),
        _curve("19 17 16 16 17 20 34 55 68 72 72 68 60 60 62 60 55 48 42 36 32 28 24 21"),
        1.5 * 3600,
    ),
    "residential": Profile(
        _curve("91 92 93 93 93 91 84 66 48 42 40 40 42 41 40 41 45 55 68 77 82 86 88 90"),
        _curve("90 91 92 92 92 91 89 85 78 72 68 66 67 66 63 62 64 68 73 78 82 85 88 89"),
        7 * 3600,
    ),
    "shopping": Profile(
        _curve("4 3 3 3 3 4 6 10 16 28 40 54 62 58 52 52 56 64 76 80 70 44 18 8"),
        _curve("5 4 3 3 3 4 6 10 18 36 58 74 82 82 84 86 88 88 90 88 74 46 20 9"),
        1.6 * 3600,
    ),
    "on_street": Profile(
        _curve("48 46 45 45 46 50 58 70 82 86 87 88 86 84 85 86 86 88 86 80 74 66 58 52"),
        _curve("50 48 47 46 46 48 52 58 66 74 80 84 84 83 83 84 84 84 82 78 72 66 60 54"),
        0.9 * 3600,
    ),
}


def expected_share(use: Use, second: float, *, day_off: bool) -> float:
    """Share of bays occupied `second` seconds after local midnight, between the full hours a straight line."""
    curve = PROFILES[use].day_off if day_off else PROFILES[use].working_day
    hour, rest = divmod(second % _DAY_S, 3600)
    here, there = curve[int(hour)], curve[(int(hour) + 1) % 24]
    return min(max(here + (there - here) * rest / 3600, _LOWEST), _HIGHEST)


@cache
def rates(use: Use, step: int, turnover: float, *, day_off: bool) -> tuple[float, float]:
    """Arrivals a second of a free bay and departures a second of an occupied one, in quarter `step` of the day.

    They hold the profile: d share/dt = arriving * (1 - share) - leaving * share. `turnover` above 1 shortens stays.
    """
    begins = step * STEP_S
    share = expected_share(use, begins, day_off=day_off)
    slope = (expected_share(use, begins + STEP_S, day_off=day_off) - share) / STEP_S
    leaving = turnover / PROFILES[use].stay_s
    arriving = (slope + leaving * share) / (1 - share)
    if arriving < 0:  # it empties faster than usual stays end
        return 0.0, -slope / share
    return arriving, leaving
