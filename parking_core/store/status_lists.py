"""Status lists as intervals of versions, and which version each lane was told and has. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.clearing.status_lists import Listing, Medium, StatusEntry, StatusExplanation
from parking_core.commands import CommandState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from psycopg import Connection

    from parking_core.clearing.status_lists import StatusList

_CURRENT = "SELECT max(version) FROM status_lists"

_ADD = """
INSERT INTO status_lists (version, base_version, published_at, changes, received_at) VALUES (%s, %s, %s, 0, %s)
"""

# Numbers that the list takes off, or lists for another reason; a full list takes off all that it does not name.
_CLOSE = """
UPDATE status_entries AS known SET until_version = %(version)s
WHERE known.until_version IS NULL AND (
    EXISTS (SELECT FROM unnest(%(media)s::text[], %(numbers)s::text[], %(reasons)s::smallint[]) AS n (medium, number, reason)
            WHERE n.medium = known.medium AND n.number = known.number AND n.reason IS DISTINCT FROM known.reason)
    OR (%(full)s AND NOT EXISTS (SELECT FROM unnest(%(media)s::text[], %(numbers)s::text[]) AS n (medium, number)
                                 WHERE n.medium = known.medium AND n.number = known.number)))
"""

_OPEN = """
INSERT INTO status_entries (medium, number, reason, from_version)
SELECT n.medium, n.number, n.reason, %(version)s
FROM unnest(%(media)s::text[], %(numbers)s::text[], %(reasons)s::smallint[]) AS n (medium, number, reason)
WHERE n.reason IS NOT NULL
  AND NOT EXISTS (SELECT FROM status_entries AS known WHERE known.medium = n.medium AND known.number = n.number
                  AND known.until_version IS NULL)
"""

_COUNT = "UPDATE status_lists SET changes = %s WHERE version = %s"

_FULL = """
SELECT medium, number, reason FROM status_entries
WHERE from_version <= %(version)s AND (until_version IS NULL OR until_version > %(version)s) ORDER BY medium, number
"""

# Of every number that changed after the base: how it stands at the version.
_DELTA = """
WITH changed AS (
    SELECT medium, number FROM status_entries WHERE from_version > %(base)s AND from_version <= %(version)s
    UNION
    SELECT medium, number FROM status_entries WHERE until_version > %(base)s AND until_version <= %(version)s
)
SELECT changed.medium, changed.number, entry.reason
FROM changed LEFT JOIN status_entries AS entry ON entry.medium = changed.medium AND entry.number = changed.number
    AND entry.from_version <= %(version)s AND (entry.until_version IS NULL OR entry.until_version > %(version)s)
ORDER BY changed.medium, changed.number
"""

_LISTINGS = """
SELECT medium, number, reason, from_version, until_version FROM status_entries WHERE number = %s ORDER BY from_version
"""

_IN_FORCE = "SELECT max(version) FROM status_lists WHERE published_at <= %s"

_USED = """
SELECT e.card_no, e.obu_id, e.occurred_at, e.status_list_version
FROM lane_events e WHERE e.terminal_no = %s AND e.terminal_serial = %s AND e.event IN ('entry', 'exit')
"""

# Cards and OBUs that were listed in the very version that the lane says it used: it should have refused them.
_LISTED_AT_LANE = """
SELECT e.id, s.medium, s.number, s.reason, s.from_version, s.until_version
FROM lane_events e JOIN status_entries s
    ON ((s.medium = 'card' AND s.number = e.card_no) OR (s.medium = 'obu' AND s.number = e.obu_id))
    AND s.from_version <= e.status_list_version
    AND (s.until_version IS NULL OR s.until_version > e.status_list_version)
WHERE e.id = ANY(%s) ORDER BY e.id, s.medium
"""

_LANES = """
SELECT lane.device_id, device.code, told.version, told.attempts, told.confirmed_version, told.confirmed_at, command.state
FROM lanes AS lane
JOIN devices AS device ON device.id = lane.device_id
LEFT JOIN lane_status_lists AS told ON told.device_id = lane.device_id
LEFT JOIN commands AS command ON command.id = told.command_id
WHERE lane.active AND device.enabled ORDER BY lane.device_id
"""

_CONFIRM = """
UPDATE lane_status_lists AS told SET confirmed_version = told.version, confirmed_at = command.ended_at
FROM commands AS command
WHERE command.id = told.command_id AND command.state = 'acknowledged'
  AND told.confirmed_version IS DISTINCT FROM told.version
