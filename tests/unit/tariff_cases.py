"""Random tariffs and stays for property tests, and short ways to write tariffs down by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from parking_core.tariffs import (
    Bill,
    Coupon,
    CouponKind,
    EarlierStay,
    Interval,
    Payment,
    PlateColor,
    SpecialVehicle,
    Stay,
    Tariff,
    parse_tariff,
    price,
)
from parking_core.work_calendar import DayKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Json = dict[str, Any]

SHANGHAI = ZoneInfo("Asia/Shanghai")
KINDS = tuple(DayKind)


class Calendar:
    """Kinds as given for dates; other days by their weekday."""

    def __init__(self, kinds: dict[date, DayKind] | None = None) -> None:
        self._kinds = kinds or {}

    def day_kind(self, day: date, /) -> DayKind:
        return self._kinds.get(day, DayKind.WEEKEND if day.weekday() > 4 else DayKind.WORKDAY)


CALENDAR = Calendar()


class MixedCalendar:
    """A calendar in which neighbouring days have every combination of kinds."""

    def day_kind(self, day: date, /) -> DayKind:
        return KINDS[(day.toordinal() * 7 // 5) % 3]


def at(text: str, zone: ZoneInfo = SHANGHAI) -> datetime:
    """A local time written "2024-03-05 08:30"."""
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def stay(entered: str, exited: str, **further: Any) -> Stay:
    return Stay(entered_at=at(entered), exited_at=at(exited), **further)


def document(rates: Json, windows: Json | Sequence[Json], **plan: Any) -> Json:
    """A document with one plan; keys that a plan does not have go to the document."""
    of_plan = {key: plan.pop(key) for key in ("straddle", "free", "caps", "restart") if key in plan}
    days = windows if isinstance(windows, dict) else {"any_day": list(windows)}
    return {
        "format": "parking-tariff/1",
        "code": "test",
        "name_zh": "测试",
        "name_en": "test",
        "rates": rates,
        "plans": {"standard": {"windows": days, "straddle": "earlier", **of_plan}},
        **plan,
    }


def window(name: str, begins: str, until: str, rate: str | None = None) -> Json:
    return {"name": name, "from": begins, "until": until, "rate": rate or name}


def tariff(written: Json | bytes) -> Tariff:
    parsed = parse_tariff(written)
    assert isinstance(parsed, Tariff), [str(problem) for problem in parsed]
    return parsed


def hourly(price_fen: int = 500, unit_minutes: int = 60, **plan: Any) -> Tariff:
    """One price all day."""
    rates = {"flat": {"unit_minutes": unit_minutes, "price_fen": price_fen}}
    return tariff(document(rates, [window("flat", "00:00", "24:00")], **plan))


def fen(ours: Tariff, asked: Stay) -> int:
    return price(ours, asked, CALENDAR).total_fen


def rules(bill: Bill) -> dict[str, int]:
    """Fen by rule."""
    found: dict[str, int] = {}
    for line in bill.lines:
        found[line.rule] = found.get(line.rule, 0) + line.amount_fen
    return found


# Random documents. Prices are even, so that half of them is whole; free of charge is a price too.
_prices = st.sampled_from((50, 100, 150, 200, 300, 450, 500, 800, 1000, 0))
_units = st.sampled_from((1, 7, 15, 20, 30, 45, 60, 90, 120))


@st.composite
def _bands(draw: Callable[..., Any]) -> list[Json]:
    bands: list[Json] = []
    until = 0
    for _ in range(draw(st.integers(1, 3))):
        if draw(st.booleans()):
            unit = draw(_units)
            until += unit * draw(st.integers(1, 5))
            bands.append({"unit_minutes": unit, "price_fen": draw(_prices), "until_minutes": until})
        else:
            until += draw(st.integers(1, 300))
            bands.append({"price_fen": draw(_prices), "until_minutes": until})
    last = {"price_fen": draw(_prices)}
    return [*bands, last if draw(st.booleans()) else {**last, "unit_minutes": draw(_units)}]


def _rate() -> st.SearchStrategy[Json]:
    priced = st.fixed_dictionaries({"unit_minutes": _units, "price_fen": _prices})
    stepped = st.fixed_dictionaries({"bands": _bands(), "count_from": st.sampled_from(("stay", "window"))})
    return st.one_of(priced, priced, stepped, stepped, priced, st.just({"free": True}))


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


@st.composite
def _day(draw: Callable[..., Any], rates: Sequence[str]) -> list[Json]:
    """Windows that cover a day; the one that ends first may have begun the evening before."""
    cuts = sorted(draw(st.sets(st.integers(1, 1439), min_size=1, max_size=4)))
    rate = st.sampled_from(rates)
    inner = [
        window(f"w{place}", _clock(begins), _clock(ends), draw(rate))
        for place, (begins, ends) in enumerate(pairwise(cuts))
    ]
    if draw(st.booleans()):
        ends = [
            window("early", "00:00", _clock(cuts[0]), draw(rate)),
            window("night", _clock(cuts[-1]), "24:00", draw(rate)),
        ]
        return [*inner, *ends]
    if len(cuts) == 1:
        return [window("night", "00:00", "24:00", draw(rate))]
    return [*inner, window("night", _clock(cuts[-1]), _clock(cuts[0]), draw(rate))]


_OVERS = ("window", "day", "from_entry", "rolling", "visit")


@st.composite
def _cap(draw: Callable[..., Any], over: str) -> Json:
    cap: Json = {"over": over, "max_fen": draw(st.sampled_from((100, 500, 1000, 1500, 2500, 4000)))}
    if over == "window":
        cap["window"] = "night"
    if over in ("from_entry", "rolling"):
        cap["hours"] = draw(st.sampled_from((1, 5, 12, 24)))
    if over == "day" and draw(st.booleans()):
        cap["earlier_stays"] = True
    return cap


@st.composite
def plans(draw: Callable[..., Any], rates: Sequence[str], *, caps: bool = True) -> Json:
    groups = draw(st.sampled_from((("any_day",), ("workday", "rest_day"), ("workday", "weekend", "holiday"))))
    plan: Json = {
        "windows": {group: draw(_day(rates)) for group in groups},
        "straddle": draw(st.sampled_from(("earlier", "split"))),
    }
    if draw(st.booleans()):
        plan["free"] = {
            "minutes": draw(st.integers(1, 90)),
            "when_exceeded": draw(st.sampled_from(("kept", "consumed"))),
        }
        if draw(st.booleans()):
            plan["free"]["not_within_hours"] = draw(st.integers(1, 24))
    if draw(st.booleans()):
        plan["restart"] = {"after_hours": draw(st.sampled_from((3, 12, 24))), "free_again": False}
        plan["restart"]["free_again"] = "free" in plan and draw(st.booleans())
    if caps:
        plan["caps"] = [draw(_cap(over)) for over in draw(st.sets(st.sampled_from(_OVERS), max_size=3))]
    return plan


@st.composite
def documents(draw: Callable[..., Any], *, whole: bool = True) -> Json:
    """A valid document. Not `whole`: no choices, no totals (what need not be monotone or would hide a cap)."""
    names = ["a", "b", "c"][: draw(st.integers(1, 3))]
    standard = draw(plans(names))
    written: Json = {
        "format": "parking-tariff/1",
        "code": "random",
        "name_zh": "随机",
        "name_en": "random",
        "time_zone": draw(st.sampled_from(("Asia/Shanghai", "Europe/Berlin"))),
        "partial_minute": draw(st.sampled_from(("dropped", "counted"))),
        "day_groups": {"rest_day": ["weekend", "holiday"]},
        "rates": {},
        "plans": {"standard": standard},
    }
    if whole:
        written |= draw(_extras(names))
        if written.get("choices"):
            written["plans"]["other"] = draw(plans(names))
    used = {w["rate"] for plan in written["plans"].values() for day in plan["windows"].values() for w in day}
    written["rates"] = {name: draw(_rate()) for name in sorted(used)}
    if all(rate.get("free") for rate in written["rates"].values()):
        written["rates"][min(used)] = {"unit_minutes": 30, "price_fen": 250}
    for plan in written["plans"].values():
        night = any(w["name"] == "night" for day in plan["windows"].values() for w in day)
        plan["caps"] = [cap for cap in plan.get("caps", ()) if night or cap["over"] != "window"]
    return written


@st.composite
def _extras(draw: Callable[..., Any], names: Sequence[str]) -> Json:
    assert names
    extras: Json = {}
    if draw(st.booleans()):
        rule = {
            "name": "half",
            "label_zh": "减",
            "label_en": "other",
            "percent": draw(st.sampled_from((50, 200, 300, 0))),
        }
        rule |= {"caps": draw(st.sampled_from(("scaled", "same")))}
        extras["vehicles"] = [rule | draw(st.sampled_from(({"plate_colors": ["green"]}, {"vehicle_classes": [2, 3]})))]
    if draw(st.booleans()):
        extras["choices"] = [{"plan": "other", "when": draw(_when())}]
    if draw(st.booleans()):
        rounding = draw(st.sampled_from(("down", "up", "nearest")))
        extras["total"] = {"round_to_fen": draw(st.sampled_from((1, 20, 100))), "rounding": rounding}
    extras["grace_minutes"] = draw(st.sampled_from((0, 15, 60)))
    extras["exempt"] = draw(st.sampled_from(([], ["police"])))
    return extras


def _when() -> st.SearchStrategy[Json]:
    spans = st.tuples(st.integers(0, 719), st.integers(720, 1439), st.booleans()).map(
        lambda t: {"from": _clock(t[t[2]]), "until": _clock(t[not t[2]])}
    )
    return st.fixed_dictionaries(
        {"at_most_minutes": st.integers(30, 2000)},
        optional={
            "entered_in": spans,
            "left_in": spans,
            "entered_on": st.sampled_from((["workday"], ["rest_day"], ["weekend", "holiday"])),
            "plate_colors": st.just(["green", "blue"]),
            "vehicle_classes": st.just([1, 2]),
        },
    )


# Around the days on which Berlin's clocks change, and a Chinese holiday.
_days = st.sampled_from(("2024-03-30", "2024-10-26", "2024-09-30", "2024-05-08")).map(date.fromisoformat)
# Hypothesis likes small numbers: hours are drawn apart, or most stays would end within their free period.
_hours = st.sampled_from((3, 1, 2, 4, 6, 9, 11, 20, 24, 30, 48, 70, 0))
_seconds_of_stay = st.builds(lambda hours, seconds: hours * 3600 + seconds, _hours, st.integers(0, 3600))


@st.composite
def stays(draw: Callable[..., Any], *, plain: bool = False) -> Stay:
    """A stay; `plain`: only its times and its vehicle."""
    day = draw(_days)
    entered = datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=draw(st.integers(0, 2 * 86_400)))
    exited = entered + timedelta(seconds=draw(_seconds_of_stay))
    vehicle: Json = {
        "plate_color": draw(st.sampled_from((None, PlateColor.BLUE, PlateColor.GREEN))),
        "vehicle_class": draw(st.sampled_from((None, 1, 2))),
    }
    if plain:
        return Stay(entered_at=entered, exited_at=exited, **vehicle)
    seconds = int((exited - entered).total_seconds())

    def moment() -> datetime:
        return entered + timedelta(seconds=draw(st.integers(-600, seconds + 600)))

    covered = [sorted((moment(), moment())) for _ in range(draw(st.sampled_from((0, 0, 1, 2))))]
    kinds = draw(st.sampled_from(((), (), (CouponKind.MINUTES,), (CouponKind.PERCENT,), tuple(CouponKind))))
    return Stay(
        entered_at=entered,
        exited_at=exited,
        **vehicle,
        special=draw(st.sampled_from((*[None] * 9, SpecialVehicle.POLICE))),
        covered=tuple(Interval(*part) for part in covered),
        coupons=tuple(Coupon(kind, draw(st.integers(1, 100))) for kind in kinds),
        earlier=draw(_earlier(entered)),
        payments=tuple(Payment(moment(), draw(st.integers(1, 3000))) for _ in range(draw(st.integers(0, 2)))),
    )


@st.composite
def _earlier(draw: Callable[..., Any], entered: datetime) -> tuple[EarlierStay, ...]:
    """Up to three stays one after another, the last ending before the entry."""
    found = []
    ends = entered
    for _ in range(draw(st.integers(0, 3))):
        ends -= timedelta(minutes=draw(st.integers(0, 900)))
        begins = ends - timedelta(minutes=draw(st.integers(1, 2000)))
        found.append(EarlierStay(begins, ends, draw(st.integers(0, 60)) * 100))
        ends = begins
    return tuple(found)
