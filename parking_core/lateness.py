"""How late cars leave, what buffer keeps a promise, and what becomes of a car that overstays (pure).

A departure is late by the minutes between the promised end and the real exit, early ones by 0 or less. Of each lot and
each hour of the promised end the distribution is learned from history, by minutes, each level drawn to the one above it
as if that had been seen some times already:

    prior -> district -> lot -> lot and hour      P(late > b) = (weight x P_above(late > b) + seen later than b)
                                                                / (weight + seen)

That is the mean of a Dirichlet posterior. With no history at all it is the prior: 15 % overstay, by a lognormal time of
median 18 minutes (the assumption of our study of buffers; its spread, sigma 0.8, is our choice: half of the late ones
are gone after 18 minutes, nine in ten after 50). Learning costs a pass over the history, an answer microseconds.

A buffer is the smallest time b with P(the next one is let down) <= the failure rate that the operator chose. The owner
is let down whenever a car leaves later than b. The next guest is let down only when, in addition, no other space of
the lot serves: with spaces chosen at the barrier that is a small share of the late departures. This share is learned
too, from late departures with and without a driver who had to be sent elsewhere; without history it is 1, which is safe
and wasteful.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LATEST_STEP_MIN = 7 * 24 * 60  # so long the money of a promise is held after its end
_DEAREST_PERCENT = 10_000
_DEAREST_FEN = 10_000_000
MOST_LATE_MIN = 720  # what is later counts as so late: no buffer is that long
_MINUTES = range(MOST_LATE_MIN + 1)
PRIOR_LATE_SHARE = 0.15
PRIOR_MEDIAN_MIN = 18.0
PRIOR_SIGMA = 0.8
_PRIOR_WEIGHT = 50.0  # departures that the level above counts for
_LOT_WEIGHT = 100.0
_HOUR_WEIGHT = 100.0
_LET_DOWN_WEIGHT = 20.0  # late departures that all let somebody down, before any were seen
_ROUNDING = 1e-12  # a chance that equals the rate but for the last bit keeps it

Exceedance = np.ndarray[Any, np.dtype[np.float64]]  # P(late > b minutes) for b = 0 .. MOST_LATE_MIN, falling
Integers = np.ndarray[Any, np.dtype[np.int64]]


def prior_exceedance(
    late_share: float = PRIOR_LATE_SHARE, median_min: float = PRIOR_MEDIAN_MIN, sigma: float = PRIOR_SIGMA
) -> Exceedance:
    """P(late > b) where a share is late by a lognormal time (minutes)."""
    late = [0.5 * math.erfc(math.log(minute / median_min) / (sigma * math.sqrt(2))) for minute in _MINUTES[1:]]
    return np.asarray([late_share, *(late_share * chance for chance in late)])


@dataclass(frozen=True, slots=True)
class Delays:
    """History, one entry a departure (or an arrival, for no-shows); arrays of equal length.

    lot: the lots' numbers. hour: local hour of the promised moment, 0 to 23. late_min: minutes after it, rounded up;
    0 or less: punctual or early.
    """

    lot: Integers
    hour: Integers
    late_min: Integers

    def __post_init__(self) -> None:
        if not len(self.lot) == len(self.hour) == len(self.late_min):
            raise InvalidInputError(
                f"The history has {len(self.lot)} lots, {len(self.hour)} hours and {len(self.late_min)} delays; "
                "give one of each for a departure."
            )
        if bool(((self.hour < 0) | (self.hour > 23)).any()):
            raise InvalidInputError("The history has hours outside 0 to 23; give local hours of the promised moment.")


@dataclass(frozen=True, slots=True)
class Overruns:
    """Delays of a lot that were later than their buffer, and how many of them let a driver down."""

    late: int
    let_down: int

    def __post_init__(self) -> None:
        if not 0 <= self.let_down <= self.late:
            raise InvalidInputError(
                f"Of {self.late} late departures {self.let_down} let somebody down; that is no part."
            )


class LatenessModel:
    """Distributions of lateness by lot and hour, as learned; immutable.

    Args:
        history: departures to learn from; None: there are none yet.
        prior: what is assumed before any history.
        overruns: by lot, how often being late let a driver down.

    Raises:
        InvalidInputError: the prior is not the tail of a distribution.
    """

    def __init__(
        self,
        history: Delays | None = None,
        prior: Exceedance | None = None,
        overruns: Mapping[int, Overruns] | None = None,
    ) -> None:
        above = prior_exceedance() if prior is None else prior
        if (
            above.shape != (len(_MINUTES),)
            or bool((np.diff(above) > 0).any())
            or not (above[-1] >= 0 and above[0] <= 1)
        ):
            raise InvalidInputError(
                f"A prior is the chance to be later than 0 to {MOST_LATE_MIN} minutes; give {len(_MINUTES)} shares "
                "from 0 to 1 that never rise."
            )
        self._lots: dict[int, Exceedance] = {}
        self._hours: dict[tuple[int, int], Exceedance] = {}
        self._let_down = dict(overruns or {})
        if history is not None and len(history.lot):
            above = _drawn(history.late_min, above, _PRIOR_WEIGHT)
            order = np.lexsort((history.hour, history.lot))
            lot, hour, late = history.lot[order], history.hour[order], history.late_min[order]
            for here in _groups(lot):
                number = int(lot[here.start])
                self._lots[number] = _drawn(late[here], above, _LOT_WEIGHT)
                for there in _groups(hour[here]):
                    of_hour = slice(here.start + there.start, here.start + there.stop)
                    self._hours[number, int(hour[of_hour.start])] = _drawn(
                        late[of_hour], self._lots[number], _HOUR_WEIGHT
                    )
        self._district = above

    def exceedance(self, lot: int, hour: int) -> Exceedance:
        """P(late > b) of departures promised in this local hour from this lot, for b = 0 .. MOST_LATE_MIN."""
        found = self._hours.get((lot, hour))
        return found if found is not None else self._lots.get(lot, self._district)

    def let_down_share(self, lot: int) -> float:
        """The share of departures later than their buffer that let the next driver down."""
        all_late = sum(each.late for each in self._let_down.values())
        all_failed = sum(each.let_down for each in self._let_down.values())
        district = (all_failed + _LET_DOWN_WEIGHT) / (all_late + _LET_DOWN_WEIGHT)
        own = self._let_down.get(lot, Overruns(0, 0))
        return (own.let_down + _LET_DOWN_WEIGHT * district) / (own.late + _LET_DOWN_WEIGHT)

    def buffer_min(self, lot: int, hour: int, failure_rate: float, *, share: float = 1.0) -> int:
        """The smallest whole minutes b with share x P(late > b) <= failure_rate; MOST_LATE_MIN where none is.

        The hour is that of the promised end; `share` is of the late departures those that let somebody down.

        Raises:
            InvalidInputError: the rate is not within 0 and 1.
        """
        if not 0 <= failure_rate <= 1:
            raise InvalidInputError(f"The failure rate is {failure_rate}; give a share from 0 to 1, such as 0.02.")
        kept = share * self.exceedance(lot, hour) <= failure_rate + _ROUNDING
        return int(kept.argmax()) if kept[-1] else MOST_LATE_MIN


def _drawn(late_min: Integers, above: Exceedance, weight: float) -> Exceedance:
    """The share later than each minute, drawn to the level above it by its weight."""
    counts = np.bincount(np.clip(late_min, 0, MOST_LATE_MIN), minlength=MOST_LATE_MIN + 1)
    later = len(late_min) - np.cumsum(counts)
    drawn: Exceedance = (weight * above + later) / (weight + len(late_min))
    return drawn


def _groups(sorted_keys: Integers) -> list[slice]:
    """Runs of equal keys."""
    cuts = [0, *(np.flatnonzero(np.diff(sorted_keys)) + 1).tolist(), len(sorted_keys)]
    return [slice(begins, ends) for begins, ends in pairwise(cuts)]


# --- what the operator chooses ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferPolicy:
    """How often a promise may fail, and within which limits buffers lie (minutes; limits are on the grid).

    guest_failure_rate: of departures, those after which a driver may find no space of the lot.
    owner_failure_rate: of departures before the owner's return, those that may be later than the window's end.
    """

    guest_failure_rate: float = 0.01
    owner_failure_rate: float = 0.01
    grid_min: int = 5
    least_min: int = 0
    guest_most_min: int = 60
    owner_most_min: int = 120

    def __post_init__(self) -> None:
        rates = self.owner_failure_rate, self.guest_failure_rate
        limits = self.least_min, self.guest_most_min, self.owner_most_min
        if not 0 <= rates[0] <= rates[1] <= 1:
            raise InvalidInputError(
                f"Failure rates are {rates[1]} for guests and {rates[0]} for owners; give shares from 0 to 1, the "
                "owners' not above the guests'."
            )
        if self.grid_min < 1 or any(limit % self.grid_min for limit in limits):
            raise InvalidInputError(f"Buffers of {limits} minutes are not on a grid of {self.grid_min}; round them.")
        if not 0 <= limits[0] <= limits[1] <= limits[2] <= MOST_LATE_MIN:
            raise InvalidInputError(f"Buffers are limited to {limits} minutes; give least, guests' and owners' most.")


@dataclass(frozen=True, slots=True)
class Buffer:
    """Minutes to keep free after a promised end, and the share of failures that is expected with them.

    kept: whether that is within the chosen rate; False where the policy's limit is shorter than the rate asks for.
    """

    minutes: int
    failure_rate: float
    kept: bool


def guest_buffer(model: LatenessModel, policy: BufferPolicy, lot: int, hour: int) -> Buffer:
    """What to keep free between two guests of a lot, for a stay that is promised to end in this local hour."""
    share = model.let_down_share(lot)
    needed = model.buffer_min(lot, hour, policy.guest_failure_rate, share=share)
    minutes = _on_grid(needed, policy, policy.guest_most_min)
    expected = share * float(model.exceedance(lot, hour)[minutes])
    return Buffer(minutes, expected, expected <= policy.guest_failure_rate + _ROUNDING)


def owner_buffer(model: LatenessModel, policy: BufferPolicy, lot: int, hour: int) -> Buffer:
    """What to keep free before the owner's return; never shorter than between guests."""
    needed = model.buffer_min(lot, hour, policy.owner_failure_rate)
    minutes = _on_grid(needed, policy, policy.owner_most_min)
    expected = float(model.exceedance(lot, hour)[minutes])
    return Buffer(minutes, expected, expected <= policy.owner_failure_rate + _ROUNDING)


