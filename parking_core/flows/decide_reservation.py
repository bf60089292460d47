"""Where a request goes, or why nowhere, by capacity and prices of the moment. The caller's transaction holds it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.allocation.choice import FULL, SHIFTS, best_column, moved_columns
from parking_core.offers import kept_until
from parking_core.reservations import Refusal
from parking_core.slots import SLOT_MIN, SLOTS, begins_of, day_of, minute_of, slots_of
from parking_core.store import capacity, demand
from parking_core.store.capacity import Wanted

if TYPE_CHECKING:
    from datetime import datetime

    from numpy.typing import NDArray
    from psycopg import Connection

    from parking_core.offers import Candidates, Offer
    from parking_core.reservations import Ask
    from parking_core.store.capacity import Capacity

_REACH: Final = timedelta(minutes=int(SHIFTS.max()) + SLOT_MIN)  # alternatives are so much earlier or later


@dataclass(frozen=True, slots=True, kw_only=True)
class Chosen:
    """The class that a request gets."""

    class_id: int
    walk_m: int
    buffer_min: int
    value_fen: int
    price_fen: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request is not granted, and what would be, best first: as JSON keeps it."""

    reason: Refusal
    alternatives: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class _Desk:
    """What a decision looks at. Group k is candidate k; minutes count from the first day that was read."""

    state: tuple[NDArray[np.int32], NDArray[np.float64], NDArray[np.int32], NDArray[np.int32]]
    columns: tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]
    arrive: int
    depart: int
    earliest: int
    extra: float  # fen: what a floor of acceptance adds for the group


@dataclass(frozen=True, slots=True, eq=False)
class Reach:
    """Classes that a request may get, and their capacity that has to be looked at; classes for alternatives too."""

    candidates: Candidates
    wanted: Wanted
    all: Candidates


def reach_of(offer: Offer, ask: Ask, not_in: frozenset[int] = frozenset()) -> Reach:
    """What is within the walk of a request, without the classes that are named."""
    found = offer.near(ask, not_in=not_in)
    near = found.nearest()
    return Reach(near, _wanted(offer, ask, near, timedelta()), found)


def _wanted(offer: Offer, ask: Ask, candidates: Candidates, margin: timedelta) -> Wanted:
    """Capacity of candidates during the stay, and so much before and after it."""
    longest = int(candidates.buffer_min.max(initial=0))
    parts = list(slots_of(ask.arrive_at - margin, kept_until(ask, longest) + margin))
    first_day = parts[0].day
    days = (parts[-1].day - first_day).days + 1
    part = (parts[0].first, (days - 1) * SLOTS + parts[-1].until)
    return Wanted([offer.classes[row].id for row in candidates.row.tolist()], first_day, days, part)


