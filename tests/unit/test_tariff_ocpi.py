"""Worked amounts of OCPI tariffs that price time, each with a document of our own.

What applies: TIME and PARKING_TIME with a step_size, a FLAT fee beside them, time-of-day and weekday restrictions, and
reservations that are priced by time. A step is our unit; the FLAT fee is part of the first unit.

What does not apply, and why:
- ENERGY (tariffs 3, 6, 8, 9, 12, and the energy parts of 10, 15, 16, 17) and limits of power and current (the TIME
  elements of 4, both restriction examples): a parking tariff meters no kWh. min_price and max_price stand only there.
- charging and parking one after the other in one session (13, 14 together): we price one stay, so each dimension is
  checked alone. Of tariff 14's 0.73 that is the parking part, 8 -> 15 minutes = 0.25; the 0.48 are 12 minutes of
  charging that are not rounded, because in OCPI only the last period is, while our started units always count.
- VAT: our prices are what the driver pays.

Our prices are whole fen a unit. Five euros an hour in steps of five minutes are 41 2/3 cents, so all amounts here are
in sixtieths of a cent.
"""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parking_core.tariffs import Stay, Tariff, price
from tests.unit.tariff_cases import Calendar, at, document, tariff, window

if TYPE_CHECKING:
    Json = dict[str, Any]

SIXTIETHS = 6000  # of a cent in a euro
REPOSITORY = Path(__file__).resolve().parents[2]
STANDARDS = Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data") / "standards" / "ocpi"


