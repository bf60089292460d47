"""What was asked for in a day, as the columns that decisions choose from (pure).

A day is a UTC day of slots (parking_core.slots). A stay that reaches into the days beside it counts for the part of it
that lies inside, with that part of its value: the nights are priced one by one, and the price of such a stay is the sum
of what its parts cost (prorated fares: Talluri and van Ryzin 2004, The Theory and Practice of Revenue Management, 3.4).
Columns are those of `Offer.near`, worked out for all requests at once; a test holds the two together.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.allocation.instance import Instance
from parking_core.allocation.prices import PastDay
from parking_core.places import EARTH_RADIUS_M
from parking_core.slots import SLOT_MIN, SLOTS, begins_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from numpy.typing import NDArray

    from parking_core.offers import Offer

DAY_MIN: Final = SLOTS * SLOT_MIN
_QUARTER_S, _MINUTE_S = 900, 60  # local hours begin on quarters of an hour, wherever one is


@dataclass(frozen=True, slots=True, eq=False)
class Demand:
    """Requests, in any order.

    Attributes:
        asked: int64[R] moment of asking, seconds since the epoch.
        arrive: int64[R] begin of the stay, the same.
        depart: int64[R] its end, the same.
        lat: float64[R] where the drivers wanted to go, WGS 84 degrees.
        lon: float64[R]
        walk_m: int32[R] how far they would walk.
        group: str[R] of people, as they asked.
    """

    asked: NDArray[np.int64]
    arrive: NDArray[np.int64]
    depart: NDArray[np.int64]
    lat: NDArray[np.float64]
    lon: NDArray[np.float64]
    walk_m: NDArray[np.int32]
    group: NDArray[np.str_]

    def __len__(self) -> int:
        return len(self.asked)


@dataclass(frozen=True, slots=True, eq=False)
class Ways:
    """Classes within the walk of each request, CSR by request, nearest first.

    Attributes:
        first: int64[R+1].
        row: int32[C] place in `Offer.classes`.
        value: int64[C] fen, what a grant is worth.
        buffer_min: int32[C] minutes for which the space is kept free afterwards.
    """

    first: NDArray[np.int64]
    row: NDArray[np.int32]
    value: NDArray[np.int64]
    buffer_min: NDArray[np.int32]


def ways_of(offer: Offer, demand: Demand) -> Ways:
    """What `Offer.near` gives each request within its walk, without alternatives."""
    walks = _walks_m(offer, demand)
    near = (walks <= demand.walk_m[:, None]) & _allowed(offer, demand.group)
    order = np.argsort(walks, axis=1, kind="stable")
    place = np.flatnonzero(np.take_along_axis(near, order, axis=1))
    request = (place // max(len(offer.lots), 1)).astype(np.int64)
    lot = order.reshape(-1)[place]
    value = _values(offer, demand, request, walks[request, lot])
    buffer = _buffers(offer, demand, request, lot)
    by_lot = np.argsort(offer.lot, kind="stable").astype(np.int32)
    begin = np.searchsorted(offer.lot[by_lot], np.arange(len(offer.lots) + 1))
    count = np.diff(begin)[lot]
    within = np.arange(int(count.sum())) - np.repeat(np.cumsum(count) - count, count)
    of_request = np.bincount(request, weights=count, minlength=len(demand)).astype(np.int64)
    return Ways(
        first=np.concatenate([np.zeros(1, np.int64), np.cumsum(of_request)]),
        row=by_lot[np.repeat(begin[:-1][lot], count) + within],
        value=np.repeat(value, count),
        buffer_min=np.repeat(buffer, count),
    )


def past_day(
    offer: Offer, demand: Demand, day: date, open_slots: NDArray[np.bool_], members: Mapping[str, int]
) -> PastDay:
    """The requests of a day in the groups of a night: one group a class of the offer, minutes from the day's begin.

    Args:
        offer: what is on offer now.
        demand: requests whose stays touch the day.
        day: of the demand.
        open_slots: bool[G, 3 * 288], when classes are open the day before the night, in it and the day after it.
        members: numbers of the groups of people that floors tell apart; all others are 0.
    """
    ways, zero = ways_of(offer, demand), int(begins_of(day).timestamp())
    arrive = (demand.arrive - zero) // _MINUTE_S
    depart = -((zero - demand.depart) // _MINUTE_S)
    request = np.repeat(np.arange(len(demand)), np.diff(ways.first))
    until = depart[request] + ways.buffer_min
    inside = np.minimum(until, DAY_MIN) - np.maximum(arrive[request], 0)
    open_all = _open_all(open_slots, ways.row, arrive[request], until)
    kept = np.flatnonzero(open_all & (inside > 0))
    value = ways.value[kept] * inside[kept] // (until - arrive[request])[kept]
    counts = np.bincount(request[kept], minlength=len(demand))
    begins = np.clip(arrive, 0, DAY_MIN - 1).astype(np.int32)
    night = Instance(
        **_groups(offer),
        arrive=begins,
        depart=np.maximum(np.clip(depart, 1, DAY_MIN).astype(np.int32), begins + 1),
        first=np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
        group=ways.row[kept],
        value=np.maximum(value, 1),
        until=np.minimum(until[kept], DAY_MIN),
    )
    book = ((demand.asked - zero) // _MINUTE_S).astype(np.int32)
    member = np.array([members.get(group, 0) for group in demand.group.tolist()], np.int32)
    return PastDay(night, book, member)


def _groups(offer: Offer) -> dict[str, Any]:
    """A group a class; when it is open is in the columns, and what is left of it in the residual capacity."""
    spaces = np.array([each.spaces for each in offer.classes], np.int32)
    return {
        "lot": offer.lot,
        "start": np.zeros(len(spaces), np.int32),
        "end": np.full(len(spaces), DAY_MIN, np.int32),
        "capacity": spaces,
    }


def _open_all(
    open_slots: NDArray[np.bool_], row: NDArray[np.int32], arrive: NDArray[np.int64], until: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether a class is open in every slot of [arrive, until); of stays beyond the days around nothing is known."""
    width = open_slots.shape[1]
    opened = np.zeros((len(open_slots), width + 1), np.int32)
    np.cumsum(open_slots, axis=1, out=opened[:, 1:])
    begin = np.clip(arrive // SLOT_MIN + SLOTS, 0, width)
    end = np.clip(-(-until // SLOT_MIN) + SLOTS, 0, width)
    all_of_it: NDArray[np.bool_] = opened[row, end] - opened[row, begin] == end - begin
    return all_of_it


def _walks_m(offer: Offer, demand: Demand) -> NDArray[np.int32]:
    """int32[R, L] metres to every lot, rounded up, by the same steps as one request's."""
    lots = np.radians(np.array([(lot.lat, lot.lon) for lot in offer.lots]).reshape(-1, 2))
    lat, lon = np.radians(demand.lat)[:, None], np.radians(demand.lon)[:, None]
    chord = np.sin((lots[:, 0] - lat) / 2) ** 2
    chord += np.cos(lots[:, 0]) * np.cos(lat) * np.sin((lots[:, 1] - lon) / 2) ** 2
    metres = np.ceil(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(chord, 1.0))))
    whole: NDArray[np.int32] = metres.astype(np.int32)
    return whole


def _allowed(offer: Offer, group: NDArray[np.str_]) -> NDArray[np.bool_]:
    """bool[R, L]: whether the lot makes promises to the request's group."""
    names, of_name = np.unique(group, return_inverse=True)
    table = np.array([[lot.open and lot.terms.allows(name) for lot in offer.lots] for name in names.tolist()], np.bool_)
    allowed: NDArray[np.bool_] = table.reshape(len(names), len(offer.lots))[of_name]
    return allowed


def _values(offer: Offer, demand: Demand, request: NDArray[np.int64], walk_m: NDArray[np.int32]) -> NDArray[np.int64]:
    """`grant_value_fen` of requests so far from a lot."""
    policy = offer.policy
    minutes = -(-(demand.depart - demand.arrive) // _MINUTE_S)
    worth = policy.base_fen + policy.hour_fen * minutes // 60
    value: NDArray[np.int64] = np.maximum(worth[request] - policy.walk_fen_per_100m * walk_m.astype(np.int64) // 100, 1)
    return value


def _buffers(offer: Offer, demand: Demand, request: NDArray[np.int64], lot: NDArray[np.int64]) -> NDArray[np.int32]:
    """Minutes between guests, by lot and the local hour of the departure."""
    known, of_known = np.unique(demand.depart // _QUARTER_S, return_inverse=True)
    table = np.zeros((len(offer.lots), len(known)), np.int32)
    for column, each in enumerate(known.tolist()):
        at = datetime.fromtimestamp(each * _QUARTER_S, UTC)
        table[:, column] = [offer.buffers(lot, at).guest_min for lot in offer.lots]
    return table[lot, of_known[request]]
