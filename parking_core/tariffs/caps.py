"""Caps: the most that a period costs. A cap takes away what is over it and is never charged itself (pure).

The amounts of a period are used up in the order of time, so that a later minute never makes an earlier one dearer or
cheaper. What earlier stays paid is counted into the period in which they ended, at most what the periods before could
not have taken: two stays never cost less than one for having been paid together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parking_core.tariffs.local_days import minute_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parking_core.tariffs.compiled import CapRule
    from parking_core.tariffs.local_days import LocalDays
    from parking_core.tariffs.meter import Cell
    from parking_core.tariffs.stay import EarlierStay

    Period = int  # a day's ordinal, or the number of the period from an anchor
    PeriodOf = Callable[[Cell], Period | None]


class Reduction:
    """What a cap took away in one of its periods."""

    __slots__ = ("amount_fen", "begins", "ends")

    def __init__(self, begins: int) -> None:
        self.begins = begins
        self.ends = begins
        self.amount_fen = 0


def reduce(cells: Sequence[Cell], max_fen: int, period_of: PeriodOf, used: Mapping[Period, int]) -> Iterable[Reduction]:
    """Lowers the cells' amounts to the cap and says by how much, period by period.

    Args:
        cells: in order of time; their amounts change.
        max_fen: the cap.
        period_of: which period a cell belongs to; None: the cap does not count it.
        used: what earlier stays have used up of periods.
    """
    left: dict[Period, int] = {}
    taken: dict[Period, Reduction] = {}
    for cell in cells:
        period = period_of(cell)
        if period is None:
            continue
        if period not in left:
            left[period] = max(0, max_fen - used.get(period, 0))
            taken[period] = Reduction(cell.begins)
        reduction = taken[period]
        over = cell.amount_fen - left[period]
        if over > 0:
            reduction.amount_fen += over
            cell.amount_fen -= over
        left[period] -= cell.amount_fen
        reduction.ends = cell.ends
    return (reduction for reduction in taken.values() if reduction.amount_fen)


def rolling_anchor(rule: CapRule, entered: int, earlier: Iterable[EarlierStay]) -> tuple[int, int]:
    """When the running period of a rolling cap began, and what earlier stays have paid in it.

    A period begins with the first stay after the one before is over; it follows another at once only while a vehicle
    stays.
    """
    opened: int | None = None
    paid = 0
    for stay in earlier:
        begins, ends = minute_of(stay.entered_at), minute_of(stay.exited_at)
        if opened is None or begins >= opened + rule.minutes:
            opened, paid = begins, 0
        outlasted = max(0, (ends - 1 - opened) // rule.minutes)
        opened += outlasted * rule.minutes
        paid = max(0, paid + stay.paid_fen - outlasted * rule.max_fen)
    if opened is None or entered >= opened + rule.minutes:
        return entered, 0
    return opened, paid


def used_of_days(rule: CapRule, days: LocalDays, earlier: Iterable[EarlierStay]) -> dict[Period, int]:
    """What earlier stays have used up of each calendar day, by the day's ordinal."""
    used: dict[Period, int] = {}
    for stay in earlier:
        begins, ends = minute_of(stay.entered_at), minute_of(stay.exited_at)
        first, last = days.ordinal(begins), days.ordinal(max(begins, ends - 1))
        before = used.get(first, 0)
        used[last] = max(0, before + stay.paid_fen - (last - first) * rule.max_fen)
    return used
