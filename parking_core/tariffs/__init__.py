"""Tariffs: versioned documents, and the engine that says what a stay costs and why (pure)."""

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
