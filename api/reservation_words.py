"""What a driver is told of a promise, and of a refusal, in both languages."""

# ruff: noqa: RUF001  # the full-width punctuation of Chinese texts is meant

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from api.words import Words
from parking_core.reservations import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from parking_core.lateness import OverstayPolicy

WORDS: Final[Mapping[Refusal, Words]] = {
    Refusal.NO_LOT_NEARBY: Words(
        "步行范围内没有共享停车场。", "No lot shares spaces within the walk; allow a longer walk or another place."
    ),
    Refusal.NOT_ELIGIBLE: Words(
        "附近的共享车位目前不对您所属的人群开放。",
        "The lots nearby share their spaces with others than you, or not now.",
    ),
    Refusal.OUTSIDE_WINDOWS: Words(
        "附近停车场在您停车的整段时间内并非都开放共享。",
        "No lot nearby shares spaces for all of your stay; shorten or move it.",
    ),
    Refusal.FULL: Words("附近共享车位在该时段已满。", "All shared spaces nearby are taken for some of that time."),
    Refusal.KEPT_FOR_OTHERS: Words(
        "该时段预计需求很大，剩余车位为更需要的人保留。",
        "There is room still, kept because more urgent or shorter stays are expected at that time.",
    ),
    Refusal.TOO_MANY_ACTIVE: Words(
        "您同时有效的预约已达上限，请先取消或完成其中一个。",
        "You have as many reservations as one person may have at once; cancel or finish one first.",
    ),
    Refusal.PAST: Words("预约时间已过。", "The stay begins in the past."),
    Refusal.TOO_FAR_AHEAD: Words("预约时间太远，尚未开放。", "The stay lies further ahead than spaces are promised."),
    Refusal.SUSPENDED_PERSON: Words(
        "您近期多次预约未到，暂不能预约。",
        "You did not come to several reservations lately; for a while you cannot reserve.",
    ),
    Refusal.STAY_LENGTH: Words("停车时长过短或过长，不能预约。", "The stay is too short or too long to be reserved."),
    Refusal.PLATE_EXPECTED: Words(
        "该车辆在此时段已有预约。", "This car is promised a space for some of that time already."
    ),
}


@dataclass(frozen=True, slots=True)
class Times:
    """When what holds for a promise: the barrier lets in, it may lapse, it ends, staying is charged."""

    opens: datetime
    kept: datetime
    ends: datetime
    charged: datetime


def words_of(times: Times, overstay: OverstayPolicy, zone: ZoneInfo) -> Words:
    """The rules of a promise."""
    opens, kept, ends, charged = (
        f"{at.astimezone(zone):%m-%d %H:%M}" for at in (times.opens, times.kept, times.ends, times.charged)
    )
    most_zh = most_en = ""
    if overstay.most_fen is not None:
        most_zh = f"，最高{overstay.most_fen / 100:g}元"
        most_en = f", {overstay.most_fen / 100:g} yuan at most"
    return Words(
        f"{opens}起可入场，入口按车牌放行，车位以现场指引为准；{kept}未到预约可能失效。请在{ends}前离场，"
        f"{charged}后按小时价的{overstay.price_percent}%收取超时费{most_zh}。",
        f"The barrier lets your plate in from {opens} and says which space. If you have not come by {kept}, the promise "
        f"may lapse. Leave by {ends}; after {charged} every hour begun costs {overstay.price_percent} % of the hourly "
        f"price{most_en}.",
    )
