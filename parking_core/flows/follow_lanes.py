"""The worker's way through the ledger of lanes: events become visits, charges, postings, answers and differences.

    take events and repeats that wait
      ─► settle      ETC transactions, late TACs                          (not booked before they have a visit)
      ─► derive      corrections, passages ─► visits
      ─► guests      promises of shared spaces: who left, who came ─► covered visits, holds captured
      ─► attach      transactions to visits ─► journal
      ─► charge      price ─► versions of charges ─► journal
      ─► answer      lanes that ask for a fee ─► commands
      ─► review      channels; differences opened and ended
    ─► mark processed ─► capacity that guests gave back ─► commit
    ─► seat guests who came, a transaction each

One transaction a batch: a kill anywhere leaves the ledger as it was, and the same batch is taken again. A record that
cannot be processed is found by halving the batch, set aside under a difference, and holds nobody up.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import psycopg
import structlog

from parking_core.commands import POLICIES, CommandKind
from parking_core.errors import ParkingError
from parking_core.flows.answer_fee_requests import answer_fee_requests
from parking_core.flows.charge_visits import charge_visits, review_visits
from parking_core.flows.derive_visits import derive_visits, names_nobody, news_of, visit_id
from parking_core.flows.follow_guests import Guests, follow_guests, seat_guests
from parking_core.flows.leave_guest import give_back
from parking_core.flows.price_visits import PriceDesk
from parking_core.flows.settle_transactions import attach_visits, settle_transactions
from parking_core.lanes import LaneEventKind
from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.store import differences, lane_amendments, lane_events, lane_work, visit_review, visits
from parking_core.visits import Policy, VisitState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.derive_visits import Derivation
    from parking_core.flows.offers_in_force import OffersInForce
    from parking_core.lanes import LaneEvent, LaneRepeat
    from parking_core.store.charges import ChargeChange

log = structlog.get_logger()

_POLICY: Final = Policy()
# So many bad records in an hour are none: something of ours is wrong. The loop then stands, loudly, and nothing is lost.
_MOST_SET_ASIDE: Final = 100
_OVERDUE_BATCH: Final = 500  # visits given up in one transaction
# What bad input can raise below here. A database that is away, and bugs of other kinds, end the pass instead.
_BAD_INPUT: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    ParkingError,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
)


@dataclass(frozen=True, slots=True)
class Desk:
    """What every batch needs again."""

    zone: ZoneInfo  # days of differences
    prices: PriceDesk = field(default_factory=PriceDesk)
    offers: OffersInForce | None = None  # of shared lots; None: guests are seated by the minute's pass


@dataclass(frozen=True, slots=True)
class Followed:
    """What a batch did."""

    events: int = 0
    repeats: int = 0
    new_visits: int = 0
    changed_visits: int = 0
    charges: int = 0
    answers: int = 0
    set_aside: int = 0  # records that could not be processed
    limit: int = 0
    guests: tuple[Guests, ...] = ()  # to be seated when the batch is stored

    @property
    def more(self) -> bool:
        """Whether further records may wait."""
        return self.events >= self.limit > 0 or self.repeats >= self.limit > 0


def follow_lanes(connection: Connection[Any], desk: Desk, now: datetime, limit: int) -> Followed:
    """Follows the oldest records that wait, at most `limit`; bad ones among them are set aside.

    Following the same records again changes nothing.
    """
    size = limit
    while True:
        taken: list[LaneEvent] = []
        try:
            with connection.transaction():
                taken += lane_events.take_waiting(connection, size)
                repeats = lane_events.take_waiting_repeats(connection, size) if size == limit else []
                followed = _batch(connection, desk, now, (taken, repeats), size)
        except _BAD_INPUT as error:
            if size == 1:
                if lane_amendments.set_aside_since(connection, now - timedelta(hours=1)) >= _MOST_SET_ASIDE:
                    raise
                return _set_aside(connection, desk, taken, error)
            size //= 2
            log.warning("a lane record cannot be processed", error=_named(error), tried=size)
        else:
            return _seated(connection, desk, followed, now)


def follow_questions(connection: Connection[Any], desk: Desk, now: datetime, limit: int) -> Followed:
    """Follows, ahead of all others, what lanes wait for: questions, and what waits of the vehicles they are about.

    A lane that comes back with the records of a day must not make another one's driver wait. At most `limit` questions.
    A question that cannot be processed is left to `follow_lanes`, which sets it aside in its turn.
    """
    try:
        with connection.transaction():
            asking = lane_events.take_asking(connection, now - POLICIES[CommandKind.FEE_ANSWER].deadline, limit)
            followed = _batch(connection, desk, now, (asking, []), limit)
    except _BAD_INPUT as error:
        log.warning("a lane's question has to wait its turn", error=_named(error))
        return Followed()
    return _seated(connection, desk, followed, now)


def _seated(connection: Connection[Any], desk: Desk, followed: Followed, now: datetime) -> Followed:
    if desk.offers is not None and followed.guests:
        seat_guests(connection, desk.offers, followed.guests, now)
    return followed


def _batch(
    connection: Connection[Any],
    desk: Desk,
    now: datetime,
    taken: tuple[Sequence[LaneEvent], Sequence[LaneRepeat]],
    limit: int,
) -> Followed:
    events, repeats = taken
    if not events and not repeats:
        return Followed()
    lane_work.take_turn(connection)
    settle_transactions(connection, events, now, zone=desk.zone, repeats=repeats)
    news, amended = news_of(connection, events, _POLICY)
    derived = derive_visits(connection, news, now, _POLICY, last=max((event.id for event in events), default=0))
    came = follow_guests(connection, derived, now)
    attach_visits(connection, derived.pairs())
    charges = charge_visits(connection, derived, now, zone=desk.zone, desk=desk.prices)
    requests = [event for event in events if event.kind is LaneEventKind.FEE_REQUEST]
    answers = answer_fee_requests(connection, requests, now, desk.prices)
    review_visits(connection, _to_review(derived, charges), desk.zone)
    _report(connection, events, repeats, amended, desk.zone)
    lane_events.mark_processed(connection, [event.id for event in events])
    lane_events.mark_repeats_processed(connection, [repeat.id for repeat in repeats])
    give_back(connection, came.freed)
    return Followed(
        events=len(events),
        repeats=len(repeats),
        new_visits=len(derived.new),
        changed_visits=len(derived.changed),
        charges=len(charges),
        answers=answers.answered,
        limit=limit,
        guests=(came,) if came.arriving or came.permits else (),
    )


def _to_review(derived: Derivation, charges: Sequence[ChargeChange]) -> set[int]:
    """All but visits that have just begun: of those there is nothing to say."""
    begun = {one.id for one in derived.new if one.draft.state is VisitState.OPEN}
    ids = {visit_id(one) for one in derived.standing} | {visit.id for visit in derived.void}
    return (ids - begun) | {change.priced.visit_id for change in charges}


def _report(
    connection: Connection[Any],
    events: Sequence[LaneEvent],
    repeats: Sequence[LaneRepeat],
    amended: Sequence[int],
    zone: ZoneInfo,
) -> None:
    """Differences of records themselves: barriers opened for nobody, repeats."""
    named = lane_amendments.vehicles_after(connection, [event.id for event in events if names_nobody(event)])
    found = [
        _of_record(event, DifferenceName.MANUAL_OPEN, zone)
        for event in events
        if names_nobody(event) and event.id not in named
    ]
    found += [_of_repeat(repeat, zone) for repeat in repeats]
    visit_review.open_differences(connection, found)
    keys = [f"{DifferenceName.MANUAL_OPEN.value}:{event_id}" for event_id in amended]
    differences.end(connection, keys, DifferenceState.EXPLAINED, "A correction record names the vehicle.")


def _of_record(event: LaneEvent, name: DifferenceName, zone: ZoneInfo, **detail: Any) -> Difference:  # noqa: ANN401  # values of a JSON object
    return Difference(
        key=f"{name.value}:{event.id}",
        name=name,
        day=event.occurred_at.astimezone(zone).date(),
        lot_id=event.lot_id,
        device_id=event.device_id,
        event_id=event.id,
        records=1,
        detail={"record_no": event.record_no, **detail},
    )


def _of_repeat(repeat: LaneRepeat, zone: ZoneInfo) -> Difference:
    name = DifferenceName(repeat.reason.value)
    detail: dict[str, Any] = {"record_no": repeat.record_no}
    kept_aside_fen = 0
    if name is DifferenceName.RECORD_NO_REUSED and repeat.amount_fen:
        detail["taken_at_lane_fen"] = kept_aside_fen = (
            repeat.amount_fen
        )  # perhaps another transaction's: a person looks
    return Difference(
        key=f"{name.value}:{repeat.device_id}:{repeat.record_no}:{repeat.id}",
        name=name,
        day=repeat.received_at.astimezone(zone).date(),
        lot_id=repeat.lot_id,
        device_id=repeat.device_id,
        event_id=repeat.event_id,
        records=1,
        amount_fen=-kept_aside_fen,
        detail=detail,
    )


def take_back(connection: Connection[Any], event_ids: Sequence[int]) -> list[int]:
    """Lets records that were set aside be followed again, once their cause is mended; gives those that had been."""
    with connection.transaction():
        taken = lane_amendments.take_back(connection, event_ids)
        keys = [f"{DifferenceName.EVENT_SET_ASIDE.value}:{event_id}" for event_id in taken]
        differences.end(connection, keys, DifferenceState.EXPLAINED, "Followed again.")
    return taken


def _set_aside(connection: Connection[Any], desk: Desk, events: Sequence[LaneEvent], error: Exception) -> Followed:
    """The record that failed alone: out of the way, with a name and in the log.

    It need not be the oldest that waits by now: a gateway may have committed one with a smaller id since.
    """
    with connection.transaction():
        for event in events:
            log.error("lane record set aside", event_id=event.id, device_id=event.device_id, error=_named(error))
            lane_amendments.set_aside(connection, event.id, _named(error))
            taken = (event.etc.amount_fen or 0) if event.etc else 0
            difference = _of_record(
                event, DifferenceName.EVENT_SET_ASIDE, desk.zone, error=_named(error), taken_at_lane_fen=taken
            )
            visit_review.open_differences(connection, [difference])
        lane_events.mark_processed(connection, [event.id for event in events])
    return Followed(events=len(events), set_aside=len(events), limit=1)


def _named(error: Exception) -> str:
    """The error without what it may quote of a record: plates are personal."""
    return f"{type(error).__name__}: {error}" if isinstance(error, ParkingError) else type(error).__name__


def give_up_stays(connection: Connection[Any], desk: Desk, now: datetime) -> int:
    """Gives up open visits that are too long, one transaction a batch; gives how many.

    A later record of the vehicle would do the same; this one is for vehicles that do not come back.
    """
    given_up = 0
    while True:
        with connection.transaction():
            lane_work.take_turn(connection)
            late = visits.overdue(connection, now - _POLICY.longest_stay, _OVERDUE_BATCH)
            news: dict[str, datetime] = {}
            for vehicle, at in late:
                news.setdefault(vehicle, at)
            derived = derive_visits(connection, news, now, _POLICY)
            came = follow_guests(connection, derived, now)
            charge_visits(connection, derived, now, zone=desk.zone, desk=desk.prices)
            review_visits(connection, [visit_id(one) for one in derived.changed], desk.zone)
            give_back(connection, came.freed)
        given_up += len(derived.changed)
        if len(late) < _OVERDUE_BATCH or not derived.changed:
            return given_up
