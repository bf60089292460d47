"""How many vehicles lanes say are inside, lot by lot, beside what bay sensors say. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.visits import LaneCount

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

    from psycopg import AsyncConnection, Connection

# Of lots that vehicles both enter and leave through lanes. A count that is the same is written again only when it has
# become old: its age says whether anybody counts.
_COUNT = """
INSERT INTO lane_counts AS known (lot_id, inside, sensors, sensor_occupied, drift, counted_at)
SELECT lot.lot_id, inside.visits, sensed.any, sensor.occupied, inside.visits - sensor.occupied, %(now)s
FROM (
    SELECT device.lot_id FROM lanes lane JOIN devices device ON device.id = lane.device_id
    GROUP BY device.lot_id
    HAVING bool_or(lane.direction IN ('entry', 'both')) AND bool_or(lane.direction IN ('exit', 'both'))) lot
CROSS JOIN LATERAL (
    SELECT count(*)::integer AS visits FROM visits WHERE lot_id = lot.lot_id AND state = 'open') inside
CROSS JOIN LATERAL (
    SELECT EXISTS (SELECT FROM devices WHERE lot_id = lot.lot_id AND space_id IS NOT NULL)
        OR EXISTS (SELECT FROM device_spaces watched JOIN spaces space ON space.id = watched.space_id
                   WHERE space.lot_id = lot.lot_id) AS any) sensed
LEFT JOIN unnest(%(lots)s::integer[], %(occupied)s::integer[]) AS sensor (lot_id, occupied)
       ON sensor.lot_id = lot.lot_id AND sensed.any
ORDER BY lot.lot_id
ON CONFLICT (lot_id) DO UPDATE SET inside = excluded.inside, sensors = excluded.sensors,
       sensor_occupied = excluded.sensor_occupied, drift = excluded.drift, counted_at = excluded.counted_at
WHERE (known.inside, known.sensors, known.sensor_occupied) IS DISTINCT FROM
      (excluded.inside, excluded.sensors, excluded.sensor_occupied)
   OR known.counted_at < excluded.counted_at - %(renew)s
"""

_ALL = "SELECT lot_id, inside, sensors, drift, counted_at FROM lane_counts ORDER BY lot_id"


def count(connection: Connection[Any], sensors: Mapping[int, int], now: datetime, renew: timedelta) -> int:
    """Counts open visits of every lot with lanes; `sensors`: occupied spaces by lot. Gives how many rows moved."""
    values = {"lots": list(sensors), "occupied": list(sensors.values()), "now": now, "renew": renew}
    return connection.execute(_COUNT, values).rowcount


async def load_lane_counts(connection: AsyncConnection[Any]) -> dict[int, LaneCount]:
    """The newest counts by lot."""
    rows = await (await connection.execute(_ALL)).fetchall()
    return {row[0]: LaneCount(*row[1:]) for row in rows}
