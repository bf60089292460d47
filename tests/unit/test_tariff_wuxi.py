"""The shipped Wuxi tariffs: worked examples, and the numbers of the published rules."""

from __future__ import annotations

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest

from parking_core.errors import NotFoundError
from parking_core.tariffs import EarlierStay, PlateColor, Stay, Tariff, documents, price
from tests.unit.tariff_cases import CALENDAR, at, stay, tariff
from tests.unit.tariff_integrator import total_fen

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = (
    Path(os.environ.get("PARKING_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
    / "city"
    / "wuxi_parking_rules.json"
)


def shipped(name: str) -> Tariff:
    return tariff(documents.read(name))


def fen(ours: Tariff, asked: Stay) -> int:
    total = price(ours, asked, CALENDAR).total_fen
    assert total == total_fen(ours.document, asked, CALENDAR), "the integrator says otherwise"
    return total


@pytest.mark.parametrize(("hours", "yuan"), [(0.5, 0), (1, 0), (3, 2), (5, 6), (8, 15), (10, 25), (24, 40), (48, 80)])
def test_the_hospitals_worked_examples(hours: float, yuan: int) -> None:
    entered = at("2024-03-05 08:00")
    asked = Stay(entered_at=entered, exited_at=entered + timedelta(hours=hours))
    assert fen(shipped("wuxi-hospital-2023"), asked) == yuan * 100


@pytest.mark.parametrize(
    ("entered", "exited", "yuan"),
    [
        ("2024-03-05 20:00", "2024-03-06 07:00", 5),  # ten charged hours, five at most
        ("2024-03-05 20:30", "2024-03-05 23:00", 2),
        ("2024-03-06 00:30", "2024-03-06 06:30", 5),
        (
            "2024-03-05 19:59",
            "2024-03-06 06:59",
            30,
        ),  # entered too early: 6 + 9 for seven charged hours, 5 for each of three
        ("2024-03-05 20:00", "2024-03-06 07:01", 35),  # left too late: an eleventh hour is started
        ("2024-03-05 21:00", "2024-03-06 21:00", 40),  # another night
    ],
)
def test_the_hospitals_night_holds_only_when_both_times_are_inside(entered: str, exited: str, yuan: int) -> None:
    assert fen(shipped("wuxi-hospital-2023"), stay(entered, exited)) == yuan * 100


def test_every_road_and_zone_has_its_document() -> None:
    streets = [
        f"wuxi-street-{road}-{zone}-2023" for road in ("branch", "trunk") for zone in ("centre", "core", "outer")
    ]
    assert documents.names() == ["wuxi-hospital-2023", "wuxi-off-street", *streets]
    with pytest.raises(NotFoundError, match="No tariff document 'wuxi-moon'"):
        documents.read("wuxi-moon")


@pytest.mark.parametrize(
    ("entered", "exited", "fen_due"),
    [
        ("2024-03-05 10:00", "2024-03-05 10:30", 0),
        ("2024-03-05 10:00", "2024-03-05 11:30", 600),
        ("2024-03-05 10:00", "2024-03-05 11:31", 1000),
        ("2024-03-05 07:00", "2024-03-05 08:00", 500),
        ("2024-03-05 08:00", "2024-03-05 09:30", 500 + 300),  # free until 08:30, a unit of peak, a unit of daytime
        ("2024-03-05 08:20", "2024-03-05 09:15", 500 + 300),  # ten minutes of peak are a unit, then the next begins
        ("2024-03-05 16:00", "2024-03-05 17:20", 300 + 500),
        ("2024-03-05 20:00", "2024-03-06 07:00", 0),
        ("2024-03-05 19:00", "2024-03-06 07:00", 500),
        ("2024-03-05 21:00", "2024-03-06 07:45", 1000),  # the free half hour has passed at night
    ],
)
def test_a_trunk_road_of_the_core(entered: str, exited: str, fen_due: int) -> None:
    ours = shipped("wuxi-street-trunk-core-2023")
    assert fen(ours, stay(entered, exited)) == fen_due


def test_large_vehicles_pay_double_on_the_street() -> None:
    ours = shipped("wuxi-street-branch-outer-2023")
    times = ("2024-03-05 10:00", "2024-03-05 13:00")
    assert fen(ours, stay(*times)) == 2 * 50 + 3 * 100
    assert fen(ours, stay(*times, vehicle_class=2)) == 2 * (2 * 50 + 3 * 100)
    assert fen(ours, stay(*times, vehicle_class=1)) == 2 * 50 + 3 * 100


def test_street_prices_are_those_of_the_published_table() -> None:
    if not RULES.is_file():
        pytest.skip("the collected Wuxi rules are not on this machine")
    table = json.loads(RULES.read_text("utf-8"))["on_street_2022"]
    for road in ("trunk", "branch"):
        for zone, published in table[road].items():
            rates = shipped(f"wuxi-street-{road}-{zone}-2023").document.rates
            bands = rates["daytime"].bands or ()
            assert [band.price_fen for band in bands] == [published["first_hour"] * 100, published["after"] * 100]
            assert ("peak" in rates) == (zone == "core")
            if zone == "core":
                assert rates["peak"].price_fen == published["peak 07-09,17-20"] * 100


def test_the_off_street_form_shows_what_a_document_can_say() -> None:
    ours = shipped("wuxi-off-street")
    workday = ("2024-03-05 10:00", "2024-03-05 12:30")
    assert fen(ours, stay(*workday)) == 3 * 400
    assert fen(ours, stay(*workday, plate_color=PlateColor.GREEN)) == 3 * 200
    assert fen(ours, stay("2024-03-09 10:00", "2024-03-09 12:30")) == 3 * 600
    assert fen(ours, stay("2024-03-05 22:00", "2024-03-06 08:00")) == 1000
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 10:30")) == 0
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 10:31")) == 400
    before = EarlierStay(at("2024-03-05 08:00"), at("2024-03-05 09:30"), 3900)
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 10:30", earlier=(before,))) == 100
