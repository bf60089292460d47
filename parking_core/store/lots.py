"""Reads of the registry's lots and spaces, and of what lots did (rollups)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, LiteralString

import msgspec

from parking_core.calendar import parse_opening
from parking_core.errors import InvalidInputError
from parking_core.places import Lot, LotId, Registry, Space, SpaceId
from parking_core.windows import parse_schedule

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import AsyncConnection

REGISTRY_VERSION: LiteralString = "SELECT version FROM registry_version"

ALL_LOTS: LiteralString = """
SELECT l.id, l.code, l.name, l.kind, l.lat, l.lon, l.address, a.code, o.code,
       l.shared, l.etc_lanes, l.time_limited, l.opening, l.height_limit_m,
       l.legal_windows::text
FROM lots l LEFT JOIN areas a ON a.id = l.area_id LEFT JOIN operators o ON o.id = l.operator_id
ORDER BY l.code COLLATE "C"
"""

ALL_SPACES: LiteralString = """
SELECT id, lot_id, code, kind, level, lat, lon FROM spaces ORDER BY lot_id, code COLLATE "C"
"""

# One row a bucket of a lot in [from, until).
LOT_HISTORY_5M: LiteralString = """
SELECT bucket, spaces, occupied_min, unknown_min, closed_min, full_min, arrivals, departures, dwell_count, dwell_sum_s
FROM lot_rollups_5m WHERE lot_id = %s AND bucket >= %s AND bucket < %s ORDER BY bucket
"""
LOT_HISTORY_1H: LiteralString = """
SELECT bucket, spaces, occupied_min, unknown_min, closed_min, full_min, arrivals, departures, dwell_count, dwell_sum_s
FROM lot_rollups_1h WHERE lot_id = %s AND bucket >= %s AND bucket < %s ORDER BY bucket
"""


@dataclass(frozen=True, slots=True)
class LotBucket:
    """What a lot did in one bucket; `*_min` of occupied and unknown are space-minutes, the others lot-minutes."""

    begins_at: datetime
    spaces: int
    occupied_min: float
    unknown_min: float
    closed_min: float
    full_min: float
    arrivals: int
    departures: int
    dwell_count: int
    dwell_sum_s: float


async def registry_version(connection: AsyncConnection) -> int:
    """Number that moves with every change of the registry."""
    row = await (await connection.execute(REGISTRY_VERSION)).fetchone()
    return int(row[0]) if row else 0


async def load_registry(connection: AsyncConnection) -> Registry:
    """Every lot and space. The version is read first: a change in between is seen as a newer version later."""
    version = await registry_version(connection)
    lots = await (await connection.execute(ALL_LOTS)).fetchall()
    spaces = await (await connection.execute(ALL_SPACES)).fetchall()
    return Registry(
        version,
        tuple(_lot(lot) for lot in lots),
        tuple(Space(SpaceId(space), LotId(lot), *facts) for space, lot, *facts in spaces),
    )


def _lot(row: tuple[Any, ...]) -> Lot:
    lot, code, name, kind, lat, lon, address, area, operator, shared, etc_lanes, time_limited, *hours, legal = row
    opening, height = hours
    try:
        windows = parse_opening(opening)
        if legal is not None:
            parse_schedule(msgspec.json.decode(legal))
    except InvalidInputError as error:
        raise InvalidInputError(f"Lot {code!r}: {error}") from error
    return Lot(
        id=LotId(lot),
        code=code,
        name=name,
        kind=kind,
        lat=lat,
        lon=lon,
        address=address,
        area=area,
        operator=operator,
        shared=shared,
        etc_lanes=etc_lanes,
        time_limited=time_limited,
        opening=windows,
        height_limit_m=None if height is None else round(height, 2),  # a real 2.1 comes back as 2.0999999
        legal_windows=legal,
    )


async def lot_history(
    connection: AsyncConnection, lot: LotId, *, begins_at: datetime, ends_at: datetime, hourly: bool
) -> list[LotBucket]:
    """Buckets of a lot that begin in [begins_at, ends_at), oldest first; buckets nobody computed are left out."""
    query = LOT_HISTORY_1H if hourly else LOT_HISTORY_5M
    rows = await (await connection.execute(query, (lot, begins_at, ends_at))).fetchall()
    return [LotBucket(*row) for row in rows]
