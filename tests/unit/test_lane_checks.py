"""Checks of lane events: each fails alone on the record that breaks it, and on no good one; whom an event is about."""

from __future__ import annotations

from datetime import date
from itertools import product
from typing import Any

import pytest

from parking_core.lane_checks import HOLDING, NUMBERS, Check, Context, failed_checks, is_list_old
from parking_core.lanes import EtcPart, LaneEventKind, Way, vehicle_of
from tests.lane_builders import a_lane, an_event

QUIET = Context()


def test_a_good_record_fails_nothing() -> None:
    assert failed_checks(an_event(), a_lane(), QUIET) == ()
    assert failed_checks(an_event(etc=None, plate=None, plate_color=None), a_lane(), QUIET) == ()


@pytest.mark.parametrize(
    ("changed", "checks"),
    [
        ({"tac": None}, [Check.TAC_ABSENT]),
        ({"tac": "224"}, [Check.TAC_FORM]),
        ({"tac": "0A1B2C3G"}, [Check.TAC_FORM, Check.TAIL_FORM]),
        ({"tac": "224", "card_network": "3301"}, []),  # another network's is verified there
        ({"amount_fen": 0, "tac": None, "balance_before_fen": 5, "balance_after_fen": 5}, []),
        ({"amount_fen": -1}, [Check.AMOUNT_RANGE, Check.BALANCE]),
        ({"amount_fen": 50_001, "balance_before_fen": 50_001, "balance_after_fen": 0}, [Check.AMOUNT_RANGE]),
        ({"amount_fen": 50_000, "balance_before_fen": 50_000, "balance_after_fen": 0}, []),
        ({"card_no": ""}, [Check.CARD_LENGTH]),
        ({"card_no": None}, [Check.CARD_LENGTH]),
        ({"card_no": "3" * 21}, [Check.CARD_LENGTH]),
        ({"card_no": "3" * 20}, []),
        ({"balance_after_fen": 1_999_919_999}, [Check.BALANCE]),
        ({"balance_before_fen": 0, "balance_after_fen": 1_999_236_042}, [Check.BALANCE]),
        ({"balance_before_fen": None}, []),
        ({"obu_plate": "苏B54321"}, [Check.OBU_CARD_PLATES]),
        ({"obu_plate": "苏B54321", "card_plate": "苏B54321"}, [Check.CAMERA_ETC_PLATES]),
        ({"card_plate": None, "obu_plate": "苏B54321"}, [Check.CAMERA_ETC_PLATES]),
        ({"card_plate": "苏BI2345", "obu_plate": None}, [Check.CAMERA_ETC_PLATES, Check.PLATE_FORM]),
        ({"status_list_version": None}, [Check.LIST_VERSION_ABSENT]),
        ({"terminal_no": "T-01"}, [Check.TAIL_FORM]),
        ({"terminal_no": "1" * 13}, [Check.TAIL_FORM]),
        ({"terminal_serial": "123456789"}, [Check.TAIL_FORM]),
        ({"trade_type": "x"}, [Check.TAIL_FORM]),
        ({"card_network": "5001", "tac": "0A1B2C3G"}, [Check.TAIL_FORM]),
        ({"card_network": "5001", "tac": "224"}, []),
        ({"balance_before_fen": 2**32 + 1_000, "balance_after_fen": 2**32}, [Check.TAIL_FORM]),
    ],
)
def test_each_check_finds_its_record(changed: dict[str, Any], checks: list[Check]) -> None:
    assert list(failed_checks(an_event(etc=changed), a_lane(), QUIET)) == checks


@pytest.mark.parametrize(
    ("changed", "checks"),
    [
        ({"plate": "苏B1234"}, [Check.CAMERA_ETC_PLATES, Check.PLATE_FORM]),
        ({"plate_color": "unknown"}, [Check.COLOR_UNKNOWN]),
        ({"plate_color": None}, []),
        ({"vehicle_class": 5}, [Check.VEHICLE_CLASS]),
        ({"vehicle_class": 21}, []),
        ({"vehicle_class": None}, []),
        ({"kind": LaneEventKind.ENTRY}, [Check.WRONG_WAY]),
        ({"kind": LaneEventKind.FEE_REQUEST}, []),
    ],
)
def test_what_was_read_is_checked_too(changed: dict[str, Any], checks: list[Check]) -> None:
    assert list(failed_checks(an_event(**changed), a_lane(), QUIET)) == checks


