"""Permits: which part of a stay they pay for (pure).

A permit lets up to `slots` vehicles of its plates stay in its lot at once, from `valid_from` until `valid_until`.
The policy, moment by moment, for the vehicles inside in the order in which they entered:

- Each takes a free slot of its first permit that has one: permits of fewest plates first, then the one that ends
  last, then by code. A vehicle that has a permit of its own so leaves the family's shared slot to the others.
- First in keeps the slot: a vehicle that finds none pays, until one that entered before it leaves.
- Outside its validity a permit has no slots: a stay is covered until `valid_until` and charged from then on.

Later entries never take a slot away, and a vehicle that leaves only ever frees one, so that being covered ends with the
stay or with a permit and never because of another vehicle (proven by a property test).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from parking_core.tariffs import Interval

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """A right to stay in one lot; times aware, `valid_until` exclusive."""

    code: str
    lot_id: int
    kind: str  # resident, staff, monthly, ...: for people, no rule reads it
    valid_from: datetime
    valid_until: datetime
    plates: frozenset[str]  # in the one form of parking_core.plates
    slots: int = 1  # vehicles that may stay at once


@dataclass(frozen=True, slots=True)
class Presence:
    """A vehicle in the lot of the permits, from its entry up to but not at its exit; None: it is still inside."""

    vehicle: str
    entered_at: datetime
    exited_at: datetime | None


def covered(stay: Presence, permits: Iterable[Permit], others: Iterable[Presence]) -> tuple[Interval, ...]:
    """Parts of `stay` that permits pay for, in order, without overlaps; none where the stay is empty.

    Args:
        stay: the one in question; it has an exit, be it the moment until which a running stay is looked at.
        permits: all permits of the lot that it and the vehicles of `others` have.
        others: further vehicles of these permits in the lot; those that were never inside with it change nothing,
            and neither does the vehicle's own other stays.

    Raises:
        ValueError: the stay has no exit.
    """
    if stay.exited_at is None:
        raise ValueError("A stay is looked at until a moment; give the stay an exit.")
    ranked = sorted(permits, key=_preference)
    if not any(stay.vehicle in permit.plates for permit in ranked):
        return ()
    queue = _in_order(stay, others)
    moments = _moments(stay.entered_at, stay.exited_at, ranked, queue)
    held = [Interval(*span) for span in pairwise(moments) if _has_slot(stay, span[0], ranked, queue)]
    return _joined(held)


class PermitBook:
    """Permits of many vehicles in many lots, and who was inside; finds for a stay only what can matter to it.

    Args:
        permits: with all that share plates with one another.
        inside: stays of their vehicles, by lot.
    """

    def __init__(self, permits: Iterable[Permit], inside: Mapping[int, Iterable[Presence]]) -> None:
        self._by_plate: dict[tuple[int, str], list[Permit]] = {}
        self._inside: dict[tuple[int, str], list[Presence]] = {}
        for permit in permits:
            for plate in permit.plates:
                self._by_plate.setdefault((permit.lot_id, plate), []).append(permit)
        for lot, present in inside.items():
            for each in present:
                self._inside.setdefault((lot, each.vehicle), []).append(each)

    def covered(self, lot_id: int, stay: Presence) -> tuple[Interval, ...]:
        """Parts of a stay in a lot that permits pay for; errors as of `covered`."""
        permits = self._linked(lot_id, stay.vehicle)
        if not permits:
            return ()
        vehicles = {plate for permit in permits for plate in permit.plates}
        others = [each for vehicle in vehicles for each in self._inside.get((lot_id, vehicle), ())]
        return covered(stay, permits, others)

    def _linked(self, lot_id: int, vehicle: str) -> list[Permit]:
        """The vehicle's permits, those of the vehicles that share one of them, and so on."""
        found: dict[str, Permit] = {}
        waiting, seen = [vehicle], {vehicle}
        while waiting:
            for permit in self._by_plate.get((lot_id, waiting.pop()), ()):
                if permit.code not in found:
                    found[permit.code] = permit
                    waiting += permit.plates - seen
                    seen |= permit.plates
        return list(found.values())


def _preference(permit: Permit) -> tuple[int, float, str]:
    return len(permit.plates), -permit.valid_until.timestamp(), permit.code


def _in_order(stay: Presence, others: Iterable[Presence]) -> list[Presence]:
    """Who entered before the stay, in the order of entry (equal instants: by plate); who comes later takes nothing."""
    mine = (stay.entered_at, stay.vehicle)
    earlier = (each for each in others if each.vehicle != stay.vehicle and (each.entered_at, each.vehicle) < mine)
    return sorted(earlier, key=lambda each: (each.entered_at, each.vehicle))


def _moments(begins: datetime, ends: datetime, permits: Sequence[Permit], queue: Sequence[Presence]) -> list[datetime]:
    """Moments of the stay at which slots can change hands, both ends included."""
    changes = {permit.valid_from for permit in permits} | {permit.valid_until for permit in permits}
    changes |= {each.exited_at for each in queue if each.exited_at is not None}
    return [begins, *sorted(moment for moment in changes if begins < moment < ends), ends] if begins < ends else []


def _has_slot(stay: Presence, at: datetime, permits: Sequence[Permit], queue: Sequence[Presence]) -> bool:
    """Whether the stay holds a slot from `at` on, up to the next moment."""
    left = {permit.code: permit.slots for permit in permits if permit.valid_from <= at < permit.valid_until}
    seen: set[str] = set()
    for each in (*queue, stay):
        if each.vehicle in seen or (each.exited_at is not None and each.exited_at <= at):
            continue
        seen.add(each.vehicle)
        slot = next((p.code for p in permits if left.get(p.code) and each.vehicle in p.plates), None)
        if each is stay:
            return slot is not None
        if slot is not None:
            left[slot] -= 1
    return False


def _joined(parts: Iterable[Interval]) -> tuple[Interval, ...]:
    """Parts that touch become one."""
    whole: list[Interval] = []
    for part in parts:
        if whole and whole[-1].ends_at == part.begins_at:
            whole[-1] = Interval(whole[-1].begins_at, part.ends_at)
        else:
            whole.append(part)
    return tuple(whole)
