"""What a driver is told: the text of each rule in Chinese and English (pure).

Rule codes are stable; what follows the dot comes from the document:
  rate.<rate>.<band>      time charged by a rate, bands counted from 0
  free.period             the free minutes of the stay
  free.window             a window that costs nothing
  permit                  a part of the stay that a permit pays for
  exempt.<vehicle>        a vehicle on duty
  cap.window.<window> · cap.day · cap.from_entry · cap.rolling · cap.visit
  minimum · rounding      of the total
  coupon.minutes · coupon.amount · coupon.percent
  grace                   left within the time allowed after paying
"""

# ruff: noqa: RUF001  # the full-width punctuation of Chinese texts is meant

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from parking_core.tariffs.document import Band, Cap, SpecialVehicle, VehicleRule, Window

FREE_PERIOD: Final = "free.period"
FREE_WINDOW: Final = "free.window"
PERMIT: Final = "permit"
MINIMUM: Final = "minimum"
ROUNDING: Final = "rounding"
GRACE: Final = "grace"

_MINUTES_AN_HOUR = 60


class Reason(NamedTuple):
    """A rule's code and its words."""

    rule: str
    zh: str
    en: str


def yuan(fen: int) -> str:
    """Fen as yuan without needless zeros: 250 → "2.5"."""
    whole, rest = divmod(abs(fen), 100)
    sign = "-" if fen < 0 else ""
    return f"{sign}{whole}" + (f".{rest:02}".rstrip("0") if rest else "")


def hours(minutes: int) -> tuple[str, str]:
    """A duration in Chinese and English: hours where it is whole hours."""
    if minutes % _MINUTES_AN_HOUR:
        return f"{minutes}分钟", f"{minutes} min"
    return f"{minutes // _MINUTES_AN_HOUR}小时", f"{minutes // _MINUTES_AN_HOUR} h"


def of_window(window: Window, vehicle: VehicleRule | None) -> tuple[str, str]:
    """How a window is called, with the vehicle rule that changes its prices."""
    clock = f"{window.begins}-{window.until}"
    zh, en = (f"{window.label_zh} {clock}", f"{window.label_en or window.name} {clock}")
    if window.label_zh is None:
        zh = clock
    if vehicle is not None:
        zh, en = f"{zh}（{vehicle.label_zh}）", f"{en} ({vehicle.label_en})"
    return zh, en


def of_band(rule: str, named: tuple[str, str], band: Band, begins: int, price_fen: int) -> Reason:
    """What a band of a rate costs; `begins`: charged minutes after which it holds."""
    price = yuan(price_fen)
    zh_from, en_from = hours(begins)
    zh_step = f"，计费{zh_from}后" if begins else ""
    en_step = f", after {en_from} charged" if begins else ""
    if band.unit_minutes is None:
        if band.until_minutes is None:
            return Reason(rule, f"{named[0]}{zh_step}：每次{price}元", f"{named[1]}{en_step}: {price} yuan a visit")
        zh_until, en_until = hours(band.until_minutes)
        return Reason(
            rule,
            f"{named[0]}：计费{zh_until}内共{price}元",
            f"{named[1]}: first {en_until} charged {price} yuan in all",
        )
    zh_unit, en_unit = hours(band.unit_minutes)
    return Reason(
        rule, f"{named[0]}{zh_step}：每{zh_unit}{price}元", f"{named[1]}{en_step}: {price} yuan per {en_unit}"
    )


def of_free_window(named: tuple[str, str]) -> Reason:
    """A window without a price."""
    return Reason(FREE_WINDOW, f"{named[0]}：免费时段", f"{named[1]}: free of charge")


def of_free_period(minutes: int) -> Reason:
    """The free minutes."""
    return Reason(FREE_PERIOD, f"免费停放{minutes}分钟", f"{minutes} min free")


def of_cap(cap: Cap, max_fen: int) -> Reason:
    """Which cap took something away."""
    most = yuan(max_fen)
    match cap.over:
        case "window":
            return Reason(
                f"cap.window.{cap.window}", f"时段“{cap.window}”封顶{most}元", f"at most {most} yuan a {cap.window}"
            )
        case "day":
            return Reason("cap.day", f"每日封顶{most}元", f"at most {most} yuan a calendar day")
        case "from_entry":
            return Reason(
                "cap.from_entry",
                f"入场起每{cap.hours}小时封顶{most}元",
                f"at most {most} yuan per {cap.hours} h from entry",
            )
        case "rolling":
            return Reason(
                "cap.rolling",
                f"{cap.hours}小时内多次停放累计封顶{most}元",
                f"at most {most} yuan in {cap.hours} h, earlier stays counted",
            )
        case "visit":
            return Reason("cap.visit", f"单次停放封顶{most}元", f"at most {most} yuan a visit")


def of_minimum(fen: int) -> Reason:
    """The total is raised to a minimum."""
    return Reason(MINIMUM, f"最低收费{yuan(fen)}元", f"at least {yuan(fen)} yuan")


def of_rounding(fen: int) -> Reason:
    """The total is rounded."""
    return Reason(ROUNDING, f"按{yuan(fen)}元取整", f"rounded to {yuan(fen)} yuan")


PERMIT_REASON: Final = Reason(PERMIT, "停车许可（月票）覆盖时段", "covered by a permit")
GRACE_REASON: Final = Reason(GRACE, "已缴费，在离场时限内", "paid; left within the time allowed")

_SPECIAL_ZH: Final = {"police": "警车", "ambulance": "救护车", "fire": "消防车", "military": "军车", "rescue": "抢险车"}


def of_exempt(vehicle: SpecialVehicle) -> Reason:
    """A vehicle on duty pays nothing."""
    return Reason(f"exempt.{vehicle}", f"{_SPECIAL_ZH[vehicle]}免费", f"{vehicle} vehicle, free of charge")


def of_coupon_minutes(minutes: int) -> Reason:
    """Minutes that a coupon pays for."""
    return Reason("coupon.minutes", f"优惠券：减免{minutes}分钟", f"coupon: {minutes} min")


def of_coupon_percent(percent: int) -> Reason:
    """Percent that a coupon takes off."""
    return Reason("coupon.percent", f"优惠券：减{percent}%", f"coupon: {percent} % off")


def of_coupon_amount(fen: int) -> Reason:
    """Fen that a coupon takes off."""
    return Reason("coupon.amount", f"优惠券：减{yuan(fen)}元", f"coupon: {yuan(fen)} yuan off")
