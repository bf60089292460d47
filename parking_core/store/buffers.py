"""Buffers of shared lots as they were learned, by lot and local hour. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.offers import LotBuffers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

_READ = "SELECT lot_id, hour, guest_min, owner_min, grace_min FROM lot_buffers"

_KEEP = """
INSERT INTO lot_buffers (lot_id, hour, guest_min, owner_min, grace_min, expected_rate, departures, learned_at)
SELECT u.*, %s FROM unnest(%s::integer[], %s::smallint[], %s::smallint[], %s::smallint[], %s::smallint[], %s::real[], %s::integer[]) AS u
ON CONFLICT (lot_id, hour) DO UPDATE SET guest_min = excluded.guest_min, owner_min = excluded.owner_min,
    grace_min = excluded.grace_min, expected_rate = excluded.expected_rate, departures = excluded.departures,
    learned_at = excluded.learned_at
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedBuffers:
    """What was learned of a lot's hour."""

    lot_id: int
    hour: int
    buffers: LotBuffers
    expected_rate: float  # of promises that are let down with them
    departures: int  # that it was learned from


def read(connection: Connection[Any]) -> dict[tuple[int, int], LotBuffers]:
    """Buffers by lot and hour; what is not there was not learned."""
    return {(lot, hour): LotBuffers(*minutes) for lot, hour, *minutes in connection.execute(_READ)}


def keep(connection: Connection[Any], learned: Sequence[LearnedBuffers], now: datetime) -> None:
    """Puts buffers in force; promises that stand keep theirs."""
    if not learned:
        return
    connection.execute(
        _KEEP,
        (
            now,
            [each.lot_id for each in learned],
            [each.hour for each in learned],
            [each.buffers.guest_min for each in learned],
            [each.buffers.owner_min for each in learned],
            [each.buffers.grace_min for each in learned],
            [each.expected_rate for each in learned],
            [each.departures for each in learned],
        ),
    )
