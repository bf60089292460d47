"""What goes wrong in a month, and to whom: at most one fault a visit, so that each finding has one cause."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from simulators.month.visits import Channel

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from simulators.month.visits import TrueVisit


class FaultKind(StrEnum):
    """One way for a visit's records to go wrong."""

    # records that never come, or come late
    ENTRY_LOST = "entry_lost"
    EXIT_LOST = "exit_lost"
    ENTRY_LATE = "entry_late"  # sent after everything else of the month
    EXIT_LATE = "exit_late"
    # records that come too often
    SENT_TWICE = "sent_twice"  # the same bytes again
    TRANSACTION_REPEATED = "transaction_repeated"  # the same terminal serial under another record number
    RECORD_NO_REUSED = "record_no_reused"  # another content under a number that was used
    # plates
    MISREAD = "misread"  # the camera at the entry reads another plate, and nobody notices
    MISREAD_CORRECTED = "misread_corrected"
    OBU_OF_ANOTHER = "obu_of_another"  # OBU and card name different plates, the camera agrees with the card
    # transactions
    BROKEN_BALANCE = "broken_balance"
    TAC_MALFORMED = "tac_malformed"
    TAC_LATE = "tac_late"
    TAC_NEVER = "tac_never"
    AMOUNT_DIFFERS = "amount_differs"  # the lane charges one yuan more than the tariff gives
    # behaviour
    TAILGATED = "tailgated"  # leaves right behind another one, nothing is charged
    ENTERS_TWICE = "enters_twice"  # seen twice by the entry lane, seconds apart
    EXIT_ELSEWHERE = "exit_elsewhere"  # leaves by another lot's lane
    STAYS_DAYS = "stays_days"
    CLOCK_SKEWED = "clock_skewed"  # a short visit whose exit lane's clock is behind: leaves before it came


_ETC_ONLY: Final = frozenset(
    {
        FaultKind.TRANSACTION_REPEATED,
        FaultKind.OBU_OF_ANOTHER,
        FaultKind.BROKEN_BALANCE,
        FaultKind.TAC_MALFORMED,
        FaultKind.TAC_LATE,
        FaultKind.TAC_NEVER,
        FaultKind.AMOUNT_DIFFERS,
    }
)
_LATER_ONLY: Final = frozenset(
    {FaultKind.MISREAD, FaultKind.MISREAD_CORRECTED, FaultKind.TAILGATED, FaultKind.EXIT_ELSEWHERE}
)
_PAYING_STAY_S = 3 * 3600  # faults of money happen to visits long enough to cost something under every tariff

# Shares of all visits; in sum about one in a hundred.
SHARES: Final[Mapping[FaultKind, float]] = {
    FaultKind.ENTRY_LOST: 0.0005,
    FaultKind.EXIT_LOST: 0.0005,
    FaultKind.ENTRY_LATE: 0.0005,
    FaultKind.EXIT_LATE: 0.0005,
    FaultKind.SENT_TWICE: 0.003,
    FaultKind.TRANSACTION_REPEATED: 0.0005,
    FaultKind.RECORD_NO_REUSED: 0.0003,
    FaultKind.MISREAD: 0.0004,
    FaultKind.MISREAD_CORRECTED: 0.0004,
    FaultKind.OBU_OF_ANOTHER: 0.0004,
    FaultKind.BROKEN_BALANCE: 0.0005,
    FaultKind.TAC_MALFORMED: 0.0005,
    FaultKind.TAC_LATE: 0.001,
    FaultKind.TAC_NEVER: 0.0003,
    FaultKind.AMOUNT_DIFFERS: 0.0005,
    FaultKind.TAILGATED: 0.0004,
    FaultKind.ENTERS_TWICE: 0.0005,
    FaultKind.EXIT_ELSEWHERE: 0.0003,
    FaultKind.STAYS_DAYS: 0.0003,
    FaultKind.CLOCK_SKEWED: 0.0003,
}
_FEWEST = 3  # of each kind, however short the month


_LONG_STAY = timedelta(days=3)
_SKEWED_STAY = timedelta(seconds=40)
CLOCK_BEHIND = timedelta(seconds=100)  # of a skewed exit lane
_TAIL = timedelta(seconds=3)
_APART = timedelta(seconds=15)  # a barrier falls and rises between two vehicles
_SOON = timedelta(hours=4)  # a vehicle comes again a day later at the earliest


