"""Amounts worked by hand: vehicles, conditions on entry and exit, permits, coupons, payments, and what a line says."""

from __future__ import annotations

import pytest

from parking_core.errors import InvalidInputError
from parking_core.tariffs import (
    Coupon,
    CouponKind,
    Interval,
    Payment,
    PlateColor,
    SpecialVehicle,
    price,
)
from tests.unit.tariff_cases import CALENDAR, at, document, fen, hourly, rules, stay, tariff, window

# Vehicles


def test_classes_and_colours_change_prices_and_caps_as_the_document_says() -> None:
    def rule(name: str, percent: int, caps: str, **whom: object) -> dict[str, object]:
        return {"name": name, "label_zh": name, "label_en": name, "percent": percent, "caps": caps, **whom}

    rules_of = [
        rule("electric", 50, "scaled", plate_colors=["green", "yellow_green"]),
        rule("large", 200, "same", vehicle_classes=[2, 3]),
        rule("white", 0, "scaled", plate_colors=["white"]),
    ]
    ours = hourly(500, 60, caps=[{"over": "visit", "max_fen": 4000}], vehicles=rules_of)
    short, long = ("2024-03-05 10:00", "2024-03-05 12:00"), ("2024-03-05 00:00", "2024-03-06 00:00")
    assert [fen(ours, stay(*times)) for times in (short, long)] == [1000, 4000]
    assert [fen(ours, stay(*times, plate_color=PlateColor.GREEN)) for times in (short, long)] == [500, 2000]
    assert [fen(ours, stay(*times, vehicle_class=2)) for times in (short, long)] == [2000, 4000]
    assert fen(ours, stay(*long, plate_color=PlateColor.WHITE)) == 0
    assert fen(ours, stay(*short, plate_color=PlateColor.GREEN, vehicle_class=2)) == 500, "the first rule that fits"


def test_a_kind_of_vehicle_may_have_its_own_plan() -> None:
    written = document(
        {"a": {"unit_minutes": 60, "price_fen": 500}},
        [window("a", "00:00", "24:00")],
        choices=[{"plan": "electric", "when": {"plate_colors": ["green"]}}],
    )
    plan = written["plans"]["standard"]
    written["plans"]["electric"] = {**plan, "free": {"minutes": 120, "when_exceeded": "kept"}}
    ours = tariff(written)
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 13:00", plate_color=PlateColor.GREEN)) == 500
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 13:00")) == 1500


def test_special_vehicles_are_free_where_the_document_exempts_them() -> None:
    ours = hourly(500, 60, exempt=["police", "ambulance", "military"])
    police = price(ours, stay("2024-03-05 10:00", "2024-03-05 13:00", special=SpecialVehicle.POLICE), CALENDAR)
    assert (police.total_fen, [line.rule for line in police.lines]) == (0, ["exempt.police"])
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 13:00", special=SpecialVehicle.FIRE)) == 1500


# Conditions on entry and exit


def test_an_early_bird_holds_only_for_who_comes_and_leaves_in_time() -> None:
    written = document(
        {"a": {"unit_minutes": 60, "price_fen": 500}, "bird": {"bands": [{"price_fen": 1200}]}},
        [window("a", "00:00", "24:00")],
        choices=[
            {
                "plan": "bird",
                "when": {
                    "entered_in": {"from": "06:00", "until": "09:00"},
                    "left_in": {"from": "15:00", "until": "19:00"},
                    "entered_on": ["workday"],
                    "at_most_minutes": 780,
                },
            }
        ],
    )
    written["plans"]["bird"] = {"windows": {"any_day": [window("bird", "00:00", "24:00")]}, "straddle": "earlier"}
    ours = tariff(written)
    assert fen(ours, stay("2024-03-05 08:59", "2024-03-05 19:00")) == 1200
    assert fen(ours, stay("2024-03-05 06:00", "2024-03-05 15:01")) == 1200
    assert fen(ours, stay("2024-03-05 09:00", "2024-03-05 19:00")) == 5000
    assert fen(ours, stay("2024-03-05 08:59", "2024-03-05 19:01")) == 11 * 500
    assert fen(ours, stay("2024-03-05 06:00", "2024-03-05 15:00")) == 9 * 500
    assert fen(ours, stay("2024-03-09 08:00", "2024-03-09 18:00")) == 5000, "a Saturday"
    assert fen(ours, stay("2024-03-05 08:00", "2024-03-06 16:00")) == 32 * 500, "the next day"


# Permits, coupons, payments


def test_a_permit_that_expires_mid_stay_leaves_the_rest_to_pay() -> None:
    ours = hourly(500, 60)
    permit = Interval(at("2024-03-01 00:00"), at("2024-03-05 12:00"))
    bill = price(ours, stay("2024-03-05 10:00", "2024-03-05 13:30", covered=(permit,)), CALENDAR)
    assert [(line.rule, line.amount_fen) for line in bill.lines] == [("permit", 0), ("rate.flat.0", 1000)]
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 12:00", covered=(permit,))) == 0


