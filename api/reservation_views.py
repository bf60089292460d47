"""What drivers send and see of reservations, and how it is made of what is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from api.reservation_words import WORDS, Times, words_of
from api.words import Words  # noqa: TC001  # msgspec reads the annotations of answers
from parking_core.offers import LEAST_WALK_M, LONGEST_WALK_M
from parking_core.people import ANYONE
from parking_core.reservations import Refusal, ReservationState
from parking_core.store.reservation_pages import PlaceOfLot, SeenReservation

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from parking_core.offers import Offer
    from parking_core.reservations import Reservation
    from parking_core.sharing import SharedLot

RESERVATION_CODE: Final = r"^R-[0-9A-HJKMNP-TV-Z]{10}$"
_TO_COME: Final = frozenset({ReservationState.GRANTED, ReservationState.ARRIVED})

Latitude = Annotated[float, Meta(ge=-90, le=90, description="WGS 84 degrees of where you want to go.")]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
WalkM = Annotated[int, Meta(ge=LEAST_WALK_M, le=LONGEST_WALK_M, description="How far you would walk, metres.")]
LotCode = Annotated[str, Meta(min_length=1, max_length=100, pattern=r"^[^\x00-\x1f]+$")]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339 with an offset.")]


class ReservationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver asks for: a stay near a place, or in one lot."""

    arrive_at: Moment
    depart_at: Moment
    plate: Annotated[str, Meta(min_length=1, max_length=32, description="One of your plates.")]
    lat: Latitude | None = None
    lon: Longitude | None = None
    lot: Annotated[LotCode, Meta(description="This lot or none.")] | None = None
    walk_m: WalkM = 500
    group: Annotated[str, Meta(max_length=32, description="One of your groups; `any` for everybody.")] = ANYONE
    instead_of: (
        Annotated[str, Meta(pattern=RESERVATION_CODE, description="The refusal whose alternative this is.")] | None
    ) = None
    wait_for_round: Annotated[bool, Meta(description="Be decided with all others, the evening before.")] = False


