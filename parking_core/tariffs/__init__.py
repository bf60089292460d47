"""Tariffs: versioned documents, and the engine that says what a stay costs and why (pure).

    parsed = parse_tariff(document)              # Tariff, or every Problem with its place and a sentence
    bill = price(parsed, stay, calendar)         # Bill: total_fen, and the lines whose sum it is

A document is JSON of the format "parking-tariff/1". The smallest that charges:

    {"format": "parking-tariff/1", "code": "lot-7", "name_zh": "七号停车场", "name_en": "Lot 7",
     "rates": {"day": {"unit_minutes": 30, "price_fen": 200}, "night": {"free": true}},
     "plans": {"standard": {
         "windows": {"any_day": [{"name": "day", "from": "07:00", "until": "20:00", "rate": "day"},
                                 {"name": "night", "from": "20:00", "until": "07:00", "rate": "night"}]},
         "straddle": "earlier"}}}

Money is integer fen, times of day are wall-clock time in `time_zone` (Asia/Shanghai). What stands where:

    rates      by name: {"free": true}; {"unit_minutes": 60, "price_fen": 500}, a started unit counts; or bands by
               charged time, the last without end, a band without unit_minutes costs its price once:
               {"bands": [{"until_minutes": 60, "unit_minutes": 30, "price_fen": 300},     first hour
                          {"until_minutes": 720, "unit_minutes": 30, "price_fen": 400},
                          {"price_fen": 5000}]}                                            then once, whatever follows
               "count_from": "window" counts from the window's beginning: a price a night.
    plans      "standard" holds where no choice does. Of each:
      windows    a list for each day kind (workday, weekend, holiday), for a name of "day_groups", or for "any_day".
                 Every minute of a day stands in exactly one window; 22:00-08:00 crosses midnight.
      straddle   a unit that runs into a window of another rate: "earlier" it is charged at the rate it began in and
                 runs on, "split" it ends there and the later rate begins a unit.
      free       {"minutes": 60, "when_exceeded": "kept" or "consumed", "not_within_hours": 2}
      caps       {"over": "window", "window": "night", "max_fen": 1000}, {"over": "day", ...}, {"over": "from_entry",
                 "hours": 24, ...}, {"over": "rolling", "hours": 24, ...} (earlier stays' payments count), {"over":
                 "visit", ...}; "earlier_stays": true lets a day cap count them too. The smaller periods apply first.
      restart    {"after_hours": 24, "free_again": false}
    choices    [{"plan": "night", "when": {"entered_in": {"from": "20:00", "until": "07:00"}, "left_in": {...},
               "at_most_minutes": 660, "entered_on": ["workday"], "plate_colors": [...], "vehicle_classes": [...]}}]
    vehicles   [{"name": "large", "label_zh": "大型车", "label_en": "large", "vehicle_classes": [2], "percent": 200,
               "caps": "scaled" or "same"}]; a kind with prices of its own has a plan and a choice.
    exempt     ["police", "ambulance", "fire", "military", "rescue"]: free
    grace_minutes    to leave after having paid
    partial_minute   seconds beyond the last whole minute: "dropped" or "counted"
    total      {"minimum_fen": 100, "round_to_fen": 50, "rounding": "down", "up" or "nearest"}
    name_zh, name_en, note_zh, note_en, sources, time_zone, day_groups

How time is counted: an entry is cut to its minute, and the stay has the whole minutes that have passed since. Charged
time is what is neither free nor covered by a permit; it makes units and bands. A running unit is not ended by midnight,
by a permit in between or by the end of a cap's period.

What it costs to compute: time grows with the windows that a stay crosses (days x windows a day, a cut where a cap's
period or a restart falls inside one), never with its minutes.

`documents` holds the tariffs that come with the platform.
"""

from __future__ import annotations

from parking_core.tariffs.compiled import Tariff
from parking_core.tariffs.document import FORMAT, PlateColor, SpecialVehicle, TariffDocument
from parking_core.tariffs.engine import price
from parking_core.tariffs.stay import (
    Bill,
    ChargeLine,
    Coupon,
    CouponKind,
    EarlierStay,
    Interval,
    Payment,
    Stay,
)
from parking_core.tariffs.validation import Problem, parse_tariff

__all__ = [
    "FORMAT",
    "Bill",
    "ChargeLine",
    "Coupon",
    "CouponKind",
    "EarlierStay",
    "Interval",
    "Payment",
    "PlateColor",
    "Problem",
    "SpecialVehicle",
    "Stay",
    "Tariff",
    "TariffDocument",
    "parse_tariff",
    "price",
]
