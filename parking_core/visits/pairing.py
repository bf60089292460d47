"""Passages to visits (rules).

A visit is never built up step by step: `pair` reads all passages of one vehicle in the order in which they happened and
gives its visits. Late, repeated, reordered and corrected records therefore end in the same visits, whatever the order
in which they arrived. What has been decided is decided: passages before the moment `matters_until` of all visits before
it need not be read again.

    entry   inside already, just read  -> the same visit, re_entry
            inside already             -> that visit has missing_exit; a new one opens
            just left, never entered   -> the exit's clock is behind: one stay of length zero, clock_skew
            inside another lot         -> a new one opens; that visit has missing_exit, seen_elsewhere
    exit    inside                     -> closes, also a visit that was given up for what was seen elsewhere
            just left                  -> the same visit, repeated_exit
            inside another lot         -> missing_entry here and missing_exit there, both exit_elsewhere
            nowhere                    -> missing_entry
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from parking_core.visits.facts import Direction, Oddity, Passage, Policy, VisitDraft, VisitState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta


@dataclass(slots=True)
class _Stay:
    lot_id: int
    entry: Passage | None = None
    exit: Passage | None = None
    reasons: set[Oddity] = field(default_factory=set)
    readings: list[Passage] = field(default_factory=list)
    elsewhere: _Stay | None = None  # the other half of an exit elsewhere
    given_up: bool = False  # left unseen, as far as known
    settled_at: datetime | None = None  # an exit can no longer end it after that

    def add(self, passage: Passage) -> None:
        self.readings.append(passage)
        if passage.manual:
            self.reasons.add(Oddity.MANUAL)
        if passage.corrected:
            self.reasons.add(Oddity.PLATE_CORRECTED)


def in_order(passages: Iterable[Passage]) -> list[Passage]:
    """As they happened. Equal instants: entries first, then by lane and record number, never by arrival."""
    return sorted(passages, key=lambda one: (one.at, one.direction is Direction.EXIT, one.device_id, one.record_no))


def pair(passages: Iterable[Passage], policy: Policy, now: datetime) -> list[VisitDraft]:
    """Visits of one vehicle from its passages in all lots, in any order; `now` decides which stays are too long."""
    scan = _Scan(policy)
    for passage in in_order(passages):
        scan.take(passage)
    scan.expire(now)
    return [_draft(stay, policy) for stay in scan.stays]


class _Scan:
    """One pass over a vehicle's passages: where it is, and what it left last."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self.stays: list[_Stay] = []
        self._inside: dict[int, _Stay] = {}  # by lot; those given up, too, while an exit may still end them
        self._left: dict[int, _Stay] = {}  # by lot: the last one with an exit

    def take(self, passage: Passage) -> None:
        self.expire(passage.at)
        stay = self._inside.get(passage.lot_id)
        match passage.direction:
            case Direction.ENTRY:
                self._enter(passage, stay)
            case Direction.EXIT:
                self._leave(passage, stay)
            case Direction.EITHER if stay is None or self._repeats(stay.entry, passage):
                self._enter(passage, stay)
            case Direction.EITHER:
                self._leave(passage, stay)

    def expire(self, now: datetime) -> None:
        """Gives up stays that are too long at `now`."""
        for lot_id, stay in list(self._inside.items()):
            if stay.entry is not None and now - stay.entry.at > self._policy.longest_stay:
                self._settle(lot_id, stay, stay.entry.at + self._policy.longest_stay)

    def _settle(self, lot_id: int, stay: _Stay, at: datetime) -> None:
        """No exit can end it any more."""
        stay.given_up, stay.settled_at = True, at
        stay.reasons.add(Oddity.MISSING_EXIT)
        del self._inside[lot_id]

    def _repeats(self, first: Passage | None, passage: Passage) -> bool:
        return first is not None and passage.at - first.at <= self._policy.repeat

    def _enter(self, passage: Passage, stay: _Stay | None) -> None:
        if stay is not None:
            if self._repeats(stay.entry, passage):
                stay.add(passage)
                stay.reasons.add(Oddity.RE_ENTRY)
                return
            self._settle(passage.lot_id, stay, passage.at)
        gone = self._left.get(passage.lot_id)
        lead = self._exit_before(gone, passage)
        if gone is not None and lead is not None and lead <= self._policy.skew:
            gone.entry = passage
            gone.add(passage)
            gone.reasons.discard(Oddity.MISSING_ENTRY)
            gone.reasons.add(Oddity.CLOCK_SKEW)
            _part(gone)
        else:
            if gone is not None and lead is not None and lead <= self._policy.clock_error:
                gone.reasons.add(Oddity.ENTRY_AFTER_EXIT)
            new = _Stay(passage.lot_id, entry=passage)
            new.add(passage)
            self.stays.append(new)
            self._inside[passage.lot_id] = new
        self._seen_in(passage.lot_id)

    def _exit_before(self, gone: _Stay | None, entry: Passage) -> timedelta | None:
        """How long before an entry another lane saw the vehicle leave that nobody had seen enter; None: none did."""
        if gone is None or gone.entry is not None or gone.exit is None or gone.exit.device_id == entry.device_id:
            return None
        return entry.at - gone.exit.at

    def _seen_in(self, lot_id: int) -> None:
        """An entry elsewhere: it has left the other lots unseen, unless an exit there still tells otherwise."""
        for other_id, other in self._inside.items():
            if other_id != lot_id and not other.given_up:
                other.given_up = True
                other.reasons |= {Oddity.MISSING_EXIT, Oddity.SEEN_ELSEWHERE}

    def _leave(self, passage: Passage, stay: _Stay | None) -> None:
        if stay is not None:
            del self._inside[passage.lot_id]
            stay.exit, stay.given_up = passage, False
            stay.reasons -= {Oddity.MISSING_EXIT, Oddity.SEEN_ELSEWHERE}
            _part(stay)
        else:
            gone = self._left.get(passage.lot_id)
            if gone is not None and self._repeats(gone.exit, passage):
                gone.add(passage)
                gone.reasons.add(Oddity.REPEATED_EXIT)
                return
            stay = _Stay(passage.lot_id, exit=passage)
            stay.reasons.add(Oddity.MISSING_ENTRY)
            self.stays.append(stay)
            self._leave_elsewhere(stay)
        stay.add(passage)
        self._left[passage.lot_id] = stay

    def _leave_elsewhere(self, stay: _Stay) -> None:
        """An exit without an entry: where did the vehicle enter last?"""
        origins = [other for other in self._inside.values() if other.elsewhere is None]
        if not origins:
            return
        origin = max(origins, key=lambda one: (one.entry.at, one.lot_id) if one.entry else ())
        origin.given_up = True
        origin.reasons |= {Oddity.MISSING_EXIT, Oddity.EXIT_ELSEWHERE}
        stay.reasons.add(Oddity.EXIT_ELSEWHERE)
        origin.elsewhere, stay.elsewhere = stay, origin


