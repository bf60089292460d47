"""Guidance signs, and what they were told last. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import CommandKind, CommandState

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

SIGN: Final = "sign"  # the family

# A sign shows its own lot. `lines` are what a person had it show last; free counts go on below them.
_SIGNS: Final = """
SELECT d.id, l.id, l.code, (SELECT count(*) FROM spaces WHERE lot_id = l.id)::integer,
       told.payload, told.state, told.created_at, coalesce(said.lines, '[]'),
       lanes.inside
FROM devices d JOIN lots l ON l.id = d.lot_id
LEFT JOIN lane_counts lanes ON lanes.lot_id = l.id AND NOT lanes.sensors AND lanes.counted_at > %(now)s - interval '5 minutes'
LEFT JOIN LATERAL (
    SELECT payload, state, created_at FROM commands
    WHERE device_id = d.id AND kind = %(kind)s ORDER BY created_at DESC LIMIT 1) told ON true
LEFT JOIN LATERAL (
    SELECT payload -> 'lines' AS lines FROM commands
    WHERE device_id = d.id AND kind = %(kind)s AND payload ? 'by' ORDER BY created_at DESC LIMIT 1) said ON true
WHERE d.family = %(sign)s AND d.enabled ORDER BY d.id
"""

# Orders of people are kept for ever; what one of them was superseded by stays with it.
_FORGET: Final = """
DELETE FROM commands AS old
WHERE kind = %(kind)s AND created_at < %(before)s AND NOT payload ? 'by' AND state <> ALL (%(unfinished)s)
  AND NOT EXISTS (SELECT FROM commands WHERE superseded_by = old.id AND payload ? 'by')
"""


@dataclass(frozen=True, slots=True)
class Sign:
    """A sign as it stands.

    Attributes:
        told: body of the newest command; None: never told anything.
        lines: what a person had it show last.
        inside: vehicles by lanes, of a lot without bay sensors.
    """

    device_id: int
    lot_id: int
    lot: str
    capacity: int
    told: dict[str, Any] | None
    state: CommandState | None
    told_at: datetime | None
    lines: list[str]
    inside: int | None


def load(connection: Connection[Any], now: datetime) -> list[Sign]:
    """All signs in use."""
    rows = connection.execute(_SIGNS, {"kind": CommandKind.SHOW_SIGN, "sign": SIGN, "now": now}).fetchall()
    return [Sign(*(*row[:5], None if row[5] is None else CommandState(row[5]), *row[6:])) for row in rows]


def forget(connection: Connection[Any], before: datetime) -> int:
    """Deletes what the platform told signs before and is over; gives the number."""
    unfinished = [CommandState.QUEUED.value, CommandState.SENT.value]
    values = {"kind": CommandKind.SHOW_SIGN, "before": before, "unfinished": unfinished}
    return connection.execute(_FORGET, values).rowcount
