"""Places: lots and spaces as facts, and the geometry of a district (pure)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product
from typing import Any, NewType, TypeVar

import numpy as np

LotId = NewType("LotId", int)
SpaceId = NewType("SpaceId", int)

Floats = np.ndarray[Any, np.dtype[np.float64]]
_Point = tuple[float, float, float, int]  # unit vector and row
_Degrees = TypeVar("_Degrees", float, Floats)

EARTH_RADIUS_M = 6_371_008.8  # mean radius (IUGG): a sphere is within 0.5 % of the ellipsoid, far below a lot's size
_HALF_EQUATOR_M = math.pi * EARTH_RADIUS_M  # nothing is farther
_MOST_IN_PYTHON = 100  # points of an answer that the grid is meant for
_MOST_IN_PYTHON_M = 50_000.0  # and its reach
_MOST_CELLS = 400
_TEMPERATE = 80.0  # degrees of latitude, beyond which a reach spans too many of longitude
_OFF_DATELINE = 175.0  # degrees of longitude; the grid does not go around
_COSINE_ROUNDING = 3e-16  # a point at 0 m must not fall out of any radius
_SMALL_SLICE = 1e-9  # degrees; widens the latitude band so that a point exactly on the radius is inside
_KRASOVSKY_AXIS_M = 6_378_245.0  # ellipsoid on which GCJ-02 is defined
_KRASOVSKY_ECCENTRICITY2 = 0.00669342162296594323
_GCJ02_ROUNDS = 4  # each round of the inverse shrinks the error about 1e-4 times; four are below a millimetre


@dataclass(frozen=True, slots=True)
class OpeningWindow:
    """Weekly hours: ISO weekdays on which the window begins, minutes of the day; may run past midnight."""

    days: frozenset[int]
    from_minute: int
    until_minute: int  # 1440 is midnight; not after from_minute: the window ends on the next day


@dataclass(frozen=True, slots=True)
class Lot:
    """A place with spaces, off the street or along it. Coordinates are WGS 84 degrees."""

    id: LotId
    code: str
    name: str
    kind: str
    lat: float
    lon: float
    address: str = ""
    area: str | None = None  # code of the area
    operator: str | None = None  # code of the operator
    shared: bool = False
    etc_lanes: int = 0
    time_limited: bool = False
    opening: tuple[OpeningWindow, ...] | None = None  # None: always open
    height_limit_m: float | None = None
    legal_windows: str | None = None  # JSON that parking_core.windows reads; None: always legal


@dataclass(frozen=True, slots=True)
class Space:
    """One bay of a lot."""

    id: SpaceId
    lot_id: LotId
    code: str
    kind: str = "standard"
    level: str = ""
    lat: float | None = None
    lon: float | None = None


@dataclass(frozen=True, slots=True)
class Registry:
    """Every lot (by code) and every space (by lot, then code) of one version of the registry."""

    version: int
    lots: tuple[Lot, ...]
    spaces: tuple[Space, ...]


def distance_m(lat: float, lon: float, other_lat: float, other_lon: float) -> float:
    """Great-circle distance in metres between two points in degrees (haversine)."""
    phi, other_phi = math.radians(lat), math.radians(other_lat)
    half_chord2 = (
        math.sin((other_phi - phi) / 2) ** 2
        + math.cos(phi) * math.cos(other_phi) * math.sin(math.radians(other_lon - lon) / 2) ** 2
    )
    return 2 * EARTH_RADIUS_M * math.asin(min(1.0, math.sqrt(half_chord2)))


class PointIndex:
    """Points on the sphere, searched by distance.

    A small answer comes from a grid in plain Python: 50 candidates cost 15 microseconds there, while a dozen calls
    of NumPy cost 50 in a process that does other things between them. A large or far one scans all points.
    Cosines of the angle order like distances; a double's cosine tells them apart to 0.1 m at 0 m, 0.1 mm at 100 m.
    """

    def __init__(self, lat: Floats, lon: Floats) -> None:
        self._xyz = _unit_vectors(lat, lon)
        m2_a_point = _box_m2(lat, lon) / max(len(lat), 1)
        self._guess_m = math.sqrt(m2_a_point / 2)  # a circle of sqrt(n) times this holds 1.6 n points if all is even
        self._cell = math.degrees(
            2 * math.sqrt(m2_a_point) / EARTH_RADIUS_M
        )  # degrees; four points each if all is even
        self._cells: dict[tuple[int, int], list[_Point]] = {}
        for row, (point_lat, point_lon) in enumerate(zip(lat.tolist(), lon.tolist(), strict=True)):
            cell = math.floor(point_lat / self._cell), math.floor(point_lon / self._cell)
            self._cells.setdefault(cell, []).append((*_unit_vector(point_lat, point_lon), row))

    def nearest(self, lat: float, lon: float, *, limit: int, radius_m: float | None) -> tuple[list[int], list[float]]:
        """Indices of at most `limit` nearest points within `radius_m`, and their distances in metres, nearest first."""
        farthest_m = _HALF_EQUATOR_M if radius_m is None else min(radius_m, _HALF_EQUATOR_M)
        reach_m = min(self._guess_m * math.sqrt(limit), farthest_m)
        found: list[tuple[float, int]] | None = None
        if (
            limit <= _MOST_IN_PYTHON
            and reach_m < _MOST_IN_PYTHON_M
            and abs(lat) < _TEMPERATE
            and abs(lon) < _OFF_DATELINE
        ):
            found = self._around(lat, lon, reach_m)
        if found is None or (len(found) < limit and reach_m < farthest_m):
            found = self._everywhere(lat, lon, farthest_m, limit)
        found = sorted(found, reverse=True)[:limit]
        acos = math.acos
        return [row for _, row in found], [EARTH_RADIUS_M * acos(min(cosine, 1.0)) for cosine, _ in found]

    def _around(self, lat: float, lon: float, reach_m: float) -> list[tuple[float, int]] | None:
        """Cosine and row of all points within `reach_m`, from the cells that touch it; None: these are too many cells."""
        size, cells = self._cell, self._cells
        angle = reach_m / EARTH_RADIUS_M
        high = math.degrees(angle) + _SMALL_SLICE
        wide = high / math.cos(math.radians(abs(lat) + high))
        south, north = math.floor((lat - high) / size), math.floor((lat + high) / size) + 1
        west, east = math.floor((lon - wide) / size), math.floor((lon + wide) / size) + 1
        if (north - south) * (east - west) > _MOST_CELLS:
            return None
        x, y, z = _unit_vector(lat, lon)
        smallest = math.cos(angle) - _COSINE_ROUNDING
        return [
            (cosine, row)
            for cell in product(range(south, north), range(west, east))
            if cell in cells
            for px, py, pz, row in cells[cell]
            if (cosine := px * x + py * y + pz * z) >= smallest
        ]

    def _everywhere(self, lat: float, lon: float, reach_m: float, limit: int) -> list[tuple[float, int]]:
        """Cosine and row of the nearest `limit` points within `reach_m`, from all points."""
        cosines = self._xyz @ np.array(_unit_vector(lat, lon))
        surplus = len(cosines) - limit
        rows = cosines.argpartition(surplus)[surplus:] if surplus > 0 else np.arange(len(cosines))
        rows = rows[cosines[rows] >= math.cos(reach_m / EARTH_RADIUS_M) - _COSINE_ROUNDING]
        return list(zip(cosines[rows].tolist(), rows.tolist(), strict=True))


def _box_m2(lat: Floats, lon: Floats) -> float:
    """Area of the points' bounding box, at least one metre each way."""
    if not len(lat):
        return 1.0
    a_degree_m = math.radians(EARTH_RADIUS_M)
    height = float(np.ptp(lat)) * a_degree_m
    width = float(np.ptp(lon)) * a_degree_m * math.cos(math.radians(float(lat.mean())))
    return max(height, 1.0) * max(width, 1.0)


