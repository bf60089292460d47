"""Floods as rows: one a device, while it lasts and afterwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.floods import FRESH, SUSPEND_AFTER

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

    from parking_core.floods import Flood

# A flood that was over begins anew. Senders that nobody registered have no row; their letters say it.
_REPORT: Final = """
INSERT INTO device_floods AS known (device_id, since, newest_at, left_out)
SELECT d.id, at, at, f.left_out
FROM (SELECT sender, left_out, timestamptz 'epoch' + at_us * interval '1 microsecond' AS at
      FROM unnest(%(senders)s::text[], %(numbers)s::bigint[], %(times)s::bigint[]) AS u (sender, left_out, at_us)) AS f
JOIN devices d ON d.code = f.sender OR d.eui = f.sender
ORDER BY d.id
ON CONFLICT (device_id) DO UPDATE SET
    since = CASE WHEN known.newest_at < excluded.newest_at - %(fresh)s THEN excluded.since ELSE known.since END,
    left_out = CASE WHEN known.newest_at < excluded.newest_at - %(fresh)s THEN 0 ELSE known.left_out END + excluded.left_out,
    newest_at = greatest(known.newest_at, excluded.newest_at)
"""

_LASTING: Final = """
SELECT d.code, f.left_out, f.since FROM device_floods f JOIN devices d ON d.id = f.device_id
JOIN device_credentials c ON c.device_id = d.id
WHERE f.newest_at > %(now)s - %(fresh)s AND f.newest_at - f.since >= %(after)s
  AND c.revoked_at IS NULL AND coalesce(c.suspended_until, '-infinity') <= %(now)s
ORDER BY d.code
"""


async def report(connection: AsyncConnection[Any], floods: Sequence[Flood]) -> None:
    """Adds what was left out."""
    await connection.execute(
        _REPORT,
        {
            "senders": [flood.sender for flood in floods],
            "numbers": [flood.left_out for flood in floods],
            "times": [flood.at_us for flood in floods],
            "fresh": FRESH,
        },
    )


def lasting(connection: Connection[Any], now: datetime) -> list[tuple[str, int]]:
    """Devices that flood on, and may still connect: code, messages left out."""
    rows = connection.execute(_LASTING, {"now": now, "fresh": FRESH, "after": SUSPEND_AFTER}).fetchall()
    return [(row[0], row[1]) for row in rows]
