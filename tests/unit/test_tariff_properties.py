"""The engine against the minute-by-minute integrator, and what must hold for every tariff and stay."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from parking_core.tariffs import EarlierStay, Stay, parse_tariff, price
from parking_core.tariffs import Tariff as ParsedTariff
from tests.unit.tariff_cases import MixedCalendar, documents, hourly, stays, tariff
from tests.unit.tariff_integrator import total_fen

if TYPE_CHECKING:
    from tests.unit.tariff_cases import Json

CALENDAR = MixedCalendar()
quick = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)


def parsed(written: Json) -> ParsedTariff:
    found = parse_tariff(written)
    assume(not (isinstance(found, list) and all("exceed the cap" in each.message for each in found)))
    assert isinstance(found, ParsedTariff), [str(each) for each in found]
    return found


@settings(quick, max_examples=400)
@given(documents(), stays())
def test_engine_and_integrator_agree_to_the_fen(written: Json, stay: Stay) -> None:
    ours = parsed(written)
    assert price(ours, stay, CALENDAR).total_fen == total_fen(ours.document, stay, CALENDAR)


@quick
@given(documents(), stays())
def test_the_lines_are_the_total(written: Json, stay: Stay) -> None:
    bill = price(parsed(written), stay, CALENDAR)
    assert sum(line.amount_fen for line in bill.lines) == bill.total_fen >= 0
    assert all(line.units * line.unit_price_fen == line.amount_fen for line in bill.lines if line.units)
    assert all(line.from_at <= line.until_at for line in bill.lines)
    assert all(line.amount_fen <= 0 for line in bill.lines if line.rule.startswith(("cap.", "coupon.")))


@quick
@given(documents(whole=False), stays(plain=True), st.integers(1, 5000))
def test_staying_longer_is_never_cheaper(written: Json, stay: Stay, minutes: int) -> None:
    ours = parsed(written)
    longer = replace(stay, exited_at=stay.exited_at + timedelta(minutes=minutes))
    assert price(ours, stay, CALENDAR).total_fen <= price(ours, longer, CALENDAR).total_fen


@quick
@given(documents(whole=False), stays(plain=True))
def test_no_cap_is_exceeded_and_none_adds(written: Json, stay: Stay) -> None:
    ours = parsed(written)
    bill = price(ours, stay, CALENDAR)
    uncapped = {**written, "plans": {"standard": {**written["plans"]["standard"], "caps": []}}}
    assert bill.total_fen <= price(parsed(uncapped), stay, CALENDAR).total_fen
    for cap in ours.document.plans["standard"].caps:
        if cap.over == "visit":
            assert bill.total_fen <= cap.max_fen
        if cap.over in ("from_entry", "rolling") and cap.hours is not None:
            periods = -(-(stay.exited_at - stay.entered_at) // timedelta(hours=cap.hours))
            assert bill.total_fen <= cap.max_fen * max(1, periods)
        if cap.over == "day":
            zone = ours.days.zone
            days = stay.exited_at.astimezone(zone).toordinal() - stay.entered_at.astimezone(zone).toordinal() + 1
            assert bill.total_fen <= cap.max_fen * days


@quick
@given(
    st.sampled_from(({}, {"free": {"minutes": 60, "when_exceeded": "kept", "not_within_hours": 24}})),
    st.sampled_from(({"over": "rolling", "hours": 24}, {"over": "day", "earlier_stays": True})),
    st.sampled_from((15, 30, 60)),
    stays(plain=True),
    st.lists(st.integers(1, 70), min_size=1, max_size=3),
)
def test_leaving_and_coming_back_is_never_cheaper_where_reentry_is_ruled(
    free: Json, cap: Json, unit: int, whole: Stay, cuts: list[int]
) -> None:
    """Cut at whole units: a cut elsewhere may begin the last unit of a period so late that it reaches into the next."""
    ours = hourly(200, unit, caps=[{**cap, "max_fen": 3000}], **free)
    times = [whole.entered_at, whole.exited_at]
    times += [whole.entered_at + timedelta(hours=cut) for cut in cuts]
    times = sorted(each for each in times if each <= whole.exited_at)
    paid: list[EarlierStay] = []
    for begins, ends in pairwise(times):
        part = Stay(entered_at=begins, exited_at=ends, earlier=tuple(paid))
        paid.append(EarlierStay(begins, ends, price(ours, part, CALENDAR).total_fen))
    assert sum(each.paid_fen for each in paid) >= price(ours, whole, CALENDAR).total_fen


@quick
@given(documents(whole=False), stays())
def test_coupons_and_special_vehicles_never_make_a_stay_dearer(written: Json, stay: Stay) -> None:
    ours = parsed(written)
    bare = replace(stay, coupons=(), special=None, payments=())
    assert price(ours, replace(stay, payments=()), CALENDAR).total_fen <= price(ours, bare, CALENDAR).total_fen


@quick
@given(stays(), st.sampled_from((15, 30, 60)))
def test_a_permit_never_makes_a_stay_dearer_at_one_price(stay: Stay, unit: int) -> None:
    ours = hourly(300, unit)
    without = replace(stay, covered=())
    assert price(ours, stay, CALENDAR).total_fen <= price(ours, without, CALENDAR).total_fen


@quick
@given(documents(), stays())
def test_the_same_question_has_the_same_answer_whatever_was_asked_before(written: Json, stay: Stay) -> None:
    ours = parsed(written)
    first = price(ours, stay, CALENDAR)
    price(ours, replace(stay, exited_at=stay.exited_at + timedelta(days=40)), CALENDAR)
    assert price(ours, stay, CALENDAR) == first == price(tariff(written), stay, CALENDAR)
