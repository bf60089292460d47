"""Promises of shared spaces: their life cycles, and what follows from their events (facts and rules).

reservation   waiting ──► granted ◄─► arrived ──► completed       back: the reading was of another car
                 │           ├──► cancelled          by the driver, before he arrives
                 │           ├──► lapsed             did not come: released after grace
                 │           ├──► moved              to another promise, which it names
                 │           └──► withdrawn          the owner took the space back and there was no equivalent: refunded
                 └──► refused | cancelled
lateness      none ──► warned ──► charged ──► violation        of a car that is still inside after its promised end
permit        applied ──► active ──► expired | cancelled | ended_by_owner
                 └──► refused | withdrawn
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import datetime


class ReservationState(StrEnum):
    """Where a reservation stands."""

    WAITING = "waiting"  # for the day-ahead round
    GRANTED = "granted"
    ARRIVED = "arrived"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    MOVED = "moved"
    WITHDRAWN = "withdrawn"
    REFUSED = "refused"


_S = ReservationState
CHANGES: Final[Mapping[ReservationState, frozenset[ReservationState]]] = {
    _S.WAITING: frozenset({_S.GRANTED, _S.REFUSED, _S.CANCELLED}),
    _S.GRANTED: frozenset({_S.ARRIVED, _S.CANCELLED, _S.LAPSED, _S.MOVED, _S.WITHDRAWN}),
    _S.ARRIVED: frozenset({_S.COMPLETED, _S.GRANTED}),
    _S.COMPLETED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.LAPSED: frozenset(),
    _S.MOVED: frozenset(),
    _S.WITHDRAWN: frozenset(),
    _S.REFUSED: frozenset(),
}
HOLDING_CAPACITY: Final = frozenset({_S.GRANTED, _S.ARRIVED})


class Lateness(StrEnum):
    """How far an overstay has gone."""

    NONE = "none"
    WARNED = "warned"
    CHARGED = "charged"
    VIOLATION = "violation"


class PermitState(StrEnum):
    """Where a permit of a shared lot stands."""

    APPLIED = "applied"
    ACTIVE = "active"
    EXPIRED = "expired"
    CANCELLED = "cancelled"  # too many violations
    ENDED_BY_OWNER = "ended_by_owner"
    REFUSED = "refused"
    WITHDRAWN = "withdrawn"  # by the applicant, or the holder


_P = PermitState
PERMIT_CHANGES: Final[Mapping[PermitState, frozenset[PermitState]]] = {
    _P.APPLIED: frozenset({_P.ACTIVE, _P.REFUSED, _P.WITHDRAWN}),
    _P.ACTIVE: frozenset({_P.EXPIRED, _P.CANCELLED, _P.ENDED_BY_OWNER, _P.WITHDRAWN}),
    _P.EXPIRED: frozenset(),
    _P.CANCELLED: frozenset(),
    _P.ENDED_BY_OWNER: frozenset(),
    _P.REFUSED: frozenset(),
    _P.WITHDRAWN: frozenset(),
}


class ViolationKind(StrEnum):
    """What counts towards the cancellation of a permit, and against the next reservation."""

    OVERSTAY = "overstay"
    NO_SHOW = "no_show"
    OUTSIDE_WINDOW = "outside_window"  # a permit's car inside when its windows are closed


class Refusal(StrEnum):
    """Why a request was not granted. Stable codes: answers and planners' figures carry them."""

    NO_LOT_NEARBY = "no_lot_nearby"  # none shares spaces within the walk
    NOT_ELIGIBLE = "not_eligible"  # lots nearby are for others
    OUTSIDE_WINDOWS = "outside_windows"  # nearby lots are not open for all of the stay
    FULL = "full"
    KEPT_FOR_OTHERS = "kept_for_others"  # there is room, and by the forecast it is worth more to those who still ask
    TOO_MANY_ACTIVE = "too_many_active"  # the person's cap
    PAST = "past"
    TOO_FAR_AHEAD = "too_far_ahead"
    SUSPENDED_PERSON = "suspended_person"  # too many no-shows
    STAY_LENGTH = "stay_length"  # too short or too long to be promised
    PLATE_EXPECTED = "plate_expected"  # the car is promised a space for some of that time already


class EventKind(StrEnum):
    """What happens to a reservation."""

    ASKED = "asked"
    GRANTED = "granted"
    REFUSED = "refused"
    ARRIVED = "arrived"
    NOT_ARRIVED = "not_arrived"  # the lane's reading was of another car: the promise stands as before
    REBOUND = "rebound"  # another space of the lot
    MOVED = "moved"
    CANCELLED = "cancelled"
    LAPSED = "lapsed"
    WITHDRAWN = "withdrawn"
    WARNED = "warned"
    CHARGED = "charged"
    VIOLATION = "violation"
    LEFT = "left"


