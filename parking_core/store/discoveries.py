"""Unknown devices as rows: seen by gateways, decided by operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.discoveries import MOST_NEW, SAMPLE_BYTES, Discovery, DiscoveryState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

    from parking_core.discoveries import Sighting

# A known identity is always counted; a further one only while the list is not full.
_SEE: Final = """
INSERT INTO discoveries AS known (network, identity, lot, first_seen_at, last_seen_at, messages, topic, sample)
SELECT s.network, s.identity, s.lot, at, at, s.messages, s.topic, s.sample
FROM (
    SELECT *, timestamptz 'epoch' + received_us * interval '1 microsecond' AS at
    FROM unnest(%(networks)s::text[], %(identities)s::text[], %(lots)s::text[], %(received)s::bigint[], %(messages)s::bigint[],
                %(topics)s::text[], %(samples)s::bytea[])
        AS u (network, identity, lot, received_us, messages, topic, sample)
) AS s
WHERE (SELECT count(*) FROM (SELECT FROM discoveries WHERE state = 'new' LIMIT %(most)s) AS listed) < %(most)s
   OR EXISTS (SELECT FROM discoveries d WHERE d.network = s.network AND d.identity = s.identity)
ORDER BY s.network, s.identity
ON CONFLICT (network, identity) DO UPDATE SET
    lot = excluded.lot, last_seen_at = greatest(known.last_seen_at, excluded.last_seen_at),
    messages = known.messages + excluded.messages, topic = excluded.topic, sample = excluded.sample
"""

_OF: Final = """
SELECT s.id, s.network, s.identity, s.lot, s.state, s.first_seen_at, s.last_seen_at, s.messages, s.topic, s.sample,
       d.code, s.decided_by, s.reason
FROM discoveries s LEFT JOIN devices d ON d.id = s.device_id
"""
_LIST: Final = (
    _OF
    + """
WHERE (%(state)s::text IS NULL OR s.state = %(state)s) AND (%(lots)s::text[] IS NULL OR s.lot = ANY(%(lots)s))
ORDER BY s.last_seen_at DESC, s.id LIMIT %(most)s
"""
)
_FIND: Final = _OF + "WHERE s.identity = %s ORDER BY s.last_seen_at DESC LIMIT 2 FOR UPDATE OF s"

_DECIDE: Final = """
UPDATE discoveries s SET state = %(state)s, decided_at = %(now)s, decided_by = %(by)s, reason = %(reason)s,
    device_id = (SELECT id FROM devices WHERE code = %(device)s)
WHERE s.id = %(id)s
"""

_REFUSED: Final = "SELECT network, identity FROM discoveries WHERE state = 'refused'"

_REGISTER: Final = """
INSERT INTO devices (code, lot_id, space_id, family, model, firmware, network, eui, serial, expected_interval_s)
SELECT %(code)s, l.id, s.id, %(family)s, %(model)s, %(firmware)s, %(network)s, %(eui)s, %(serial)s, %(interval_s)s
FROM lots l JOIN spaces s ON s.lot_id = l.id AND s.code = %(space)s WHERE l.code = %(lot)s
ON CONFLICT (code) DO NOTHING RETURNING id
"""


async def see(connection: AsyncConnection[Any], sightings: Sequence[tuple[Sighting, int]]) -> None:
    """Notes unknown devices, each once, with the number of its messages."""
    seen = [sighting for sighting, _ in sightings]
    await connection.execute(
        _SEE,
        {
            "networks": [one.network for one in seen],
            "identities": [_text(one.identity) for one in seen],
            "lots": [_text(one.lot) for one in seen],
            "received": [one.received_us for one in seen],
            "messages": [number for _, number in sightings],
            "topics": [_text(one.source.topic) for one in seen],
            "samples": [one.source.payload[:SAMPLE_BYTES] for one in seen],
            "most": MOST_NEW,
        },
    )


def _text(text: str) -> str:
    """What the database takes as text: topics may hold half a character, and a NUL."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")[:300]


async def refused(connection: AsyncConnection[Any]) -> frozenset[tuple[str, str]]:
    """(network, identity) of devices that somebody refused."""
    return frozenset((row[0], row[1]) for row in await (await connection.execute(_REFUSED)).fetchall())


def listed(
    connection: Connection[Any], state: DiscoveryState | None, lots: Sequence[str] | None, most: int
) -> list[Discovery]:
    """Unknown devices, those that were heard last first; `lots` None: of all."""
    parameters = {"state": state, "lots": None if lots is None else list(lots), "most": most}
    return [_discovery(row) for row in connection.execute(_LIST, parameters).fetchall()]


def find(connection: Connection[Any], identity: str) -> list[Discovery]:
    """Those with this identity, locked: none, one, or two of different networks."""
    return [_discovery(row) for row in connection.execute(_FIND, (identity,)).fetchall()]


def decide(
    connection: Connection[Any],
    discovery: Discovery,
    state: DiscoveryState,
    now: datetime,
    *,
    by: str,
    reason: str = "",
    device: str | None = None,
) -> None:
    """Writes what was decided; gateways hear of it with the registry."""
    connection.execute(
        _DECIDE, {"id": discovery.id, "state": state, "now": now, "by": by, "reason": reason, "device": device}
    )


def register(connection: Connection[Any], device: dict[str, Any]) -> bool:
    """Adds a one-space device; False: the code is taken, or lot or space are not there."""
    return connection.execute(_REGISTER, device).fetchone() is not None


def _discovery(row: tuple[Any, ...]) -> Discovery:
    return Discovery(
        id=row[0],
        network=row[1],
        identity=row[2],
        lot=row[3],
        state=DiscoveryState(row[4]),
        first_seen_at=row[5],
        last_seen_at=row[6],
        messages=row[7],
        topic=row[8],
        sample=bytes(row[9]),
        device=row[10],
        decided_by=row[11],
        reason=row[12],
    )
