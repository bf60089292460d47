"""Tariffs: versioned documents, and the engine that says what a stay costs and why (pure)."""

from __future__ import annotations

from parking_core.tariffs.document import FORMAT, PlateColor, SpecialVehicle, TariffDocument
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
    "SpecialVehicle",
    "Stay",
    "TariffDocument",
]