def unit(euros_an_hour: float, step_s: int) -> Json:
    """An OCPI price by time as our unit."""
    price_fen = round(euros_an_hour * SIXTIETHS * step_s / 3600)
    assert price_fen * 3600 == pytest.approx(euros_an_hour * SIXTIETHS * step_s), "the price is whole"
    return {"unit_minutes": step_s // 60, "price_fen": price_fen}


def with_flat(euros: float, euros_an_hour: float, step_s: int) -> Json:
    """A fee beside the price by time: the first unit costs both."""
    each = unit(euros_an_hour, step_s)
    first = {"price_fen": each["price_fen"] + round(euros * SIXTIETHS), "until_minutes": step_s // 60}
    return {"bands": [first, each]}


def all_day(rate: Json) -> Tariff:
    return tariff(document({"time": rate}, [window("time", "00:00", "24:00")]))


def euros(ours: Tariff, entered: str, minutes: int) -> float:
    begins = at(entered)
    bill = price(ours, Stay(entered_at=begins, exited_at=begins + timedelta(minutes=minutes)), Calendar())
    return bill.total_fen / SIXTIETHS


def complex_parking() -> Tariff:
    """Tariff 4, parking: workdays 9-18 at 5.00, Saturdays 10-17 at 6.00, steps of 5 minutes, else nothing."""
    rates = {"workday": unit(5, 300), "saturday": unit(6, 300), "free": {"free": True}}
    free_from = [window("before", "00:00", "09:00", "free"), window("after", "18:00", "24:00", "free")]
    saturday = [window("before", "00:00", "10:00", "free"), window("after", "17:00", "24:00", "free")]
    days = {
        "workday": [*free_from, window("day", "09:00", "18:00", "workday")],
        "weekend": [*saturday, window("day", "10:00", "17:00", "saturday")],
        "holiday": [window("all", "00:00", "24:00", "free")],
    }
    return tariff(document(rates, days))


def step_size_parking() -> Tariff:
    """Tariff 14, parking: 1.00 an hour until 20:00 in steps of 15 minutes, then nothing."""
    windows = [window("day", "00:00", "20:00"), window("evening", "20:00", "24:00")]
    return tariff(document({"day": unit(1, 900), "evening": {"free": True}}, windows))


def components(number: str) -> list[tuple[str, float, int]]:
    """Kind, price and step of a published tariff's components, in order."""
    found = sorted(STANDARDS.glob(f"tariff_{number}_*.json"))
    if not found:
        pytest.skip("the published OCPI examples are not on this machine")
    elements = json.loads(found[0].read_text("utf-8"))["elements"]
    return [(part["type"], part["price"], part["step_size"]) for each in elements for part in each["price_components"]]


WEDNESDAY, SATURDAY = "2024-03-06 09:30", "2024-03-09 10:30"


def test_42_minutes_on_a_workday_are_45_and_71_on_a_saturday_are_75() -> None:
    ours = complex_parking()
    assert euros(ours, WEDNESDAY, 42) == 45 / 60 * 5 == 3.75
    assert euros(ours, SATURDAY, 71) == 75 / 60 * 6 == 7.50
    assert euros(ours, "2024-03-06 18:00", 120) == 0
    assert {("PARKING_TIME", 5.0, 300), ("PARKING_TIME", 6.0, 300)} <= set(components("4"))


def test_8_minutes_of_parking_before_20_oclock_are_15() -> None:
    """A car that has charged until 19:52 and stands for 20 more minutes: 0.25 of the session's 0.73."""
    assert euros(step_size_parking(), "2024-03-06 19:52", 20) == 0.25
    assert components("14").count(("PARKING_TIME", 1.0, 900)) == 2


def test_the_fee_and_the_steps_of_tariff_10() -> None:
    """0.50 to begin, then 2.00 an hour of parking in steps of 15 minutes."""
    ours = all_day(with_flat(0.5, 2, 900))
    assert [euros(ours, WEDNESDAY, minutes) for minutes in (1, 15, 16, 60)] == [1.0, 1.0, 1.5, 2.5]
    assert {("FLAT", 0.5, 1), ("PARKING_TIME", 2.0, 900)} <= set(components("10"))


@pytest.mark.parametrize(
    ("number", "component", "fee", "minutes", "amount"),
    [
        ("1", ("TIME", 2.0, 60), 0, 31, 31 / 30),
        ("1", ("TIME", 2.0, 60), 0, 150, 5.0),
        ("2", ("TIME", 1.9, 300), 0, 61, 65 / 60 * 1.9),
        ("11", ("TIME", 1.9, 300), 0.4, 30, 0.4 + 0.95),
        ("13", ("TIME", 3.0, 60), 0, 50, 2.5),
        ("13", ("PARKING_TIME", 5.0, 300), 0, 21, 25 / 60 * 5),
        ("15", ("TIME", 5.0, 60), 0, 30, 2.5),
        ("16", ("TIME", 5.0, 300), 2.0, 14, 2.0 + 1.25),
        ("17", ("TIME", 2.0, 600), 4.0, 30, 4.0 + 1.0),
        ("18", ("TIME", 3.0, 600), 0, 15, 1.0),
        ("18", ("TIME", 6.0, 600), 0, 45, 5.0),
    ],
)
def test_time_alone_and_with_a_fee(
    number: str, component: tuple[str, float, int], fee: float, minutes: int, amount: float
) -> None:
    kind, an_hour, step_s = component
    rate = with_flat(fee, an_hour, step_s) if fee else unit(an_hour, step_s)
    assert euros(all_day(rate), WEDNESDAY, minutes) == pytest.approx(amount)
    published = components(number)
    assert (kind, an_hour, step_s) in published
    assert not fee or any(kind == "FLAT" and price == fee for kind, price, _ in published)


def test_free_of_charge() -> None:
    assert euros(all_day({"free": True}), WEDNESDAY, 5000) == 0
    assert components("5") == [("FLAT", 0.0, 0)]


@pytest.mark.parametrize("number", ["19", "20"])
def test_steps_of_a_second_are_not_ours(number: str) -> None:
    """North American tariffs price seconds; ours the whole minute, and an hour is the same."""
    [(kind, an_hour, step_s)] = components(number)
    assert (kind, step_s) == ("TIME", 1)
    assert euros(all_day(unit(an_hour, 60)), WEDNESDAY, 60) == pytest.approx(an_hour)
