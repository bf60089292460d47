"""What is wrong with how a device sees its bays (pure).

A condition begins at its limit and ends where it is plainly over, not where it falls short of the limit by a hair.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.health.conditions import NEVER, Condition, Finding
from parking_core.health.learning import row_of, surprise

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from parking_core.health.activity import LotClock
    from parking_core.health.learning import Usual

    Columns = np.ndarray[Any, np.dtype[np.void]]
    Flags = np.ndarray[Any, np.dtype[np.bool_]]
    Floats = np.ndarray[Any, np.dtype[np.float64]]
    Integers = np.ndarray[Any, np.dtype[np.int64]]

_LEAST_SURPRISE: Final = 12.0  # e^-12, were changes independent
_MARGIN: Final = 1.5
_MOST_BAYS: Final = 0.9  # of a lot: a few are used in spells only, and must not speak for the others
_LEAST_BAY_DAYS: Final = 300  # of a lot's past; below it most bays of the district are the measure
_LEAST_DAYS: Final = 3  # of its own past, before anybody is called stuck or frozen
_FROZEN_CHANCE: Final = 1e-9  # of so many repeats in a row by accident
_LEAST_RUN: Final = 8
_THAWED_RUN: Final = 3
_FLAPPING_CHANCE: Final = 1e-5
_LEAST_FLICKERS: Final = 6  # a lorry that passes, a door that swings: a few a day are nothing
_CALMED: Final = 0.5  # of the limit
_DISAGREE_US: Final = 600_000_000  # two sensors need not see a car in the same minute
_LANES_EMPTY_US: Final = 1_800_000_000  # a car that has just come may not have been booked yet
_FRESH_US: Final = 86_400_000_000  # what a device said longer ago proves nothing today


@dataclass(frozen=True, slots=True)
class Bays:
    """Bays as they stand now.

    Attributes:
        rows: BAY_DAY of the running day, ordered by (space_id, device_id).
        lot: row of each bay's lot.
        heard_us: when each bay's device was heard.
        flickers_before: of the day before.
        expected: BAY_USUAL of each row; `days` 0 where nothing was learned.
        calm: surprise of the time since the last change.
    """

    rows: Columns
    lot: Integers
    heard_us: Integers
    flickers_before: Integers
    expected: Columns
    calm: Floats


def stand(
    rows: Columns, lot: Integers, heard_us: Integers, flickers_before: Integers, *, usual: Usual, clock: LotClock
) -> Bays:
    """Bays beside what is usual for them; for a silent device the calm ends when it was heard last."""
    place = row_of(usual.bays, rows["space_id"], rows["device_id"])
    expected = np.zeros(len(rows), usual.bays.dtype)
    expected["same"], expected["flickers"] = usual.pool.same, usual.pool.flickers
    expected[place >= 0] = usual.bays[place[place >= 0]]
    until_heard = clock.at(lot, heard_us)
    today = np.maximum(0, until_heard - clock.at(lot, np.full(len(lot), clock.today_us)))
    still = until_heard - clock.at(lot, rows["changed_us"])
    calm = surprise(still, expected["changes"] + rows["changes"], expected["activity"] + today)
    calm[rows["changed_us"] == NEVER] = 0
    return Bays(rows, lot, heard_us, flickers_before, expected, calm)


def stuck(bays: Bays, usual: Usual) -> list[Finding]:
    """No change for longer than the past makes plausible.

    A free bay of a busy lot does not wait: its measure is the longest that it and most bays of its lot were free. A car may
    stay for a week in any lot: the measure of occupied bays is what one of thousands in the district comes out of in a day.
    """
    if not len(bays.rows):
        return []
    taken = bays.rows["occupied"]
    occupied_limit = max(_LEAST_SURPRISE, usual.pool.calm_taken)
    limit = np.where(taken, occupied_limit, _free_limit(bays))
    on = (bays.calm > limit) & (bays.expected["days"] >= _LEAST_DAYS)
    return _findings(
        Condition.STUCK,
        bays,
        on,
        bays.rows["changed_us"],
        lambda row: {
            "unchanged_s": int(bays.heard_us[row] - bays.rows["changed_us"][row]) // 1_000_000,
            "surprise": round(float(bays.calm[row]), 1),
            "limit": round(float(limit[row]), 1),
            "occupied": bool(bays.rows["occupied"][row]),
        },
    )


def _free_limit(bays: Bays) -> Floats:
    """Surprise of a time that a bay is free for no other reason than a fault: half as much again as its own and most others'."""
    longest = bays.expected["calm_free"]
    order = np.lexsort((longest, bays.lot))
    number = np.bincount(bays.lot)
    place = np.cumsum(number) - number + np.maximum(0, number - 1) * _MOST_BAYS
    most = np.where(number > 0, longest[order][np.minimum(place.astype(np.int64), len(longest) - 1)], 0)
    short = np.bincount(bays.lot, bays.expected["days"]) < _LEAST_BAY_DAYS
    most[short] = np.quantile(longest, _MOST_BAYS)
    return np.asarray(np.maximum(_LEAST_SURPRISE, _MARGIN * np.maximum(longest, most[bays.lot])))


