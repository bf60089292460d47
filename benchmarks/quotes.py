"""Quotes a second on one core, and how their cost grows with the length of a stay.

No public engine is known that could stand beside ours: the standards that describe such tariffs bring no reference
algorithm, and the open systems that charge are bound to their own database and forms. The peer is therefore the plain
way, the minute-by-minute integrator of our own tests; it is also asked whether it agrees, to the fen.

Both are pure and run on one thread; seconds are those of the processor, so that other work on the machine does not count.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, TypeVar

from benchmarks.table import Row
from parking_core.tariffs import Stay, Tariff, documents, parse_tariff, price
from parking_core.work_calendar import WorkCalendar
from tests.unit.tariff_integrator import total_fen

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Figures = dict[str, object]

Answer = TypeVar("Answer")

QUOTES = 60_000
BAR = 20_000  # quotes a second of typical stays: tens of thousands
PEER_S = 2.0  # the integrator is asked for at least so long
TARIFFS = ("wuxi-hospital-2023", "wuxi-street-trunk-core-2023", "wuxi-off-street")
LENGTHS = (
    ("2-3 h", timedelta(hours=2), timedelta(hours=3)),
    ("1 day", timedelta(hours=23), timedelta(hours=25)),
    ("7 days", timedelta(days=6, hours=23), timedelta(days=7, hours=1)),
    ("30 days", timedelta(days=29, hours=23), timedelta(days=30, hours=1)),
)
_SEED = 20230801
_FIRST_ENTRY = datetime(2024, 1, 1, tzinfo=UTC)
_ENTRIES_S = 365 * 86_400


@dataclass(frozen=True, slots=True)
class Quotes:
    """Stays of one kind under one tariff."""

    tariff: str
    length: str
    quotes: int
    ours_per_s: float
    peer_per_s: float
    compared: int  # stays of which both gave the same total
    lines: float  # of a bill, on average


def stays_of(shortest: timedelta, longest: timedelta, number: int) -> list[Stay]:
    """Stays that begin at any second of a year, all different."""
    chance = random.Random(_SEED)
    found = []
    for _ in range(number):
        entered = _FIRST_ENTRY + timedelta(seconds=chance.randrange(_ENTRIES_S))
        found.append(
            Stay(entered_at=entered, exited_at=entered + chance.uniform(0, 1) * (longest - shortest) + shortest)
        )
    return found


def measure(name: str, length: str, quotes: int = QUOTES, peer_s: float = PEER_S) -> Quotes:
    """Prices as many stays of a length, then some of them by the integrator; every total must agree."""
    tariff = parse_tariff(documents.read(name))
    assert isinstance(tariff, Tariff)
    calendar = WorkCalendar()
    _, shortest, longest = next(each for each in LENGTHS if each[0] == length)
    stays = stays_of(shortest, longest, quotes)
    ours_s, bills = _timed(lambda stay: price(tariff, stay, calendar), stays)
    peer_took, asked = 0.0, 0
    while peer_took < peer_s and asked < len(stays):
        some = stays[asked : asked + 5]
        took, totals = _timed(lambda stay: total_fen(tariff.document, stay, calendar), some)
        for bill, total in zip(bills[asked:], totals, strict=False):
            assert bill.total_fen == total, f"the integrator says {total} fen, the engine {bill.total_fen}"
        peer_took += took
        asked += len(some)
    lines = sum(len(bill.lines) for bill in bills) / len(bills)
    return Quotes(name, length, len(stays), len(stays) / ours_s, asked / peer_took, asked, lines)


def _timed(ask: Callable[[Stay], Answer], stays: Sequence[Stay]) -> tuple[float, list[Answer]]:
    began = time.process_time()
    answers = [ask(stay) for stay in stays]
    return time.process_time() - began, answers


def run(quotes: int = QUOTES) -> tuple[list[Row], Figures]:
    """The rows of the table, and the figures behind them."""
    rows: list[Row] = []
    figures: Figures = {}
    for length, shortest, _ in LENGTHS:
        windows = max(1, shortest // timedelta(hours=2))
        for name in TARIFFS:
            found = measure(name, length, max(500, quotes // windows))
            figures[f"{name}, {length}"] = {
                "quotes_per_s": found.ours_per_s,
                "integrator_per_s": found.peer_per_s,
                "compared": found.compared,
                "lines": found.lines,
            }
            rows.append(
                Row(
                    f"quotes, stays of {length}, {name} ({found.lines:.1f} lines)",
                    f"{found.ours_per_s:,.0f}/s a core",
                    f"{found.peer_per_s:,.0f}/s minute by minute (no public engine known)",
                    f"{found.ours_per_s / found.peer_per_s:,.0f} x",
                    f"≥ {BAR:,}/s" if length == LENGTHS[0][0] else "",
                )
            )
    return rows, figures
