"""When each device was last heard; durable, because unknown is derived from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import AsyncConnection

    from parking_core.readings import Sign

# Rows are sorted by device, so that two gateways take their locks in the same order.
HEAR = """
INSERT INTO device_liveness AS known (device_id, last_heard_at, online)
SELECT device_id, timestamptz 'epoch' + heard_us * interval '1 microsecond', online
FROM unnest(%s::int[], %s::bigint[], %s::bool[]) AS sign (device_id, heard_us, online)
WHERE EXISTS (SELECT FROM devices WHERE id = device_id)  -- it may have been removed a moment ago
ON CONFLICT (device_id) DO UPDATE SET
    last_heard_at = greatest(known.last_heard_at, excluded.last_heard_at),
    quiet_s = CASE WHEN known.last_heard_at > timestamptz 'epoch' THEN greatest(
        known.quiet_s, least(2147483647, extract(epoch FROM excluded.last_heard_at - known.last_heard_at))::integer
    ) ELSE known.quiet_s END,
    online = coalesce(excluded.online, known.online)
"""

_MISS = """
UPDATE device_liveness SET seq_missing = greatest(0, seq_missing + missing.number)
FROM (SELECT * FROM unnest(%s::int[], %s::bigint[]) AS m (device_id, number) ORDER BY device_id) AS missing
WHERE device_liveness.device_id = missing.device_id
"""

_LAST_HEARD = "SELECT device_id, (extract(epoch FROM last_heard_at) * 1000000)::bigint FROM device_liveness"


async def hear(connection: AsyncConnection[Any], signs: Sequence[Sign]) -> None:
    """Records signs of life, at most one a device."""
    ordered = sorted(signs, key=lambda sign: sign.device_id)
    columns = (
        [sign.device_id for sign in ordered],
        [sign.heard_us for sign in ordered],
        [sign.online for sign in ordered],
    )
    await connection.execute(HEAR, columns)


async def add_missing(connection: AsyncConnection[Any], missing: Mapping[int, int]) -> None:
    """Adds to the number of messages that a device numbered and nobody received (negative: some came late)."""
    await connection.execute(_MISS, (list(missing), list(missing.values())))


async def last_heard(connection: AsyncConnection[Any]) -> dict[int, int]:
    """Device id -> microseconds of the durable last sign of life."""
    return dict(await (await connection.execute(_LAST_HEARD)).fetchall())
