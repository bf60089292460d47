"""Places: lots and spaces as facts, and the geometry of a district (pure)."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from typing import Any, NewType, TypeVar

import numpy as np

LotId = NewType("LotId", int)
SpaceId = NewType("SpaceId", int)

Floats = np.ndarray[Any, np.dtype[np.float64]]
_Degrees = TypeVar("_Degrees", float, Floats)

EARTH_RADIUS_M = 6_371_008.8  # mean radius (IUGG): a sphere is within 0.5 % of the ellipsoid, far below a lot's size
_HALF_EQUATOR_M = math.pi * EARTH_RADIUS_M  # nothing is farther
_REACH_GROWTH = 3.0
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

    Sorted by latitude, so that a reach selects a slice; inside it cosines of the angle are compared, one product
    of a matrix. A double's cosine tells distances apart to 0.1 m at 0 m, to 0.1 mm at 100 m. The first reach is a
    guess from the points' density and grows where it held too few.
    """

    def __init__(self, lat: Floats, lon: Floats) -> None:
        order = np.argsort(lat, kind="stable")
        self._order: list[int] = order.tolist()
        self._lat: list[float] = lat[order].tolist()
        self._xyz = _unit_vectors(lat[order], lon[order])
        self._m2_a_point = _box_m2(lat, lon) / max(len(order), 1)

    def nearest(self, lat: float, lon: float, *, limit: int, radius_m: float | None) -> tuple[list[int], list[float]]:
        """Indices of at most `limit` nearest points within `radius_m`, and their distances in metres, nearest first."""
        farthest_m = _HALF_EQUATOR_M if radius_m is None else min(radius_m, _HALF_EQUATOR_M)
        towards = np.array(_unit_vector(lat, lon))
        reach_m = math.sqrt(self._m2_a_point * limit)  # a circle of it holds three times the limit if all is even
        while True:
            reach_m = min(reach_m, farthest_m)
            found = self._within(lat, towards, reach_m, limit)
            if len(found) == limit or reach_m >= farthest_m:
                break
            reach_m = max(reach_m, 1.0) * _REACH_GROWTH
        order, acos = self._order, math.acos
        return [order[row] for _, row in found], [EARTH_RADIUS_M * acos(min(cosine, 1.0)) for cosine, _ in found]

    def _within(self, lat: float, towards: Floats, reach_m: float, limit: int) -> list[tuple[float, int]]:
        """Cosine and row of the nearest points within `reach_m`. Few calls of NumPy: each costs more than it computes."""
        angle = reach_m / EARTH_RADIUS_M
        band = math.degrees(angle) + _SMALL_SLICE
        low, high = bisect_left(self._lat, lat - band), bisect_right(self._lat, lat + band)
        cosines = self._xyz[low:high].dot(towards)
        surplus = high - low - limit
        rows = cosines.argpartition(surplus)[surplus:] if surplus > 0 else np.arange(high - low)
        smallest = math.cos(angle) - _COSINE_ROUNDING
        nearby = zip(cosines[rows].tolist(), (rows + low).tolist(), strict=True)
        return sorted(((cosine, row) for cosine, row in nearby if cosine >= smallest), reverse=True)


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
