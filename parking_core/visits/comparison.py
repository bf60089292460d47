"""Stored visits against drafts: what must change (rules)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parking_core.visits.facts import CHANGES, VisitDraft, VisitState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVisit:
    """A visit as it stands in the store."""

    id: int
    lot_id: int
    vehicle: str
    plate_color: str | None
    vehicle_class: int | None
    state: VisitState
    reasons: tuple[str, ...]
    entry_event_id: int | None
    exit_event_id: int | None
    entered_at: datetime | None
    exited_at: datetime | None
    matters_until: datetime
    linked_event_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedVisit:
    """A draft with its vehicle and the id of the visit that it is; None: a new one."""

    id: int | None
    vehicle: str
    draft: VisitDraft
    before: VisitState | None = None  # state of the stored visit


@dataclass(frozen=True, slots=True)
class Comparison:
    """What the store must change, and what it holds already."""

    new: list[DerivedVisit]
    changed: list[DerivedVisit]
    same: list[DerivedVisit]
    void: list[StoredVisit]


def compare(stored: Iterable[StoredVisit], derived: Iterable[tuple[str, VisitDraft]]) -> Comparison:
    """A draft is the stored visit that has its entry, else its exit, else one of its further readings; the rest are void.

    The last is a visit whose entry was read twice, when the first reading comes late: what was paid for it stays with it.

    Raises:
        ValueError: a visit would change in a way that its life cycle does not know.
    """
    left = {visit.id: visit for visit in stored if visit.state is not VisitState.VOID}
    by_entry = {visit.entry_event_id: visit for visit in left.values() if visit.entry_event_id is not None}
    by_exit = {visit.exit_event_id: visit for visit in left.values() if visit.exit_event_id is not None}
    result = Comparison([], [], [], [])
    unmatched = []
    for vehicle, draft in derived:
        visit = None if draft.entry_event_id is None else by_entry.get(draft.entry_event_id)
        if visit is None:
            unmatched.append((vehicle, draft))
        else:
            del left[visit.id]
            _match(visit, vehicle, draft, result)
    unknown = []
    for vehicle, draft in unmatched:
        visit = None if draft.exit_event_id is None else by_exit.get(draft.exit_event_id)
        if visit is None or visit.id not in left:
            unknown.append((vehicle, draft))
        else:
            del left[visit.id]
            _match(visit, vehicle, draft, result)
    for vehicle, draft in unknown:
        visit = _of_readings(draft, left.values())
        if visit is None:
            result.new.append(DerivedVisit(id=None, vehicle=vehicle, draft=draft))
        else:
            del left[visit.id]
            _match(visit, vehicle, draft, result)
    result.void.extend(left.values())
    return result


def _of_readings(draft: VisitDraft, left: Iterable[StoredVisit]) -> StoredVisit | None:
    """The oldest of the visits that began or ended with a reading of the draft, and may become it."""
    fitting = [
        visit
        for visit in left
        if (visit.entry_event_id in draft.event_ids or visit.exit_event_id in draft.event_ids)
        and (draft.state is visit.state or draft.state in CHANGES[visit.state])
    ]
    return min(fitting, key=lambda one: one.id, default=None)


def _match(visit: StoredVisit, vehicle: str, draft: VisitDraft, result: Comparison) -> None:
    if draft.state is not visit.state and draft.state not in CHANGES[visit.state]:
        raise ValueError(f"Visit {visit.id} is {visit.state}; it cannot become {draft.state}.")
    derived = DerivedVisit(id=visit.id, vehicle=vehicle, draft=draft, before=visit.state)
    (result.same if _is(visit, vehicle, draft) else result.changed).append(derived)


def _is(visit: StoredVisit, vehicle: str, draft: VisitDraft) -> bool:
    return (
        visit.vehicle == vehicle
        and visit.state is draft.state
        and visit.entry_event_id == draft.entry_event_id
        and visit.exit_event_id == draft.exit_event_id
        and visit.entered_at == draft.entered_at
        and visit.exited_at == draft.exited_at
        and visit.reasons == draft.reasons
        and visit.matters_until == draft.matters_until
        and visit.linked_event_id == draft.linked_event_id
        and visit.lot_id == draft.lot_id
        and visit.plate_color == draft.plate_color
        and visit.vehicle_class == draft.vehicle_class
    )
