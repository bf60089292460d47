"""A verdict in words, Chinese and English (pure)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parking_core.windows.stretches import Reason

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from parking_core.windows.stretches import Verdict

_WEEKDAYS_ZH = "一二三四五六日"
_WEEKDAYS_EN = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# By hand, because strftime's names follow the process's locale.
_MONTHS_EN = "January February March April May June July August September October November December".split()  # noqa: SIM905  # a list of twelve strings is a page
_WHY_ZH: Mapping[Reason, str] = {
    Reason.NOT_VALID: "该日期不在规定的有效期内",
    Reason.EXCEPTION: "该日期另有规定，届时不可停放",  # noqa: RUF001  # Chinese punctuation is meant
    Reason.CLOSED: "此时段不可停放",
    Reason.NO_ENTRY: "此时段不得驶入",
    Reason.TOO_LONG: "可停放的时间不够长",
    Reason.NO_EXIT: "离开的时刻不得驶出",
}
_WHY_EN: Mapping[Reason, str] = {
    Reason.NOT_VALID: "The hours are not in force on that date",
    Reason.EXCEPTION: "That date has hours of its own, and standing is not allowed then",
    Reason.CLOSED: "Standing is not allowed at that time",
    Reason.NO_ENTRY: "Nobody may drive in at that time",
    Reason.TOO_LONG: "The car would stand there for too long",
    Reason.NO_EXIT: "Nobody may drive out at the time of leaving",
}


def verdict_zh(verdict: Verdict, zone: ZoneInfo) -> str:
    """What a driver reads in Chinese; moments are local time of `zone`."""
    latest = None if verdict.until is None else f"最晚{_moment_zh(verdict.until, zone)}离开"
    if verdict.allowed:
        return f"可以停放，{latest or '不限时间'}。"  # noqa: RUF001  # Chinese punctuation is meant
    again = None if verdict.next_opening is None else f"下次可驶入时间：{_moment_zh(verdict.next_opening, zone)}"  # noqa: RUF001  # Chinese punctuation is meant
    return "；".join(part for part in (_WHY_ZH[verdict.reason], latest, again) if part) + "。"  # noqa: RUF001  # Chinese punctuation is meant


def verdict_en(verdict: Verdict, zone: ZoneInfo) -> str:
    """The same in English."""
    latest = None if verdict.until is None else f"leave by {_moment_en(verdict.until, zone)}"
    if verdict.allowed:
        return f"The car may stand: {latest or 'there is no limit'}."
    again = None if verdict.next_opening is None else f"drive in from {_moment_en(verdict.next_opening, zone)} on"
    return "; ".join(part for part in (_WHY_EN[verdict.reason], latest, again) if part) + "."


def _moment_zh(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    weekday = _WEEKDAYS_ZH[local.weekday()]
    return f"{local.year}年{local.month}月{local.day}日（周{weekday}）{local:%H:%M}"  # noqa: RUF001  # Chinese punctuation is meant


def _moment_en(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local:%H:%M} on {_WEEKDAYS_EN[local.weekday()]}, {local.day} {_MONTHS_EN[local.month - 1]} {local.year}"
