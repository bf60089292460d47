"""What a stay costs, minute by minute: written from the words of the format, sharing no code with the engine.

It knows the document types and nothing else of parking_core.tariffs, walks every minute of the stay, asks the wall clock
for the window of each, and charges a unit when one begins. Slow and plain: the engine must agree with it to the fen.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from collections.abc import Hashable

    from parking_core.tariffs import EarlierStay, Stay
    from parking_core.tariffs.document import Band, Cap, ClockSpan, Plan, Rate, TariffDocument, VehicleRule, Window
    from parking_core.work_calendar import DayKinds

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Charge:
    """One unit (or one band that costs once), at the minute it begins."""

    at: datetime
    day: date
    window: tuple[str, date]
    fen: int


@dataclass
class State:
    """Where the walk stands."""

    paid_until_left: int = 0
    stay_minutes: int = 0
    window: tuple[str, date] | None = None
    window_minutes: int = 0
    rate: str | None = None
    once: set[tuple[str, int]] = field(default_factory=set)
    once_in_window: set[tuple[str, int]] = field(default_factory=set)


def total_fen(document: TariffDocument, stay: Stay, calendar: DayKinds) -> int:
    """The total of the stay's bill."""
    if stay.special is not None and stay.special in document.exempt:
        return 0
    latest = None
    paid = 0
    for payment in sorted(stay.payments, key=lambda each: each.at):
        paid += payment.amount_fen
        in_time = stay.entered_at <= payment.at <= stay.exited_at <= payment.at + document.grace_minutes * MINUTE
        if document.grace_minutes and in_time:
            then = _until(document, stay, calendar, payment.at)
            if paid >= then:
                latest = then
    return _until(document, stay, calendar, stay.exited_at) if latest is None else latest


def _until(document: TariffDocument, stay: Stay, calendar: DayKinds, until: datetime) -> int:
    entered = stay.entered_at.replace(second=0, microsecond=0).astimezone(UTC)
    minutes = 0
    while stay.entered_at + (minutes + 1) * MINUTE <= until:
        minutes += 1
    if document.partial_minute == "counted" and stay.entered_at + minutes * MINUTE < until:
        minutes += 1
    if minutes == 0:
        return 0
    walk = Walk(document, stay, calendar, entered, minutes)
    total = walk.capped(0)
    coupon_minutes = sum(each.value for each in stay.coupons if each.kind == "minutes")
    if coupon_minutes:
        total = min(total, walk.capped(coupon_minutes))
    for each in stay.coupons:
        if each.kind == "percent":
            off, rest = divmod(total * each.value, 100)
            total -= off + (rest >= 50)
    for each in stay.coupons:
        if each.kind == "amount":
            total = max(0, total - each.value)
    return _rounded(document, total)


def _rounded(document: TariffDocument, fen: int) -> int:
    step = document.total.round_to_fen
    below = fen - fen % step
    if below == fen or document.total.rounding == "down":
        return below
    if document.total.rounding == "up":
        return below + step
    return below + step if fen - below >= below + step - fen else below