def _part(stay: _Stay) -> None:
    """The other half of an exit elsewhere was found in its own lot: both halves are visits of their own."""
    other = stay.elsewhere
    if other is None:
        return
    stay.elsewhere = other.elsewhere = None
    stay.reasons.discard(Oddity.EXIT_ELSEWHERE)
    other.reasons.discard(Oddity.EXIT_ELSEWHERE)
    if other.given_up:  # it was entered elsewhere instead
        other.reasons.add(Oddity.SEEN_ELSEWHERE)


def _draft(stay: _Stay, policy: Policy) -> VisitDraft:
    entry, leaving = stay.entry, stay.exit
    entered_at = entry.at if entry else None
    exited_at = leaving.at if leaving else None
    if entered_at and exited_at and exited_at < entered_at:
        entered_at = exited_at  # clock skew: a stay of length zero
    amounts = [one.amount_fen for one in stay.readings if one.amount_fen is not None]
    if leaving and leaving.close_behind and not any(amounts):
        stay.reasons.add(Oddity.TAILGATED)
    if entered_at and exited_at and exited_at - entered_at > policy.long_stay:
        stay.reasons.add(Oddity.STAYS_DAYS)
    return VisitDraft(
        lot_id=stay.lot_id,
        state=_state(stay),
        reasons=tuple(sorted(stay.reasons)),
        entry_event_id=entry.event_id if entry else None,
        exit_event_id=leaving.event_id if leaving else None,
        entered_at=entered_at,
        exited_at=exited_at,
        matters_until=_matters_until(stay, policy),
        event_ids=tuple(one.event_id for one in stay.readings),
        paid_at_lane_fen=sum(amounts) if amounts else None,
        linked_event_id=_linked(stay),
        plate_color=next((one.plate_color for one in stay.readings if one.plate_color), None),
        vehicle_class=next((one.vehicle_class for one in stay.readings if one.vehicle_class is not None), None),
    )


def _linked(stay: _Stay) -> int | None:
    other = stay.elsewhere
    half = None if other is None else other.entry or other.exit
    return half.event_id if half else None


def _state(stay: _Stay) -> VisitState:
    if stay.exit is not None:
        return VisitState.CLOSED if stay.entry is not None else VisitState.MISSING_ENTRY
    return VisitState.MISSING_EXIT if stay.given_up else VisitState.OPEN


def _matters_until(stay: _Stay, policy: Policy) -> datetime:
    if stay.exit is not None:
        return max(one.at for one in stay.readings) + policy.slack
    if stay.settled_at is not None:
        return stay.settled_at + policy.slack
    if stay.entry is None:
        raise ValueError("A stay has neither an entry nor an exit.")
    return stay.entry.at + policy.longest_stay + policy.slack