def _unit_vector(lat: float, lon: float) -> tuple[float, float, float]:
    phi, lam = math.radians(lat), math.radians(lon)
    flat = math.cos(phi)
    return flat * math.cos(lam), flat * math.sin(lam), math.sin(phi)


def _unit_vectors(lat: Floats, lon: Floats) -> Floats:
    phi, lam = np.radians(lat), np.radians(lon)
    return np.column_stack((np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)))


def to_gcj02(lat: _Degrees, lon: _Degrees) -> tuple[_Degrees, _Degrees]:
    """WGS 84 degrees as GCJ-02, what Chinese maps draw on; numbers or arrays.

    Applied wherever the point is: the caller decides that it lies in mainland China.
    """
    x, y = lon - 105.0, lat - 35.0
    root = np.sqrt(np.abs(x))
    fast = 20.0 * np.sin(6.0 * np.pi * x) + 20.0 * np.sin(2.0 * np.pi * x)
    north = -100.0 + 2.0 * x + 3.0 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * root
    north += (fast + 20.0 * np.sin(np.pi * y) + 40.0 * np.sin(np.pi * y / 3.0)) * 2.0 / 3.0
    north += (160.0 * np.sin(np.pi * y / 12.0) + 320.0 * np.sin(np.pi * y / 30.0)) * 2.0 / 3.0
    east = 300.0 + x + 2.0 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * root
    east += (fast + 20.0 * np.sin(np.pi * x) + 40.0 * np.sin(np.pi * x / 3.0)) * 2.0 / 3.0
    east += (150.0 * np.sin(np.pi * x / 12.0) + 300.0 * np.sin(np.pi * x / 30.0)) * 2.0 / 3.0
    phi = np.radians(lat)
    squeeze = 1.0 - _KRASOVSKY_ECCENTRICITY2 * np.sin(phi) ** 2
    meridian = _KRASOVSKY_AXIS_M * (1.0 - _KRASOVSKY_ECCENTRICITY2) / (squeeze * np.sqrt(squeeze))
    parallel = _KRASOVSKY_AXIS_M / np.sqrt(squeeze) * np.cos(phi)
    return lat + np.degrees(north / meridian), lon + np.degrees(east / parallel)


def from_gcj02(lat: float, lon: float) -> tuple[float, float]:
    """GCJ-02 degrees as WGS 84, exact to a millimetre (fixed-point iteration of `to_gcj02`)."""
    wgs_lat, wgs_lon = lat, lon
    for _ in range(_GCJ02_ROUNDS):
        there_lat, there_lon = to_gcj02(wgs_lat, wgs_lon)
        wgs_lat, wgs_lon = wgs_lat - (there_lat - lat), wgs_lon - (there_lon - lon)
    return float(wgs_lat), float(wgs_lon)
