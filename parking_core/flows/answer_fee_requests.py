"""Answers lanes that ask what a vehicle has to pay, in the transaction that takes their questions from the ledger.

    fee_request ─► its visit ─► price now - paid, arrears ─► payment link ─► command fee_answer ─► lane
                └► no visit: amount 0, missing_entry          nothing due: free, no link
    too late for the lane, or the vehicle has left: noted as a command that is over, not sent

The command's body: {"record_no": of the question, "plate": masked, "reason": "due" | "free" | "missing_entry",
"visit_id", "entered_at", "amount_fen", "arrears_fen": of earlier visits, not in the amount, "lines": as charges.lines,
"tariff": {"code", "version"} | null, "pay_path", "valid_until"}; what does not apply is null.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import POLICIES, CommandKind, CommandOrder
from parking_core.flows.offer_payment import Offer, offer_all
from parking_core.flows.price_visits import ToPrice, price_visits
from parking_core.payments import LANE_LINK_LIFE
from parking_core.plates import masked
from parking_core.store import commands, fee_requests, journal
from parking_core.visits import Policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from psycopg import Connection

    from parking_core.flows.price_visits import Priced, PriceDesk
    from parking_core.lanes import LaneEvent
    from parking_core.store.fee_requests import AskedVisit

CLOCK_SKEW: Final = Policy().skew  # between lanes of a lot, and between a lane and the platform
# A question whose vehicle was at the lane so long ago waited in the lane while it was offline: nobody wants the answer.
STALE_AFTER: Final = CLOCK_SKEW + timedelta(seconds=30)
LINK_REST: Final = timedelta(minutes=5)  # a link is given again while the driver has at least so long to pay


@dataclass(frozen=True, slots=True)
class FeeAnswers:
    """What became of a batch of questions."""

    answered: int
    too_late: int  # the lane has decided by its own tariff, and may have let the vehicle out
    missing_entry: int  # among the answered


@dataclass(frozen=True, slots=True)
class _Found:
    """A question, with the stay it is about and what is left to pay."""

    request: LaneEvent
    visit: AskedVisit | None = None
    priced: Priced | None = None
    arrears_fen: int = 0

    @property
    def due_fen(self) -> int:
        return 0 if self.priced is None else self.priced.bill.due_fen


def answer_fee_requests(
    connection: Connection[Any], requests: Sequence[LaneEvent], now: datetime, desk: PriceDesk | None = None
) -> FeeAnswers:
    """Commands an answer to every question that its lane still waits for; a question is answered once.

    The price is that of the moment of the question, so a question that is processed again has the same answer. A lane
    that asks again about the same visit is given the same link while the amount is the same.
    """
    timely, late = _by_age(requests, now)
    found, gone = _look_up(connection, timely, now, desk)
    bodies = _bodies(connection, found, now)
    orders = [_order(one.request, body, _deadline(one.request)) for one, body in zip(found, bodies, strict=True)]
    notes = [
        _order(request, {"record_no": request.record_no, "reason": reason}, now)
        for requests_of, reason in ((late, "too_late"), (gone, "gone"))
        for request in requests_of
    ]
    commands.queue(connection, [*orders, *notes], now)
    return FeeAnswers(len(orders), len(notes), sum(one.visit is None for one in found))


def _by_age(requests: Iterable[LaneEvent], now: datetime) -> tuple[list[LaneEvent], list[LaneEvent]]:
    timely: list[LaneEvent] = []
    late: list[LaneEvent] = []
    for request in requests:
        stale = request.received_at - request.occurred_at > STALE_AFTER
        (late if stale or _deadline(request) <= now else timely).append(request)
    return timely, late


def _deadline(request: LaneEvent) -> datetime:
    return request.received_at + POLICIES[CommandKind.FEE_ANSWER].deadline


def _look_up(
    connection: Connection[Any], requests: Sequence[LaneEvent], now: datetime, desk: PriceDesk | None
) -> tuple[list[_Found], list[LaneEvent]]:
    """Visits, prices and arrears of all questions, set by set; and the questions about vehicles that have left."""
    if not requests:
        return [], []
    asked = [(request.lot_id, request.vehicle, request.occurred_at) for request in requests]
    known = fee_requests.visits_of(connection, asked, CLOCK_SKEW)
    visits = {place: visit for place, visit in known.items() if visit.exited_at is None}
    paid = fee_requests.payments_of(connection, [visit.id for visit in visits.values()])
    wanted = [
        ToPrice(
            lot_id=requests[place].lot_id,
            vehicle=visit.vehicle,
            entered_at=visit.entered_at,
            exited_at=max(requests[place].occurred_at, visit.entered_at),
            visit_id=visit.id,
            plate_color=visit.plate_color,
            vehicle_class=visit.vehicle_class,
            payments=paid.get(visit.id, ()),
        )
        for place, visit in visits.items()
    ]
    priced = dict(zip(visits, price_visits(connection, wanted, now, desk), strict=True))
    arrears = journal.arrears_of(connection, [request.vehicle for request in requests])
    gone = known.keys() - visits.keys()
    found = [
        _Found(request, visits.get(place), priced.get(place), arrears.get(request.vehicle, 0))
        for place, request in enumerate(requests)
        if place not in gone
    ]
    return found, [requests[place] for place in sorted(gone)]


def _bodies(connection: Connection[Any], found: Sequence[_Found], now: datetime) -> list[dict[str, Any]]:
    """What the lanes are told, in the order of the questions."""
    links = _links(connection, found, now)
    return [_body(one) | links.get(place, {"pay_path": None, "valid_until": None}) for place, one in enumerate(found)]


def _links(connection: Connection[Any], found: Sequence[_Found], now: datetime) -> dict[int, dict[str, str]]:
    """By place: how and until when the amount can be paid. The driver may have scanned the link of the answer before."""
    due = {place: one for place, one in enumerate(found) if one.visit is not None and one.due_fen > 0}
    if not due:
        return {}
    before = fee_requests.earlier_answers(
        connection,
        [one.request.device_id for one in due.values()],
        [one.visit.id for one in due.values() if one.visit is not None],
        now - LANE_LINK_LIFE,
    )
    links: dict[int, dict[str, str]] = {}
    offers: dict[int, Offer] = {}
    for place, one in due.items():
        if one.visit is None or one.priced is None:  # not so: `due` holds none of these
            continue
        earlier = before.get((one.request.device_id, one.visit.id), {})
        if _holds(earlier, one.due_fen, now):
            links[place] = {"pay_path": earlier["pay_path"], "valid_until": earlier["valid_until"]}
        else:
            offers[place] = Offer(
                visit_id=one.visit.id,
                device_id=one.request.device_id,
                amount_fen=one.due_fen,
                lines=one.priced.lines(),
            )
    tokens = offer_all(connection, list(offers.values()), now)
    until = (now + LANE_LINK_LIFE).astimezone(UTC).isoformat()
    for place, token in zip(offers, tokens, strict=True):
        links[place] = {"pay_path": f"/v1/payments/{token}", "valid_until": until}
    return links


def _holds(earlier: Mapping[str, Any], due_fen: int, now: datetime) -> bool:
    if earlier.get("amount_fen") != due_fen or not earlier.get("pay_path"):
        return False
    return datetime.fromisoformat(earlier["valid_until"]) >= now + LINK_REST


def _body(one: _Found) -> dict[str, Any]:
    visit, priced = one.visit, one.priced
    known = visit is not None and priced is not None
    return {
        "record_no": one.request.record_no,
        "plate": masked(one.request.vehicle),
        "reason": "missing_entry" if not known else "due" if one.due_fen else "free",
        "visit_id": visit.id if visit is not None else None,
        "entered_at": visit.entered_at.astimezone(UTC).isoformat() if visit is not None else None,
        "amount_fen": one.due_fen,
        "arrears_fen": one.arrears_fen,
        "lines": priced.lines() if priced is not None else [],
        "tariff": {"code": priced.code, "version": priced.version} if priced is not None and priced.known else None,
    }


def _order(request: LaneEvent, body: Mapping[str, Any], deadline: datetime) -> CommandOrder:
    cause = f"lane_event:{request.id}"
    return CommandOrder(request.device_id, CommandKind.FEE_ANSWER, body, cause, deadline)