def draw_faults(
    rng: random.Random, visits: Sequence[TrueVisit], shares: Mapping[FaultKind, float], ends_at: datetime
) -> tuple[list[TrueVisit], dict[int, FaultKind]]:
    """The visits as the faults of behaviour change them, and which visit (by number) suffers what.

    A vehicle suffers once, so that no fault meets another.
    """
    hurt: dict[int, FaultKind] = {}
    vehicles: set[str] = set()
    changed = {visit.number: visit for visit in visits}
    last = {visit.vehicle.plate: visit.number for visit in visits}
    leaders_of: dict[int, int] = {}
    leaders = _leaders(visits)
    order = list(visits)
    rng.shuffle(order)
    for kind, share in shares.items():
        wanted = max(_FEWEST, round(share * len(visits))) if share else 0
        for visit in order:
            if not wanted:
                break
            if visit.number in hurt or visit.vehicle.plate in vehicles or not may_suffer(kind, visit):
                continue
            if kind is FaultKind.STAYS_DAYS and (
                last[visit.vehicle.plate] != visit.number
                or visit.exited_at + _LONG_STAY >= ends_at - timedelta(hours=1)
            ):
                continue
            behaved = _behave(kind, visit, leaders)
            if behaved is None:
                continue
            if kind is FaultKind.TAILGATED:
                leader = _next_leader(visit, leaders[visit.lot])
                if leader is None or leader.number in leaders_of.values() or leader.number in hurt:
                    continue
                leaders_of[visit.number] = leader.number
            changed[visit.number] = behaved
            hurt[visit.number] = kind
            vehicles.add(visit.vehicle.plate)
            wanted -= 1
    _space_out(changed, hurt, leaders_of)
    return sorted(changed.values(), key=lambda visit: (visit.entered_at, visit.number)), hurt


def lane_clock(visit: TrueVisit, fault: FaultKind | None) -> datetime:
    """When the exit lane says that the visit ended."""
    return visit.exited_at - CLOCK_BEHIND if fault is FaultKind.CLOCK_SKEWED else visit.exited_at


def _space_out(changed: dict[int, TrueVisit], hurt: Mapping[int, FaultKind], leaders_of: Mapping[int, int]) -> None:
    """One vehicle after the other through each exit, except for those that follow a leader closely."""
    busy_until: dict[str, datetime] = {}
    for visit in sorted(changed.values(), key=lambda one: (lane_clock(one, hurt.get(one.number)), one.number)):
        if visit.number in leaders_of:
            continue
        at = lane_clock(visit, hurt.get(visit.number))
        free_at = busy_until.get(visit.exit_lane, at)
        waits = max(free_at - at, timedelta())
        changed[visit.number] = replace(visit, exited_at=visit.exited_at + waits)
        busy_until[visit.exit_lane] = at + waits + _APART
    for number, leader in leaders_of.items():
        front = changed[leader]
        changed[number] = replace(changed[number], exited_at=front.exited_at + _TAIL, exit_lane=front.exit_lane)


def _leaders(visits: Sequence[TrueVisit]) -> dict[str, list[tuple[datetime, int, TrueVisit]]]:
    """Exits that somebody can follow through the barrier: paid by ETC, by lot and time."""
    by_lot: dict[str, list[tuple[datetime, int, TrueVisit]]] = {}
    for visit in visits:
        if visit.channel is Channel.ETC:
            by_lot.setdefault(visit.lot, []).append((visit.exited_at, visit.number, visit))
    for exits in by_lot.values():
        exits.sort(key=lambda one: one[:2])
    return by_lot


def _behave(
    kind: FaultKind, visit: TrueVisit, leaders: Mapping[str, list[tuple[datetime, int, TrueVisit]]]
) -> TrueVisit | None:
    """The visit as the fault makes it; None where it cannot happen to this one."""
    match kind:
        case FaultKind.STAYS_DAYS:
            return replace(visit, exited_at=visit.exited_at + _LONG_STAY)
        case FaultKind.CLOCK_SKEWED:
            return replace(visit, exited_at=visit.entered_at + _SKEWED_STAY)
        case FaultKind.TAILGATED:
            return visit if _next_leader(visit, leaders.get(visit.lot, [])) else None
        case FaultKind.EXIT_ELSEWHERE:
            elsewhere = sorted(lot for lot in leaders if lot != visit.lot)
            if not elsewhere:
                return None
            lot = elsewhere[visit.number % len(elsewhere)]
            return replace(visit, exit_lane=leaders[lot][0][2].exit_lane)
        case _:
            return visit


def _next_leader(visit: TrueVisit, exits: list[tuple[datetime, int, TrueVisit]]) -> TrueVisit | None:
    """The next one that leaves the lot and pays, if there is one soon."""
    place = bisect_left(exits, (visit.exited_at, -1), key=lambda one: one[:2])
    if place == len(exits) or exits[place][0] - visit.exited_at > _SOON:
        return None
    return exits[place][2]


def may_suffer(kind: FaultKind, visit: TrueVisit) -> bool:
    """Whether the fault makes sense for the visit."""
    if kind in _ETC_ONLY:
        return visit.channel is Channel.ETC and stay_s(visit) >= _PAYING_STAY_S
    if kind in _LATER_ONLY:
        return visit.channel is Channel.LATER and stay_s(visit) >= _PAYING_STAY_S
    return visit.channel in (Channel.ETC, Channel.LATER)


def stay_s(visit: TrueVisit) -> float:
    """Length of the stay in seconds."""
    return (visit.exited_at - visit.entered_at).total_seconds()