class Walk:
    """One stay in whole minutes."""

    def __init__(
        self, document: TariffDocument, stay: Stay, calendar: DayKinds, entered: datetime, minutes: int
    ) -> None:
        self.document = document
        self.stay = stay
        self.calendar = calendar
        self.entered = entered
        self.minutes = minutes
        self.zone = ZoneInfo(document.time_zone)
        self.vehicle = self._vehicle()
        self.plan = self._plan()
        self.earlier = sorted(
            (each for each in stay.earlier if each.entered_at < stay.entered_at), key=lambda each: each.entered_at
        )

    def _vehicle(self) -> VehicleRule | None:
        for rule in self.document.vehicles:
            color = rule.plate_colors is None or self.stay.plate_color in rule.plate_colors
            size = rule.vehicle_classes is None or self.stay.vehicle_class in rule.vehicle_classes
            if color and size:
                return rule
        return None

    def _plan(self) -> Plan:
        entry = self.entered.astimezone(self.zone)
        last = (self.entered + (self.minutes - 1) * MINUTE).astimezone(self.zone)
        for choice in self.document.choices:
            when = choice.when
            holds = [
                when.entered_in is None or _inside(when.entered_in, entry),
                when.left_in is None or _inside(when.left_in, last),
                when.at_most_minutes is None or self.minutes <= when.at_most_minutes,
                when.entered_on is None or any(self._is(name, entry.date()) for name in when.entered_on),
                when.plate_colors is None or self.stay.plate_color in when.plate_colors,
                when.vehicle_classes is None or self.stay.vehicle_class in when.vehicle_classes,
            ]
            if all(holds):
                return self.document.plans[choice.plan]
        return self.document.plans["standard"]

    def _is(self, name: str, day: date) -> bool:
        kind = self.calendar.day_kind(day)
        return name in ("any_day", kind) or kind in self.document.day_groups.get(name, ())

    def capped(self, coupon_minutes: int) -> int:
        charges = self._charges(coupon_minutes)
        for over in ("window", "day", "from_entry", "rolling", "visit"):
            for cap in self.plan.caps:
                if cap.over == over:
                    self._apply(cap, charges)
        charged = sum(charge.fen for charge in charges)
        return max(charged, self.document.total.minimum_fen) if charged else 0

    def _charges(self, coupon_minutes: int) -> list[Charge]:
        charges: list[Charge] = []
        state = State()
        for number in range(self.minutes):
            at = self.entered + number * MINUTE
            if self.plan.restart and number and number % (self.plan.restart.after_hours * 60) == 0:
                state = State()
            if self._is_free(number) or self._is_covered(at):
                continue
            local = at.astimezone(self.zone)
            window, day = self._window(local)
            rate = self.document.rates[window.rate]
            if coupon_minutes and not rate.free:
                coupon_minutes -= 1
                continue
            fen = self._minute(state, (window.name, day), window.rate, rate)
            if fen is not None:
                charges.append(Charge(at, local.date(), (window.name, day), fen))
        return charges

    def _is_free(self, number: int) -> bool:
        free = self.plan.free
        if free is None:
            return False
        begins, ends = 0, self.minutes
        if self.plan.restart is not None:
            length = self.plan.restart.after_hours * 60
            begins = number - number % length
            ends = min(ends, begins + length)
        if begins == 0:
            again = (free.not_within_hours or 0) * HOUR
            for each in self.earlier:
                if self.entered - each.exited_at.replace(second=0, microsecond=0) < again:
                    return False
        elif self.plan.restart is not None and not self.plan.restart.free_again:
            return False
        if free.when_exceeded == "consumed" and ends - begins > free.minutes:
            return False
        return number - begins < free.minutes

    def _is_covered(self, at: datetime) -> bool:
        return any(part.begins_at < at + MINUTE and at < part.ends_at for part in self.stay.covered)

    def _window(self, local: datetime) -> tuple[Window, date]:
        clock = local.strftime("%H:%M")
        for name, windows in self.plan.windows.items():
            if not self._is(name, local.date()):
                continue
            for window in windows:
                if window.begins < window.until:
                    if window.begins <= clock < window.until:
                        return window, local.date()
                elif clock >= window.begins:
                    return window, local.date()
                elif clock < window.until:
                    return window, local.date() - DAY
        raise AssertionError(f"no window holds at {local}")

    def _minute(self, state: State, window: tuple[str, date], name: str, rate: Rate) -> int | None:
        """Passes one minute; the price of what begins in it."""
        if window != state.window:
            state.window, state.window_minutes = window, 0
            state.once_in_window = set()
        if name != state.rate:
            state.rate = name
            if self.plan.straddle == "split":
                state.paid_until_left = 0
        if rate.free:
            state.paid_until_left = max(0, state.paid_until_left - 1)
            return None
        minutes = state.window_minutes if rate.count_from == "window" else state.stay_minutes
        state.window_minutes += 1
        state.stay_minutes += 1
        if state.paid_until_left:
            state.paid_until_left -= 1
            return None
        number, band = _band(rate, minutes)
        if band is None:
            assert rate.unit_minutes is not None or rate.price_fen is not None
            unit, fen = rate.unit_minutes, rate.price_fen or 0
        else:
            unit, fen = band.unit_minutes, band.price_fen
        if unit is None:
            once = state.once_in_window if rate.count_from == "window" else state.once
            if (name, number) in once:
                return None
            once.add((name, number))
        else:
            state.paid_until_left = unit - 1
        return fen * self.vehicle.percent // 100 if self.vehicle else fen

    def _apply(self, cap: Cap, charges: list[Charge]) -> None:
        most = cap.max_fen
        if self.vehicle is not None and self.vehicle.caps == "scaled":
            most = most * self.vehicle.percent // 100
        left: dict[Hashable, int] = {}
        opened, credit = self.entered, 0
        if cap.over == "rolling":
            opened, credit = self._rolling(cap, most)
            left[0] = max(0, most - credit)
        if cap.over == "day" and cap.earlier_stays:
            for day, paid in self._paid_by_day(most).items():
                left[day] = max(0, most - paid)
        for charge in charges:
            period: Hashable = None
            if cap.over == "window":
                if charge.window[0] != cap.window:
                    continue
                period = charge.window
            elif cap.over == "day":
                period = charge.day
            elif cap.hours is not None:
                period = (charge.at - opened) // (cap.hours * HOUR)
            charge.fen = min(charge.fen, left.setdefault(period, most))
            left[period] -= charge.fen

    def _rolling(self, cap: Cap, most: int) -> tuple[datetime, int]:
        length = (cap.hours or 0) * HOUR
        opened: datetime | None = None
        paid = 0
        for each in self.earlier:
            entered, left = _minutes_of(each)
            if opened is None or entered >= opened + length:
                opened, paid = entered, 0
            paid += each.paid_fen
            while left > opened + length:
                opened += length
                paid = max(0, paid - most)
        if opened is None or self.entered >= opened + length:
            return self.entered, 0
        return opened, paid

    def _paid_by_day(self, most: int) -> dict[date, int]:
        paid: dict[date, int] = {}
        for each in self.earlier:
            entered, left = _minutes_of(each)
            day = entered.astimezone(self.zone).date()
            last = max(entered, left - MINUTE).astimezone(self.zone).date()
            rest = paid.get(day, 0) + each.paid_fen
            while day < last:
                day += DAY
                rest = max(0, rest - most)
            paid[last] = rest
        return paid


def _minutes_of(stay: EarlierStay) -> tuple[datetime, datetime]:
    return tuple(each.astimezone(UTC).replace(second=0, microsecond=0) for each in (stay.entered_at, stay.exited_at))  # type: ignore[return-value]  # two times make two


def _band(rate: Rate, minutes: int) -> tuple[int, Band | None]:
    for number, band in enumerate(rate.bands or ()):
        if band.until_minutes is None or minutes < band.until_minutes:
            return number, band
    return 0, None


def _inside(span: ClockSpan, local: datetime) -> bool:
    clock = local.strftime("%H:%M")
    if span.begins < span.until:
        return span.begins <= clock < span.until
    return clock >= span.begins or clock < span.until
