"""The written form of a schedule: read with all that is wrong with it, and written again (pure)."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Final

from parking_core.errors import InvalidInputError
from parking_core.windows.schedule import DAY_MINUTES, EVERY_DAY, Day, Hours, Schedule, Window, in_order
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from collections.abc import Mapping

CLOSED: Final = "closed"
ANY_DAY: Final = "any_day"
_MOST_WINDOWS = 50  # no lot has more; a longer list is a slip or an attack
_MOST_EXCEPTIONS = 800  # two years of dates
_KEYS = frozenset({"windows", "exceptions", "no_movement", "valid_from", "valid_through", "runs_on"})
_CLOCK = re.compile(r"(workday )?([01]\d|2[0-4]):([0-5]\d)", re.ASCII)
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}", re.ASCII)
_NO_HOURS = Hours(0, DAY_MINUTES)  # stands where hours could not be read; a document with problems gives no schedule


def parse_schedule(document: object) -> Schedule:
    """The schedule that a document describes; see the package for its form.

    Raises:
        InvalidInputError: it describes none; the message names every problem and its place.
    """
    reader = _Reader()
    schedule = reader.schedule(document)
    if schedule is None or reader.problems:
        count = len(reader.problems)
        raise InvalidInputError(
            f"The schedule has {count} problem{'s' if count > 1 else ''}: {'; '.join(reader.problems)}."
        )
    return schedule


def describe_schedule(schedule: Schedule) -> dict[str, object]:
    """The document again, as JSON values; reading it gives an equal schedule."""
    document: dict[str, object] = {"windows": [_window(window) for window in schedule.windows]}
    if schedule.exceptions:
        document["exceptions"] = {
            day.isoformat(): [_hours(each) for each in hours] or CLOSED for day, hours in schedule.exceptions
        }
    if schedule.no_movement:
        document["no_movement"] = [_window(window) for window in schedule.no_movement]
    if schedule.valid_from:
        document["valid_from"] = schedule.valid_from.isoformat()
    if schedule.valid_through:
        document["valid_through"] = schedule.valid_through.isoformat()
    if not schedule.runs_on:
        document["runs_on"] = False
    return document


def _window(window: Window) -> dict[str, object]:
    days: list[str | int] = [ANY_DAY] if window.days == EVERY_DAY else [_day(day) for day in in_order(window.days)]
    return {"days": days, **_hours(window.hours)}


def _day(day: Day) -> str | int:
    return day.value if isinstance(day, DayKind) else day


def _hours(hours: Hours) -> dict[str, object]:
    until = clock(hours.until_minute)
    return {"from": clock(hours.from_minute), "until": f"workday {until}" if hours.until_workday else until}


def clock(minute: int) -> str:
    """Minutes of a day as HH:MM."""
    return f"{minute // 60:02}:{minute % 60:02}"


class _Reader:
    """Reads a document and collects what is wrong with it."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def _wrong(self, place: str, sentence: str) -> None:
        self.problems.append(f"{place}: {sentence}" if place else sentence)

    def schedule(self, document: object) -> Schedule | None:
        """The schedule; only worth something while there are no problems."""
        if not isinstance(document, dict):
            self._wrong("", f"{_shown(document)} is not an object with windows")
            return None
        self._unknown("", document, _KEYS)
        if "windows" not in document:
            self._wrong("windows", "missing; give a list, [] for never but on exceptions")
        windows = self._windows("windows", document.get("windows", []))
        exceptions = self._exceptions(document.get("exceptions", {}))
        quiet = self._windows("no_movement", document.get("no_movement", []))
        first, last = (self._date(key, document.get(key)) for key in ("valid_from", "valid_through"))
        if first and last and last < first:
            self._wrong("valid_through", f"{last} is before valid_from, {first}")
        runs_on = document.get("runs_on", True)
        if not isinstance(runs_on, bool):
            self._wrong("runs_on", f"{_shown(runs_on)} is neither true nor false")
        if self.problems:
            return None
        return Schedule(windows, exceptions, quiet, first, last, runs_on)

    def _unknown(self, place: str, given: Mapping[object, object], known: frozenset[str]) -> None:
        for key in given:
            if key not in known:
                self._wrong(place, f"{_shown(key)} is unknown; known are {', '.join(sorted(known))}")

    def _windows(self, place: str, given: object) -> tuple[Window, ...]:
        return tuple(
            Window(self._days(f"{at}.days", item.get("days")), self._hours(at, item))
            for at, item in self._objects(place, given, frozenset({"days", "from", "until"}))
        )

    def _objects(self, place: str, given: object, keys: frozenset[str]) -> list[tuple[str, dict[object, object]]]:
        """The objects of a list, each with its place."""
        if not isinstance(given, list) or len(given) > _MOST_WINDOWS:
            self._wrong(place, f"{_shown(given)} is not a list of at most {_MOST_WINDOWS} windows")
            return []
        objects = []
        for index, item in enumerate(given):
            at = f"{place}[{index}]"
            if isinstance(item, dict):
                self._unknown(at, item, keys)
                objects.append((at, item))
            else:
                self._wrong(at, f"{_shown(item)} is not an object with {', '.join(sorted(keys))}")
        return objects

    def _days(self, place: str, given: object) -> frozenset[Day]:
        if not isinstance(given, list) or not given:
            self._wrong(place, f"{_shown(given)} is not a list of days")
            return EVERY_DAY
        days: set[Day] = set()
        for each in given:
            if each == ANY_DAY:
                days |= EVERY_DAY
            elif type(each) is int and 1 <= each <= 7:
                days.add(each)
            elif isinstance(each, str) and each in set(DayKind):
                days.add(DayKind(each))
            else:
                self._wrong(
                    place, f"{_shown(each)} is none of workday, weekend, holiday, any_day or a weekday from 1 to 7"
                )
        return frozenset(days) or EVERY_DAY

    def _hours(self, place: str, item: Mapping[object, object]) -> Hours:
        since, _ = self._minute(f"{place}.from", item.get("from"))
        until, workday = self._minute(f"{place}.until", item.get("until"), or_workday=True)
        if since is None or until is None:
            return _NO_HOURS
        if since == DAY_MINUTES:
            self._wrong(f"{place}.from", "24:00 begins on the next day; write 00:00 of that day")
            return _NO_HOURS
        return Hours(since, until or DAY_MINUTES, workday) if until or not workday else self._midnight(place)

    def _midnight(self, place: str) -> Hours:
        self._wrong(f"{place}.until", "workday 00:00 would end with the day before; write a later time")
        return _NO_HOURS

    def _minute(self, place: str, given: object, *, or_workday: bool = False) -> tuple[int | None, bool]:
        """Minute of the day, and whether it is of the next workday; None: it cannot be read."""
        match = _CLOCK.fullmatch(given) if isinstance(given, str) else None
        minute = int(match[2]) * 60 + int(match[3]) if match else None
        if match is None or minute is None or minute > DAY_MINUTES or (match[1] and not or_workday):
            form = 'HH:MM or "workday HH:MM"' if or_workday else "HH:MM"
            self._wrong(place, f"{_shown(given)} is not a time; write {form}, 24:00 at most")
            return None, False
        return minute, match[1] is not None

    def _exceptions(self, given: object) -> tuple[tuple[date, tuple[Hours, ...]], ...]:
        if not isinstance(given, dict) or len(given) > _MOST_EXCEPTIONS:
            self._wrong("exceptions", f"{_shown(given)} is not an object of at most {_MOST_EXCEPTIONS} dates")
            return ()
        exceptions = []
        for key, value in given.items():
            place = f"exceptions[{_shown(key)}]"
            day = self._date(place, key)
            if value == CLOSED:
                hours: tuple[Hours, ...] = ()
            elif isinstance(value, list):
                items = self._objects(place, value, frozenset({"from", "until"}))
                hours = tuple(self._hours(at, item) for at, item in items)
            else:
                self._wrong(place, f'{_shown(value)} is neither "{CLOSED}" nor a list of hours')
                continue
            if day is not None:
                exceptions.append((day, hours))
        return tuple(exceptions)

    def _date(self, place: str, given: object) -> date | None:
        if given is None:
            return None
        try:
            if isinstance(given, str) and _DATE.fullmatch(given):
                return date.fromisoformat(given)
        except ValueError:
            pass
        self._wrong(place, f"{_shown(given)} is not a date; write YYYY-MM-DD")
        return None


def _shown(value: object) -> str:
    """A value as a message may quote it: short, whatever was sent."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
