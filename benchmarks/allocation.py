"""Shared spaces allocated for a night: ours beside HiGHS, CP-SAT and greedy rules on the same nights in the same run.

    python -m benchmarks.allocation [FILE.json ...] [--limit S] [--peers S] [--all-peers] [--growth N] [--json FILE]

prints the long table: the share of the best certified bound first, then value, own bound, own gap and seconds. Nights
come from parking_core.allocation.generator; files of the format shared-parking-alloc-1 take their place where given.

Everyone is given the same columns, is asked for a gap of 0.05 % and has all cores. Seconds are those of the wall and
begin when the columns are there: building a model counts, reading and interpreting the file does not, compilation that
is done once per machine neither. Every result, ours and theirs, goes through the checker.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.allocation_peers import asked, greedy
from benchmarks.table import Row
from parking_core.allocation import colouring
from parking_core.allocation.generator import NightSpec, draw_night
from parking_core.allocation.instance import Instance
from parking_core.allocation.solve import allocate, warm_up

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from benchmarks.allocation_peers import Answer

    Figures = dict[str, object]

GAP = 5e-4
PEER_S = 20.0
PEERS = ("highs", "cp-sat")
_LARGEST_CP_SAT = 60_000  # columns; building larger clique models takes minutes
_SEED = 1
_GREEDY = "greedy, "


@dataclass(frozen=True, slots=True)
class Case:
    """A night to allocate, and what is expected of ours."""

    name: str
    document: dict[str, Any]
    gap: float = GAP  # to stop at
    limit_s: float = 5.0
    peers: tuple[str, ...] = PEERS

    @property
    def bar(self) -> str:
        """The expectation for people."""
        return f"gap ≤ {100 * self.gap:g} % in {self.limit_s:g} s"


@dataclass(frozen=True, slots=True)
class Found:
    """What one method made of one night; fen and seconds."""

    case: str
    method: str
    value: int
    bound: int | None  # its own certificate; None: it has none
    seconds: float
    served: int
    status: str

    @property
    def gap(self) -> float | None:
        """By its own bound."""
        if self.bound is None:
            return None
        return (self.bound - self.value) / self.bound if self.bound else 0.0


def cases() -> list[Case]:
    """The nights of the table."""
    return [
        Case("200 x 500", _drawn(200, 500), peers=("highs", "cp-sat", "cp-sat-intervals")),
        Case("200 x 5,000, crowded", _drawn(200, 5_000), gap=2.5e-3, limit_s=1.0),
        Case("1,000 x 5,000", _drawn(1_000, 5_000)),
        Case("1,000 x 5,000, own windows", _drawn(1_000, 5_000, own=True), gap=5e-3, limit_s=30.0),
        Case("4,000 x 20,000", _drawn(4_000, 20_000)),
    ]


def _drawn(spaces: int, requests: int, *, own: bool = False) -> dict[str, Any]:
    return draw_night(NightSpec(spaces, requests, own_windows=own)).document()


def measure(case: Case, peer_s: float = PEER_S, *, all_peers: bool = False) -> list[Found]:
    """Everyone's results of one night, ours first; each is checked."""
    instance = Instance.from_document(case.document)
    found = [_ours(case, instance)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "night.json"
        path.write_text(json.dumps(case.document), "utf-8")
        found += [
            _checked(case, instance, peer, asked(peer, path, peer_s, GAP))
            for peer in case.peers
            if peer == "highs" or all_peers or instance.columns <= _LARGEST_CP_SAT
        ]
    orders = _orders(case.document, instance)
    return found + [_checked(case, instance, name, greedy(instance, order)) for name, order in orders]


def _ours(case: Case, instance: Instance) -> Found:
    warm_up()
    began = time.perf_counter()
    result = allocate(instance, gap=case.gap, time_limit_s=case.limit_s, seed=_SEED)
    spaces = colouring.spaces(instance, result.group_of_request)
    seconds = time.perf_counter() - began
    claim = colouring.Claim(result.value, result.upper_bound, result.gap)
    groups = result.group_of_request.tolist()
    wrong = colouring.violations(case.document, groups, spaces.tolist(), claim)
    assert not wrong, wrong[:3]
    served = int(np.sum(result.group_of_request >= 0))
    return Found(case.name, "ours", result.value, result.upper_bound, seconds, served, "certified")


def _checked(case: Case, instance: Instance, method: str, answer: Answer) -> Found:
    bound = None if answer.bound is None else max(math.floor(answer.bound + 1e-6), answer.value)
    spaces = colouring.spaces(instance, np.array(answer.groups, np.int32)).tolist()
    top = bound or answer.value
    claim = colouring.Claim(answer.value, top, (top - answer.value) / top if top else 0.0)
    wrong = colouring.violations(case.document, answer.groups, spaces, claim)
    assert not wrong, (method, wrong[:3])
    served = sum(group >= 0 for group in answer.groups)
    return Found(case.name, method, answer.value, bound, answer.seconds, served, answer.status)


def _orders(document: dict[str, Any], instance: Instance) -> Iterable[tuple[str, np.ndarray[Any, Any]]]:
    """Orders of the greedies; a request is worth its best column."""
    best = np.zeros(instance.requests)
    np.maximum.at(best, instance.request_of_column, instance.value)
    yield f"{_GREEDY}value", np.argsort(-best, kind="stable")
    yield f"{_GREEDY}value an hour", np.argsort(-best / (instance.depart - instance.arrive), kind="stable")
    book = document["requests"].get("book")
    if book is not None:
        yield f"{_GREEDY}first come", np.argsort(np.array(book), kind="stable")


@dataclass(frozen=True, slots=True)
class Growth:
    """Ours on a night of one size; seconds."""

    spaces: int
    requests: int
    columns: int
    seconds: float
    gap: float


def growth(sizes: int = 5, limit_s: float = 60.0) -> list[Growth]:
    """Ours on ever larger nights of the same load, as many sizes as asked for."""
    specs = (
        NightSpec(200, 1_000),
        NightSpec(1_000, 5_000),
        NightSpec(4_000, 20_000),
        NightSpec(10_000, 50_000, lots=100),
        NightSpec(20_000, 100_000, lots=200),
    )
    found = []
    for spec in specs[:sizes]:
        case = Case(f"{spec.spaces:,} x {spec.requests:,}", draw_night(spec).document(), limit_s=limit_s)
        instance = Instance.from_document(case.document)
        mine = _ours(case, instance)
        assert mine.gap is not None
        found.append(Growth(spec.spaces, spec.requests, instance.columns, mine.seconds, mine.gap))
    return found


def exponent(points: Sequence[Growth]) -> float:
    """The p of seconds ~ columns ** p, by least squares on logarithms."""
    slope, _ = np.polyfit(np.log([each.columns for each in points]), np.log([each.seconds for each in points]), 1)
    return float(slope)


def run(*, quick: bool = False, peer_s: float = PEER_S) -> tuple[list[Row], Figures]:
    """The rows of the table, and the figures behind them."""
    rows: list[Row] = []
    figures: Figures = {}
    for case in cases()[: 1 if quick else None]:
        found = measure(case, 5.0 if quick else peer_s)
        figures[case.name] = [asdict(each) for each in found]
        rows += _rows(case, found)
    grown = growth(2 if quick else 5)
    figures["growth"] = [asdict(each) for each in grown]
    for before, each in zip([None, *grown], grown, strict=False):
        rows.append(
            Row(
                f"allocation grows: {each.spaces:,} spaces x {each.requests:,} requests ({each.columns:,} columns)",
                f"{each.seconds:.2f} s, gap {100 * each.gap:.3f} %",
                "",
                ""
                if before is None
                else f"{each.seconds / before.seconds:.1f} x for {each.columns / before.columns:.1f} x",
                "",
            )
        )
    if len(grown) > 2:
        rows.append(Row("allocation grows: seconds ~ columns ^ p", f"p = {exponent(grown):.2f}", "", "", ""))
    return rows, figures


def _rows(case: Case, found: Sequence[Found]) -> list[Row]:
    best = _best_bound(found)
    mine, *others = found
    name, ours = f"allocation, {case.name}", _figure(mine, best)
    greedies = [each for each in others if each.method.startswith(_GREEDY)]
    rows = [
        Row(name, ours, f"{other.method}: {_figure(other, best)}", _ratio(mine, other), case.bar)
        for other in others
        if other not in greedies
    ]
    shares = ", ".join(f"{each.method.removeprefix(_GREEDY)} {100 * each.value / best:.1f} %" for each in greedies)
    beside = f"greedy: {shares} in {max(each.seconds for each in greedies):.3f} s at most"
    return [*rows, Row(name, ours, beside, _ratio(mine, max(greedies, key=lambda each: each.value)), case.bar)]


def _ratio(mine: Found, other: Found) -> str:
    value = f"{mine.value / other.value:.3f} x value, " if other.value else ""
    times = other.seconds / mine.seconds
    return value + (f"{times:.3g} x faster" if times >= 1 else f"{1 / times:.3g} x slower")


def _best_bound(found: Iterable[Found]) -> int:
    return min(each.bound for each in found if each.bound is not None)


def _figure(found: Found, best: int) -> str:
    if not found.value:
        return f"nothing in {found.seconds:.0f} s"
    gap = "no bound" if found.gap is None else f"gap {100 * found.gap:.3f} %"
    return f"{100 * found.value / best:.2f} % of the bound, {gap}, {found.seconds:.2f} s"


def table(found: Sequence[Found]) -> str:
    """Every method of one night, a line each."""
    best = _best_bound(found)
    lines = [f"{'share':>9} {'value':>12} {'bound':>12} {'gap %':>9} {'seconds':>9} {'served':>7}  method (status)"]
    for each in found:
        bound = "-" if each.bound is None else f"{each.bound:,}"
        gap = "-" if each.gap is None else f"{100 * each.gap:.4f}"
        numbers = f"{100 * each.value / best:8.3f}% {each.value:12,} {bound:>12} {gap:>9} {each.seconds:9.3f}"
        lines.append(f"{numbers} {each.served:7,}  {each.method} ({each.status})")
    return "\n".join([found[0].case, *lines])


def main() -> None:
    """The long table, with options for long runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, help="nights in the format shared-parking-alloc-1")
    parser.add_argument("--limit", type=float, default=None, help="seconds of ours")
    parser.add_argument("--gap", type=float, default=None, help="gap at which ours stops")
    parser.add_argument("--peers", type=float, default=PEER_S, help="seconds of each peer; 0: none")
    parser.add_argument("--all-peers", action="store_true", help="CP-SAT on the largest nights too")
    parser.add_argument("--growth", type=int, default=0, choices=range(6), help="also so many sizes of growth")
    parser.add_argument("--json", type=Path, help="also write all figures to this file")
    wanted = parser.parse_args()
    chosen = [Case(path.stem, json.loads(path.read_text("utf-8"))) for path in wanted.files] or cases()
    figures: Figures = {}
    for each in chosen:
        peers = each.peers if wanted.peers > 0 else ()
        case = Case(each.name, each.document, wanted.gap or each.gap, wanted.limit or each.limit_s, peers)
        found = measure(case, wanted.peers, all_peers=wanted.all_peers)
        figures[case.name] = [asdict(one) for one in found]
        print(table(found), flush=True)
    if wanted.growth:
        grown = growth(wanted.growth)
        figures["growth"] = [asdict(one) for one in grown]
        for size in grown:
            print(f"{size.spaces:,} x {size.requests:,}: {size.seconds:.2f} s, gap {100 * size.gap:.4f} %", flush=True)
    if wanted.json:
        wanted.json.write_text(json.dumps(figures, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
