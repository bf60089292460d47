"""Plates: one written form, the forms of GA 36, and colours whose codes mean the same everywhere (rules).

Sources: the forms of GA 36-2018 as known (the letters of new energy vehicles are not verified against its text); the
colour codes of the Jiangsu ETC channel, which are the national ones, and of the city parking API of 4pyun, where the
same numbers mean other colours: 1 is yellow (a lorry's rate) in one and blue (a car's) in the other. So a code never
goes past `color_of`. The 12 bytes are those of the card's vehicle file: GB 2312, padded with zeros.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum
from functools import lru_cache
from typing import Final

PROVINCES: Final = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"
PLATE_BYTES: Final = 12  # of the field in the card's vehicle file

_LETTER = "[A-HJ-NP-Z]"  # neither I nor O
_SERIAL = "[A-HJ-NP-Z0-9]"
_PURE, _OTHER = "ABCDE", "FGHJK"  # battery electric; all other new energy vehicles
# Middle dots of several scripts, bullets and dashes: how cameras and back offices set the office's letter apart.
_SEPARATORS = re.compile(r"[\s.\u00b7\u2022\u2027\u2219\u22c5\u30fb\-\u2010-\u2015\u2212_]+")
# Some lanes name a vehicle as plate, underscore, colour code: 京A12345_1.
_COLOR_SUFFIX = re.compile(r"_\d{0,2}$")
_UNPLATED = frozenset(
    {
        *(
            "",
            "无牌车",
            "无牌",
            "无车牌",
            "未识别",
            "未知",
            "无",
            "车牌未识别",
            "未上牌",
            "默认",
            "NULL",
            "NONE",
            "NIL",
        ),
        *("NA", "N/A", "UNKNOWN", "UNLICENSED", "UNPLATED", "NOPLATE", "NULLNULL", "*", "0", "00000000"),
    }
)


class PlateForm(StrEnum):
    """Which form of GA 36 a plate has."""

    STANDARD = "standard"
    NEW_ENERGY_SMALL = "new_energy_small"
    NEW_ENERGY_LARGE = "new_energy_large"
    TRAINING = "training"  # 学
    TRAILER = "trailer"  # 挂
    POLICE = "police"  # 警
    HONG_KONG = "hong_kong"  # 粤Z....港
    MACAO = "macao"
    CONSULATE = "consulate"  # 领
    EMBASSY = "embassy"  # 使
    EMERGENCY = "emergency"  # 应急
    ARMED_POLICE = "armed_police"  # WJ
    MILITARY = "military"


_OFFICE = f"[{PROVINCES}]{_LETTER}"
_FORMS: Final = {
    PlateForm.STANDARD: rf"{_OFFICE}{_SERIAL}{{5}}",
    PlateForm.NEW_ENERGY_SMALL: rf"{_OFFICE}[{_PURE}{_OTHER}]{_SERIAL}[0-9]{{4}}",
    PlateForm.NEW_ENERGY_LARGE: rf"{_OFFICE}[0-9]{{5}}[{_PURE}{_OTHER}]",
    PlateForm.TRAINING: rf"{_OFFICE}{_SERIAL}{{4}}学",
    PlateForm.TRAILER: rf"{_OFFICE}{_SERIAL}{{4}}挂",
    PlateForm.POLICE: rf"{_OFFICE}{_SERIAL}{{4}}警",
    PlateForm.HONG_KONG: rf"粤Z{_SERIAL}{{4}}港",
    PlateForm.MACAO: rf"粤Z{_SERIAL}{{4}}澳",
    PlateForm.CONSULATE: rf"{_OFFICE}{_SERIAL}{{4}}领",
    PlateForm.EMBASSY: r"使[0-9]{6}|[0-9]{6}使",
    PlateForm.EMERGENCY: rf"[{PROVINCES}][SX][0-9]{{4}}应急",
    PlateForm.ARMED_POLICE: rf"WJ[{PROVINCES}]?[0-9]{{4,5}}{_SERIAL}?",
    PlateForm.MILITARY: rf"{_LETTER}{{2}}[0-9]{{5}}|[军空海北沈兰济南广成]{_LETTER}[0-9]{{5}}",
}
_COMPILED = tuple((form, re.compile(pattern)) for form, pattern in _FORMS.items())


class PlateColor(StrEnum):
    """Colour of a plate, whatever its source called it."""

    BLUE = "blue"
    YELLOW = "yellow"
    BLACK = "black"
    WHITE = "white"
    GREEN = "green"  # fading to white: new energy, small
    YELLOW_GREEN = "yellow_green"  # new energy, large
    BLUE_WHITE = "blue_white"  # fading: temporary
    PLAIN_GREEN = "plain_green"  # farm vehicles
    RED = "red"
    OTHER = "other"
    UNKNOWN = "unknown"


class ColorCodes(StrEnum):
    """Whose numbers a lane's camera speaks."""

    NATIONAL = "national"  # Jiangsu ETC
    P4YUN = "4pyun"


