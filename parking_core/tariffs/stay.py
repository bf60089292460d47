"""What the engine is asked about, and what it answers (facts)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime  # noqa: TC003  # msgspec reads the annotations of ChargeLine when lines are decoded
from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from parking_core.tariffs.document import PlateColor, SpecialVehicle


@dataclass(frozen=True, slots=True)
class Interval:
    """A part of time, its end not included. Aware."""

    begins_at: datetime
    ends_at: datetime


class CouponKind(StrEnum):
    """What a coupon gives."""

    MINUTES = "minutes"  # the first so many charged minutes
    AMOUNT = "amount"  # fen
    PERCENT = "percent"  # of what is left after caps and minutes


@dataclass(frozen=True, slots=True)
class Coupon:
    """A reduction that a driver holds. `value`: minutes, fen, or percent taken off."""

    kind: CouponKind
    value: int
    code: str = ""

    def __post_init__(self) -> None:
        if self.value <= 0 or (self.kind is CouponKind.PERCENT and self.value > 100):
            raise InvalidInputError(
                f"Coupon {self.code!r} takes off {self.value} ({self.kind}); give a value above 0, at most 100 percent."
            )


@dataclass(frozen=True, slots=True)
class Payment:
    """Money that the driver has paid for this stay."""

    at: datetime
    amount_fen: int


@dataclass(frozen=True, slots=True)
class EarlierStay:
    """A stay of the same vehicle before this one, and what it was charged."""

    entered_at: datetime
    exited_at: datetime
    paid_fen: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stay:
    """What is priced. Times aware; `exited_at` is the moment of the question while the vehicle is still inside.

    earlier: stays of the vehicle under the same tariff, as far back as `Tariff.lookback`; they matter where a free
        period or a cap looks back.
    covered: parts of the stay that a permit pays for, in any order.
    """

    entered_at: datetime
    exited_at: datetime
    plate_color: PlateColor | None = None
    vehicle_class: int | None = None
    special: SpecialVehicle | None = None
    covered: tuple[Interval, ...] = ()
    coupons: tuple[Coupon, ...] = ()
    earlier: tuple[EarlierStay, ...] = ()
    payments: tuple[Payment, ...] = ()


class ChargeLine(Struct, frozen=True, gc=False):
    """One reason why a bill is what it is. A line that takes away is negative, one that explains free time is 0.

    rule: stable code, for example "rate.day.0", "free.period", "cap.day", "coupon.percent" (see `explanation`).
    units: how many units were started; 0 where the line counts none.
    """

    rule: str
    from_at: datetime
    until_at: datetime
    units: int
    unit_price_fen: int
    amount_fen: int
    text_zh: str
    text_en: str


class Bill(Struct, frozen=True):
    """What a stay costs: `total_fen` is the sum of its lines. `due_fen` is what is left to pay of it."""

    total_fen: int
    lines: tuple[ChargeLine, ...]
    paid_fen: int = 0

    @property
    def due_fen(self) -> int:
        """Still to pay; 0 where more was paid than is due."""
        return max(0, self.total_fen - self.paid_fen)
