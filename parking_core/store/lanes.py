"""Registered lanes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.lanes import Lane, Way
from parking_core.plates import ColorCodes

if TYPE_CHECKING:
    from psycopg import Connection

LANES: Final = """
SELECT lane.device_id, device.code, device.lot_id, lane.direction, lane.active, lane.plate_codes, lane.amount_limit_fen
FROM lanes AS lane JOIN devices AS device ON device.id = lane.device_id
"""


def all_lanes(connection: Connection[Any]) -> dict[int, Lane]:
    """Every lane by its device id."""
    return {row[0]: lane_of(row) for row in connection.execute(LANES).fetchall()}


def lane_of(row: tuple[Any, ...]) -> Lane:
    """The lane of a row of LANES."""
    device_id, code, lot_id, direction, active, plate_codes, limit_fen = row
    return Lane(
        device_id=device_id,
        code=code,
        lot_id=lot_id,
        way=Way(direction),
        active=active,
        color_codes=ColorCodes(plate_codes),
        amount_limit_fen=limit_fen,
    )