class ReservedLot(msgspec.Struct, frozen=True):
    """Where the space is. Which one, the barrier says."""

    code: str
    name: str
    lat: float
    lon: float


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for a promise."""

    opens_at: Annotated[str, Meta(description="The barrier lets the car in from then on.")]
    kept_until: Annotated[str, Meta(description="If the car has not come by then, the promise may lapse.")]
    charged_from: Annotated[str, Meta(description="A car that leaves later pays for its overstay.")]
    overstay_percent: Annotated[int, Meta(description="Of the price of an hour, for every hour begun.")]
    overstay_most_fen: int | None
    text: Words


class Alternative(msgspec.Struct, frozen=True, kw_only=True):
    """What would have been granted when it was answered."""

    lot: ReservedLot
    walk_m: int
    arrive_at: str
    depart_at: str
    price_fen: int
    request: Annotated[dict[str, Any], Meta(description="The body that asks for it; send it with a new key.")]


class RefusalView(msgspec.Struct, frozen=True):
    """Why not, and what instead."""

    reason: Annotated[str, Meta(description="Stable; `text` says it in words.")]
    text: Words
    alternatives: Annotated[list[Alternative], Meta(description="Best first.")]


class EventView(msgspec.Struct, frozen=True):
    """One thing that happened."""

    kind: str
    at: str


class ReservationView(msgspec.Struct, frozen=True, kw_only=True):
    """A reservation as its driver sees it."""

    code: str
    state: str
    lateness: Annotated[str, Meta(description="none, warned, charged, violation: of a car that is still inside.")]
    plate: str
    group: str
    arrive_at: str
    depart_at: str
    walk_m: Annotated[int, Meta(description="From the lot to where you go; your limit while there is no lot.")]
    asked_at: str
    arrived_at: str | None
    left_at: str | None
    lot: ReservedLot | None
    space: Annotated[str, Meta(description="Where the car stands; the barrier chose it.")] | None
    currency: str
    price_fen: int
    fee_fen: Annotated[int, Meta(description="For staying too long, beside the price.")]
    held_fen: Annotated[int, Meta(description="What is held of your money until you have left.")]
    moved_to: Annotated[str, Meta(description="The promise that took its place.")] | None
    rules: Rules | None
    refusal: RefusalView | None
    events: Annotated[list[EventView], Meta(description="Only where one reservation is asked for.")] | None = None


class ReservationPage(msgspec.Struct, frozen=True):
    """Reservations, the newest first."""

    reservations: list[ReservationView]
    next: Annotated[str, Meta(description="`cursor` of the next page; null on the last.")] | None


@dataclass(frozen=True, slots=True)
class Viewer:
    """Makes views; `offer` is the one in force."""

    offer: Offer
    zone: ZoneInfo

    def view(self, seen: SeenReservation, events: list[EventView] | None = None) -> ReservationView:
        """Of a reservation that was read."""
        one, at = seen.reservation, self.text
        return ReservationView(
            code=one.code,
            state=one.state.value,
            lateness=one.lateness.value,
            plate=one.plate,
            group=one.group,
            arrive_at=at(one.arrive_at),
            depart_at=at(one.depart_at),
            walk_m=one.walk_m,
            asked_at=at(one.asked_at),
            arrived_at=at(one.arrived_at) if one.arrived_at else None,
            left_at=at(one.left_at) if one.left_at else None,
            lot=ReservedLot(seen.lot.code, seen.lot.name, seen.lot.lat, seen.lot.lon) if seen.lot else None,
            space=seen.space,
            currency="CNY",
            price_fen=one.price_fen,
            fee_fen=one.fee_fen,
            held_fen=seen.held_fen,
            moved_to=seen.moved_to,
            rules=self._rules(one),
            refusal=self._refusal(one, seen.refusal) if seen.refusal else None,
            events=events,
        )

    def fresh(self, granted: Reservation) -> ReservationView | None:
        """Of a promise that was made this moment: all of it is known without another look at the database."""
        lot = self._lot(granted)
        if lot is None:
            return None
        held = granted.price_fen + (self.offer.policy.overstay.most_fen or 0) if granted.hold_key else 0
        return self.view(SeenReservation(granted, PlaceOfLot(lot.code, lot.name, lot.lat, lot.lon), held_fen=held))

    def text(self, moment: datetime) -> str:
        """RFC 3339 with the offset of the lots' time zone."""
        return moment.astimezone(self.zone).isoformat(timespec="seconds")

    def _lot(self, one: Reservation) -> SharedLot | None:
        if one.class_id is None or one.class_id not in self.offer.row_of:
            return None
        return self.offer.lot_of(one.class_id)

    def _rules(self, one: Reservation) -> Rules | None:
        lot = self._lot(one)
        if one.state not in _TO_COME or lot is None:
            return None
        policy = self.offer.policy
        overstay = policy.overstay
        opens = one.arrive_at - timedelta(minutes=policy.early_min)
        grace = timedelta(minutes=self.offer.buffers(lot, one.arrive_at).grace_min)
        kept = min(one.arrive_at + grace, one.depart_at)
        charged = one.depart_at + timedelta(minutes=overstay.charged_from_min)
        return Rules(
            opens_at=self.text(opens),
            kept_until=self.text(kept),
            charged_from=self.text(charged),
            overstay_percent=overstay.price_percent,
            overstay_most_fen=overstay.most_fen,
            text=words_of(Times(opens, kept, one.depart_at, charged), overstay, self.zone),
        )

    def _refusal(self, one: Reservation, detail: Mapping[str, Any]) -> RefusalView:
        reason = Refusal(detail["reason"])
        return RefusalView(
            reason.value, WORDS[reason], [self._alternative(one, each) for each in detail["alternatives"]]
        )

    def _alternative(self, one: Reservation, kept: Mapping[str, Any]) -> Alternative:
        arrive, depart = (self.text(datetime.fromisoformat(kept[name])) for name in ("arrive_at", "depart_at"))
        request = {
            "lot": kept["lot"],
            "lat": one.lat,
            "lon": one.lon,
            "walk_m": max(min(one.walk_m, LONGEST_WALK_M), LEAST_WALK_M),
            "arrive_at": arrive,
            "depart_at": depart,
            "plate": one.plate,
            "group": one.group,
            "instead_of": one.code,
        }
        return Alternative(
            lot=ReservedLot(kept["lot"], kept["name"], kept["lat"], kept["lon"]),
            walk_m=kept["walk_m"],
            arrive_at=arrive,
            depart_at=depart,
            price_fen=kept["price_fen"],
            request=request,
        )


def whole_second(moment: datetime) -> datetime:
    """A moment as it is asked for: UTC, without the part of a second."""
    return moment.astimezone(UTC).replace(microsecond=0)
