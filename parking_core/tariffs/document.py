"""The tariff document "parking-tariff/1": what an operator writes, typed; unknown fields are refused (facts)."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

FORMAT: Final = "parking-tariff/1"
STANDARD_PLAN: Final = "standard"
ANY_DAY: Final = "any_day"
DAY_MINUTES: Final = 1440

# Limits that no real tariff reaches: a number beyond them is a slip of the keyboard (yuan typed where fen belong).
Fen = Annotated[int, Meta(ge=0, le=10_000_000)]
Minutes = Annotated[int, Meta(ge=1, le=44_640)]  # 31 days
Hours = Annotated[int, Meta(ge=1, le=744)]  # 31 days
Percent = Annotated[int, Meta(ge=0, le=1_000)]
Code = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_\-]{0,39}$")]
Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]
Text = Annotated[str, Meta(min_length=1, max_length=4_000)]


class PlateColor(StrEnum):
    """Colours of plates in the platform's own words; sources' codes are mapped before they come here."""

    BLUE = "blue"
    YELLOW = "yellow"
    BLACK = "black"
    WHITE = "white"
    GREEN = "green"  # new energy, small
    YELLOW_GREEN = "yellow_green"  # new energy, large
    BLUE_WHITE = "blue_white"
    RED = "red"
    OTHER = "other"


class SpecialVehicle(StrEnum):
    """Vehicles on duty that a tariff may exempt."""

    POLICE = "police"
    AMBULANCE = "ambulance"
    FIRE = "fire"
    MILITARY = "military"
    RESCUE = "rescue"


class _Part(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all parts of a document."""


class Band(_Part, frozen=True):
    """One step of a rate: holds while the charged time is below `until_minutes` (None: from there on for ever).

    With `unit_minutes` every started unit costs `price_fen`; without, the whole band costs it once.
    """

    price_fen: Fen
    unit_minutes: Minutes | None = None
    until_minutes: Minutes | None = None


class Rate(_Part, frozen=True):
    """How time is priced: `free`, one price (`unit_minutes`, `price_fen`), or `bands` by charged time.

    `count_from` says whose charged time chooses the band: the "stay"'s (begun anew by a restart), or that since the
    "window" began, which makes a first-hour price or a per-visit price one of each night.
    """

    free: bool = False
    unit_minutes: Minutes | None = None
    price_fen: Fen | None = None
    bands: tuple[Band, ...] | None = None
    count_from: Literal["stay", "window"] = "stay"


class Window(_Part, frozen=True, rename={"begins": "from"}):
    """Part of a day, `from` <= time of day < `until`; it crosses midnight where `until` is not after `from`.

    The part after midnight is priced by the windows of its own day; a cap over the window counts both as one night
    when both days have a crossing window of that name.
    """

    name: Code
    begins: Clock
    until: Clock
    rate: Code
    label_zh: Text | None = None
    label_en: Text | None = None


class FreePeriod(_Part, frozen=True):
    """The first minutes of a stay. Who leaves within them pays nothing.

    Whoever stays longer keeps them ("kept": charged time begins after them) or loses them ("consumed": charged from
    entry). With `not_within_hours` a stay has them only when no earlier one ended less than so many hours before.
    """

    minutes: Minutes
    when_exceeded: Literal["kept", "consumed"]
    not_within_hours: Hours | None = None


class Cap(_Part, frozen=True):
    """The most that a period costs; it only ever takes away, and is no price.

    over: "window" each occurrence of the window named `window`; "day" each calendar day; "from_entry" each `hours`
    hours from entry; "rolling" the same, but the hours begin with the first stay of a chain and what earlier stays
    paid in them counts; "visit" the stay. A "day" counts what earlier stays paid when `earlier_stays` says so.
    """

    over: Literal["window", "day", "from_entry", "rolling", "visit"]
    max_fen: Fen
    hours: Hours | None = None
    window: Code | None = None
    earlier_stays: bool = False


class Restart(_Part, frozen=True):
    """After so many hours from entry charging begins anew: bands, units, and the free period where `free_again`."""

    after_hours: Hours
    free_again: bool


class Plan(_Part, frozen=True):
    """A whole way of charging.

    windows: by day kind (workday, weekend, holiday), group of day kinds, or "any_day".
    straddle: a unit that runs over into a window of another rate is charged at the "earlier" rate and runs on, or is
        "split": it ends there and the later rate starts a unit of its own.
    """

    windows: dict[str, tuple[Window, ...]]
    straddle: Literal["earlier", "split"]
    free: FreePeriod | None = None
    caps: tuple[Cap, ...] = ()
    restart: Restart | None = None


class ClockSpan(_Part, frozen=True, rename={"begins": "from"}):
    """A part of every day; for entries `from` <= t < `until`, for exits `from` < t <= `until`. May cross midnight."""

    begins: Clock
    until: Clock


class When(_Part, frozen=True):
    """Conditions on a whole stay; all that are given must hold."""

    entered_in: ClockSpan | None = None
    left_in: ClockSpan | None = None
    at_most_minutes: Minutes | None = None
    entered_on: tuple[str, ...] | None = None  # day kinds or groups
    plate_colors: tuple[PlateColor, ...] | None = None
    vehicle_classes: tuple[Annotated[int, Meta(ge=0, le=99)], ...] | None = None


class Choice(_Part, frozen=True):
    """A plan for stays of a kind; the first choice that holds counts, else the plan "standard"."""

    plan: Code
    when: When


class VehicleRule(_Part, frozen=True):
    """A multiplier on all prices for some vehicles: 200 doubles, 50 halves, 0 is free. The first that fits counts."""

    name: Code
    label_zh: Text
    label_en: Text
    percent: Percent
    caps: Literal["scaled", "same"]
    plate_colors: tuple[PlateColor, ...] | None = None
    vehicle_classes: tuple[Annotated[int, Meta(ge=0, le=99)], ...] | None = None


class Total(_Part, frozen=True):
    """What becomes of the sum: at least `minimum_fen` where anything is charged, rounded to `round_to_fen`."""

    minimum_fen: Fen = 0
    round_to_fen: Annotated[int, Meta(ge=1, le=10_000)] = 1
    rounding: Literal["down", "up", "nearest"] = "down"


class TariffDocument(_Part, frozen=True):
    """A version of a tariff. See the package's docstring for examples."""

    format: Literal["parking-tariff/1"]
    code: Code
    name_zh: Text
    name_en: Text
    rates: dict[Code, Rate]
    plans: dict[Code, Plan]
    note_zh: Text | None = None
    note_en: Text | None = None
    sources: tuple[Text, ...] = ()
    time_zone: str = "Asia/Shanghai"
    partial_minute: Literal["dropped", "counted"] = "dropped"  # seconds beyond the last whole minute of a stay
    day_groups: dict[Code, tuple[str, ...]] = {}
    choices: tuple[Choice, ...] = ()
    vehicles: tuple[VehicleRule, ...] = ()
    exempt: tuple[SpecialVehicle, ...] = ()
    grace_minutes: Annotated[int, Meta(ge=0, le=1_440)] = 0  # to leave after having paid
    total: Total = Total()


def minute_of_day(clock: str) -> int:
    """Minutes since midnight of "HH:MM"."""
    return int(clock[:2]) * 60 + int(clock[3:])
