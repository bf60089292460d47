from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.places import EARTH_RADIUS_M, PointIndex, distance_m, from_gcj02, to_gcj02

degrees_lat = st.floats(-89.9, 89.9)
degrees_lon = st.floats(-180, 180)


def test_distance_of_known_pairs() -> None:
    assert distance_m(31.72, 117.28, 31.72, 117.28) == 0
    assert distance_m(0, 0, 0, 180) == pytest.approx(math.pi * EARTH_RADIUS_M)
    assert distance_m(31.8206, 117.2290, 31.2304, 121.4737) == pytest.approx(407_300, rel=0.005)  # Hefei to Shanghai


@given(degrees_lat, degrees_lon, degrees_lat, degrees_lon)
def test_distance_is_symmetric_and_at_most_half_the_equator(a: float, b: float, c: float, d: float) -> None:
    assert distance_m(a, b, c, d) == pytest.approx(distance_m(c, d, a, b), abs=1e-3)
    assert 0 <= distance_m(a, b, c, d) <= math.pi * EARTH_RADIUS_M + 1


def _expected(lat: list[float], lon: list[float], here: tuple[float, float], radius_m: float | None) -> list[float]:
    distances = sorted(distance_m(*here, *there) for there in zip(lat, lon, strict=True))
    return [distance for distance in distances if radius_m is None or distance <= radius_m]


@settings(deadline=None, max_examples=200)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 300),
    st.integers(1, 130),
    st.none() | st.floats(1, 30_000),
    st.tuples(st.floats(31.5, 31.9), st.floats(117.0, 117.5)),
)
def test_nearest_equals_sorting_everything(
    seed: int, count: int, limit: int, radius_m: float | None, here: tuple[float, float]
) -> None:
    rng = np.random.default_rng(seed)
    lat, lon = 31.72 + rng.normal(0, 0.02, count), 117.28 + rng.normal(0, 0.02, count)
    rows, distances = PointIndex(lat, lon).nearest(*here, limit=limit, radius_m=radius_m)
    assert distances == pytest.approx(_expected(lat.tolist(), lon.tolist(), here, radius_m)[:limit], abs=0.2)
    assert [distance_m(*here, lat[row], lon[row]) for row in rows] == pytest.approx(distances, abs=0.2)
    assert len(set(rows)) == len(rows)


@pytest.mark.parametrize("here", [(89.99, 10.0), (-89.99, 0.0), (10.0, 179.999), (10.0, -179.999), (0.0, 0.0)])
@pytest.mark.parametrize("radius_m", [None, 500.0, 3_000.0, 99_000.0])
def test_nearest_goes_around_poles_and_date_line(here: tuple[float, float], radius_m: float | None) -> None:
    rng = np.random.default_rng(4)
    lat = np.clip(here[0] + rng.normal(0, 0.02, 200), -90, 90)
    lon = (here[1] + rng.normal(0, 0.02, 200) + 180) % 360 - 180
    _, distances = PointIndex(lat, lon).nearest(*here, limit=15, radius_m=radius_m)
    assert distances == pytest.approx(_expected(lat.tolist(), lon.tolist(), here, radius_m)[:15], abs=0.2)


def test_nearest_of_crowded_single_and_absent_points() -> None:
    crowd = np.full(50, 31.72), np.full(50, 117.28)
    rows, distances = PointIndex(*crowd).nearest(31.72, 117.28, limit=20, radius_m=1)
    assert len(rows) == 20
    assert max(distances) < 0.2
    one = np.array([31.72]), np.array([117.28])
    assert PointIndex(*one).nearest(-31, -60, limit=5, radius_m=None)[0] == [0]
    assert PointIndex(*one).nearest(-31, -60, limit=5, radius_m=1000)[0] == []
    none = np.zeros(0), np.zeros(0)
    assert PointIndex(*none).nearest(31.72, 117.28, limit=5, radius_m=None) == ([], [])


def test_gcj02_moves_a_point_in_hefei_by_half_a_kilometre_and_back() -> None:
    lat, lon = to_gcj02(31.72, 117.28)
    assert 400 < distance_m(31.72, 117.28, float(lat), float(lon)) < 700
    assert from_gcj02(float(lat), float(lon)) == pytest.approx((31.72, 117.28), abs=1e-8)


def test_gcj02_of_the_published_pair() -> None:
    # Tiananmen, the pair that open conversions print: WGS 84 39.907333, 116.391083
    assert to_gcj02(39.907333, 116.391083) == pytest.approx((39.908735, 116.397324), abs=2e-5)


@given(st.floats(18, 54), st.floats(73, 135))
def test_gcj02_returns_from_everywhere_in_the_country(lat: float, lon: float) -> None:
    there_lat, there_lon = to_gcj02(lat, lon)
    back = from_gcj02(float(there_lat), float(there_lon))
    assert distance_m(lat, lon, *back) < 0.01
