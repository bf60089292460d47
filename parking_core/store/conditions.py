"""Conditions of devices and the work that they make. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

from parking_core.health.conditions import DOUBTFUL, Condition
from parking_core.store.binary_rows import moment

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

    from parking_core.health.conditions import Finding

_OPEN: Final = "SELECT device_id, condition FROM device_conditions WHERE cleared_at IS NULL"

# Begins what is new, and keeps the evidence of what goes on as it was when it was found.
_BEGIN: Final = """
INSERT INTO device_conditions (device_id, condition, since, found_at, evidence)
SELECT device_id, condition, least(since, %(now)s), %(now)s, evidence
FROM unnest(%(devices)s::integer[], %(conditions)s::text[], %(since)s::timestamptz[], %(evidence)s::jsonb[])
    AS found (device_id, condition, since, evidence)
WHERE EXISTS (SELECT FROM devices WHERE id = device_id)
ON CONFLICT (device_id, condition) WHERE cleared_at IS NULL DO NOTHING
"""
_CLEAR: Final = """
UPDATE device_conditions AS known SET cleared_at = %(now)s
WHERE cleared_at IS NULL AND NOT EXISTS (
    SELECT FROM unnest(%(devices)s::integer[], %(conditions)s::text[]) AS found (device_id, condition)
    WHERE found.device_id = known.device_id AND found.condition = known.condition)
"""
_OPEN_WORK: Final = """
INSERT INTO work_items (device_id, lot_id, opened_at)
SELECT DISTINCT d.id, d.lot_id, %(now)s::timestamptz
FROM device_conditions c JOIN devices d ON d.id = c.device_id WHERE c.cleared_at IS NULL
ON CONFLICT (device_id) WHERE state = 'open' DO NOTHING
"""
_CLOSE_WORK: Final = """
UPDATE work_items AS item SET state = 'closed', closed_at = %(now)s, closed_by = 'healed'
WHERE state = 'open'
  AND NOT EXISTS (SELECT FROM device_conditions WHERE device_id = item.device_id AND cleared_at IS NULL)
"""

# Bays that some device watches, and those of them whose every device is in doubt.
QUALITY: Final = """
WITH watching AS (
    SELECT space_id, id AS device_id FROM devices WHERE space_id IS NOT NULL AND enabled
    UNION
    SELECT bound.space_id, bound.device_id FROM device_spaces bound JOIN devices d ON d.id = bound.device_id AND d.enabled
), doubted AS (
    SELECT DISTINCT device_id FROM device_conditions WHERE cleared_at IS NULL AND condition = ANY (%s)
), bay AS (
    SELECT watching.space_id, bool_or(doubted.device_id IS NULL) AS sound
    FROM watching LEFT JOIN doubted USING (device_id) GROUP BY watching.space_id
)
SELECT space.lot_id, count(*), count(*) FILTER (WHERE bay.sound)
FROM bay JOIN spaces space ON space.id = bay.space_id GROUP BY space.lot_id
"""

_PAGE: Final = """
SELECT item.id, d.code, l.code, s.code, item.opened_at, item.closed_at,
       (SELECT jsonb_agg(jsonb_build_object('condition', c.condition, 'since', c.since, 'found_at', c.found_at,
                                            'evidence', c.evidence, 'cleared_at', c.cleared_at) ORDER BY c.since, c.id)
        FROM device_conditions c
        WHERE c.device_id = item.device_id AND c.found_at <= coalesce(item.closed_at, 'infinity')
          AND coalesce(c.cleared_at, 'infinity') >= item.opened_at)
FROM work_items item JOIN devices d ON d.id = item.device_id JOIN lots l ON l.id = item.lot_id
LEFT JOIN spaces s ON s.id = d.space_id
WHERE item.id < %(before)s AND item.state = %(state)s
  AND (%(lot)s::text IS NULL OR l.code = %(lot)s) AND (%(device)s::text IS NULL OR d.code = %(device)s)
  AND (%(operator)s::integer IS NULL OR l.operator_id = %(operator)s)
ORDER BY item.id DESC LIMIT %(most)s
"""
_TALLY: Final = """
SELECT c.condition, count(*), min(c.since) FROM device_conditions c
JOIN devices d ON d.id = c.device_id JOIN lots l ON l.id = d.lot_id
WHERE c.cleared_at IS NULL AND (%(lot)s::text IS NULL OR l.code = %(lot)s)
  AND (%(operator)s::integer IS NULL OR l.operator_id = %(operator)s)
GROUP BY c.condition ORDER BY count(*) DESC, c.condition
"""


@dataclass(frozen=True, slots=True)
class Applied:
    """What findings changed."""

    begun: int
    cleared: int
    items_opened: int
    items_closed: int


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A device that somebody has to see to, with what was wrong with it meanwhile."""

    id: int
    device: str
    lot: str
    space: str | None  # of a one-space device
    opened_at: datetime
    closed_at: datetime | None
    conditions: list[dict[str, Any]]


def open_conditions(connection: Connection[Any]) -> dict[Condition, set[int]]:
    """Devices by the condition that they are in."""
    found: dict[Condition, set[int]] = {condition: set() for condition in Condition}
    for device, condition in connection.execute(_OPEN).fetchall():
        found[Condition(condition)].add(device)
    return found


def apply(connection: Connection[Any], findings: Sequence[Finding], now: datetime) -> Applied:
    """Makes the findings the open conditions, and one work item a device of them."""
    values = {
        "now": now,
        "devices": [finding.device_id for finding in findings],
        "conditions": [finding.condition.value for finding in findings],
        "since": [moment(max(0, finding.since_us)) for finding in findings],
        "evidence": [Jsonb(dict(finding.evidence)) for finding in findings],
    }
    cleared = connection.execute(_CLEAR, values).rowcount
    begun = connection.execute(_BEGIN, values).rowcount
    opened = connection.execute(_OPEN_WORK, values).rowcount
    return Applied(begun, cleared, opened, connection.execute(_CLOSE_WORK, values).rowcount)


async def load_quality(connection: AsyncConnection[Any]) -> dict[int, tuple[int, int]]:
    """Lot id -> bays that a device watches, and those of them that are seen soundly."""
    rows = await (await connection.execute(QUALITY, ([one.value for one in DOUBTFUL],))).fetchall()
    return {row[0]: (row[1], row[2]) for row in rows}


def page(
    connection: Connection[Any],
    *,
    most: int,
    before: int | None = None,
    closed: bool = False,
    lot: str | None = None,
    device: str | None = None,
    operator_id: int | None = None,
) -> list[WorkItem]:
    """Work items, the newest first; `operator_id`: of this operator's lots only."""
    values = {
        "before": 2**62 if before is None else before,
        "state": "closed" if closed else "open",
        "lot": lot,
        "device": device,
        "operator": operator_id,
        "most": most,
    }
    rows = connection.execute(_PAGE, values).fetchall()
    return [WorkItem(*(*row[:6], row[6] or [])) for row in rows]


def tally(
    connection: Connection[Any], *, lot: str | None = None, operator_id: int | None = None
) -> list[tuple[str, int, datetime]]:
    """Conditions with their number of devices, and since when the oldest is."""
    return connection.execute(_TALLY, {"lot": lot, "operator": operator_id}).fetchall()
