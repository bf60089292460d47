"""The allocator's peers, each in a process of its own: OR-Tools and highspy cannot be loaded into one.

    python -m benchmarks.allocation_peers highs|cp-sat|cp-sat-intervals INSTANCE.json [--seconds N] [--gap G]

prints one JSON object: value, bound, seconds (building the model included), status and the group of every request.

- highs: HiGHS branch and cut on the flow form. Consecutive capacity rows of a group are subtracted from one another, so
  that a column has two nonzeros in them, where it begins and where it ends, instead of one at each start it covers.
- cp-sat: one Boolean a column and one linear row a maximal clique of overlapping columns. CP-SAT's scheduling
  constraints are the natural form (cp-sat-intervals: optional intervals, one Cumulative a group), but their bound is
  that of energy, not of the linear relaxation; both are run on the smallest night to show it.

Greedies have no bound and need no solver; they run in the caller's process.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.allocation.compiled import compiled
from parking_core.allocation.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Longs = NDArray[np.int64]

CORES = len(os.sched_getaffinity(0))
_NO_BOUND = 1e18
_LARGE = 100_000  # columns
_HIGHS_LARGE = (
    # HiGHS 1.16 as it comes spends one to three minutes in these three on the night of 4,000 spaces x 20,000 requests
    # before its first linear program, whatever its time limit. Smaller nights it solves better as it comes.
    ("presolve", "off"),
    ("mip_detect_symmetry", False),
    ("mip_heuristic_run_feasibility_jump", False),
)
_GRACE_S = 120.0  # to build a model, and to notice that the time is up


@dataclass(frozen=True, slots=True)
class Answer:
    """What a peer found."""

    value: int
    bound: float | None  # None: it has none
    seconds: float
    status: str
    groups: list[int]  # of every request, -1 refused


def asked(peer: str, path: Path, seconds: float, gap: float) -> Answer:
    """The answer of a peer in a process of its own.

    Raises:
        RuntimeError: the process failed; it says why.
    """
    words = [sys.executable, "-m", "benchmarks.allocation_peers", peer, str(path)]
    words += ["--seconds", str(seconds), "--gap", str(gap)]
    try:
        run = subprocess.run(words, capture_output=True, text=True, timeout=seconds + _GRACE_S, check=False)
    except subprocess.TimeoutExpired:
        requests = len(json.loads(path.read_text("utf-8"))["requests"]["a"])
        return Answer(0, None, seconds + _GRACE_S, "did not keep its time limit", [-1] * requests)
    if run.returncode != 0:
        raise RuntimeError(f"{peer} failed: {(run.stderr.strip() or run.stdout.strip()).splitlines()[-1]}")
    return Answer(**json.loads(run.stdout.splitlines()[-1]))


def greedy(instance: Instance, order: Longs) -> Answer:
    """Requests in an order, each into its best column that still fits."""
    _fill(instance, order[:1])  # compiled before the clock runs
    began = time.perf_counter()
    groups, value = _fill(instance, order)
    return Answer(value, None, time.perf_counter() - began, "heuristic", groups)


def _fill(instance: Instance, order: Longs) -> tuple[list[int], int]:
    """Groups of all requests, and their value."""
    by_value = np.lexsort((-instance.value, instance.request_of_column))
    group, until = instance.group[by_value], instance.until[by_value]
    horizon = int(until.max(initial=0)) + 1
    held = np.zeros((instance.groups, horizon), np.int32)
    chosen = _filled(order, instance.first, group, until, (instance.arrive, instance.capacity, held))
    taken = by_value[chosen[chosen >= 0]]
    groups = np.full(instance.requests, -1, np.int32)
    groups[instance.request_of_column[taken]] = instance.group[taken]
    return groups.tolist(), int(instance.value[taken].sum())


@compiled
def _filled(
    order: Longs,
    first: Longs,
    group: NDArray[np.int32],
    until: NDArray[np.int32],
    rest: tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]],
) -> Longs:
    arrive, capacity, held = rest
    chosen = np.full(len(arrive), -1, np.int64)
    for request in order:
        for column in range(first[request], first[request + 1]):
            mine = group[column]
            fits = True
            for minute in range(arrive[request], until[column]):
                if held[mine, minute] >= capacity[mine]:
                    fits = False
                    break
            if fits:
                held[mine, arrive[request] : until[column]] += 1
                chosen[request] = column
                break
    return chosen


def highs(instance: Instance, seconds: float, gap: float) -> Answer:
    """HiGHS branch and cut on the flow form."""
    highspy: Any = importlib.import_module("highspy")  # untyped
    began = time.perf_counter()
    row, column, sign, capacity_row, rows = _flow_rows(instance)
    columns, slacks = instance.columns, len(capacity_row)
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns + slacks, rows
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = np.concatenate((instance.value, np.zeros(slacks)))
    lp.col_lower_ = np.zeros(columns + slacks)
    lp.col_upper_ = np.concatenate((np.ones(columns), capacity_row))
    right = np.zeros(rows)
    right[: instance.requests] = 1.0
    group_first = _first_rows(instance)
    right[instance.requests + group_first[:, 0]] = instance.capacity[group_first[:, 1]]
    lp.row_lower_ = np.concatenate((np.full(instance.requests, -highspy.kHighsInf), right[instance.requests :]))
    lp.row_upper_ = right
    order = np.lexsort((row, column))
    lp.a_matrix_.start_ = np.searchsorted(column[order], np.arange(columns + slacks + 1))
    lp.a_matrix_.index_, lp.a_matrix_.value_ = row[order], sign[order]
    lp.integrality_ = [highspy.HighsVarType.kInteger] * columns + [highspy.HighsVarType.kContinuous] * slacks
    solver = highspy.Highs()
    options = [("output_flag", False), ("time_limit", seconds), ("mip_rel_gap", gap)]
    for option, setting in (*options, *(_HIGHS_LARGE if columns > _LARGE else ())):
        assert solver.setOptionValue(option, setting) == highspy.HighsStatus.kOk, option
    assert solver.passModel(lp) == highspy.HighsStatus.kOk
    solver.run()
    info, took = solver.getInfo(), time.perf_counter() - began
    found = np.array(solver.getSolution().col_value)[:columns]
    status = solver.modelStatusToString(solver.getModelStatus())
    chosen = np.flatnonzero(found > 0.5) if len(found) else np.zeros(0, np.int64)
    return _answer(instance, chosen, info.mip_dual_bound, took, status)


def _starts(instance: Instance) -> tuple[Longs, Longs, Longs]:
    """Different (group, start) pairs of the columns in order, as keys; which one a column begins at and ends before."""
    span = int(max(instance.until.max(initial=0), instance.arrive.max(initial=0))) + 1
    begins = instance.group.astype(np.int64) * span + instance.arrive[instance.request_of_column]
    keys = np.unique(begins)
    ends = np.searchsorted(keys, instance.group.astype(np.int64) * span + instance.until)
    return keys // span, np.searchsorted(keys, begins), ends


def _first_rows(instance: Instance) -> Longs:
    """[n, 2]: the first capacity row of every group that has one, and the group."""
    group_of_row, _, _ = _starts(instance)
    groups, at = np.unique(group_of_row, return_index=True)
    return np.column_stack((at, groups))


def _flow_rows(instance: Instance) -> tuple[Longs, Longs, NDArray[np.float64], NDArray[np.int32], int]:
    """Entries (row, column, sign) of the flow form, the bound of each slack, and the number of rows.

    Rows 0 to R-1: a request has one column at most. Then for each start of a group: what begins there, less what has
    ended since the start before, plus the slack less the one before, is nothing (at the group's first start: its
    capacity).
    """
    group_of_row, begin, end = _starts(instance)
    columns, slacks = np.arange(instance.columns), np.arange(len(group_of_row))
    ends_inside = np.zeros(instance.columns, np.bool_)
    inside = end < len(group_of_row)
    ends_inside[inside] = group_of_row[end[inside]] == instance.group[inside]
    follows = np.flatnonzero(group_of_row[1:] == group_of_row[:-1]) + 1
    shift = instance.requests
    row = (
        instance.request_of_column,
        shift + begin,
        shift + end[ends_inside],
        shift + slacks,
        shift + follows,
    )
    column = (
        columns,
        columns,
        columns[ends_inside],
        instance.columns + slacks,
        instance.columns + follows - 1,
    )
    sign = np.repeat([1.0, 1.0, -1.0, 1.0, -1.0], [len(part) for part in row])
    bound = instance.capacity[group_of_row]
    return np.concatenate(row).astype(np.int64), np.concatenate(column), sign, bound, shift + len(slacks)


def cp_sat(instance: Instance, seconds: float, gap: float) -> Answer:
    """CP-SAT on one Boolean a column and one linear row a maximal clique."""
    began = time.perf_counter()
    model, chosen = _cp_model(instance)
    group_of_row, begin, end = _starts(instance)
    order = np.argsort(begin, kind="stable")
    members: set[int] = set()
    at = 0
    ended: dict[int, list[int]] = {}
    for row, group in enumerate(group_of_row.tolist()):
        if row == 0 or group != group_of_row[row - 1]:
            members, ended = set(), {}
        members.difference_update(ended.pop(row, ()))
        while at < len(order) and begin[order[at]] == row:
            column = int(order[at])
            members.add(column)
            ended.setdefault(int(end[column]), []).append(column)
            at += 1
        last = row + 1 == len(group_of_row) or group_of_row[row + 1] != group
        if (last or row + 1 in ended) and len(members) > instance.capacity[group]:  # others lie within the next row
            model.Add(sum(chosen[each] for each in members) <= int(instance.capacity[group]))
    return _cp_solved(instance, model, chosen, (began, seconds, gap))


def cp_sat_intervals(instance: Instance, seconds: float, gap: float) -> Answer:
    """CP-SAT on optional intervals and one Cumulative a group."""
    began = time.perf_counter()
    model, chosen = _cp_model(instance)
    request = instance.request_of_column
    intervals: dict[int, list[Any]] = {}
    for column, present in enumerate(chosen):
        arrive, until = int(instance.arrive[request[column]]), int(instance.until[column])
        interval = model.NewOptionalFixedSizeIntervalVar(arrive, until - arrive, present, "")
        intervals.setdefault(int(instance.group[column]), []).append(interval)
    for group, found in intervals.items():
        model.AddCumulative(found, [1] * len(found), int(instance.capacity[group]))
    return _cp_solved(instance, model, chosen, (began, seconds, gap))


def _cp_model(instance: Instance) -> tuple[Any, list[Any]]:
    cp_model: Any = importlib.import_module("ortools.sat.python.cp_model")  # only the bench environment has it
    model = cp_model.CpModel()
    chosen = [model.NewBoolVar("") for _ in range(instance.columns)]
    first = instance.first.tolist()
    for request in range(instance.requests):
        if first[request + 1] - first[request] > 1:
            model.AddAtMostOne(chosen[first[request] : first[request + 1]])
    model.Maximize(sum(value * column for value, column in zip(instance.value.tolist(), chosen, strict=True)))
    return model, chosen


def _cp_solved(
    instance: Instance,
    model: Any,  # noqa: ANN401  # OR-Tools is untyped here: only the bench environment has it
    chosen: list[Any],
    limits: tuple[float, float, float],
) -> Answer:
    cp_model: Any = importlib.import_module("ortools.sat.python.cp_model")
    began, seconds, gap = limits
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = CORES
    solver.parameters.max_time_in_seconds = seconds
    solver.parameters.relative_gap_limit = gap
    status = solver.Solve(model)
    took = time.perf_counter() - began
    found = status in {cp_model.OPTIMAL, cp_model.FEASIBLE}
    taken = np.array([column for column, each in enumerate(chosen) if found and solver.Value(each)], np.int64)
    return _answer(instance, taken, solver.BestObjectiveBound(), took, str(solver.StatusName(status)))


def _answer(instance: Instance, taken: Longs, bound: float, seconds: float, status: str) -> Answer:
    groups = np.full(instance.requests, -1, np.int32)
    groups[instance.request_of_column[taken]] = instance.group[taken]
    known = float(bound) if 0 < bound < _NO_BOUND else None  # nothing found, nothing proven: solvers report 0 or much
    return Answer(int(instance.value[taken].sum()), known, seconds, status, groups.tolist())


PEERS: dict[str, Callable[[Instance, float, float], Answer]] = {
    "highs": highs,
    "cp-sat": cp_sat,
    "cp-sat-intervals": cp_sat_intervals,
}


def main() -> None:
    """Solves one file with one peer and prints its answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=tuple(PEERS))
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--gap", type=float, default=5e-4)
    wanted = parser.parse_args()
    answer = PEERS[wanted.peer](Instance.from_file(wanted.file), wanted.seconds, wanted.gap)
    print(json.dumps(asdict(answer)))


if __name__ == "__main__":
    main()
