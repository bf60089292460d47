"""Lanes as an operator looks at them: which there are, when they were heard, what they were told, what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

# One look in each index a lane: the newest record is at the end of its own.
_OVERVIEW = """
SELECT l.code, d.code, lane.direction, lane.active, alive.online, alive.last_heard_at, newest.record_no,
       (SELECT count(*) FROM lane_gaps g WHERE g.device_id = d.id AND g.filled_at IS NULL),
       (SELECT count(*) FROM commands c WHERE c.device_id = d.id AND c.state IN ('queued', 'sent'))
FROM lanes lane JOIN devices d ON d.id = lane.device_id JOIN lots l ON l.id = d.lot_id
LEFT JOIN device_liveness alive ON alive.device_id = d.id
LEFT JOIN LATERAL (
    SELECT record_no FROM lane_events e WHERE e.device_id = d.id ORDER BY record_no DESC LIMIT 1) newest ON true
ORDER BY l.code, d.code
"""

# Neighbouring numbers that were found missing together are one gap, also after some of them came.
_GAPS = """
SELECT l.code, d.code, min(g.record_no), max(g.record_no), count(*) FILTER (WHERE g.filled_at IS NULL), min(g.seen_at),
       max(g.filled_at)
FROM lane_gaps g JOIN devices d ON d.id = g.device_id JOIN lots l ON l.id = d.lot_id
WHERE %(device)s::integer IS NULL OR g.device_id = %(device)s
GROUP BY l.code, d.code, g.device_id, g.run_from
HAVING %(filled_too)s OR bool_or(g.filled_at IS NULL)
ORDER BY min(g.seen_at) DESC, l.code, d.code LIMIT %(most)s
"""

_LANE = """
SELECT d.id FROM lanes lane JOIN devices d ON d.id = lane.device_id JOIN lots l ON l.id = d.lot_id
WHERE l.code = %s AND d.code = %s
"""


@dataclass(frozen=True, slots=True)
class LaneView:
    """One lane now."""

    lot: str
    lane: str
    direction: str
    active: bool
    online: bool | None  # by its newest status message; None: it never sent one
    heard_at: datetime | None
    newest_record_no: int | None
    missing: int  # record numbers that nobody received
    commands: int  # unfinished


@dataclass(frozen=True, slots=True)
class GapView:
    """Record numbers that were found missing together."""

    lot: str
    lane: str
    first: int
    last: int
    missing: int  # of them, still
    seen_at: datetime
    filled_at: datetime | None  # the newest of those that came late


def overview(connection: Connection[Any]) -> list[LaneView]:
    """All lanes by lot and code."""
    return [LaneView(*row) for row in connection.execute(_OVERVIEW).fetchall()]


def gaps(
    connection: Connection[Any], *, device_id: int | None = None, filled_too: bool = False, most: int = 100
) -> list[GapView]:
    """Gaps in the record numbers of one lane or of all, the newest first."""
    parameters = {"device": device_id, "filled_too": filled_too, "most": most}
    return [GapView(*row) for row in connection.execute(_GAPS, parameters).fetchall()]


def lane_id(connection: Connection[Any], lot: str, lane: str) -> int:
    """Device id of a lane.

    Raises:
        NotFoundError: the lot has no such lane.
    """
    row = connection.execute(_LANE, (lot, lane)).fetchone()
    if row is None:
        raise NotFoundError(f"Lot {lot!r} has no lane {lane!r}; `parking lane list` shows all.")
    return int(row[0])