"""

_TELL = """
INSERT INTO lane_status_lists AS told (device_id, version, command_id, attempts)
SELECT * FROM unnest(%s::integer[], %s::text[], %s::uuid[], %s::integer[])
ON CONFLICT (device_id) DO UPDATE SET version = excluded.version, command_id = excluded.command_id,
    attempts = excluded.attempts
"""


@dataclass(frozen=True, slots=True)
class LaneList:
    """What a lane was told of status lists, and what it has confirmed (None: nothing yet)."""

    device_id: int
    device: str
    told: str | None
    attempts: int
    confirmed: str | None
    confirmed_at: datetime | None
    command: CommandState | None


def current(connection: Connection[Any]) -> str | None:
    """The newest version that is known; None: none."""
    row = connection.execute(_CURRENT).fetchone()
    return None if row is None else row[0]


def add(connection: Connection[Any], content: StatusList, now: datetime) -> int:
    """Takes a list over that fits what is known; gives how many numbers it changed."""
    connection.execute(_ADD, (content.version, content.base, content.published_at, now))
    parameters = {
        "version": content.version,
        "full": content.base is None,
        "media": [entry.medium.value for entry in content.entries],
        "numbers": [entry.number for entry in content.entries],
        "reasons": [entry.reason for entry in content.entries],
    }
    closed = connection.execute(_CLOSE, parameters).rowcount
    opened = connection.execute(_OPEN, parameters).rowcount
    changes = max(closed, opened)
    connection.execute(_COUNT, (changes, content.version))
    return changes


def entries(connection: Connection[Any], version: str, base: str | None = None) -> list[StatusEntry]:
    """The list at a version: all of it, or of every number that changed after `base` how it stands."""
    statement = _FULL if base is None else _DELTA
    rows = connection.execute(statement.encode(), {"version": version, "base": base}).fetchall()
    return [StatusEntry(Medium(medium), number, reason) for medium, number, reason in rows]


def listings(connection: Connection[Any], number: str) -> list[Listing]:
    """All intervals in which a card or OBU was listed, the oldest first."""
    rows = connection.execute(_LISTINGS, (number,)).fetchall()
    return [Listing(Medium(row[0]), *row[1:]) for row in rows]


def in_force_at(connection: Connection[Any], at: datetime) -> str | None:
    """The newest version that the centre had published by then; None: none."""
    row = connection.execute(_IN_FORCE, (at,)).fetchone()
    return None if row is None else row[0]


def status_of(connection: Connection[Any], number: str, at: datetime, at_lane: str | None = None) -> StatusExplanation:
    """Whether a card or OBU was listed at a moment: by the centre, and in the version that a lane used."""
    in_force = in_force_at(connection, at)
    known = listings(connection, number)
    return StatusExplanation(number, at, in_force, at_lane, _holding(known, at_lane), _holding(known, in_force))


def _holding(known: Iterable[Listing], version: str | None) -> Listing | None:
    return next((listing for listing in known if version is not None and listing.holds_in(version)), None)


def explain(connection: Connection[Any], terminal_no: str, terminal_serial: str) -> list[StatusExplanation]:
    """Card and OBU of a transaction under the version that its lane used; [] for an unknown transaction."""
    row = connection.execute(_USED, (terminal_no, terminal_serial)).fetchone()
    if row is None:
        return []
    card_no, obu_id, at, version = row
    return [status_of(connection, number, at, version) for number in (card_no, obu_id) if number]


def listed_at_lane(connection: Connection[Any], event_ids: Sequence[int]) -> dict[int, Listing]:
    """Of these lane events those whose card or OBU was listed in the version that the lane itself used."""
    rows = connection.execute(_LISTED_AT_LANE, (list(event_ids),)).fetchall() if event_ids else []
    return {row[0]: Listing(Medium(row[1]), *row[2:]) for row in reversed(rows)}


def lanes(connection: Connection[Any]) -> list[LaneList]:
    """Every lane that is in use, with what it was told."""
    return [
        LaneList(device_id, code, told, attempts or 0, confirmed, at, CommandState(state) if state else None)
        for device_id, code, told, attempts, confirmed, at, state in connection.execute(_LANES).fetchall()
    ]


def confirm(connection: Connection[Any]) -> int:
    """Notes what lanes have acknowledged since; gives how many."""
    return connection.execute(_CONFIRM).rowcount


def tell(connection: Connection[Any], told: Sequence[tuple[int, str, UUID, int]]) -> None:
    """Notes which version each lane was told, by which command, for the how-manieth time."""
    if told:
        connection.execute(_TELL, [list(column) for column in zip(*told, strict=True)])
