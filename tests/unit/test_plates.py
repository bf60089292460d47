"""Plates: one form, the forms of GA 36, colours that mean the same in every source."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parking_core.plates import (
    PROVINCES,
    ColorCodes,
    PlateColor,
    PlateForm,
    color_of,
    form_of,
    from_card_bytes,
    is_battery_electric,
    masked,
    normal,
    to_card_bytes,
)


@pytest.mark.parametrize(
    "text",
    [
        "苏B12345",
        "苏b·12345",
        " 苏B 12345 ",
        "苏B-12345",
        "苏Ｂ１２３４５",
        "苏B•12345",
        "苏B.12345",
        "苏B12345_1",
        "苏B_12345_",
    ],
)
def test_a_plate_has_one_form(text: str) -> None:
    assert normal(text) == "苏B12345"


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "  ",
        "无牌车",
        "无牌",
        "未识别",
        "null",
        "NULL",
        "None",
        "unknown",
        "_无_",
        "·",
        "N/A",
        "unlicensed",
        "0",
    ],
)
def test_a_vehicle_without_a_plate_has_none(text: str | None) -> None:
    assert normal(text) is None


@given(st.text(max_size=20))
def test_the_one_form_of_the_one_form_is_itself(text: str) -> None:
    plate = normal(text)
    assert plate is None or normal(plate) == plate


@pytest.mark.parametrize(
    ("plate", "form"),
    [
        ("苏B12345", PlateForm.STANDARD),
        ("京AF0236", PlateForm.STANDARD),
        ("粤BD12345", PlateForm.NEW_ENERGY_SMALL),
        ("苏BF1A234", None),  # the second place may be a letter, the third not
        ("苏BFA1234", PlateForm.NEW_ENERGY_SMALL),
        ("苏BK12345", PlateForm.NEW_ENERGY_SMALL),
        ("苏BL12345", None),  # no letter of a new energy vehicle
        ("苏B12345D", PlateForm.NEW_ENERGY_LARGE),
        ("苏B12345H", PlateForm.NEW_ENERGY_LARGE),
        ("苏B12345L", None),
        ("苏B1234学", PlateForm.TRAINING),
        ("苏B1234挂", PlateForm.TRAILER),
        ("苏B1234警", PlateForm.POLICE),
        ("粤Z1234港", PlateForm.HONG_KONG),
        ("粤ZAB12澳", PlateForm.MACAO),
        ("粤B1234港", None),
        ("沪A1234领", PlateForm.CONSULATE),
        ("使014578", PlateForm.EMBASSY),
        ("224578使", PlateForm.EMBASSY),
        ("苏X1234应急", PlateForm.EMERGENCY),
        ("WJ苏1234A", PlateForm.ARMED_POLICE),
        ("WJ12345", PlateForm.ARMED_POLICE),
        ("VA12345", PlateForm.MILITARY),
        ("空A12345", PlateForm.MILITARY),
        ("苏BI2345", None),  # neither I nor O
        ("苏O12345", None),
        ("苏B1234O", None),
        ("苏B1234", None),
        ("苏B123456", None),
        ("东B12345", None),  # no province
        ("12345", None),
        ("", None),
    ],
)
def test_the_forms_of_ga_36(plate: str, form: PlateForm | None) -> None:
    assert form_of(plate) is form


_serial = st.text("ABCDEFGHJKLMNPQRSTUVWXYZ0123456789", min_size=5, max_size=5)


@given(st.sampled_from(PROVINCES), st.sampled_from("ABCDEFGHJKLMNPQRSTUVWXYZ"), _serial)
def test_every_seven_character_plate_is_a_standard_one(province: str, office: str, serial: str) -> None:
    assert form_of(f"{province}{office}{serial}") is PlateForm.STANDARD


@given(st.sampled_from("ABCDEFGHJK"), st.integers(0, 99_999))
def test_new_energy_letters_tell_the_battery_from_the_others(letter: str, number: int) -> None:
    for plate in (f"苏B{letter}{number:05}", f"苏B{number:05}{letter}"):
        assert is_battery_electric(plate) == (letter in "ABCDE")
    assert is_battery_electric("苏B12345") is None


@pytest.mark.parametrize(
    ("code", "national", "p4yun"),
    [
        (0, PlateColor.BLUE, PlateColor.UNKNOWN),
        (1, PlateColor.YELLOW, PlateColor.BLUE),  # a lorry's rate in one, a car's in the other
        ("2", PlateColor.BLACK, PlateColor.YELLOW),
        ("03", PlateColor.WHITE, PlateColor.WHITE),
        (4, PlateColor.GREEN, PlateColor.BLACK),
        (5, PlateColor.YELLOW_GREEN, PlateColor.GREEN),
        (6, PlateColor.BLUE_WHITE, PlateColor.UNKNOWN),
        (9, PlateColor.OTHER, PlateColor.UNKNOWN),
        (11, PlateColor.PLAIN_GREEN, PlateColor.UNKNOWN),
        (12, PlateColor.RED, PlateColor.UNKNOWN),
        ("-1", PlateColor.UNKNOWN, PlateColor.UNKNOWN),
        (7, PlateColor.UNKNOWN, PlateColor.UNKNOWN),
        (None, PlateColor.UNKNOWN, PlateColor.UNKNOWN),
    ],
)
def test_a_code_means_what_its_source_means(code: str | int | None, national: PlateColor, p4yun: PlateColor) -> None:
    assert color_of(code, ColorCodes.NATIONAL) is national
    assert color_of(code, ColorCodes.P4YUN) is p4yun


@pytest.mark.parametrize(
    ("word", "color"),
    [
        ("蓝", PlateColor.BLUE),
        ("蓝色", PlateColor.BLUE),
        ("蓝牌", PlateColor.BLUE),
        ("黄色牌", PlateColor.YELLOW),
        ("渐变绿", PlateColor.GREEN),
        ("黄绿双拼色", PlateColor.YELLOW_GREEN),
        ("Yellow Green", PlateColor.YELLOW_GREEN),
        ("BLUE", PlateColor.BLUE),
        ("purple", PlateColor.UNKNOWN),
        ("", PlateColor.UNKNOWN),
    ],
)
@pytest.mark.parametrize("codes", ColorCodes)
def test_a_word_means_the_same_in_every_source(word: str, color: PlateColor, codes: ColorCodes) -> None:
    assert color_of(word, codes) is color


@pytest.mark.parametrize(
    ("plate", "shown"),
    [("苏B12345", "苏B·**345"), ("苏BD12345", "苏B·***345"), ("12345", "*****"), ("", ""), (None, "")],
)
def test_a_masked_plate_shows_office_and_end_only(plate: str | None, shown: str) -> None:
    assert masked(plate) == shown


def test_the_bytes_of_the_card_are_gb_2312_padded_with_zeros() -> None:
    assert from_card_bytes(bytes.fromhex("BEA941313233343500000000")) == "京A12345"
    assert to_card_bytes("京A12345") == bytes.fromhex("BEA941313233343500000000")
    assert from_card_bytes(bytes(12)) is None
    for bad in (b"", b"\xbe\xa9A12345", b"\xff" * 12):
        with pytest.raises(ValueError, match=r"12 bytes|gb2312"):
            from_card_bytes(bad)
    with pytest.raises(ValueError, match="a card holds 12"):
        to_card_bytes("京A1234567890")


@given(st.sampled_from(PROVINCES), _serial)
def test_every_plate_survives_the_card(province: str, serial: str) -> None:
    plate = f"{province}B{serial}"
    assert from_card_bytes(to_card_bytes(plate)) == plate
