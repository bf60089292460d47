"""Permits: which part of a stay they pay for (pure).

A permit lets up to `slots` vehicles of its plates stay in its lot at once, from `valid_from` until `valid_until`.
The policy, moment by moment, for the vehicles inside in the order in which they entered:

- Each takes a free slot of its first permit that has one: permits of fewest plates first, then the one that ends
  last, then by code. A vehicle that has a permit of its own so leaves the family's shared slot to the others.
- First in keeps the slot: a vehicle that finds none pays, until one that entered before it leaves.
- Outside its validity a permit has no slots: a stay is covered until `valid_until` and charged from then on.
- A permit with windows has slots only while they are open, by the work calendar of the lot and across midnight: a night
  permit pays for the night, and who stays on into the owner's day pays from the minute at which it closes. When it
  opens again, who is inside is served in the order of entry, as at any moment.
- An opening that its holder gave back, or that its owner took back, is closed like any time outside the windows: who
  stands there then pays. That changes only for time to come, so that nobody pays for what was covered when he stood.

Later entries never take a slot away, and a vehicle that leaves only ever frees one, so that being covered ends with the
stay, with a permit or with an opening of one, and never because of another vehicle (proven by a property test).
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from parking_core.tariffs import Interval
from parking_core.windows import Schedule, openings

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from parking_core.work_calendar import DayKinds


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
    windows: Schedule | None = None  # None: at any time of the day
    closed: tuple[Interval, ...] = ()  # stretches without slots, whatever the windows say; in any order


@dataclass(frozen=True, slots=True)
class Presence:
    """A vehicle in the lot of the permits, from its entry up to but not at its exit; None: it is still inside."""

    vehicle: str
    entered_at: datetime
    exited_at: datetime | None


@dataclass(frozen=True, slots=True)
class LocalHours:
    """What windows are read by: the time zone of the lot and its work calendar."""

    zone: ZoneInfo
    calendar: DayKinds


def covered(
    stay: Presence, permits: Iterable[Permit], others: Iterable[Presence], hours: LocalHours | None = None
) -> tuple[Interval, ...]:
    """Parts of `stay` that permits pay for, in order, without overlaps; none where the stay is empty.

    Args:
        stay: the one in question; it has an exit, be it the moment until which a running stay is looked at.
        permits: all permits of the lot that it and the vehicles of `others` have.
        others: further vehicles of these permits in the lot; those that were never inside with it change nothing,
            and neither does the vehicle's own other stays.
        hours: of the lot; only permits with windows need it.

    Raises:
        ValueError: the stay has no exit, or a permit has windows and `hours` are missing.
    """
    if stay.exited_at is None:
        raise ValueError("A stay is looked at until a moment; give the stay an exit.")
    ranked = sorted(permits, key=_preference)
    if not any(stay.vehicle in permit.plates for permit in ranked):
        return ()
    queue = _in_order(stay, others)
    open_ = [_Open(permit, _openings(permit, stay.entered_at, stay.exited_at, hours)) for permit in ranked]
    moments = _moments(stay.entered_at, stay.exited_at, open_, queue)
    held = [Interval(*span) for span in pairwise(moments) if _has_slot(stay, span[0], open_, queue)]
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

    def covered(self, lot_id: int, stay: Presence, hours: LocalHours | None = None) -> tuple[Interval, ...]:
        """Parts of a stay in a lot that permits pay for; `hours` and errors as of `covered`."""
        permits = self._linked(lot_id, stay.vehicle)
        if not permits:
            return ()
        vehicles = {plate for permit in permits for plate in permit.plates}
        others = [each for vehicle in vehicles for each in self._inside.get((lot_id, vehicle), ())]
        return covered(stay, permits, others, hours)

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


class _Open:
    """A permit, and when it has slots."""

    __slots__ = ("begins", "ends", "permit")

    def __init__(self, permit: Permit, stretches: Sequence[Interval]) -> None:
        self.permit = permit
        self.begins = [each.begins_at for each in stretches]  # in order, without overlaps
        self.ends = [each.ends_at for each in stretches]

    def at(self, moment: datetime) -> bool:
        """Whether it has slots at a moment."""
        place = bisect_right(self.begins, moment) - 1
        return place >= 0 and moment < self.ends[place]


def _openings(permit: Permit, begins: datetime, ends: datetime, hours: LocalHours | None) -> tuple[Interval, ...]:
    """When a permit has slots, as far as it matters to a stay from `begins` until `ends`."""
    since, until = max(begins, permit.valid_from), min(ends, permit.valid_until)
    if until <= since:
        return ()
    if permit.windows is None:
        return _without((Interval(since, until),), permit.closed)
    if hours is None:
        raise ValueError(f"Permit {permit.code!r} has windows; give the time zone and the work calendar of its lot.")
    return _without(openings(permit.windows, hours.calendar, hours.zone, since, until), permit.closed)


def _without(stretches: Sequence[Interval], closed: Iterable[Interval]) -> tuple[Interval, ...]:
    """What is left of stretches in order, without overlaps; the same holds for what is given."""
    left = tuple(stretches)
    for gap in closed:
        left = tuple(
            part
            for each in left
            for part in (
                Interval(each.begins_at, min(each.ends_at, gap.begins_at)),
                Interval(max(each.begins_at, gap.ends_at), each.ends_at),
            )
            if part.begins_at < part.ends_at
        )
    return left


def _moments(begins: datetime, ends: datetime, permits: Sequence[_Open], queue: Sequence[Presence]) -> list[datetime]:
    """Moments of the stay at which slots can change hands, both ends included."""
    changes = {moment for each in permits for moment in (*each.begins, *each.ends)}
    changes |= {each.exited_at for each in queue if each.exited_at is not None}
    return [begins, *sorted(moment for moment in changes if begins < moment < ends), ends] if begins < ends else []


def _has_slot(stay: Presence, at: datetime, permits: Sequence[_Open], queue: Sequence[Presence]) -> bool:
    """Whether the stay holds a slot from `at` on, up to the next moment."""
    open_ = [each.permit for each in permits if each.at(at)]
    left = {permit.code: permit.slots for permit in open_}
    seen: set[str] = set()
    for each in (*queue, stay):
        if each.vehicle in seen or (each.exited_at is not None and each.exited_at <= at):
            continue
        seen.add(each.vehicle)
        slot = next((permit.code for permit in open_ if left[permit.code] and each.vehicle in permit.plates), None)
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
