"""Passages of one vehicle with defaults that no test needs to repeat, and a store of visits in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

from parking_core.visits import Direction, Passage, Policy, VisitDraft, pair

if TYPE_CHECKING:
    from collections.abc import Iterable

NOON = datetime(2026, 6, 1, 4, tzinfo=UTC)
MUCH_LATER = NOON + timedelta(days=400)
POLICY = Policy()
_numbers = count(1)


def passage(direction: Direction, at: datetime | float, **other: Any) -> Passage:
    """At lot 1; `at` in seconds after noon. Lanes: 10 x lot + 1 in, + 2 out."""
    lot = other.get("lot_id", 1)
    number = next(_numbers)
    given: dict[str, Any] = {
        "event_id": number,
        "record_no": number,
        "lot_id": lot,
        "device_id": 10 * lot + (2 if direction is Direction.EXIT else 1),
        "direction": direction,
        "at": at if isinstance(at, datetime) else NOON + timedelta(seconds=at),
    }
    return Passage(**(given | other))


def entry(at: datetime | float, **other: Any) -> Passage:
    """A vehicle enters."""
    return passage(Direction.ENTRY, at, **other)


def leaving(at: datetime | float, **other: Any) -> Passage:
    """A vehicle leaves."""
    return passage(Direction.EXIT, at, **other)


def drafts(*passages: Passage, now: datetime = NOON + timedelta(days=2)) -> list[VisitDraft]:
    """Visits of the passages, in the order in which they begin."""
    return pair(passages, POLICY, now)


class Increments:
    """What the flow does with one vehicle, batch after batch: reads from where nothing is decided, replaces from there."""

    def __init__(self, policy: Policy = POLICY) -> None:
        self._policy = policy
        self._known: dict[int, Passage] = {}
        self._visits: list[VisitDraft] = []
        self.read = 0  # passages that were read again

    def take(self, batch: Iterable[Passage], now: datetime) -> None:
        """Takes a batch; passages that are known already are passed over by their ids."""
        new = {one.event_id: one for one in batch if one.event_id not in self._known}
        if not new:
            return
        self._known |= new
        since = self._since(min(one.at for one in new.values()))
        again = [one for one in self._known.values() if one.at >= since]
        self.read += len(again)
        kept = [visit for visit in self._visits if _begins(visit) < since]
        self._visits = kept + pair(again, self._policy, now)

    def _since(self, at: datetime) -> datetime:
        while True:
            earlier = [_begins(visit) for visit in self._visits if _begins(visit) < at <= visit.matters_until]
            if not earlier:
                return at
            at = min(earlier)

    def visits(self) -> list[VisitDraft]:
        """All visits in one order."""
        return in_one_order(self._visits)


def in_one_order(visits: Iterable[VisitDraft]) -> list[VisitDraft]:
    """By their events."""
    return sorted(visits, key=lambda visit: (visit.entry_event_id or 0, visit.exit_event_id or 0))


def _begins(visit: VisitDraft) -> datetime:
    begins = visit.entered_at or visit.exited_at
    assert begins is not None
    return begins