def test_a_permit_in_the_middle_neither_ends_nor_starts_a_unit() -> None:
    ours = hourly(500, 60)
    permit = Interval(at("2024-03-05 10:20"), at("2024-03-05 10:50"))
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:30", covered=(permit,))) == 500
    overlapping = (permit, Interval(at("2024-03-05 10:40"), at("2024-03-05 11:00")))
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:40", covered=overlapping)) == 500
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 11:41", covered=overlapping)) == 1000


def test_coupons_take_minutes_then_percent_then_fen_and_never_more_than_there_is() -> None:
    ours = hourly(500, 60)
    coupons = (Coupon(CouponKind.AMOUNT, 300), Coupon(CouponKind.PERCENT, 20), Coupon(CouponKind.MINUTES, 60))
    bill = price(ours, stay("2024-03-05 10:00", "2024-03-05 13:00", coupons=coupons), CALENDAR)
    taken = {"coupon.minutes": -500, "coupon.percent": -200, "coupon.amount": -300}
    assert rules(bill) == {"rate.flat.0": 1500, **taken}
    assert bill.total_fen == 500
    large = (Coupon(CouponKind.AMOUNT, 10_000),)
    assert fen(ours, stay("2024-03-05 10:00", "2024-03-05 13:00", coupons=large)) == 0


@pytest.mark.parametrize(
    ("kind", "value"), [(CouponKind.PERCENT, 101), (CouponKind.AMOUNT, 0), (CouponKind.MINUTES, -5)]
)
def test_a_coupon_of_nonsense_is_refused(kind: CouponKind, value: int) -> None:
    with pytest.raises(InvalidInputError, match="Coupon 'X' takes off"):
        Coupon(kind, value, "X")


def test_who_pays_and_leaves_within_the_grace_owes_nothing_more_and_later_the_difference() -> None:
    ours = hourly(500, 60, grace_minutes=15)
    paid = (Payment(at("2024-03-05 11:55"), 1000),)
    in_time = price(ours, stay("2024-03-05 10:00", "2024-03-05 12:10", payments=paid), CALENDAR)
    assert (in_time.total_fen, in_time.due_fen, in_time.lines[-1].rule) == (1000, 0, "grace")
    late = price(ours, stay("2024-03-05 10:00", "2024-03-05 12:11", payments=paid), CALENDAR)
    assert (late.total_fen, late.paid_fen, late.due_fen) == (1500, 1000, 500)
    short = price(
        ours, stay("2024-03-05 10:00", "2024-03-05 12:05", payments=(Payment(at("2024-03-05 11:55"), 900),)), CALENDAR
    )
    assert (short.total_fen, short.due_fen) == (1500, 600), "who has not paid all that was due has no grace"


def test_a_payment_that_arrives_late_and_of_another_amount_is_counted_not_judged() -> None:
    ours = hourly(500, 60, grace_minutes=15)
    bill = price(
        ours, stay("2024-03-05 10:00", "2024-03-05 12:00", payments=(Payment(at("2024-03-05 12:30"), 1200),)), CALENDAR
    )
    assert (bill.total_fen, bill.paid_fen, bill.due_fen) == (1000, 1200, 0)


def test_minimum_and_rounding_are_lines() -> None:
    ours = hourly(130, 60, total={"minimum_fen": 500, "round_to_fen": 100, "rounding": "nearest"})
    assert rules(price(ours, stay("2024-03-05 10:00", "2024-03-05 11:00"), CALENDAR)) == {
        "rate.flat.0": 130,
        "minimum": 370,
    }
    assert rules(price(ours, stay("2024-03-05 10:00", "2024-03-05 15:00"), CALENDAR)) == {
        "rate.flat.0": 650,
        "rounding": 50,
    }
    for rounding, total in (("down", 600), ("up", 700)):
        other = hourly(130, 60, total={"round_to_fen": 100, "rounding": rounding})
        assert fen(other, stay("2024-03-05 10:00", "2024-03-05 15:00")) == total


def test_every_line_tells_the_driver_why_in_both_languages() -> None:
    ours = hourly(500, 30, free={"minutes": 15, "when_exceeded": "kept"}, caps=[{"over": "day", "max_fen": 1000}])
    bill = price(ours, stay("2024-03-05 10:00", "2024-03-05 12:15"), CALENDAR)
    assert [(line.text_zh, line.text_en) for line in bill.lines] == [
        ("免费停放15分钟", "15 min free"),
        ("00:00-24:00：每30分钟5元", "flat 00:00-24:00: 5 yuan per 30 min"),  # noqa: RUF001  # Chinese punctuation
        ("每日封顶10元", "at most 10 yuan a calendar day"),
    ]
    assert [(line.from_at, line.until_at) for line in bill.lines[:2]] == [
        (at("2024-03-05 10:00"), at("2024-03-05 10:15")),
        (at("2024-03-05 10:15"), at("2024-03-05 12:15")),
    ]
