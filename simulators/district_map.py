"""Where things are in the synthetic district: its streets, its centres, the hospital and the places of lots."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from parking_core.districts import AreaRecord

if TYPE_CHECKING:
    import random

Point = tuple[float, float]  # longitude, latitude: the order of GeoJSON

_WEST, _EAST, _SOUTH, _NORTH = 120.20, 120.34, 31.48, 31.58
M_A_DEGREE = 111_320.0  # metres of one degree of latitude
COS = math.cos(math.radians(31.53))
_STREETS = ("荣巷街道", "河埒街道", "蠡园街道", "蠡湖街道", "雪浪街道", "太湖街道", "华庄街道", "马山街道")
_COLUMNS, _ROWS = 4, 2
# Where many lots stand together: share of all lots, centre, spread in metres. The rest lies anywhere.
_CENTRES: tuple[tuple[float, Point, float], ...] = (
    (0.14, (120.270, 31.530), 600.0),
    (0.10, (120.298, 31.512), 800.0),
    (0.10, (120.252, 31.556), 700.0),
    (0.08, (120.318, 31.545), 700.0),
    (0.08, (120.232, 31.520), 900.0),
)
HOSPITAL: Point = (120.286, 31.522)  # invented, as the rest
_NEAR_HOSPITAL_M = 90.0, 760.0  # how far from it the lots that share spaces around it stand


def streets_of(rng: random.Random) -> list[AreaRecord]:
    """The district and its streets: quadrilaterals over a grid whose inner corners are shifted, so no gap, no overlap."""
    step_x, step_y = (_EAST - _WEST) / _COLUMNS, (_NORTH - _SOUTH) / _ROWS

    def corner(column: int, row: int) -> Point:
        inner_x, inner_y = 0 < column < _COLUMNS, 0 < row < _ROWS
        x = _WEST + column * step_x + (shifts[row][column][0] * step_x if inner_x else 0.0)
        y = _SOUTH + row * step_y + (shifts[row][column][1] * step_y if inner_y else 0.0)
        return round(x, 6), round(y, 6)

    shifts = [[(rng.uniform(-0.2, 0.2), rng.uniform(-0.2, 0.2)) for _ in range(_COLUMNS + 1)] for _ in range(_ROWS + 1)]
    corners = [[corner(column, row) for column in range(_COLUMNS + 1)] for row in range(_ROWS + 1)]
    box = [(_WEST, _SOUTH), (_EAST, _SOUTH), (_EAST, _NORTH), (_WEST, _NORTH)]
    areas = [AreaRecord("binhu", "滨湖区", "district", boundary=polygon(box))]
    for number, name in enumerate(_STREETS):
        row, column = divmod(number, _COLUMNS)
        ring = [
            corners[row][column],
            corners[row][column + 1],
            corners[row + 1][column + 1],
            corners[row + 1][column],
        ]
        areas.append(AreaRecord(f"binhu-{number + 1:02}", name, "street", parent="binhu", boundary=polygon(ring)))
    return areas


def polygon(ring: list[Point]) -> dict[str, Any]:
    """A GeoJSON polygon of one ring, which is closed here."""
    return {"type": "Polygon", "coordinates": [[list(point) for point in [*ring, ring[0]]]]}


def anywhere(rng: random.Random) -> Point:
    """Somewhere in the district, oftener near a centre."""
    draw = rng.random()
    for share, (lon, lat), spread_m in _CENTRES:
        draw -= share
        if draw < 0:
            place = (
                lon + rng.gauss(0.0, spread_m) / (M_A_DEGREE * COS),
                lat + rng.gauss(0.0, spread_m) / M_A_DEGREE,
            )
            break
    else:
        place = (rng.uniform(_WEST, _EAST), rng.uniform(_SOUTH, _NORTH))
    margin = 0.002  # bays stay inside the district
    return (
        round(min(max(place[0], _WEST + margin), _EAST - margin), 6),
        round(min(max(place[1], _SOUTH + margin), _NORTH - margin), 6),
    )


def near_hospital(rng: random.Random) -> Point:
    """Anywhere in a ring around the hospital."""
    nearest, farthest = (metres**2 for metres in _NEAR_HOSPITAL_M)
    metres, angle = math.sqrt(rng.uniform(nearest, farthest)), rng.uniform(0.0, math.tau)
    return (
        round(HOSPITAL[0] + metres * math.cos(angle) / (M_A_DEGREE * COS), 6),
        round(HOSPITAL[1] + metres * math.sin(angle) / M_A_DEGREE, 6),
    )


def contains(boundary: dict[str, Any], point: Point) -> bool:
    """Whether a GeoJSON polygon of one ring holds a point (even-odd rule; a point on an edge belongs to one side)."""
    ring = boundary["coordinates"][0]
    lon, lat = point
    inside = False
    for (x1, y1), (x2, y2) in pairwise(ring):
        if (y1 > lat) != (y2 > lat) and lon < x1 + (lat - y1) / (y2 - y1) * (x2 - x1):
            inside = not inside
    return inside
