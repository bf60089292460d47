"""Published agreements with their classes, as grants are decided by; the policy in force. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.sharing import AllocationPolicy, SharedLot, SpaceClass, read_policy, read_terms

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

_VERSION = "SELECT version FROM sharing_version"

_OFFERS = """
SELECT c.id, c.code, c.windows, count(s.space_id)::int, a.id, a.code, a.state = 'published', a.terms, l.id, l.code, l.name,
       l.lat, l.lon, l.operator_id
FROM space_classes c
JOIN sharing_agreements a ON a.id = c.agreement_id
JOIN lots l ON l.id = c.lot_id
LEFT JOIN class_spaces s ON s.class_id = c.id
WHERE c.retired_at IS NULL AND a.state IN ('published', 'suspended')
GROUP BY c.id, a.id, l.id ORDER BY l.code, c.code
"""

_BARRIERS = """
SELECT d.lot_id, d.id FROM lanes n JOIN devices d ON d.id = n.device_id
WHERE d.enabled AND n.direction <> 'exit' AND d.lot_id = ANY(%s) ORDER BY d.lot_id, d.id
"""

_BARRIERS_OF_LOT = """
SELECT d.id FROM lanes n JOIN devices d ON d.id = n.device_id
WHERE d.enabled AND n.direction <> 'exit' AND d.lot_id = %s ORDER BY d.id
"""

_POLICY = "SELECT document FROM allocation_policies WHERE valid_from <= %s ORDER BY valid_from DESC LIMIT 1"


def version(connection: Connection[Any]) -> int:
    """A number that moves with every change of what `classes` and `policy` give."""
    row = connection.execute(_VERSION).fetchone()
    return int(row[0]) if row else 0


def classes(connection: Connection[Any]) -> list[SpaceClass]:
    """Classes of published and suspended agreements, by lot."""
    rows = connection.execute(_OFFERS).fetchall()
    barriers: dict[int, list[int]] = {}
    for lot_id, device_id in connection.execute(_BARRIERS, ([row[8] for row in rows],)).fetchall():
        barriers.setdefault(lot_id, []).append(device_id)
    lots: dict[int, SharedLot] = {}
    found = []
    for class_id, code, windows, spaces, agreement_id, agreement, is_open, terms, *lot in rows:
        lot_id, lot_code, name, lat, lon, operator_id = lot
        if lot_id not in lots:
            lots[lot_id] = SharedLot(
                id=lot_id,
                code=lot_code,
                name=name,
                lat=lat,
                lon=lon,
                agreement_id=agreement_id,
                agreement=agreement,
                open=is_open,
                terms=read_terms(terms),
                operator_id=operator_id,
                barriers=tuple(barriers.get(lot_id, ())),
            )
        found.append(SpaceClass(id=class_id, code=code, windows=windows, spaces=spaces, lot=lots[lot_id]))
    return found


def barriers(connection: Connection[Any], lot_id: int) -> list[int]:
    """Devices that let vehicles into a lot."""
    return [number for (number,) in connection.execute(_BARRIERS_OF_LOT, (lot_id,))]


def policy(connection: Connection[Any], now: datetime) -> AllocationPolicy:
    """The district's policy in force; the usual one when it has decided nothing."""
    row = connection.execute(_POLICY, (now,)).fetchone()
    return read_policy(row[0]) if row else AllocationPolicy()
