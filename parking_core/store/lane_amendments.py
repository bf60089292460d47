"""Whom events are about after corrections, and events that were set aside. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

# A correction record names a record of its own lane, which may come later than it.
_RECORD = """
INSERT INTO lane_amendments (correction_event_id, device_id, record_no, event_id, vehicle_before, vehicle_after,
                             plate_color, vehicle_class, corrected_at)
SELECT correction.id, correction.device_id, correction.refers_to, target.id, target.vehicle, correction.vehicle,
       correction.plate_color, correction.vehicle_class, correction.occurred_at
FROM lane_events correction
LEFT JOIN lane_events target ON target.device_id = correction.device_id AND target.record_no = correction.refers_to
WHERE correction.id = ANY(%(corrections)s) AND correction.refers_to IS NOT NULL
ON CONFLICT (correction_event_id) DO NOTHING
RETURNING event_id
"""

_MEET = """
UPDATE lane_amendments amendment SET event_id = target.id, vehicle_before = target.vehicle
FROM lane_events target
WHERE target.id = ANY(%(events)s) AND amendment.device_id = target.device_id
  AND amendment.record_no = target.record_no AND amendment.event_id IS NULL
RETURNING target.id
"""

_NEWEST = """
SELECT DISTINCT ON (amendment.event_id) amendment.event_id, amendment.correction_event_id, amendment.vehicle_after,
       coalesce(former.vehicle_after, target.vehicle), target.occurred_at
FROM lane_amendments amendment
JOIN lane_events correction ON correction.id = amendment.correction_event_id
JOIN lane_events target ON target.id = amendment.event_id
LEFT JOIN lane_amendments former ON former.event_id = amendment.event_id AND former.in_force
WHERE amendment.event_id = ANY(%(events)s)
ORDER BY amendment.event_id, amendment.corrected_at DESC, correction.record_no DESC
"""

_OUT_OF_FORCE = """
UPDATE lane_amendments SET in_force = false
WHERE event_id = ANY(%(events)s) AND in_force AND correction_event_id <> ALL(%(corrections)s)
"""
_IN_FORCE = """
UPDATE lane_amendments SET in_force = true WHERE correction_event_id = ANY(%(corrections)s) AND NOT in_force
"""

_VEHICLES = "SELECT event_id, vehicle_after FROM lane_amendments WHERE in_force AND event_id = ANY(%(events)s)"

_SET_ASIDE = """
INSERT INTO lane_events_set_aside (event_id, error) VALUES (%(event)s, %(error)s) ON CONFLICT (event_id) DO NOTHING
"""

_SET_ASIDE_SINCE = "SELECT count(*) FROM lane_events_set_aside WHERE set_aside_at > %(since)s"

_TAKE_BACK = """
WITH back AS (DELETE FROM lane_events_set_aside WHERE event_id = ANY(%(events)s) RETURNING event_id)
UPDATE lane_events SET processed_at = NULL FROM back WHERE lane_events.id = back.event_id RETURNING lane_events.id
"""


@dataclass(frozen=True, slots=True)
class Amended:
    """An event that is taken to be about another vehicle than before."""

    event_id: int
    before: str
    after: str
    occurred_at: datetime


def amend(connection: Connection[Any], *, corrections: Sequence[int], arrived: Sequence[int]) -> list[Amended]:
    """Puts correction records in force, and earlier ones whose record is among `arrived`; all are event ids.

    Of several for one event, the newest by the lane's own clock and numbering wins, in whatever order they came.
    """
    touched: set[int] = set()
    if corrections:
        rows = connection.execute(_RECORD, {"corrections": list(corrections)}).fetchall()
        touched |= {event for (event,) in rows if event is not None}
    touched |= {event for (event,) in connection.execute(_MEET, {"events": list(arrived)}).fetchall()}
    if not touched:
        return []
    newest = connection.execute(_NEWEST, {"events": list(touched)}).fetchall()
    winners = {"events": list(touched), "corrections": [correction for _, correction, *_ in newest]}
    connection.execute(_OUT_OF_FORCE, winners)
    connection.execute(_IN_FORCE, winners)
    return [Amended(event, before, after, occurred_at) for event, _, after, before, occurred_at in newest]


def vehicles_after(connection: Connection[Any], events: Sequence[int]) -> dict[int, str]:
    """Vehicles of those events that a correction is in force for, by event id."""
    return dict(connection.execute(_VEHICLES, {"events": list(events)}).fetchall())


def set_aside(connection: Connection[Any], event_id: int, error: str) -> None:
    """Takes an event out of everything that is derived from the ledger."""
    connection.execute(_SET_ASIDE, {"event": event_id, "error": error})


def set_aside_since(connection: Connection[Any], since: datetime) -> int:
    """How many events were set aside after a moment."""
    row = connection.execute(_SET_ASIDE_SINCE, {"since": since}).fetchone()
    return int(row[0]) if row else 0


def take_back(connection: Connection[Any], events: Sequence[int]) -> list[int]:
    """Lets events that were set aside wait again; gives those that had been."""
    return [event for (event,) in connection.execute(_TAKE_BACK, {"events": list(events)}).fetchall()]
