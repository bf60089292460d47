"""Verdicts in words: every reason has a sentence in both languages, with the moments of the verdict."""

from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from parking_core.windows import Reason, Verdict, parse_schedule, verdict_en, verdict_zh
from parking_core.work_calendar import DayKind

CHINA = ZoneInfo("Asia/Shanghai")
MONDAY = datetime(2026, 11, 30, 23, tzinfo=UTC)  # 07:00 on Tuesday in China
LATER = datetime(2026, 12, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("reason", [reason for reason in Reason if reason is not Reason.ALLOWED])
def test_every_refusal_says_why_and_when_again(reason: Reason) -> None:
    plain = Verdict(allowed=False, reason=reason, until=None, next_opening=None)
    whole = Verdict(allowed=False, reason=reason, until=MONDAY, next_opening=LATER)
    why_zh, why_en = verdict_zh(plain, CHINA), verdict_en(plain, CHINA)
    assert why_zh.endswith("。")
    assert why_en.endswith(".")
    assert verdict_zh(whole, CHINA) == (
        f"{why_zh[:-1]}；最晚2026年12月1日（周二）07:00离开；下次可驶入时间：2026年12月1日（周二）20:00。"  # noqa: RUF001  # Chinese punctuation is meant
    )
    assert verdict_en(whole, CHINA) == (
        f"{why_en[:-1]}; leave by 07:00 on Tuesday, 1 December 2026; drive in from 20:00 on Tuesday, 1 December 2026 on."
    )


def test_reasons_are_told_apart_in_both_languages() -> None:
    refusals = [Verdict(False, reason, None, None) for reason in Reason if reason is not Reason.ALLOWED]  # noqa: FBT003  # its name is in the class
    assert (
        len({verdict_zh(each, CHINA) for each in refusals}) == len({verdict_en(each, CHINA) for each in refusals}) == 6
    )


def test_permission_names_the_end_where_there_is_one() -> None:
    until = Verdict(allowed=True, reason=Reason.ALLOWED, until=MONDAY, next_opening=None)
    endless = Verdict(allowed=True, reason=Reason.ALLOWED, until=None, next_opening=None)
    assert verdict_en(until, CHINA) == "The car may stand: leave by 07:00 on Tuesday, 1 December 2026."
    assert verdict_en(until, ZoneInfo("Europe/Berlin")).startswith("The car may stand: leave by 00:00 on Tuesday")
    assert verdict_zh(until, CHINA) == "可以停放，最晚2026年12月1日（周二）07:00离开。"  # noqa: RUF001  # Chinese punctuation is meant
    assert verdict_zh(endless, CHINA) == "可以停放，不限时间。"  # noqa: RUF001  # Chinese punctuation is meant


def of(*days: object, **more: object) -> bool:
    window = {"days": list(days), "from": "08:00", "until": "12:00"}
    return parse_schedule({"windows": [window], **more}).by_day_kind


def test_which_schedules_need_the_work_calendar() -> None:
    assert of("workday")
    assert of("weekend", "holiday")
    assert of(1, "holiday")
    assert not of(1, 2, 3)
    assert not of("any_day")
    assert not of(*(kind.value for kind in DayKind))
    assert not of(6, exceptions={date(2026, 12, 12).isoformat(): "closed"})
    assert of(6, exceptions={"2026-12-12": [{"from": "08:00", "until": "workday 07:00"}]})
    assert of(6, no_movement=[{"days": ["workday"], "from": "22:00", "until": "06:00"}])
