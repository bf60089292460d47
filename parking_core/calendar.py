"""Opening hours: is a lot open at a moment, and how its hours are read (pure)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from parking_core.errors import InvalidInputError
from parking_core.places import OpeningWindow

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

_DAY_MINUTES = 1440
_TIME_OF_DAY = re.compile(r"([01]\d|2[0-4]):([0-5]\d)", re.ASCII)


def parse_opening(opening: object) -> tuple[OpeningWindow, ...] | None:
    """Weekly windows from the registry's form `[{"days": [1..7], "from": "08:00", "until": "22:00"}]`; None: always.

    Raises:
        InvalidInputError: it has another form.
    """
    if opening is None:
        return None
    if not isinstance(opening, list):
        raise InvalidInputError(f"Opening hours are {opening!r}; give a list of windows, or null for always open.")
    return tuple(_window(window) for window in opening)


def _window(window: object) -> OpeningWindow:
    match window:
        case {"days": [*days], "from": str(begins), "until": str(ends)}:
            if not days or not all(type(day) is int and 1 <= day <= 7 for day in days):
                raise InvalidInputError(f"Opening days are {days!r}; give ISO weekdays, 1 (Monday) to 7 (Sunday).")
            return OpeningWindow(frozenset(days), _minute(begins), _minute(ends))
        case _:
            raise InvalidInputError(f"An opening window is {window!r}; give days, from and until.")


def _minute(text: str) -> int:
    match = _TIME_OF_DAY.fullmatch(text)
    minute = int(match[1]) * 60 + int(match[2]) if match else _DAY_MINUTES + 1
    if minute > _DAY_MINUTES:
        raise InvalidInputError(f"An opening time is {text!r}; write it as HH:MM, 24:00 at most.")
    return minute


def describe_opening(opening: tuple[OpeningWindow, ...] | None) -> list[dict[str, object]] | None:
    """The registry's form again, as answers show it."""
    if opening is None:
        return None
    return [
        {"days": sorted(window.days), "from": _clock(window.from_minute), "until": _clock(window.until_minute)}
        for window in opening
    ]


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def is_open(opening: tuple[OpeningWindow, ...] | None, at: datetime, zone: ZoneInfo) -> bool:
    """Whether opening hours hold at `at` (aware); hours are wall-clock time in `zone`."""
    if opening is None:
        return True
    local = at.astimezone(zone)
    today, minute = local.isoweekday(), local.hour * 60 + local.minute
    yesterday = (local - timedelta(days=1)).isoweekday()
    return any(_holds(window, today, yesterday, minute) for window in opening)


def _holds(window: OpeningWindow, today: int, yesterday: int, minute: int) -> bool:
    if window.from_minute < window.until_minute:
        return today in window.days and window.from_minute <= minute < window.until_minute
    begins_today = today in window.days and minute >= window.from_minute
    began_yesterday = yesterday in window.days and minute < window.until_minute
    return begins_today or began_yesterday
