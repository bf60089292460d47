"""Everybody who waits is answered: the best allocation of what is left, then one transaction a request.

waiting ─► night ─► allocation with its bound, floors of acceptance ─► coloured: every space exists ─► granted
capacity left ─┘                                                     └► the others: decided as if they asked now

A request that is answered does not wait any more, so that a round that is killed goes on where it stopped. Promises are
made online meanwhile: whoever is overtaken is decided like those who were not allocated.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.allocation.colouring import spaces
from parking_core.allocation.dual import solve_dual
from parking_core.allocation.fair_batch import allocate_fairly
from parking_core.allocation.fairness import FairnessPolicy
from parking_core.allocation.solve import allocate
from parking_core.errors import CapacityTakenError, NotFoundError
from parking_core.flows.decide_reservation import Chosen, Refused, decide
from parking_core.flows.end_reservation import end_reservation
from parking_core.flows.grant_reservation import Draft, grant
from parking_core.flows.night_instance import NightRound, night_of
from parking_core.reservations import EventKind, Refusal, ReservationState
from parking_core.slots import begins_of, day_of
from parking_core.store import capacity, demand_records, reservations, rounds
from parking_core.store.rounds import Round

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.offers import Offer
    from parking_core.reservations import Reservation

DAY_AHEAD, LATECOMERS = "day_ahead", "latecomers"
_GAP: Final = 0.0005  # of what the requests are worth
_LIMIT_S: Final = 10.0  # of each allocation
_DAYS: Final = 5  # that a round reads: stays of 72 hours that begin in the next one and a half days
_BY: Final = "round"
_OTHERS: Final = "others"


@dataclass(frozen=True, slots=True, eq=False)
class _Plan:
    """What the allocator says: a class for each request or None, what that is worth at most, and how fair it is."""

    class_of: tuple[int | None, ...]
    bound: int
    fairness: dict[str, Any]


def answer_waiting(connection: Connection[Any], offers: OffersInForce, now: datetime) -> Round | None:
    """The day's round when its hour has come, otherwise those who cannot wait for it; None: nobody waited.

    Every few minutes: a round that was missed, or killed, is held then.
    """
    policy = offers.of(connection, now).policy
    local = now.astimezone(offers.zone)
    today = local.replace(hour=policy.day_ahead_at_hour % 24, minute=0, second=0, microsecond=0)
    if now >= today and not rounds.was_held(connection, DAY_AHEAD, today):
        return allocate_round(connection, offers, now, until=begins_of(day_of(now) + timedelta(days=2)))
    coming = today if now < today else today + timedelta(days=1)
    if not rounds.waiting(connection, coming):
        return None
    return allocate_round(connection, offers, now, until=coming, kind=LATECOMERS)


def allocate_round(
    connection: Connection[Any],
    offers: OffersInForce,
    now: datetime,
    *,
    until: datetime,
    kind: str = DAY_AHEAD,
    clock: Callable[[], float] = time.monotonic,
) -> Round:
    """Answers all who wait for a stay that begins before `until`, and keeps a record of the round."""
    begun = clock()
    offer = offers.of(connection, now)
    waiting = rounds.waiting(connection, until)
    coming = [each for each in waiting if each.arrive_at > now]
    plan = _planned(connection, offer, coming, now)
    wanted = dict(zip((each.id for each in coming), plan.class_of, strict=True))
    value = served = 0
    for request in sorted(waiting, key=lambda each: wanted.get(each.id) is None):  # the others get what is left
        worth = _answer(connection, offers, request, wanted.get(request.id), now)
        value, served = value + (worth or 0), served + (worth is not None)
    found = Round(
        kind=kind,
        at=now,
        since=now,
        until=until,
        requests=len(waiting),
        served=served,
        value_fen=value,
        upper_bound_fen=max(plan.bound, value),  # what was given back meanwhile is above the bound
        seconds=clock() - begun,
        fairness=plan.fairness,
    )
    with connection.transaction():
        rounds.keep(connection, found)
    return found


def _planned(connection: Connection[Any], offer: Offer, waiting: Sequence[Reservation], now: datetime) -> _Plan:
    if not waiting or not offer.classes:
        return _Plan((None,) * len(waiting), 0, {})
    ids = [each.id for each in offer.classes]
    first_day = day_of(now)
    with connection.transaction():
        free = capacity.read(connection, ids, first_day, _DAYS).free
        offered = capacity.read_offered(connection, ids, first_day, _DAYS)
    night = night_of(offer, waiting, np.maximum(offered, free), free, begins_of(first_day))
    group, bound, fairness = _allocated(offer, night, waiting)
    spaces(night.instance, group)  # refuses what does not fit: every stay has a space of its own
    mine = group[: night.requests]
    if np.any(group[night.requests :] < 0):
        mine = np.full(night.requests, -1, np.int32)  # something promised would be put out: decide one by one
    classes = tuple(ids[int(night.row[each])] if each >= 0 else None for each in mine.tolist())
    return _Plan(classes, bound, fairness)


def _allocated(
    offer: Offer, night: NightRound, waiting: Sequence[Reservation]
) -> tuple[NDArray[np.int32], int, dict[str, Any]]:
    """Groups, the bound of what the requests are worth, and what floors cost."""
    whole = solve_dual(night.instance).upper_bound
    part = max(whole - night.fixed_value, 0) / max(whole, 1)  # the gap counts for the requests, not for what is fixed
    solver = partial(allocate, gap=_GAP * part, time_limit_s=_LIMIT_S)
    floors = {group: share for group, share in offer.policy.floors.items() if share > 0}
    if not floors:
        found = solver(night.instance)
        return found.group_of_request, found.upper_bound - night.fixed_value, {}
    names = sorted(floors)
    policy = FairnessPolicy(members=(_OTHERS, *names), floors=(0.0, *(floors[name] for name in names)))
    member = np.zeros(night.instance.requests, np.int32)
    member[: night.requests] = [names.index(each.group) + 1 if each.group in floors else 0 for each in waiting]
    fair = allocate_fairly(night.instance, member, policy, solver=solver)
    reports = [
        {
            "group": each.name,
            "asked": each.asked,
            "served": each.served,
            "floor": each.floor,
            "outcome": each.outcome.value,
            "sentence": each.sentence(),
        }
        for each in fair.members[1:]
    ]
    return (
        fair.group_of_request,
        fair.upper_bound - night.fixed_value,
        {"cost_of_floors_fen": fair.cost_of_floors, "members": reports},
    )


def _answer(
    connection: Connection[Any], offers: OffersInForce, request: Reservation, class_id: int | None, now: datetime
) -> int | None:
    """Grants or refuses for ever, in a transaction; gives what a grant is worth, fen."""
    if class_id is not None:
        try:
            with connection.transaction():
                offer = offers.of(connection, now)
                return _granted(connection, offer, request.id, _chosen(offer, request, class_id), now)
        except (CapacityTakenError, NotFoundError):  # overtaken, or its class is not in force any more
            pass
    with connection.transaction():
        offer = offers.of(connection, now)
        standing = reservations.lock(connection, request.id)
        if standing.state is not ReservationState.WAITING:
            return None
        ask = standing.ask()
        late = Refused(Refusal.PAST)
        answer = decide(connection, offer, ask, now, lock=True) if ask.arrive_at > now else late
        if isinstance(answer, Chosen):
            return _granted(connection, offer, request.id, answer, now)
        demand_records.refused(connection, ask, answer.reason, len(answer.alternatives), now)
        detail = {"reason": answer.reason.value, "alternatives": list(answer.alternatives)}
        end_reservation(connection, standing, EventKind.REFUSED, now, by=_BY, **detail)
    return None


def _chosen(offer: Offer, request: Reservation, class_id: int) -> Chosen:
    candidates = offer.near(request.ask()).nearest()
    offer.lot_of(class_id)
    place = int(np.flatnonzero(candidates.row == offer.row_of[class_id])[0])
    return Chosen(
        class_id=class_id,
        walk_m=int(candidates.walk_m[place]),
        buffer_min=int(candidates.buffer_min[place]),
        value_fen=int(candidates.value[place]),
        price_fen=offer.lot_of(class_id).terms.price_fen(request.ask().minutes),
    )


def _granted(
    connection: Connection[Any], offer: Offer, reservation_id: int, chosen: Chosen, now: datetime
) -> int | None:
    """What the promise is worth; None: the request does not wait any more. The caller's transaction holds it."""
    standing = reservations.lock(connection, reservation_id)
    if standing.state is not ReservationState.WAITING:
        return None
    draft = Draft(
        user_id=standing.user_id,
        key=standing.code,  # of a wait nothing is stored under it
        ask=standing.ask(),
        class_id=chosen.class_id,
        walk_m=chosen.walk_m,
        buffer_min=chosen.buffer_min,
        value_fen=chosen.value_fen,
        price_fen=chosen.price_fen,
        waiting=standing,
    )
    grant(connection, offer, draft, now, by=_BY)
    return chosen.value_fen