def test_a_late_tac_must_look_like_one() -> None:
    late = {"kind": LaneEventKind.COMPLETION, "plate": None, "plate_color": None}
    assert failed_checks(an_event(**late, etc={"tac": "0A1B2C3D"}), a_lane(), QUIET) == ()
    for tac in ("224", "0A1B2C3G", None):
        assert failed_checks(an_event(**late, etc={"tac": tac}), a_lane(), QUIET) == (Check.TAC_FORM,), tac


def test_the_site_the_way_and_the_limit_are_the_lanes() -> None:
    assert failed_checks(an_event(), a_lane(active=False), QUIET) == (Check.SITE_INACTIVE,)
    assert failed_checks(an_event(), a_lane(amount_limit_fen=999), QUIET) == (Check.AMOUNT_RANGE,)
    assert failed_checks(an_event(kind=LaneEventKind.ENTRY), a_lane(way=Way.BOTH), QUIET) == ()


def test_a_clock_and_an_expiry_are_known_from_the_message() -> None:
    assert failed_checks(an_event(), a_lane(), Context(clock_suspect=True)) == (Check.CLOCK_SUSPECT,)
    day = date(2026, 5, 29)
    last_days = Context(card_expires=day, obu_expires=day, local_day=day)
    assert failed_checks(an_event(), a_lane(), last_days) == ()
    over = Context(card_expires=date(2026, 5, 28), obu_expires=date(2025, 1, 1), local_day=day)
    assert failed_checks(an_event(), a_lane(), over) == (Check.CARD_EXPIRED, Check.OBU_EXPIRED)


def test_a_list_is_old_when_a_newer_one_was_in_force() -> None:
    assert is_list_old("20260601", "20260602")
    assert not is_list_old("20260602", "20260602")
    assert not is_list_old(None, "20260602")
    assert not is_list_old("20260601", None)


def test_every_check_has_its_numbers_and_the_centres_reasons_exist() -> None:
    assert set(NUMBERS) == set(Check)
    assert {number.dispute for number in NUMBERS.values()} <= {None, 100, *range(1, 18)}
    assert {check for check, number in NUMBERS.items() if number.back_end} == {
        *(Check.TAC_ABSENT, Check.TAC_FORM, Check.AMOUNT_RANGE, Check.CARD_LENGTH, Check.ENTRY_AFTER_EXIT),
        *(Check.BALANCE, Check.SITE_INACTIVE),
    }
    assert Check.TAC_ABSENT not in HOLDING, "it waits for its completion, not for a person"
    assert not HOLDING & {Check.PLATE_FORM, Check.CAMERA_ETC_PLATES, Check.CLOCK_SUSPECT}, (
        "a camera's misreading is no money"
    )


@pytest.mark.parametrize(("camera", "obu", "card"), list(product([None, "A", "B", "C"], repeat=3)))
def test_whom_an_event_is_about(camera: str | None, obu: str | None, card: str | None) -> None:
    said = [plate for plate in (camera, obu, card) if plate is not None]
    vehicle = vehicle_of(camera, EtcPart(obu_plate=obu, card_plate=card), None, "x1", 5)
    if not said:
        assert vehicle == "unplated:x1:5"
        return
    agreed = {plate for plate in said if said.count(plate) > 1}
    assert vehicle == (agreed.pop() if agreed else card or obu or camera)


@pytest.mark.parametrize(
    ("etc", "ticket", "vehicle"),
    [
        (EtcPart(contract_no="32", obu_id="0A"), "T1", "unplated:32"),
        (EtcPart(obu_id="0A"), "T1", "unplated:0A"),
        (EtcPart(), "T1", "unplated:T1"),
        (None, "T1", "unplated:T1"),
        (None, None, "unplated:x1:5"),
    ],
)
def test_a_vehicle_without_a_plate_has_a_name_that_the_exit_can_give_again(
    etc: EtcPart | None, ticket: str | None, vehicle: str
) -> None:
    assert vehicle_of(None, etc, ticket, "x1", 5) == vehicle
