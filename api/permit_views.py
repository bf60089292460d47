"""What drivers and operators send and see of permits, and how it is made of what is stored."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003  # msgspec reads the annotations of structs
from dataclasses import dataclass
from datetime import date  # noqa: TC003  # msgspec reads the annotations of structs
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from msgspec import Meta

from api.reservation_views import (  # noqa: TC001  # msgspec reads the annotations of structs
    Latitude,
    Longitude,
    LotCode,
    Moment,
    WalkM,
)
from api.words import Words
from parking_core.people import ANYONE
from parking_core.plates import masked
from parking_core.share_permits import MOST_MONTHS, PermitRefusal
from parking_core.store import permit_draws, permit_months, share_permits

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.share_permits import SharedPermit
    from parking_core.store.share_permits import PermitEvent

PERMIT_CODE: Final = r"^P-[0-9A-HJKMNP-TV-Z]{10}$"

REFUSALS: Final[Mapping[PermitRefusal, Words]] = {
    PermitRefusal.NO_LOT_NEARBY: Words("步行范围内没有共享停车场。", "No lot shares spaces within the walk."),
    PermitRefusal.NOT_ELIGIBLE: Words(
        "该处的共享车位目前不对您所属的人群开放。",
        "The lots there share their spaces with others than you, or not now.",
    ),
    PermitRefusal.NO_PERMITS: Words("该停车场仅可单次预约。", "The lot shares single stays only, no permits."),
    PermitRefusal.NEVER_OPEN: Words(
        "该时段内车位均不开放共享。", "The spaces are not shared at any time of the permit."
    ),
    PermitRefusal.PERMITS_USED_UP: Words(
        "该处月卡名额已满。其余车位留给单次预约。",
        "All permits of these spaces are given; the rest is for single stays.",
    ),
    PermitRefusal.FULL: Words("部分时段已被预约。", "Some openings are promised already; `full` lists them."),
    PermitRefusal.TOO_MANY_ACTIVE: Words("该车辆在此期间已有月卡。", "The car has a permit for some of that time."),
    PermitRefusal.PAST: Words("起始日期已过。", "The first day is over."),
    PermitRefusal.TOO_FAR_AHEAD: Words("起始日期太远。", "The first day lies further ahead than is promised."),
    PermitRefusal.SUSPENDED_PERSON: Words("您近期违约次数过多。", "You broke the terms too often lately."),
    PermitRefusal.BY_OPERATOR: Words("停车场运营方未批准。", "The lot's operator has refused it."),
    PermitRefusal.NOT_DECIDED: Words("运营方未在起始日期前审核。", "The operator did not decide before the first day."),
    PermitRefusal.NOT_OFFERED: Words("该停车场已不再共享。", "The lot does not share its spaces any more."),
}


class PermitApplication(msgspec.Struct, frozen=True, kw_only=True):
    """What a driver applies for: some months in one lot, or in the nearest that has a space."""

    plate: Annotated[str, Meta(min_length=1, max_length=32, description="One of your plates.")]
    first_day: Annotated[date, Meta(description="Local date; the months count from it.")]
    months: Annotated[int, Meta(ge=1, le=MOST_MONTHS)] = 1
    lot: Annotated[LotCode, Meta(description="This lot or none.")] | None = None
    space_class: Annotated[str, Meta(max_length=32, description="This class of the lot's spaces.")] | None = None
    lat: Latitude | None = None
    lon: Longitude | None = None
    walk_m: WalkM = 500
    group: Annotated[str, Meta(max_length=32, description="One of your groups; `any` for everybody.")] = ANYONE


class GiveBack(msgspec.Struct, frozen=True):
    """Which opening is given back: the one that holds this moment."""

    at: Moment


class PermitRefusing(msgspec.Struct, frozen=True):
    """Why the operator refuses."""

    why: Annotated[str, Meta(max_length=500, description="The applicant reads it.")] = ""


class OpeningView(msgspec.Struct, frozen=True):
    """An opening that the car may stand in, or could have."""

    since: str
    until: str
    state: Annotated[str, Meta(description="drawn, given_back, moved (a reservation stands for it) or refunded.")]


class Span(msgspec.Struct, frozen=True):
    """A stretch of time."""

    since: str
    until: str


class PermitAlternative(msgspec.Struct, frozen=True):
    """A class that had a space for the same time."""

    lot: str
    space_class: str
    walk_m: int
    price_fen_per_month: int


class PermitRefusalView(msgspec.Struct, frozen=True):
    """Why not, and what instead."""

    reason: Annotated[str, Meta(description="Stable; `text` says it in words.")]
    text: Words
    why: Annotated[str, Meta(description="The operator's own words.")]
    full_openings: int
    full: Annotated[list[Span], Meta(description="The first of the openings that are promised already.")]
    alternatives: list[PermitAlternative]


class PermitEventView(msgspec.Struct, frozen=True):
    """One thing that happened."""

    kind: str
    at: str


class PermitView(msgspec.Struct, frozen=True, kw_only=True):
    """A permit; for others than its holder the plate is masked."""

    code: str
    state: Annotated[str, Meta(description="applied, active, expired, cancelled, ended_by_owner, refused, withdrawn.")]
    lot: str | None
    space_class: str | None
    plate: str
    group: str
    months: int
    valid_from: str
    valid_until: str
    currency: str
    price_fen_per_month: int
    asked_at: str
    withdrawn_at: Annotated[str | None, Meta(description="No further month is charged.")]
    ended_at: str | None
    violations: int
    refusal: PermitRefusalView | None
    openings: Annotated[list[OpeningView], Meta(description="From now on as far as is promised; in lists empty.")]
    events: Annotated[list[PermitEventView], Meta(description="In lists empty.")]


class PermitPage(msgspec.Struct, frozen=True):
    """Permits, the newest first."""

    permits: list[PermitView]
    next: Annotated[str | None, Meta(description="Cursor of the next page; null: this was the last.")]


@dataclass(frozen=True, slots=True)
class PermitViewer:
    """Makes views; `own`: for the holder."""

    connection: Connection[Any]
    zone: ZoneInfo
    own: bool

    def views(self, permits: Sequence[SharedPermit]) -> list[PermitView]:
        """Of a list."""
        last = share_permits.last_events(self.connection, [permit.id for permit in permits])
        return [self._view(permit, last.get(permit.id)) for permit in permits]

    def whole(self, permit: SharedPermit, now: datetime) -> PermitView:
        """Of one, with its openings to come and its history."""
        events = share_permits.events(self.connection, permit.id)
        view = self._view(permit, events[-1] if events else None)
        draws = [
            OpeningView(self._text(each.since), self._text(each.until), each.state.value)
            for each in permit_draws.of_permit(self.connection, permit.id, now)
        ]
        told = [PermitEventView(each.kind, self._text(each.at)) for each in events]
        return msgspec.structs.replace(view, openings=draws, events=told)

    def _view(self, permit: SharedPermit, last: PermitEvent | None) -> PermitView:
        known = share_permits.names(self.connection, [permit.class_id]) if permit.class_id is not None else {}
        names = known.get(permit.class_id or 0)
        return PermitView(
            code=permit.code,
            state=permit.state.value,
            lot=names.lot if names else None,
            space_class=names.code if names else None,
            plate=permit.plate if self.own else masked(permit.plate),
            group=permit.group,
            months=permit.months,
            valid_from=self._text(permit.valid_from),
            valid_until=self._text(permit.valid_until),
            currency="CNY",
            price_fen_per_month=permit.price_fen,
            asked_at=self._text(permit.asked_at),
            withdrawn_at=self._text(permit.withdrawn_at) if permit.withdrawn_at else None,
            ended_at=self._text(permit.ended_at) if permit.ended_at else None,
            violations=permit_months.violations_of_permit(self.connection, permit.id),
            refusal=_refusal(last) if last is not None and last.kind == "refused" else None,
            openings=[],
            events=[],
        )

    def _text(self, moment: datetime) -> str:
        return moment.astimezone(self.zone).isoformat(timespec="seconds")


def _refusal(event: PermitEvent) -> PermitRefusalView:
    detail = event.detail
    reason = PermitRefusal(detail["reason"])
    return PermitRefusalView(
        reason=reason.value,
        text=REFUSALS[reason],
        why=detail.get("why", ""),
        full_openings=detail.get("full_openings", 0),
        full=[Span(each["from"], each["until"]) for each in detail.get("full", [])],
        alternatives=[
            PermitAlternative(each["lot"], each["class"], each["walk_m"], each["price_fen_per_month"])
            for each in detail.get("alternatives", [])
        ],
    )