def frozen(bays: Bays, already: Collection[int]) -> list[Finding]:
    """The same measurements more often in a row than chance allows."""
    same = np.clip(bays.expected["same"], 1e-3, 1 - 1e-6)
    limit = np.maximum(_LEAST_RUN, np.ceil(math.log(_FROZEN_CHANCE) / np.log(same)))
    on = (bays.rows["run"] >= limit) & (bays.expected["days"] >= _LEAST_DAYS)
    on |= _is_one_of(bays.rows["device_id"], already) & (bays.rows["run"] >= _THAWED_RUN)
    return _findings(
        Condition.FROZEN,
        bays,
        on,
        bays.rows["run_us"],
        lambda row: {
            "repeats": int(bays.rows["run"][row]),
            "limit": int(limit[row]),
            "usually_the_same": round(float(same[row]), 3),
        },
    )


def flapping(bays: Bays, already: Collection[int], day_us: int) -> list[Finding]:
    """More stays of seconds today than by chance; over when neither today nor the day before has half as many."""
    limit = np.maximum(_LEAST_FLICKERS, poisson_limit(bays.expected["flickers"], _FLAPPING_CHANCE))
    today = bays.rows["flickers"]
    on = today >= limit
    most = np.maximum(today, bays.flickers_before)
    on |= _is_one_of(bays.rows["device_id"], already) & (most >= _CALMED * limit)
    return _findings(
        Condition.FLAPPING,
        bays,
        on,
        np.full(len(today), day_us),
        lambda row: {
            "short_stays": int(today[row]),
            "day_before": int(bays.flickers_before[row]),
            "limit": int(limit[row]),
        },
    )


def contradicted(bays: Bays, now_us: int) -> list[Finding]:
    """Two devices of one bay that say different things, both heard, for longer than a car takes to park."""
    space = bays.rows["space_id"]
    told = (bays.rows["last_us"] != NEVER) & (now_us - bays.heard_us < _FRESH_US)
    pairs = np.flatnonzero((space[1:] == space[:-1]) & told[1:] & told[:-1])
    differ = bays.rows["occupied"][pairs] != bays.rows["occupied"][pairs + 1]
    pairs = pairs[differ]
    since = np.maximum(bays.rows["changed_us"][pairs], bays.rows["changed_us"][pairs + 1])
    pairs, since = pairs[now_us - since > _DISAGREE_US], since[now_us - since > _DISAGREE_US]
    on, began, other = np.zeros(len(space), np.bool_), np.full(len(space), NEVER), np.zeros(len(space), np.int64)
    for one, two in ((pairs, pairs + 1), (pairs + 1, pairs)):
        on[one], began[one], other[one] = True, since, bays.rows["device_id"][two]
    return _findings(
        Condition.CONTRADICTED,
        bays,
        on,
        began,
        lambda row: {"occupied": bool(bays.rows["occupied"][row]), "device_id": int(other[row])},
    )


def implausible(bays: Bays, lanes_inside: Integers, now_us: int) -> list[Finding]:
    """Occupied although lanes counted every vehicle out; `lanes_inside` by lot row, -1: nobody counts."""
    inside = lanes_inside[bays.lot]
    quiet = now_us - np.maximum(bays.rows["changed_us"], 0) > _LANES_EMPTY_US
    on = (inside == 0) & bays.rows["occupied"] & quiet & (now_us - bays.heard_us < _FRESH_US)
    return _findings(
        Condition.IMPLAUSIBLE,
        bays,
        on,
        bays.rows["changed_us"],
        lambda row: {
            "occupied_s": int(now_us - bays.rows["changed_us"][row]) // 1_000_000,
            "inside_by_lanes": int(inside[row]),
        },
    )


def poisson_limit(mean: Floats, chance: float) -> Floats:
    """Least number whose Poisson probability, or that of more, is below `chance` (Chernoff's bound: never too low)."""
    limit = np.ceil(mean + 1)
    for _ in range(60):  # means are a few a day
        bound = -mean + limit - limit * np.log(limit / np.maximum(mean, 1e-12))
        short = bound > math.log(chance)
        if not short.any():
            break
        limit = limit + short
    return np.asarray(limit)


def _is_one_of(device: Columns, already: Collection[int]) -> Flags:
    return np.isin(device, np.fromiter(already, np.int64, len(already)))


def _findings(
    condition: Condition, bays: Bays, on: Flags, since_us: Integers, evidence: Callable[[int], dict[str, Any]]
) -> list[Finding]:
    """One a device: of several bays, the one that has been wrong for longest."""
    found: dict[int, Finding] = {}
    for row in np.flatnonzero(on).tolist():
        device, since = int(bays.rows["device_id"][row]), int(since_us[row])
        if device not in found or since < found[device].since_us:
            told = {"space_id": int(bays.rows["space_id"][row]), **evidence(row)}
            found[device] = Finding(device, condition, since, told)
    return list(found.values())