STATE_AFTER: Final[Mapping[EventKind, ReservationState]] = {
    EventKind.ASKED: _S.WAITING,
    EventKind.GRANTED: _S.GRANTED,
    EventKind.REFUSED: _S.REFUSED,
    EventKind.ARRIVED: _S.ARRIVED,
    EventKind.NOT_ARRIVED: _S.GRANTED,
    EventKind.MOVED: _S.MOVED,
    EventKind.CANCELLED: _S.CANCELLED,
    EventKind.LAPSED: _S.LAPSED,
    EventKind.WITHDRAWN: _S.WITHDRAWN,
    EventKind.LEFT: _S.COMPLETED,
}
_LATENESS_AFTER: Final[Mapping[EventKind, Lateness]] = {
    EventKind.WARNED: Lateness.WARNED,
    EventKind.CHARGED: Lateness.CHARGED,
    EventKind.VIOLATION: Lateness.VIOLATION,
}


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened. `detail` holds what the state needs: class, space, prices, times."""

    kind: EventKind
    at: datetime
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Standing:
    """What follows from a reservation's events."""

    state: ReservationState
    lateness: Lateness = Lateness.NONE
    class_id: int | None = None
    space_id: int | None = None
    price_fen: int = 0
    fee_fen: int = 0
    moved_to: str | None = None  # code


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What a driver asks for: a stay near a place. Times aware, coordinates WGS 84 degrees, walks in metres."""

    plate: str  # in the one form of parking_core.plates
    group: str
    lat: float
    lon: float
    walk_m: int
    arrive_at: datetime
    depart_at: datetime
    lot: str | None = None  # code: this one or none
    instead_of: str | None = None  # code of the refused reservation whose alternative this is
    waits: bool = False  # for the day-ahead round

    @property
    def minutes(self) -> int:
        """How long it stays, minutes begun."""
        return math.ceil((self.depart_at - self.arrive_at).total_seconds() / 60)

    def digest(self) -> bytes:
        """SHA-256 of what is asked for: under one idempotency key it is asked for once."""
        parts = (
            self.plate,
            self.group,
            f"{self.lat:.6f}",
            f"{self.lon:.6f}",
            self.walk_m,
            int(self.arrive_at.timestamp()),
            int(self.depart_at.timestamp()),
            self.lot,
            self.instead_of,
            self.waits,
        )
        return hashlib.sha256(json.dumps(parts).encode()).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A reservation as it stands."""

    id: int
    code: str
    user_id: int
    plate: str
    group: str
    lat: float
    lon: float
    walk_m: int  # from the lot; how far he would walk while it has none
    arrive_at: datetime
    depart_at: datetime
    until_at: datetime  # its capacity is taken until then
    lot_id: int | None
    class_id: int | None
    state: ReservationState
    lateness: Lateness
    price_fen: int
    fee_fen: int
    value_fen: int
    hold_key: str | None
    visit_id: int | None
    moved_to: int | None  # id
    asked_at: datetime
    arrived_at: datetime | None
    left_at: datetime | None
    request_digest: bytes

    def ask(self) -> Ask:
        """What was asked for, as far as it is still known."""
        return Ask(
            plate=self.plate,
            group=self.group,
            lat=self.lat,
            lon=self.lon,
            walk_m=self.walk_m,
            arrive_at=self.arrive_at,
            depart_at=self.depart_at,
        )


def may_become(before: ReservationState, after: ReservationState) -> bool:
    """Whether the life cycle allows the change."""
    return after in CHANGES[before]


def standing_of(events: Iterable[Event]) -> Standing:
    """Folds events, in their order, into where the reservation stands.

    Raises:
        ValueError: there is none, or an event does not fit the state that it meets: the log is damaged.
    """
    standing: Standing | None = None
    for event in events:
        standing = _after(standing, event)
    if standing is None:
        raise ValueError("A reservation begins with the event `asked`; this one has no event.")
    return standing


def next_standing(reservation: Reservation, event: Event) -> Standing:
    """Where a reservation stands after one more event.

    Raises:
        ValueError: the event does not fit.
    """
    before = Standing(
        reservation.state,
        lateness=reservation.lateness,
        class_id=reservation.class_id,
        price_fen=reservation.price_fen,
        fee_fen=reservation.fee_fen,
    )
    return _after(before, event)


def _after(before: Standing | None, event: Event) -> Standing:
    if before is None:
        if event.kind is not EventKind.ASKED:
            raise ValueError(f"A reservation begins with the event `asked`, not with `{event.kind.value}`.")
        return Standing(_S.WAITING)
    detail = event.detail
    known = {
        name: detail[name] for name in ("class_id", "space_id", "price_fen", "fee_fen", "moved_to") if name in detail
    }
    if event.kind in _LATENESS_AFTER:
        return replace(before, lateness=_LATENESS_AFTER[event.kind], **known)
    after = STATE_AFTER.get(event.kind, before.state)
    if after is not before.state and not may_become(before.state, after):
        raise ValueError(f"A reservation that is {before.state.value} cannot become {after.value}.")
    if event.kind is EventKind.NOT_ARRIVED:
        before = replace(before, lateness=Lateness.NONE, space_id=None, fee_fen=0)
    return replace(before, state=after, **known)
