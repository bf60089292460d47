"""What a request for a shared space may choose from: classes of spaces within its walk, what each is worth (pure).

Walks are straight lines. What a grant is worth and how long it takes its space is decided here, once, for decisions
online, the forecast and the day-ahead round alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from parking_core.errors import NotFoundError
from parking_core.lateness import LatenessModel, guest_buffer, no_show_grace, owner_buffer
from parking_core.places import EARTH_RADIUS_M
from parking_core.reservations import Refusal
from parking_core.sharing import buffers_of, grant_value_fen

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from zoneinfo import ZoneInfo

    from numpy.typing import NDArray

    from parking_core.reservations import Ask
    from parking_core.sharing import AllocationPolicy, SharedLot, SpaceClass

LEAST_WALK_M: Final = 50
LONGEST_WALK_M: Final = 2_000
_FURTHER: Final = 2  # alternatives may be so many times as far as the driver would walk
_LEAST_FURTHER_M: Final = 800


@dataclass(frozen=True, slots=True)
class LotBuffers:
    """Of a lot and a local hour, minutes: after a guest, before the owner's return, and how long a promise waits."""

    guest_min: int
    owner_min: int
    grace_min: int


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """Classes for a request, by walking distance.

    Attributes:
        row: int32[K] places in `Offer.classes`.
        walk_m: int32[K] metres from the lot to where the driver wants to go.
        value: int64[K] fen, what a grant is worth.
        buffer_min: int32[K] minutes for which the space is kept free afterwards.
        near: how many of them, the first ones, are within the walk; the others are for alternatives.
        refusal: why there is none within the walk; None: there is one.
    """

    row: NDArray[np.int32]
    walk_m: NDArray[np.int32]
    value: NDArray[np.int64]
    buffer_min: NDArray[np.int32]
    near: int
    refusal: Refusal | None

    def nearest(self) -> Candidates:
        """Those within the walk alone."""
        upto = slice(self.near)
        arrays = (self.row[upto], self.walk_m[upto], self.value[upto], self.buffer_min[upto])
        return Candidates(*arrays, self.near, self.refusal)


class Offer:
    """Classes of the shared lots in force, with the policy that they are promised by.

    Args:
        classes: by lot.
        policy: the district's.
        buffers: learned, by lot id and local hour of the promised moment; the prior where there is none.
        window_min: by class id, how many minutes it is open in a common week: of equal classes the one that fewest
            others can use is taken.
        zone: of the lots.
        channel: by which drivers promise money ("hold:<acquirer>").
    """

    def __init__(
        self,
        classes: Sequence[SpaceClass],
        policy: AllocationPolicy,
        buffers: Mapping[tuple[int, int], LotBuffers],
        window_min: Mapping[int, int],
        *,
        zone: ZoneInfo,
        channel: str,
    ) -> None:
        self.classes, self.policy, self.zone, self.channel = tuple(classes), policy, zone, channel
        self.row_of = {each.id: row for row, each in enumerate(self.classes)}
        self.lots = tuple({each.lot.id: each.lot for each in self.classes}.values())
        place = {lot.id: number for number, lot in enumerate(self.lots)}
        self.lot: NDArray[np.int32] = np.array([place[each.lot.id] for each in self.classes], np.int32)
        self.window: NDArray[np.int32] = np.array([window_min.get(each.id, 0) for each in self.classes], np.int32)
        self._points = np.radians(np.array([(lot.lat, lot.lon) for lot in self.lots]).reshape(-1, 2))
        self._prior = LatenessModel()
        self._buffers = dict(buffers)

    def lot_of(self, class_id: int) -> SharedLot:
        """The lot of a class in force.

        Raises:
            NotFoundError: the class is not in force.
        """
        if class_id not in self.row_of:
            raise NotFoundError(f"Class {class_id} of shared spaces is not in force.")
        return self.classes[self.row_of[class_id]].lot

    def buffers(self, lot: SharedLot, at: datetime) -> LotBuffers:
        """What holds for a promise that begins, or ends, at a moment."""
        hour = at.astimezone(self.zone).hour
        found = self._buffers.get((lot.id, hour))
        if found is None:
            limits = buffers_of(self.policy, lot.terms)
            found = LotBuffers(
                guest_buffer(self._prior, limits, lot.id, hour).minutes,
                owner_buffer(self._prior, limits, lot.id, hour).minutes,
                no_show_grace(self._prior, self.policy.no_show, lot.id, hour),
            )
            self._buffers[lot.id, hour] = found
        return found

    def near(self, ask: Ask, *, not_in: frozenset[int] = frozenset()) -> Candidates:
        """Classes of lots that make promises to the request's group, nearest first; without those named by id."""
        walks = self._walks_m(ask.lat, ask.lon)
        reach = ask.walk_m if ask.lot else max(_FURTHER * ask.walk_m, _LEAST_FURTHER_M)
        within = [
            number
            for number in np.argsort(walks, kind="stable").tolist()
            if walks[number] <= reach or self.lots[number].code == ask.lot
        ]
        chosen = [n for n in within if self.lots[n].open and self.lots[n].terms.allows(ask.group)]
        first = [n for n in chosen if self._asked_for(n, ask, walks)]
        order = first + [n for n in chosen if n not in first]
        rows, near = list[int](), 0
        for position, number in enumerate(order):
            mine = [row for row in np.flatnonzero(self.lot == number).tolist() if self.classes[row].id not in not_in]
            rows += mine
            near += len(mine) if position < len(first) else 0
        refusal = None
        if not near:
            shut_out = any(
                self.lots[n].open and not self.lots[n].terms.allows(ask.group) and self._asked_for(n, ask, walks)
                for n in within
            )
            refusal = Refusal.NOT_ELIGIBLE if shut_out else Refusal.NO_LOT_NEARBY
        return self._candidates(rows, ask, walks, near, refusal)

    def _asked_for(self, number: int, ask: Ask, walks: NDArray[np.int32]) -> bool:
        return self.lots[number].code == ask.lot if ask.lot else bool(walks[number] <= ask.walk_m)

    def _candidates(
        self, rows: Sequence[int], ask: Ask, walks: NDArray[np.int32], near: int, refusal: Refusal | None
    ) -> Candidates:
        numbers = self.lot[list(rows)]
        worth: dict[int, tuple[int, int]] = {}
        for number in set(numbers.tolist()):
            lot = self.lots[number]
            value = grant_value_fen(self.policy, ask.minutes, int(walks[number]))
            worth[number] = (value, self.buffers(lot, ask.depart_at).guest_min)
        return Candidates(
            row=np.array(rows, np.int32),
            walk_m=walks[numbers].astype(np.int32),
            value=np.array([worth[number][0] for number in numbers.tolist()], np.int64),
            buffer_min=np.array([worth[number][1] for number in numbers.tolist()], np.int32),
            near=near,
            refusal=refusal,
        )

    def _walks_m(self, lat: float, lon: float) -> NDArray[np.int32]:
        """Metres to every lot, rounded up (haversine)."""
        here = np.radians(np.array([lat, lon]))
        half = np.sin((self._points - here) / 2) ** 2
        chord: np.ndarray[Any, np.dtype[np.float64]] = (
            half[:, 0] + np.cos(self._points[:, 0]) * np.cos(here[0]) * half[:, 1]
        )
        metres: NDArray[np.int32] = np.ceil(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(chord, 1.0)))).astype(
            np.int32
        )
        return metres


def kept_until(ask: Ask, buffer_min: int) -> datetime:
    """Until when a grant takes its space."""
    return ask.depart_at + timedelta(minutes=buffer_min)