def _on_grid(minutes: int, policy: BufferPolicy, most_min: int) -> int:
    return min(max(-(-minutes // policy.grid_min) * policy.grid_min, policy.least_min), most_min)


@dataclass(frozen=True, slots=True, kw_only=True)
class NoShowPolicy:
    """How long a promise waits for its driver (minutes).

    turned_away_rate: of the drivers that do come, those that may come later than that.
    """

    turned_away_rate: float = 0.02
    least_min: int = 15
    most_min: int = 60

    def __post_init__(self) -> None:
        if not (0 <= self.turned_away_rate <= 1 and 0 <= self.least_min <= self.most_min <= MOST_LATE_MIN):
            raise InvalidInputError(
                f"A promise waits {self.least_min} to {self.most_min} minutes at a rate of {self.turned_away_rate}; "
                f"give a share from 0 to 1 and minutes in order, at most {MOST_LATE_MIN}."
            )


def no_show_grace(arrivals: LatenessModel, policy: NoShowPolicy, lot: int, hour: int) -> int:
    """Minutes after the promised beginning at which the promise of a driver who did not come is released.

    `arrivals` is learned from real entries minus promised beginnings, of those who came; the hour is that of the
    promised beginning.
    """
    needed = arrivals.buffer_min(lot, hour, policy.turned_away_rate)
    return min(max(needed, policy.least_min), policy.most_min)


# --- cars that overstay ----------------------------------------------------------------------------------------------


class OverstayStage(StrEnum):
    """What becomes of a car as its promised end comes and goes."""

    DUE = "due"
    WARNED = "warned"
    CHARGED = "charged"
    VIOLATION = "violation"


# Every stage is passed; a car that leaves stays in the stage it has reached.
STAGE_CHANGES: dict[OverstayStage, OverstayStage | None] = {
    OverstayStage.DUE: OverstayStage.WARNED,
    OverstayStage.WARNED: OverstayStage.CHARGED,
    OverstayStage.CHARGED: OverstayStage.VIOLATION,
    OverstayStage.VIOLATION: None,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class OverstayPolicy:
    """When an overstay has which consequence (minutes after the promised end), and what it costs.

    The defaults for money are a rule that Chinese sharing platforms publish: three times the price, 200 yuan at most.
    The minutes are ours.

    warned_from_min: may be negative, a reminder before the end.
    most_fen: the most that an overstay costs; None: no limit.
    """

    warned_from_min: int = -10
    charged_from_min: int = 10
    violation_from_min: int = 60
    price_percent: int = 300
    most_fen: int | None = 20_000

    def __post_init__(self) -> None:
        steps = self.warned_from_min, self.charged_from_min, self.violation_from_min
        if not (steps[0] <= steps[1] <= steps[2] and steps[1] >= 0):
            raise InvalidInputError(
                f"Overstays are warned, charged and a violation from minutes {steps}; give them in order, and charge "
                "nobody before the promised end."
            )
        if max(map(abs, steps)) > _LATEST_STEP_MIN:
            raise InvalidInputError(f"Overstays have steps at minutes {steps}; give none beyond {_LATEST_STEP_MIN}.")
        if not (0 <= self.price_percent <= _DEAREST_PERCENT and 0 <= (self.most_fen or 0) <= _DEAREST_FEN):
            raise InvalidInputError(
                f"An overstay costs {self.price_percent} %, {self.most_fen} fen at most; give 0 to {_DEAREST_PERCENT} % "
                f"and 0 to {_DEAREST_FEN} fen, neither can be negative."
            )


@dataclass(frozen=True, slots=True)
class OverstayState:
    """Where a car stands: its stage, since when, how late it is, and when which stage is next.

    since: None while it is due.
    late: zero until the promised end.
    """

    stage: OverstayStage
    since: datetime | None
    late: timedelta
    next_stage: OverstayStage | None
    next_at: datetime | None


def overstay_state(policy: OverstayPolicy, promised_end: datetime, now: datetime) -> OverstayState:
    """The state of a car that is still inside `now`, or that left at this moment (both aware)."""
    passed = [(stage, at) for stage, at in _stages(policy, promised_end) if at <= now]
    stage, since = passed[-1] if passed else (OverstayStage.DUE, None)
    following = STAGE_CHANGES[stage]
    next_at = dict(_stages(policy, promised_end))[following] if following else None
    return OverstayState(stage, since, max(now - promised_end, timedelta()), following, next_at)


def stages_reached(
    policy: OverstayPolicy, promised_end: datetime, since: datetime, now: datetime
) -> tuple[tuple[OverstayStage, datetime], ...]:
    """Stages that began later than `since` and by `now`, in order: what a job that looks now and then has to do."""
    return tuple((stage, at) for stage, at in _stages(policy, promised_end) if since < at <= now)


def _stages(policy: OverstayPolicy, promised_end: datetime) -> list[tuple[OverstayStage, datetime]]:
    minutes = {
        OverstayStage.WARNED: policy.warned_from_min,
        OverstayStage.CHARGED: policy.charged_from_min,
        OverstayStage.VIOLATION: policy.violation_from_min,
    }
    return [(stage, promised_end + timedelta(minutes=after)) for stage, after in minutes.items()]


def overstay_fen(policy: OverstayPolicy, state: OverstayState, ordinary_fen: int) -> int:
    """What an overstay costs whose time would cost `ordinary_fen` by the lot's tariff; parts of a fen are dropped."""
    if state.stage not in {OverstayStage.CHARGED, OverstayStage.VIOLATION}:
        return 0
    charged = ordinary_fen * policy.price_percent // 100
    return charged if policy.most_fen is None else min(charged, policy.most_fen)


def ends_entitlement(most_violations: int, violations: int) -> bool:
    """Whether so many violations end a permit; its terms say how many it survives (three in Wuxi, 2022)."""
    return violations > most_violations