_NATIONAL: Final = {
    0: PlateColor.BLUE,
    1: PlateColor.YELLOW,
    2: PlateColor.BLACK,
    3: PlateColor.WHITE,
    4: PlateColor.GREEN,
    5: PlateColor.YELLOW_GREEN,
    6: PlateColor.BLUE_WHITE,
    9: PlateColor.OTHER,
    11: PlateColor.PLAIN_GREEN,
    12: PlateColor.RED,
}
_P4YUN: Final = {
    1: PlateColor.BLUE,
    2: PlateColor.YELLOW,
    3: PlateColor.WHITE,
    4: PlateColor.BLACK,
    5: PlateColor.GREEN,
}
_CODES: Final = {ColorCodes.NATIONAL: _NATIONAL, ColorCodes.P4YUN: _P4YUN}
# A word means the same in every source. A camera that says green means new energy; the farm's green has its own code.
_NAMES: Final = {
    PlateColor.BLUE: "蓝",
    PlateColor.YELLOW: "黄",
    PlateColor.BLACK: "黑",
    PlateColor.WHITE: "白",
    PlateColor.GREEN: "绿 渐变绿 绿白 白绿 gradient_green green_white",
    PlateColor.YELLOW_GREEN: "黄绿 黄绿双拼 双拼",
    PlateColor.BLUE_WHITE: "蓝白 蓝白渐变",
    PlateColor.PLAIN_GREEN: "farm_green",
    PlateColor.RED: "红",
    PlateColor.OTHER: "其他 其它",
    PlateColor.UNKNOWN: "未知",
}
_WORDS: Final = {word: color for color, names in _NAMES.items() for word in (color.value, *names.split())}


@lru_cache(maxsize=4096)  # camera, OBU and card say the same plate within one message
def normal(text: str | None) -> str | None:
    """A plate in its one form: NFKC, upper case, without separators; None where there is none (无牌车, null, ...)."""
    if text is None:
        return None
    plain = unicodedata.normalize("NFKC", text).strip().upper()
    if plain in _UNPLATED:
        return None
    plain = _SEPARATORS.sub("", _COLOR_SUFFIX.sub("", plain))
    if plain in _UNPLATED:
        return None
    # What stood apart may compose now ("A", space, accent): once more, until it is in its one form.
    return plain if plain == text else normal(plain)


@lru_cache(maxsize=4096)
def form_of(plate: str) -> PlateForm | None:
    """Form of a plate that is in its one form; None: no plate looks so, it was misread."""
    return next((form for form, pattern in _COMPILED if pattern.fullmatch(plate)), None)


def is_battery_electric(plate: str) -> bool | None:
    """Whether a new energy vehicle runs on its battery alone; None: the plate is no new energy plate."""
    match form_of(plate):
        case PlateForm.NEW_ENERGY_SMALL:
            return plate[2] in _PURE
        case PlateForm.NEW_ENERGY_LARGE:
            return plate[-1] in _PURE
        case _:
            return None


def color_of(code: str | int | None, codes: ColorCodes = ColorCodes.NATIONAL) -> PlateColor:
    """Colour of a code or word of that source; UNKNOWN where the source has no such code."""
    if code is None:
        return PlateColor.UNKNOWN
    if isinstance(code, int):
        return _CODES[codes].get(code, PlateColor.UNKNOWN)
    word = unicodedata.normalize("NFKC", code).strip().lower()
    if re.fullmatch(r"-?\d{1,4}", word):
        return _CODES[codes].get(int(word), PlateColor.UNKNOWN)
    word = word.replace(" ", "_").replace("-", "_")
    return _WORDS.get(word) or _WORDS.get(word.removesuffix("牌").removesuffix("色"), PlateColor.UNKNOWN)


def masked(plate: str | None) -> str:
    """A plate as logs, reports and error texts may show it: 苏B·**345."""
    if not plate:
        return ""
    if len(plate) < 6:  # nothing of so short a text may stay
        return "*" * len(plate)
    return f"{plate[:2]}·{'*' * (len(plate) - 5)}{plate[-3:]}"


def from_card_bytes(data: bytes) -> str | None:
    """Plate of the 12 bytes of the card's vehicle file; None: no plate stands there.

    Raises:
        ValueError: not 12 bytes, or not GB 2312.
    """
    if len(data) != PLATE_BYTES:
        raise ValueError(f"A plate on a card takes {PLATE_BYTES} bytes, not {len(data)}.")
    return normal(data.split(b"\0", 1)[0].decode("gb2312"))


def to_card_bytes(plate: str) -> bytes:
    """The 12 bytes of a plate as the card's vehicle file holds them.

    Raises:
        ValueError: it does not fit, or a character is not in GB 2312.
    """
    data = plate.encode("gb2312")
    if len(data) > PLATE_BYTES:
        raise ValueError(f"The plate takes {len(data)} bytes; a card holds {PLATE_BYTES}.")
    return data.ljust(PLATE_BYTES, b"\0")
