"""Visits of vehicles, derived again wherever something new is known of them. The caller's transaction holds it.

vehicles, each from its earliest news on ─► since: the moment before which all is decided
  ─► passages ─► pair ─► compare with the visits that the store holds ─► insert, update, void
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from parking_core.lanes import LaneEventKind
from parking_core.store import lane_amendments, visits
from parking_core.visits import Policy, compare, pair

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.lanes import LaneEvent
    from parking_core.visits import Comparison, DerivedVisit, StoredVisit

POLICY: Final = Policy()
_PASSAGES: Final = frozenset({LaneEventKind.ENTRY, LaneEventKind.EXIT, LaneEventKind.MANUAL_OPEN})


@dataclass(frozen=True, slots=True)
class Derivation:
    """Visits as they stand now, all with their ids."""

    new: list[DerivedVisit]
    changed: list[DerivedVisit]
    same: list[DerivedVisit]  # of the same vehicles, not before the news
    void: list[StoredVisit]  # as they stood

    @property
    def standing(self) -> list[DerivedVisit]:
        """All but the void ones."""
        return [*self.new, *self.changed, *self.same]

    def pairs(self) -> list[tuple[int, int]]:
        """Event and visit, for every reading of the visits that stand."""
        return [(event, visit_id(one)) for one in self.standing for event in one.draft.event_ids]


def visit_id(visit: DerivedVisit) -> int:
    """Id of a visit that is stored.

    Raises:
        ValueError: it is not stored yet.
    """
    if visit.id is None:
        raise ValueError("The visit is not stored yet.")
    return visit.id


def names_nobody(event: LaneEvent) -> bool:
    """Whether a barrier was opened by hand and nothing says for whom."""
    etc = event.etc
    return (
        event.kind is LaneEventKind.MANUAL_OPEN
        and event.plate is None
        and (etc is None or (etc.obu_plate or etc.card_plate or etc.contract_no or etc.obu_id) is None)
    )


def news_of(
    connection: Connection[Any], events: Sequence[LaneEvent], policy: Policy = POLICY
) -> tuple[dict[str, datetime], list[int]]:
    """Vehicles of which a batch says something new, each from its earliest moment on, and the events that were amended.

    Corrections take effect here: an event's former vehicle and its new one both have news. So have vehicles that left
    close behind one of the exits: who let them out is known now.
    """
    corrections = [event.id for event in events if event.kind is LaneEventKind.CORRECTION]
    passing = [event for event in events if event.kind in _PASSAGES]
    amended = lane_amendments.amend(connection, corrections=corrections, arrived=[event.id for event in passing])
    named = lane_amendments.vehicles_after(connection, [event.id for event in passing])
    news: dict[str, datetime] = {}

    def hear(vehicle: str, at: datetime) -> None:
        news[vehicle] = min(at, news.get(vehicle, at))

    for event in passing:
        if event.id in named or not names_nobody(event):
            hear(named.get(event.id, event.vehicle), event.occurred_at)
    for one in amended:
        hear(one.before, one.occurred_at)
        hear(one.after, one.occurred_at)
    exits = [(event.device_id, event.occurred_at) for event in passing if event.kind is LaneEventKind.EXIT]
    for vehicle, at in visits.followers(connection, exits, policy.tailgate):
        hear(vehicle, at)
    return news, [one.event_id for one in amended]


def derive_visits(
    connection: Connection[Any],
    news: Mapping[str, datetime],
    now: datetime,
    policy: Policy = POLICY,
    *,
    last: int | None = None,
) -> Derivation:
    """Brings the visits of vehicles to what their passages say, given from when on there is news of each.

    `last` is the id up to which events count that still wait; None: all of them.
    """
    if not news:
        return Derivation([], [], [], [])
    begins = visits.since(connection, news)
    passages = visits.passages(connection, begins, policy.tailgate, last)
    drafts = [(vehicle, draft) for vehicle, seen in passages.items() for draft in pair(seen, policy, now)]
    return _store(connection, compare(visits.stored_visits(connection, begins), drafts))


def _store(connection: Connection[Any], found: Comparison) -> Derivation:
    visits.void_visits(connection, [visit.id for visit in found.void])
    visits.update_visits(connection, found.changed)
    ids = visits.insert_visits(connection, found.new)
    new = [replace(one, id=ids[one.draft.entry_event_id, one.draft.exit_event_id]) for one in found.new]
    return Derivation(new, found.changed, found.same, found.void)
