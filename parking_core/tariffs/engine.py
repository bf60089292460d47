"""What a stay costs, and why (pure): the clock is the stay's exit, the calendar is an argument.

    stay → checked → minutes → plan (vehicle, conditions) → spans to charge (less free period, permits)
         → metered cells → caps → minimum → coupons → rounding → bill

Order matters and is the same for every tariff. Caps apply to what is metered, the smaller periods first; a minimum
applies before coupons; coupons take minutes, then percent, then fen; the total is rounded last.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from parking_core.errors import InvalidInputError
from parking_core.tariffs import caps, explanation
from parking_core.tariffs.document import STANDARD_PLAN
from parking_core.tariffs.local_days import minute_of, moment
from parking_core.tariffs.meter import Meter
from parking_core.tariffs.stay import Bill, ChargeLine, CouponKind
from parking_core.tariffs.timeline import cut, joined, pieces, without

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from parking_core.tariffs.compiled import CapRule, CompiledChoice, CompiledPlan, Tariff
    from parking_core.tariffs.explanation import Reason
    from parking_core.tariffs.meter import Cell
    from parking_core.tariffs.stay import EarlierStay, Stay
    from parking_core.tariffs.timeline import Span
    from parking_core.work_calendar import DayKinds

_MINUTE: Final = timedelta(minutes=1)


class _Question(NamedTuple):
    """A stay in whole minutes since the epoch, and what it is charged by."""

    tariff: Tariff
    calendar: DayKinds
    plan: CompiledPlan
    entered: int
    left: int
    earlier: tuple[EarlierStay, ...]


def price(tariff: Tariff, stay: Stay, calendar: DayKinds) -> Bill:
    """The bill of a stay; the sum of its lines is its total.

    A stay of no whole minute costs nothing. Who has paid what was due at a moment and leaves within the tariff's grace
    owes nothing more; later, the difference.

    Raises:
        InvalidInputError: a time is naive, or the stay, or a part of it, ends before it begins.
    """
    _require_order("stay", stay.entered_at, stay.exited_at)
    for part in stay.covered:
        _require_order("covered part", part.begins_at, part.ends_at)
    paid = sum(payment.amount_fen for payment in stay.payments)
    if stay.special is not None and stay.special in tariff.document.exempt:
        reason = explanation.of_exempt(stay.special)
        return Bill(0, (_line(reason, minute_of(stay.entered_at), minute_of(stay.exited_at)),), paid)
    if paid and tariff.document.grace_minutes:
        graced = _within_grace(tariff, stay, calendar)
        if graced is not None:
            return Bill(graced.total_fen, graced.lines, paid)
    return _bill(tariff, stay, calendar, stay.exited_at, paid)


def _require_order(what: str, begins: datetime, ends: datetime) -> None:
    if begins.tzinfo is None or ends.tzinfo is None:
        raise InvalidInputError(f"A {what} has a time without an offset; times must say their offset from UTC.")
    if ends < begins:
        raise InvalidInputError(
            f"The {what} ends at {ends.isoformat()}, before it begins at {begins.isoformat()}; exchange the times, or "
            "pair the records again."
        )


def _within_grace(tariff: Tariff, stay: Stay, calendar: DayKinds) -> Bill | None:
    """The bill as it was when the driver paid all of it, where the vehicle left in time after that."""
    grace = tariff.document.grace_minutes * _MINUTE
    paid = 0
    found = None
    for payment in sorted(stay.payments, key=lambda payment: payment.at):
        paid += payment.amount_fen
        if stay.entered_at <= payment.at <= stay.exited_at <= payment.at + grace:
            bill = _bill(tariff, stay, calendar, payment.at, paid)
            if paid >= bill.total_fen:
                reason = explanation.GRACE_REASON
                line = _line(reason, minute_of(payment.at), minute_of(stay.exited_at))
                found = Bill(bill.total_fen, (*bill.lines, line))
    return found


def _bill(tariff: Tariff, stay: Stay, calendar: DayKinds, until: datetime, paid: int) -> Bill:
    entered = minute_of(stay.entered_at)
    elapsed = until - stay.entered_at
    counted = tariff.document.partial_minute == "counted"
    left = entered + (-(-elapsed // _MINUTE) if counted else elapsed // _MINUTE)
    if left == entered:
        return Bill(0, (), paid)
    plan = _plan(tariff, stay, calendar, entered, left)
    earlier = _before(stay) if stay.earlier else ()
    question = _Question(tariff, calendar, plan, entered, left, earlier)
    free = _free_parts(question)
    covered = without(_covered(stay, entered, left), free) if stay.covered else []
    spans = without([(entered, left)], joined([*free, *covered]) if covered else free)
    lines = [_line(plan.free_reason, *part) for part in free]
    lines += [_line(explanation.PERMIT_REASON, *part) for part in covered]
    metered = _metered(question, spans)
    lines += metered
    if len(lines) > len(metered):
        lines.sort(key=lambda line: (line.amount_fen < 0 or line.rule == explanation.MINIMUM, line.from_at))
    total = sum(line.amount_fen for line in metered)
    if stay.coupons:
        total = _redeem(question, stay, spans, lines, total)
    total = _round(question, lines, total)
    return Bill(total, tuple(lines), paid)


def _before(stay: Stay) -> tuple[EarlierStay, ...]:
    before = (each for each in stay.earlier if each.entered_at < stay.entered_at)
    return tuple(sorted(before, key=lambda each: each.entered_at))


def _covered(stay: Stay, entered: int, left: int) -> list[Span]:
    """Parts of the stay that permits pay for, in order and apart."""
    parts = ((minute_of(part.begins_at), _minute_after(part.ends_at)) for part in stay.covered)
    return joined((max(begins, entered), min(ends, left)) for begins, ends in parts)


def _minute_after(at: datetime) -> int:
    """A minute that is covered in part is covered."""
    minute = minute_of(at)
    return minute + (moment(minute) < at)


def _plan(tariff: Tariff, stay: Stay, calendar: DayKinds, entered: int, left: int) -> CompiledPlan:
    rule = -1
    for number, vehicle in enumerate(tariff.document.vehicles):
        if (vehicle.plate_colors is None or stay.plate_color in vehicle.plate_colors) and (
            vehicle.vehicle_classes is None or stay.vehicle_class in vehicle.vehicle_classes
        ):
            rule = number
            break
    for choice in tariff.choices:
        if _holds(choice, tariff, stay, calendar, (entered, left)):
            return tariff.plans[choice.plan, rule]
    return tariff.plans[STANDARD_PLAN, rule]


def _holds(choice: CompiledChoice, tariff: Tariff, stay: Stay, calendar: DayKinds, minutes: Span) -> bool:
    entered, left = minutes
    if left - entered > choice.at_most:
        return False
    if choice.plate_colors is not None and stay.plate_color not in choice.plate_colors:
        return False
    if choice.vehicle_classes is not None and stay.vehicle_class not in choice.vehicle_classes:
        return False
    if choice.entered_in is not None and not choice.entered_in.holds_entry(tariff.days.minute_of_day(entered)):
        return False
    if choice.left_in is not None and not choice.left_in.holds_exit(tariff.days.minute_of_day(left)):
        return False
    return choice.entered_on is None or calendar.day_kind(tariff.days.date(entered)) in choice.entered_on


def _free_parts(question: _Question) -> list[Span]:
    """The free minutes: those after entry, and those after restarts that give them again."""
    plan, entered, left = question.plan, question.entered, question.left
    free = plan.free
    if free is None:
        return []
    again_minutes = (free.not_within_hours or 0) * 60
    armed = all(entered - minute_of(each.exited_at) >= again_minutes for each in question.earlier)
    begins = [entered] if armed else []
    if plan.free_again:
        begins += range(entered + plan.restart_minutes, left, plan.restart_minutes)
    parts = []
    for begin in begins:
        end = min(begin + plan.restart_minutes, left) if plan.restart_minutes else left
        if free.when_exceeded == "kept" or end - begin <= free.minutes:
            parts.append((begin, min(begin + free.minutes, end)))
    return parts


def _metered(question: _Question, spans: list[Span]) -> list[ChargeLine]:
    """The lines of time and what caps and the minimum make of them."""
    plan, entered = question.plan, question.entered
    limits = [_limit(question, rule) for rule in plan.caps]
    parts = cut(spans, entered, plan.restart_minutes)
    for limit in limits:
        parts = cut(parts, limit.anchor, limit.rule.minutes)
    cells = _cells(question, parts)
    lines = [_cell_line(cell) for cell in cells]
    charged = sum(line.amount_fen for line in lines)
    for limit in limits:
        if charged > limit.least_left:
            for reduction in caps.reduce(cells, limit.rule.max_fen, limit.period_of, limit.used):
                lines.append(_line(limit.rule.reason, reduction.begins, reduction.ends, -reduction.amount_fen))
                charged -= reduction.amount_fen
    minimum = question.tariff.document.total.minimum_fen
    if 0 < charged < minimum:
        lines.append(_line(explanation.of_minimum(minimum), entered, question.left, minimum - charged))
    return lines


def _cell_line(cell: Cell) -> ChargeLine:
    step = cell.step
    if step is None:
        return _line(cell.segment.free_reason, cell.begins, cell.ends)
    rule, zh, en = step.reason
    return ChargeLine(rule, moment(cell.begins), moment(cell.ends), cell.units, step.price_fen, cell.amount_fen, zh, en)


class _Limit(NamedTuple):
    """A cap as it holds for a stay."""

    rule: CapRule
    anchor: int  # where periods of hours begin
    used: Mapping[int, int]  # by period, what earlier stays paid in it
    least_left: int  # what no period can exceed unless the whole stay does
    period_of: caps.PeriodOf


def _limit(question: _Question, rule: CapRule) -> _Limit:
    anchor = question.entered
    used: dict[int, int] = {}
    if question.earlier:
        if rule.cap.over == "rolling":
            anchor, used[0] = caps.rolling_anchor(rule, anchor, question.earlier)
        elif rule.cap.earlier_stays:
            used = caps.used_of_days(rule, question.tariff.days, question.earlier)
    least_left = rule.max_fen - max(used.values(), default=0)
    return _Limit(rule, anchor, used, least_left, _period_of(rule, anchor))


def _cells(question: _Question, parts: list[Span]) -> Sequence[Cell]:
    plan = question.plan
    meter = Meter(splits=plan.splits)
    restarts = plan.restart_minutes
    following = question.entered + restarts
    for begins, ends, segment, ordinal in pieces(question.tariff.days, plan, question.calendar, parts):
        if restarts and begins >= following:
            meter.restart()
            following += ((begins - following) // restarts + 1) * restarts
        meter.take(begins, ends, segment, ordinal)
    return meter.cells


def _period_of(rule: CapRule, anchor: int) -> caps.PeriodOf:
    match rule.cap.over:
        case "window":
            return lambda cell: (
                cell.ordinal - cell.segment.after_midnight if cell.segment.window == rule.cap.window else None
            )
        case "day":
            return lambda cell: cell.ordinal
        case "from_entry" | "rolling":
            return lambda cell: (cell.begins - anchor) // rule.minutes
        case "visit":
            return lambda _: 0


def _redeem(question: _Question, stay: Stay, spans: list[Span], lines: list[ChargeLine], total: int) -> int:
    """Takes coupons off: minutes, then percent, then fen. A coupon never makes a stay dearer, nor cheaper than free."""

    def take_off(reason: Reason, fen: int) -> None:
        nonlocal total
        fen = max(0, min(fen, total))
        lines.append(_line(reason, question.entered, question.left, -fen))
        total -= fen

    minutes = sum(coupon.value for coupon in stay.coupons if coupon.kind is CouponKind.MINUTES)
    if minutes:
        rest = _metered(question, _after_charged(question, spans, minutes))
        take_off(explanation.of_coupon_minutes(minutes), total - sum(line.amount_fen for line in rest))
    for coupon in stay.coupons:
        if coupon.kind is CouponKind.PERCENT:
            take_off(explanation.of_coupon_percent(coupon.value), (total * coupon.value + 50) // 100)
    for coupon in stay.coupons:
        if coupon.kind is CouponKind.AMOUNT:
            take_off(explanation.of_coupon_amount(coupon.value), coupon.value)
    return total


def _after_charged(question: _Question, spans: list[Span], minutes: int) -> list[Span]:
    """The spans without their first so many minutes in windows that cost something."""
    gaps: list[Span] = []
    for begins, ends, segment, _ in pieces(question.tariff.days, question.plan, question.calendar, spans):
        if minutes <= 0:
            break
        if segment.steps:
            gaps.append((begins, min(ends, begins + minutes)))
            minutes -= ends - begins
    return without(spans, joined(gaps))


def _round(question: _Question, lines: list[ChargeLine], total: int) -> int:
    rule = question.tariff.document.total
    step = rule.round_to_fen
    over = total % step
    if not over:
        return total
    up = rule.rounding == "up" or (rule.rounding == "nearest" and over * 2 >= step)
    change = step - over if up else -over
    lines.append(_line(explanation.of_rounding(step), question.entered, question.left, change))
    return total + change


def _line(reason: Reason, begins: int, ends: int, amount_fen: int = 0) -> ChargeLine:
    return ChargeLine(reason.rule, moment(begins), moment(ends), 0, 0, amount_fen, reason.zh, reason.en)
