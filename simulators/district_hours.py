"""Hours of the synthetic district: when lots open, when bays of roads are legal, when owners share, and how much.

The patterns are published ones, on a grid of 30 minutes; which lot has which is invented:

- bays of Wuxi's roads cost nothing from 20:00 to 07:00 (prices of 2022): the night in which a road is nobody's way
- Wuxi's first shared lots, November 2022: workdays 18:00 to 08:00, weekends and holidays all day
- Ma'anshan 2021: 18:30 to 07:30, weekends and holidays all day, nobody in or out from 22:00 to 06:00
- Wuhu: 19:00 to 07:00, leave before 07:00 on the first workday after days off
- Taizhou 2021: from an hour after closing to an hour before opening, nobody in or out from 22:00 to 06:00

Compounds share by day, while their own people are at work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.districts import OpeningRecord, SharedClassRecord, SharingRecord

if TYPE_CHECKING:
    import random

    from parking_core.districts import SpaceRecord

_EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]
_DAYS_OFF = ["weekend", "holiday"]
_LETTERS = "ABCDEF"  # six classes a lot at most
_QUOTA = 0.3, 0.6  # share of a lot's ordinary spaces that its owner gives
_SPACES_A_CLASS = 3  # with fewer a class is hardly worth its windows
_NIGHT_REST = [{"days": ["any_day"], "from": "22:00", "until": "06:00"}]

# Evening and morning between which bays of a road are legal on workdays; days off are legal all day.
_ROADS: Final = (("20:00", "07:00"), ("19:00", "07:00"), ("20:00", "06:30"), ("18:30", "07:30"))


def _nights(evening: str, morning: str, **more: object) -> dict[str, Any]:
    """Workday nights and days off."""
    windows = [
        {"days": ["workday"], "from": evening, "until": morning},
        {"days": _DAYS_OFF, "from": "00:00", "until": "24:00"},
    ]
    return {"windows": windows, **more}


def _days(morning: str, evening: str, off: tuple[str, str] | None = None) -> dict[str, Any]:
    """Working hours of workdays, and hours of days off."""
    windows: list[dict[str, Any]] = [{"days": ["workday"], "from": morning, "until": evening}]
    if off is not None:
        windows.append({"days": _DAYS_OFF, "from": off[0], "until": off[1]})
    return {"windows": windows}


_OFFICE: Final = (
    _nights("18:00", "08:00"),
    _nights("18:30", "07:30", no_movement=_NIGHT_REST),
    _nights("19:00", "workday 07:00"),
    _nights("20:00", "08:00"),
    _nights("18:00", "08:30"),
    {"windows": [{"days": _DAYS_OFF, "from": "00:00", "until": "24:00"}]},
)
_SCHOOL: Final = (
    _nights("18:00", "06:30"),
    _nights("18:30", "06:00", no_movement=_NIGHT_REST),
    _nights("19:00", "workday 06:30"),
    {"windows": [{"days": _DAYS_OFF, "from": "06:00", "until": "22:00"}]},
)
_COMPOUND: Final = (
    _days("08:30", "17:30"),
    _days("08:00", "17:00"),
    _days("09:00", "17:00", ("09:00", "15:30")),
    _days("07:30", "18:00"),
    _days("08:00", "11:30"),
    _days("13:00", "18:30"),
)
_PATTERNS: Final = {"office": _OFFICE, "school": _SCHOOL, "residential": _COMPOUND}


def sharing(rng: random.Random, use: str, spaces: list[SpaceRecord]) -> SharingRecord:
    """What the owner of a lot shares: one to six classes of windows that are usual for its use, and the terms."""
    ordinary = sum(space.kind == "standard" for space in spaces)
    given = max(1, round(ordinary * rng.uniform(*_QUOTA)))
    patterns = _PATTERNS.get(use, _OFFICE)
    count = min(rng.choice((1, 1, 2, 2, 3, 4, 6)), len(patterns), max(1, given // _SPACES_A_CLASS))
    quotas = [given // count + (place < given % count) for place in range(count)]
    chosen = rng.sample(patterns, count)
    classes = [
        SharedClassRecord(letter, windows, quota=quota)
        for letter, windows, quota in zip(_LETTERS, chosen, quotas, strict=False)
    ]
    terms: dict[str, Any] = {"price_fen_per_hour": rng.choice((100, 200, 200, 300)), "notice_h": rng.choice((24, 48))}
    if use == "residential":  # by day people come and go: single reservations, no permits
        terms |= {"permit_fen_per_month": None}
    return SharingRecord(classes, terms)


def legal_windows(variant: int) -> dict[str, Any]:
    """When bays of a time-limited road are legal, on the work calendar."""
    return _nights(*_ROADS[variant % len(_ROADS)])


def legal_opening(variant: int) -> list[OpeningRecord]:
    """The same as weekly hours, by which live figures say closed: these know neither holidays nor make-up workdays."""
    evening, morning = _ROADS[variant % len(_ROADS)]
    workdays = _EVERY_DAY[:5]
    return [
        OpeningRecord(workdays, "00:00", morning),
        OpeningRecord(workdays, evening, "24:00"),
        OpeningRecord(_EVERY_DAY[5:], "00:00", "24:00"),
    ]


def closed_at_night(rng: random.Random) -> list[OpeningRecord]:
    """Opening hours of a lot that closes at night."""
    opens, closes = rng.choice((("06:00", "22:00"), ("07:00", "22:30"), ("06:30", "23:00")))
    return [OpeningRecord(_EVERY_DAY, opens, closes)]
