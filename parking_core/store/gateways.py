"""Which gateways exist and when each was last alive."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import AsyncConnection

_REPORT = """
INSERT INTO gateways (instance, seen_at) VALUES (%s, now())
ON CONFLICT (instance) DO UPDATE SET seen_at = now(), claimed_at = NULL
"""

# A claim lapses as silence does: who made it may have died over it.
_CLAIM = """
UPDATE gateways SET claimed_at = now()
WHERE instance = (
    SELECT instance FROM gateways
    WHERE instance <> %(instance)s
      AND greatest(seen_at, claimed_at) < now() - %(silent_s)s * interval '1 second'
    ORDER BY seen_at LIMIT 1 FOR UPDATE SKIP LOCKED
)
RETURNING instance
"""

_OTHERS = """
SELECT EXISTS (SELECT FROM gateways WHERE instance <> %s AND seen_at > now() - %s * interval '1 second')
"""

_FORGET = "DELETE FROM gateways WHERE instance = %s"


async def report(connection: AsyncConnection[Any], instance: str) -> None:
    """Says that this gateway is alive."""
    await connection.execute(_REPORT, (instance,))


async def claim_orphan(connection: AsyncConnection[Any], instance: str, silent_s: float) -> str | None:
    """A gateway other than `instance` that was silent for so long and that nobody else has claimed."""
    row = await (await connection.execute(_CLAIM, {"instance": instance, "silent_s": silent_s})).fetchone()
    return None if row is None else str(row[0])


async def others_alive(connection: AsyncConnection[Any], instance: str, silent_s: float) -> bool:
    """Whether another gateway gave a sign of life within `silent_s`."""
    row = await (await connection.execute(_OTHERS, (instance, silent_s))).fetchone()
    return bool(row and row[0])


async def forget(connection: AsyncConnection[Any], instance: str) -> None:
    """An orphan's session is empty and ended."""
    await connection.execute(_FORGET, (instance,))
