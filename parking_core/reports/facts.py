"""Rows of a report. No row holds a plate, a card or a phone number."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import date, datetime

    from parking_core.audit import Audit
    from parking_core.statements import Statement


@dataclass(frozen=True, slots=True)
class ChannelDay:
    """Both sides of a channel and local day, fen."""

    channel: str
    day: date
    records: int
    booked_fen: int  # ours
    confirmed_fen: int  # by the other side
    uncertain_fen: int  # waits for a TAC, is held or disputed
    lost_fen: int  # rejected or bad debt

    @property
    def open_fen(self) -> int:
        """Not confirmed yet, and neither uncertain nor lost."""
        return self.booked_fen - self.confirmed_fen - self.uncertain_fen - self.lost_fen


@dataclass(frozen=True, slots=True)
class LaneDay:
    """A lane's day in the ledger."""

    lane: str
    lot: str
    day: date
    records: int
    amount_fen: int
    differences: int


@dataclass(frozen=True, slots=True)
class OneDifference:
    """One difference."""

    id: int
    name: str
    owner: str
    state: str
    day: date
    hour_at: datetime | None
    lot: str | None
    lane: str | None
    visit_id: int | None
    channel: str | None
    records: int
    amount_fen: int
    explanation: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A month on one page."""

    month: date
    made_at: datetime  # local
    audit: Audit
    statements: Sequence[Statement]
    channels: Sequence[ChannelDay]
    lanes: Sequence[LaneDay]
    differences: Sequence[OneDifference]

    def by_name(self) -> list[tuple[str, str, Counter[str], int]]:
        """Differences summed up: name, owner, count by state, fen that are still open."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        open_fen: Counter[tuple[str, str]] = Counter()
        for one in self.differences:
            counts.setdefault((one.name, one.owner), Counter())[one.state] += 1
            if one.state == "open":
                open_fen[one.name, one.owner] += abs(one.amount_fen)
        return [(name, owner, states, open_fen[name, owner]) for (name, owner), states in sorted(counts.items())]