def decide(
    connection: Connection[Any],
    offer: Offer,
    ask: Ask,
    now: datetime,
    *,
    not_in: frozenset[int] = frozenset(),
    priced: bool = True,
    lock: bool = False,
) -> Chosen | Refused:
    """Decides a request.

    Classes of the ids in `not_in` are out of the question. Without `priced` whatever fits serves, the nearest lot first:
    for promises that were made already. With `lock` nobody can take what was read until the caller's transaction ends.
    """
    reach = reach_of(offer, ask, not_in)
    wanted = reach.wanted
    left = capacity.read(connection, wanted.classes, wanted.first_day, wanted.days, part=wanted.part, lock=lock)
    bonus = demand.bonus(connection, day_of(ask.arrive_at), ask.group) if priced else 0.0
    return decided(connection, offer, ask, reach, Look(left, now, bonus, priced))


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is left at a moment, what a floor of acceptance adds for the group, and whether prices count."""

    left: Capacity
    at: datetime
    bonus_fen: float = 0.0
    priced: bool = True


def decided(connection: Connection[Any], offer: Offer, ask: Ask, reach: Reach, look: Look) -> Chosen | Refused:
    """Decides by what was read; a refusal asks the database why, and what would be granted instead."""
    candidates, column = reach.candidates, FULL
    if candidates.refusal is None:
        desk = _desk(offer, ask, candidates, look)
        state = desk.state if look.priced else (desk.state[0], np.zeros_like(desk.state[1]), *desk.state[2:])
        column = best_column(state, desk.columns, desk.arrive, desk.extra, not look.priced)
        if column >= 0:
            return _chosen(offer, ask, candidates, column)
    if not look.priced:  # nobody is asked what he would rather have
        return Refused(candidates.refusal or Refusal.FULL)
    left = _wide(connection, offer, ask, reach)
    near = {offer.classes[row].id for row in candidates.row.tolist()}
    full = Refusal.FULL if near & left.is_open else Refusal.OUTSIDE_WINDOWS
    reason = candidates.refusal or (full if column == FULL else Refusal.KEPT_FOR_OTHERS)
    desk = _desk(offer, ask, reach.all, replace(look, left=left))
    return Refused(reason, _alternatives(desk, offer, ask, reach.all))


def _wide(connection: Connection[Any], offer: Offer, ask: Ask, reach: Reach) -> Capacity:
    """What alternatives are looked for in, and which classes are open for the stay itself."""
    wide = _wanted(offer, ask, reach.all, _REACH)
    before = (reach.wanted.first_day - wide.first_day).days * SLOTS
    first, until = (before + slot for slot in reach.wanted.part)
    shortest = int(reach.candidates.buffer_min.min(initial=0))
    until = min(
        until, first + sum(part.until - part.first for part in slots_of(ask.arrive_at, kept_until(ask, shortest)))
    )
    return capacity.read(connection, wide.classes, wide.first_day, wide.days, part=wide.part, stay=(first, until))


def _chosen(offer: Offer, ask: Ask, candidates: Candidates, column: int) -> Chosen:
    one = offer.classes[int(candidates.row[column])]
    return Chosen(
        class_id=one.id,
        walk_m=int(candidates.walk_m[column]),
        buffer_min=int(candidates.buffer_min[column]),
        value_fen=int(candidates.value[column]),
        price_fen=one.lot.terms.price_fen(ask.minutes),
    )


def _desk(offer: Offer, ask: Ask, candidates: Candidates, look: Look) -> _Desk:
    left = look.left
    cumulative = np.zeros((left.price.shape[0], left.price.shape[1] + 1))
    np.cumsum(left.price, axis=1, out=cumulative[:, 1:])
    t0 = begins_of(left.first_day)
    depart = -minute_of(t0, ask.depart_at)  # rounded up
    columns = (
        np.arange(len(candidates.row), dtype=np.int32),
        candidates.value,
        (depart + candidates.buffer_min).astype(np.int32),
    )
    return _Desk(
        state=(left.free, cumulative, offer.lot[candidates.row], offer.window[candidates.row]),
        columns=columns,
        arrive=minute_of(ask.arrive_at, t0),
        depart=depart,
        earliest=max(-minute_of(t0, look.at), 0),
        extra=look.bonus_fen,
    )


def _alternatives(desk: _Desk, offer: Offer, ask: Ask, candidates: Candidates) -> tuple[dict[str, Any], ...]:
    """The best further lot at the same time, and the nearest earlier and later time in any lot in reach."""
    groups, width = desk.state[1].shape
    end = np.full(groups, (width - 1) * SLOT_MIN, np.int32)
    bounds = (np.zeros(groups, np.int32), end, end)
    found = moved_columns(
        desk.state, bounds, desk.columns, (desk.arrive, desk.depart, desk.earliest, desk.extra), SHIFTS
    )
    chosen: dict[int, tuple[int, int]] = {}
    for shift, column in zip(SHIFTS.tolist(), found.tolist(), strict=True):
        side = (shift > 0) - (shift < 0)
        if column >= 0 and side not in chosen:
            chosen[side] = (shift, column)
    best = sorted(chosen.values(), key=lambda each: (abs(each[0]), each[0]))
    return tuple(_alternative(offer, ask, candidates, shift, column) for shift, column in best)


def _alternative(offer: Offer, ask: Ask, candidates: Candidates, shift_min: int, column: int) -> dict[str, Any]:
    lot = offer.classes[int(candidates.row[column])].lot
    shift = timedelta(minutes=shift_min)
    return {
        "lot": lot.code,
        "name": lot.name,
        "lat": lot.lat,
        "lon": lot.lon,
        "walk_m": int(candidates.walk_m[column]),
        "arrive_at": (ask.arrive_at + shift).isoformat(),
        "depart_at": (ask.depart_at + shift).isoformat(),
        "price_fen": lot.terms.price_fen(ask.minutes),
    }
