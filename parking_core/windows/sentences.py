"""A schedule in words, Chinese and English (pure)."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from parking_core.windows.document import clock
from parking_core.windows.schedule import ALL_DAY, EVERY_DAY, Day, Hours, Schedule, in_order
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date

_COMMA, _SEMICOLON = "\uff0c", "\uff1b"  # Chinese full-width marks
_KINDS_ZH = {DayKind.WORKDAY: "工作日", DayKind.WEEKEND: "周末", DayKind.HOLIDAY: "节假日"}
_KINDS_EN = {DayKind.WORKDAY: "workdays", DayKind.WEEKEND: "weekends", DayKind.HOLIDAY: "holidays"}
_WEEKDAYS_ZH = ("", "周一", "周二", "周三", "周四", "周五", "周六", "周日")
_WEEKDAYS_EN = ("", "Mondays", "Tuesdays", "Wednesdays", "Thursdays", "Fridays", "Saturdays", "Sundays")


def sentence_zh(schedule: Schedule) -> str:
    """What drivers and owners read in Chinese; the package has an example of a schedule."""
    windows = _COMMA.join(_days_zh(window.days) + _hours_zh(window.hours) for window in schedule.windows)
    parts = [windows or "平时不开放"]
    parts += [_date_zh(day) + ("、".join(map(_hours_zh, hours)) or "不开放") for day, hours in schedule.exceptions]
    parts += [f"{_days_zh(window.days)}{_hours_zh(window.hours)}不得进出" for window in schedule.no_movement]
    begins, ends = schedule.valid_from, schedule.valid_through
    if begins or ends:
        since = f"自{_date_zh(begins)}起" if begins else ""
        parts.append(since + (f"至{_date_zh(ends)}止" if ends else "") + "有效")
    return _SEMICOLON.join(parts) + "。"


def sentence_en(schedule: Schedule) -> str:
    """The same: Workdays 18:00 to 08:00 the next day, weekends and holidays all day."""
    windows = ", ".join(f"{_days_en(window.days)} {_hours_en(window.hours)}" for window in schedule.windows)
    parts = [windows or "closed but for the dates named"]
    parts += [f"on {day} {' and '.join(map(_hours_en, hours)) or 'closed'}" for day, hours in schedule.exceptions]
    parts += [f"no entry or exit {_days_en(window.days)} {_hours_en(window.hours)}" for window in schedule.no_movement]
    begins, ends = schedule.valid_from, schedule.valid_through
    if begins or ends:
        parts.append(
            " ".join(["valid", *([f"from {begins}"] if begins else []), *([f"through {ends}"] if ends else [])])
        )
    whole = "; ".join(parts)
    return f"{whole[0].upper()}{whole[1:]}."


def _days_zh(days: frozenset[Day]) -> str:
    if days >= EVERY_DAY:
        return "每天"
    kinds = [_KINDS_ZH[day] for day in in_order(days) if isinstance(day, DayKind)]
    runs = [
        _WEEKDAYS_ZH[run[0]] + (f"{'至' if len(run) > 2 else '、'}{_WEEKDAYS_ZH[run[-1]]}" if len(run) > 1 else "")
        for run in _runs(days)
    ]
    named = kinds + runs
    return "、".join(named[:-1]) + ("和" if len(named) > 1 else "") + named[-1]


def _days_en(days: frozenset[Day]) -> str:
    if days >= EVERY_DAY:
        return "every day"
    kinds = [_KINDS_EN[day] for day in in_order(days) if isinstance(day, DayKind)]
    runs = [
        _WEEKDAYS_EN[run[0]] + (f" {'to' if len(run) > 2 else 'and'} {_WEEKDAYS_EN[run[-1]]}" if len(run) > 1 else "")
        for run in _runs(days)
    ]
    named = kinds + runs
    return ", ".join(named[:-1]) + (" and " if len(named) > 1 else "") + named[-1]


def _runs(days: frozenset[Day]) -> list[Sequence[int]]:
    """Weekdays that follow one another, together."""
    numbers = sorted(day for day in days if type(day) is int)
    return [[number for _, number in run] for _, run in groupby(enumerate(numbers), lambda each: each[1] - each[0])]


def _hours_zh(hours: Hours) -> str:
    if hours == ALL_DAY:
        return "全天"
    if hours.until_workday:
        return f"{clock(hours.from_minute)}至下一个工作日{clock(hours.until_minute)}"
    return f"{clock(hours.from_minute)}至{'次日' if hours.overnight else ''}{clock(hours.until_minute)}"


def _hours_en(hours: Hours) -> str:
    if hours == ALL_DAY:
        return "all day"
    when = " on the next workday" if hours.until_workday else " the next day" if hours.overnight else ""
    return f"{clock(hours.from_minute)} to {clock(hours.until_minute)}{when}"


def _date_zh(day: date) -> str:
    return f"{day.year}年{day.month}月{day.day}日"
