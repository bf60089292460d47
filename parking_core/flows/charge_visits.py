"""What derived visits cost, and what their money says of them. The caller's transaction holds it.

closed          ─► the tariff's price
missing_entry   ─► what the lane took, no more
all others      ─► nothing; what they were charged before is taken back
─► charges, new versions where the price changed ─► journal
─► review: channel and differences, opened and ended
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parking_core.flows.book_charges import book_charges
from parking_core.flows.derive_visits import visit_id
from parking_core.flows.price_visits import ToPrice, price_visits, use_coupons
from parking_core.reconciliation import DifferenceState
from parking_core.store import differences, payment_links, visit_review, visits
from parking_core.store.charges import PricedVisit
from parking_core.visits import NAMES, Oddity, VisitState, channel_of, findings

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.flows.derive_visits import Derivation
    from parking_core.flows.price_visits import PriceDesk
    from parking_core.reconciliation import Difference, DifferenceName
    from parking_core.store.charges import ChargeChange
    from parking_core.tariffs import Payment
    from parking_core.visits import DerivedVisit, StoredVisit


def charge_visits(
    connection: Connection[Any], derived: Derivation, now: datetime, *, zone: ZoneInfo, desk: PriceDesk | None = None
) -> list[ChargeChange]:
    """Charges derived visits, and those whose price depends on them; gives what changed.

    All closed visits of the vehicles are priced again, changed or not: a free period or a cap may look back on one that
    did change. So are the visits of vehicles that share a permit with one of them.
    """
    closed = [one for one in derived.standing if one.draft.state is VisitState.CLOSED]
    entered_unseen = [one for one in derived.standing if one.draft.state is VisitState.MISSING_ENTRY]
    known_before = [visit_id(one) for one in closed if one.id is not None and one.before is not None]
    moved = [visit_id(one) for one in (*derived.new, *derived.changed)]
    sharers = visits.sharing_permits(connection, [*moved, *(visit.id for visit in derived.void)])
    payments = visit_review.payments_of(connection, [*known_before, *(sharer.id for sharer in sharers)])
    wanted = {visit_id(one): (_to_price(one, payments), _reason(one)) for one in closed}
    for sharer in sharers:
        wanted.setdefault(sharer.id, (_stored_to_price(sharer, payments), "permit_shared"))
    bills = price_visits(connection, [stay for stay, _ in wanted.values()], now, desk)
    use_coupons(connection, bills, void=[visit.id for visit in derived.void])
    prices = [
        PricedVisit(
            visit_id=number,
            amount_fen=bill.bill.total_fen,
            lines=bill.lines(),
            reason=reason,
            at=bill.asked.exited_at or now,
            tariff_id=bill.tariff_id,
        )
        for (number, (_, reason)), bill in zip(wanted.items(), bills, strict=True)
        if bill.known is not None
    ]
    without = {number for number, bill in zip(wanted, bills, strict=True) if bill.known is None}
    prices += [_at_lane(one, zone) for one in entered_unseen if one.draft.paid_at_lane_fen]
    prices += _taken_back(connection, derived, without, now)
    return book_charges(connection, prices)


def _to_price(visit: DerivedVisit, payments: Mapping[int, Sequence[Payment]]) -> ToPrice:
    draft = visit.draft
    if draft.entered_at is None:
        raise ValueError("A closed visit has no entry.")
    return ToPrice(
        lot_id=draft.lot_id,
        vehicle=visit.vehicle,
        entered_at=draft.entered_at,
        exited_at=draft.exited_at,
        visit_id=visit.id,
        plate_color=draft.plate_color,
        vehicle_class=draft.vehicle_class,
        payments=tuple(payments.get(visit_id(visit), ())),
    )


def _stored_to_price(visit: StoredVisit, payments: Mapping[int, Sequence[Payment]]) -> ToPrice:
    if visit.entered_at is None:
        raise ValueError(f"Visit {visit.id} is closed and has no entry.")
    return ToPrice(
        lot_id=visit.lot_id,
        vehicle=visit.vehicle,
        entered_at=visit.entered_at,
        exited_at=visit.exited_at,
        visit_id=visit.id,
        plate_color=visit.plate_color,
        vehicle_class=visit.vehicle_class,
        payments=tuple(payments.get(visit.id, ())),
    )


def _reason(visit: DerivedVisit) -> str:
    if Oddity.PLATE_CORRECTED in visit.draft.reasons:
        return "correction"
    return "late_entry" if visit.before is VisitState.MISSING_ENTRY else "exit"


def _at_lane(visit: DerivedVisit, zone: ZoneInfo) -> PricedVisit:
    """Nobody knows how long it stayed: it costs what the lane took, so that the money is explained."""
    amount = visit.draft.paid_at_lane_fen or 0
    at = visit.draft.exited_at
    if at is None:
        raise ValueError("A visit without an entry has no exit.")
    shown = at.astimezone(zone).isoformat(timespec="seconds")
    line = {
        "rule": "lane.amount",
        "from": shown,
        "until": shown,
        "units": 0,
        "unit_price_fen": 0,
        "amount_fen": amount,
        "text": {"zh": "无入场记录: 按车道实收", "en": "No entry is known: what the lane took."},
    }
    return PricedVisit(visit_id=visit_id(visit), amount_fen=amount, lines=[line], reason="missing_entry", at=at)


def _taken_back(
    connection: Connection[Any], derived: Derivation, without_tariff: Collection[int], now: datetime
) -> list[PricedVisit]:
    """Nothing, for visits that were charged and are no longer to be."""
    times = {visit.id: visit.exited_at or visit.entered_at or now for visit in derived.void}
    for one in derived.standing:
        draft, number = one.draft, visit_id(one)
        uncharged = draft.state in {VisitState.OPEN, VisitState.MISSING_EXIT} or number in without_tariff
        unpaid = draft.state is VisitState.MISSING_ENTRY and not draft.paid_at_lane_fen
        if one.before is not None and (uncharged or unpaid):
            times[number] = draft.exited_at or draft.entered_at or now
    charged = visit_review.charged(connection, times)
    return [
        PricedVisit(visit_id=number, amount_fen=0, lines=[], reason="taken_back", at=times[number])
        for number in sorted(charged)
    ]


def review_visits(connection: Connection[Any], visit_ids: Collection[int], zone: ZoneInfo) -> list[Difference]:
    """Says how visits were paid and what is odd about them, and ends what no longer is; gives what is odd now."""
    money = visit_review.review(connection, visit_ids)
    visits.set_channels(connection, {visit.visit_id: channel_of(visit) for visit in money})
    known = visit_review.known_differences(connection, visit_ids, NAMES)
    wanted: list[Difference] = []
    dissolved: list[str] = []
    for visit in money:
        found = findings(visit, zone)
        before = known.get(visit.visit_id, [])
        wanted += [_under_key(difference, before) for difference in found]
        names = {difference.name for difference in found}
        dissolved += [key for name, key, state in before if name not in names and state is DifferenceState.OPEN]
    visit_review.open_differences(connection, wanted)
    differences.end(connection, dissolved, DifferenceState.SETTLED, "Later records or payments have resolved it.")
    cleared = [visit.visit_id for visit in money if visit.state is not VisitState.OPEN and visit.owed_fen <= 0]
    payment_links.end(connection, cleared)  # or a driver who paid by card could pay by the lane's screen, too
    return wanted


def _under_key(difference: Difference, known: Sequence[tuple[DifferenceName, str, DifferenceState]]) -> Difference:
    """What was settled and is odd again is a further difference; what a person has explained stays explained."""
    same = [(key, state) for name, key, state in known if name is difference.name]
    if not same or any(state is not DifferenceState.SETTLED for _, state in same):
        standing = [key for key, state in same if state is not DifferenceState.SETTLED]
        return replace(difference, key=standing[0]) if standing else difference
    return replace(difference, key=f"{difference.key}:{len(same) + 1}")
