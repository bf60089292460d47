"""A synthetic district: invented lots on plausible streets of Binhu, Wuxi; the same seed gives the same district.

Nothing here is a record of a real place: the streets' names exist, the polygons, lots, bays and devices do not.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

from parking_core.districts import (
    AreaRecord,
    DeviceRecord,
    District,
    LaneRecord,
    LotRecord,
    OpeningRecord,
    OperatorRecord,
    SpaceRecord,
)

Use = Literal["office", "school", "hospital", "residential", "shopping", "on_street"]
Point = tuple[float, float]  # longitude, latitude: the order of GeoJSON

DEFAULT_LOTS = 500
SPACES_A_LOT = 42
SEED = 20_240

_WEST, _EAST, _SOUTH, _NORTH = 120.20, 120.34, 31.48, 31.58
_M_A_DEGREE = 111_320.0  # metres of one degree of latitude
_COS = math.cos(math.radians(31.53))
_STREETS = ("荣巷街道", "河埒街道", "蠡园街道", "蠡湖街道", "雪浪街道", "太湖街道", "华庄街道", "马山街道")
_COLUMNS, _ROWS = 4, 2
_ROADS = (
    "梁溪路",
    "蠡溪路",
    "隐秀路",
    "高浪路",
    "蠡湖大道",
    "建筑西路",
    "望山路",
    "青祁路",
    "湖滨路",
    "鸿桥路",
    "金石路",
    "缘溪道",
    "立信大道",
    "观山路",
    "和风路",
    "清晏路",
    "吴都路",
    "信成道",
    "瑞景道",
    "大通路",
    "状元路",
    "绣溪路",
    "山水东路",
    "锦溪路",
    "周新路",
    "具区路",
    "万顺道",
    "南湖大道",
    "贡湖大道",
    "震泽路",
)
_OPERATORS = (
    ("op-city", "滨湖城市停车经营公司"),
    ("op-transport", "太湖交通场站管理公司"),
    ("op-property", "蠡湖物业停车服务公司"),
    ("op-commerce", "梁溪商业停车管理公司"),
    ("op-public", "公共机构停车管理中心"),
)
# Where many lots stand together: share of all lots, centre, spread in metres. The rest lies anywhere.
_CENTRES: tuple[tuple[float, Point, float], ...] = (
    (0.14, (120.270, 31.530), 600.0),
    (0.10, (120.298, 31.512), 800.0),
    (0.10, (120.252, 31.556), 700.0),
    (0.08, (120.318, 31.545), 700.0),
    (0.08, (120.232, 31.520), 900.0),
)
_NAMES: dict[Use, tuple[str, ...]] = {
    "office": ("商务中心地下停车场", "科技园停车场", "写字楼停车库", "软件园停车场"),
    "school": ("小学停车场", "中学停车场", "学院停车场"),
    "hospital": ("医院停车楼", "社区卫生服务中心停车场"),
    "residential": ("花园地下车库", "家园停车场", "新村停车场", "苑地下车库"),
    "shopping": ("购物中心停车场", "商业广场地下车库", "集贸市场停车场"),
    "on_street": ("路内停车泊位",),
}
_MIX: tuple[tuple[Use, float, float], ...] = (  # use, share of the lots, mean size relative to the others
    ("residential", 0.33, 1.1),
    ("office", 0.24, 1.3),
    ("on_street", 0.18, 0.45),
    ("shopping", 0.13, 1.5),
    ("school", 0.08, 0.6),
    ("hospital", 0.04, 1.9),
)
_EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]


@dataclass(frozen=True, slots=True)
class DistrictSize:
    """How much to generate. The defaults are the numbers of the public contract."""

    lots: int = DEFAULT_LOTS
    spaces: int | None = None  # None: 42 a lot
    multi_space_share: float = 0.08  # lots whose bays are watched by cameras or concentrators

    def total_spaces(self) -> int:
        """Bays of all lots."""
        return self.lots * SPACES_A_LOT if self.spaces is None else self.spaces

    def scaled(self, of_500: int) -> int:
        """A number that the contract gives for 500 lots, for this many; at least one."""
        return max(1, round(of_500 * self.lots / DEFAULT_LOTS))


def generate_district(size: DistrictSize | None = None, seed: int = SEED) -> District:
    """A district of that size.

    Raises:
        ValueError: fewer than 10 lots, or fewer than four bays a lot.
    """
    size = size or DistrictSize()
    if size.lots < 10 or size.total_spaces() < 4 * size.lots:
        raise ValueError("a district has at least 10 lots and four bays a lot")
    rng = random.Random(seed)
    streets = _streets(rng)
    uses = _uses(rng, size.lots)
    capacities = _capacities(rng, uses, size.total_spaces())
    traits = _traits(rng, uses, size)
    lots = [
        _lot(rng, _Plan(index, use, capacity, traits[index]), streets)
        for index, (use, capacity) in enumerate(zip(uses, capacities, strict=True))
    ]
    operators = [OperatorRecord(code, name) for code, name in _OPERATORS]
    return District(name="滨湖区", areas=streets, operators=operators, lots=lots)


@dataclass(frozen=True, slots=True)
class _Traits:
    shared: bool
    etc: bool
    time_limited: bool
    closed_at_night: bool
    equipment: Literal["sensor", "camera", "concentrator"]


@dataclass(frozen=True, slots=True)
class _Plan:
    index: int
    use: Use
    capacity: int
    traits: _Traits


def _streets(rng: random.Random) -> list[AreaRecord]:
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
    areas = [AreaRecord("binhu", "滨湖区", "district", boundary=_polygon(box))]
    for number, name in enumerate(_STREETS):
        row, column = divmod(number, _COLUMNS)
        ring = [
            corners[row][column],
            corners[row][column + 1],
            corners[row + 1][column + 1],
            corners[row + 1][column],
        ]
        areas.append(AreaRecord(f"binhu-{number + 1:02}", name, "street", parent="binhu", boundary=_polygon(ring)))
    return areas


def _polygon(ring: list[Point]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [[list(point) for point in [*ring, ring[0]]]]}


def _uses(rng: random.Random, lots: int) -> list[Use]:
    uses: list[Use] = [use for use, share, _ in _MIX for _ in range(max(1, math.floor(share * lots)))]
    uses = (uses + ["office"] * lots)[:lots]
    rng.shuffle(uses)
    return uses


def _capacities(rng: random.Random, uses: list[Use], spaces: int) -> list[int]:
    """At least four bays a lot and exactly `spaces` in all: largest remainders."""
    mean = {use: size for use, _, size in _MIX}
    weights = [mean[use] * rng.lognormvariate(0.0, 0.5) for use in uses]
    free, total = spaces - 4 * len(uses), sum(weights)
    exact = [free * weight / total for weight in weights]
    capacities = [4 + math.floor(value) for value in exact]
    by_remainder = sorted(range(len(uses)), key=lambda index: (math.floor(exact[index]) - exact[index], index))
    for index in by_remainder[: spaces - sum(capacities)]:
        capacities[index] += 1
    return capacities


def _traits(rng: random.Random, uses: list[Use], size: DistrictSize) -> list[_Traits]:
    off_street = [index for index, use in enumerate(uses) if use != "on_street"]
    on_street = [index for index, use in enumerate(uses) if use == "on_street"]
    shareable = [index for index in off_street if uses[index] in ("office", "school", "residential")]
    etc = set(rng.sample(off_street, size.scaled(7)))
    shared = set(rng.sample(shareable, min(len(shareable), size.scaled(43))))
    time_limited = set(rng.sample(on_street, min(len(on_street), size.scaled(11))))
    grouped = set(rng.sample(off_street, min(len(off_street), round(size.multi_space_share * size.lots))))
    night = [index for index in off_street if uses[index] in ("office", "school", "shopping") and index not in shared]
    closed = set(rng.sample(night, len(night) // 3))
    return [
        _Traits(
            shared=index in shared,
            etc=index in etc,
            time_limited=index in time_limited,
            closed_at_night=index in closed,
            equipment="sensor" if index not in grouped else ("camera" if index % 2 else "concentrator"),
        )
        for index in range(len(uses))
    ]


def _place(rng: random.Random) -> Point:
    """Somewhere in the district, oftener near a centre."""
    draw = rng.random()
    for share, (lon, lat), spread_m in _CENTRES:
        draw -= share
        if draw < 0:
            place = (
                lon + rng.gauss(0.0, spread_m) / (_M_A_DEGREE * _COS),
                lat + rng.gauss(0.0, spread_m) / _M_A_DEGREE,
            )
            break
    else:
        place = (rng.uniform(_WEST, _EAST), rng.uniform(_SOUTH, _NORTH))
    margin = 0.002  # bays stay inside the district
    return (
        round(min(max(place[0], _WEST + margin), _EAST - margin), 6),
        round(min(max(place[1], _SOUTH + margin), _NORTH - margin), 6),
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


def _lot(rng: random.Random, plan: _Plan, areas: list[AreaRecord]) -> LotRecord:
    lon, lat = _place(rng)
    area = next((area for area in areas[1:] if contains(area.boundary or {}, (lon, lat))), areas[1])
    road, number = rng.choice(_ROADS), plan.index + 1
    traits, on_street = plan.traits, plan.use == "on_street"
    code = f"BH{number:04}"
    spaces = _spaces(rng, plan, (lon, lat))
    underground = any(space.level for space in spaces)
    pairs = rng.choice((1, 2)) if traits.etc else 0
    lanes = _lanes(code, pairs)
    return LotRecord(
        code=code,
        name=f"{road}{number}号{rng.choice(_NAMES[plan.use])}",
        kind="on_street" if on_street else "off_street",
        lat=lat,
        lon=lon,
        area=area.code,
        operator=_OPERATORS[0][0] if on_street else rng.choice(_OPERATORS)[0],
        address=f"无锡市滨湖区{area.name}{road}{number}号",
        shared=traits.shared,
        etc_lanes=len(lanes),
        time_limited=traits.time_limited,
        opening=_opening(rng, plan),
        height_limit_m=rng.choice((2.0, 2.2)) if underground else None,
        use=plan.use,
        spaces=spaces,
        devices=_devices(rng, code, traits, spaces),
        lanes=lanes,
    )


def _opening(rng: random.Random, plan: _Plan) -> list[OpeningRecord] | None:
    if plan.traits.time_limited:  # legal between the evening and the morning peak, all day at weekends
        morning, evening = rng.choice((("07:00", "19:00"), ("07:30", "18:00"), ("08:00", "17:30")))
        working_days = [1, 2, 3, 4, 5]
        return [
            OpeningRecord(working_days, "00:00", morning),
            OpeningRecord(working_days, evening, "24:00"),
            OpeningRecord([6, 7], "00:00", "24:00"),
        ]
    if plan.traits.closed_at_night:
        opens, closes = rng.choice((("06:00", "22:00"), ("07:00", "22:30"), ("06:30", "23:00")))
        return [OpeningRecord(_EVERY_DAY, opens, closes)]
    return None


def _spaces(rng: random.Random, plan: _Plan, centre: Point) -> list[SpaceRecord]:
    """Bays in rows of 20 (on-street: one row along the road); underground ones on levels of at most 120, without outline."""
    on_street = plan.use == "on_street"
    underground = not on_street and (plan.capacity > 80 or rng.random() < 0.35)
    across, along = (6.0, 2.5) if on_street else (2.5, 6.0)  # metres between neighbours and between rows
    a_row = plan.capacity if on_street else 20
    spaces = []
    for index in range(plan.capacity):
        level = f"B{index // 120 + 1}" if underground else ""
        row, column = divmod(index % 120 if underground else index, a_row)
        lon = centre[0] + (column - a_row / 2) * across / (_M_A_DEGREE * _COS)
        lat = centre[1] + row * along / _M_A_DEGREE
        spaces.append(
            SpaceRecord(
                code=f"{level}-{index % 120 + 1:03}" if underground else f"{index + 1:03}",
                kind=_kind(index, on_street=on_street),
                level=level,
                lat=round(lat, 7),
                lon=round(lon, 7),
                geometry=None if underground else _bay_outline(lon, lat, on_street=on_street),
            )
        )
    return spaces


def _kind(index: int, *, on_street: bool) -> Literal["standard", "accessible", "ev", "large"]:
    if index % 50 == 0:
        return "accessible"
    if not on_street and index % 12 == 5:
        return "ev"
    return "large" if index % 97 == 90 else "standard"


def _bay_outline(lon: float, lat: float, *, on_street: bool) -> dict[str, Any]:
    width, depth = (5.6, 2.2) if on_street else (2.4, 5.2)  # metres
    half_x, half_y = width / 2 / (_M_A_DEGREE * _COS), depth / 2 / _M_A_DEGREE
    west, east = round(lon - half_x, 7), round(lon + half_x, 7)
    south, north = round(lat - half_y, 7), round(lat + half_y, 7)
    return _polygon([(west, south), (east, south), (east, north), (west, north)])


def _lanes(lot: str, pairs: int) -> list[LaneRecord]:
    """As many lanes in (`BH0017-E1`) as out (`BH0017-X1`), each with antenna and camera."""
    ways: tuple[tuple[str, Literal["entry", "exit"]], ...] = (("E", "entry"), ("X", "exit"))
    return [
        LaneRecord(f"{lot}-{letter}{number}", direction=direction, model="BH-LANE1", firmware="1.0.0")
        for letter, direction in ways
        for number in range(1, pairs + 1)
    ]


def _devices(rng: random.Random, lot: str, traits: _Traits, spaces: list[SpaceRecord]) -> list[DeviceRecord]:
    """One sensor a bay, or one camera for six bays, or one concentrator for up to 32."""
    codes = [space.code for space in spaces]
    if traits.equipment == "sensor":
        firmware, interval_s = rng.choice(("1.4.2", "1.5.0")), rng.choice((900, 1800, 3600))
        return [
            DeviceRecord(f"{lot}-{code}", space=code, model="BH-GM2", firmware=firmware, expected_interval_s=interval_s)
            for code in codes
        ]
    group, letter, model, interval_s = (
        (6, "C", "BH-CAM6", 300) if traits.equipment == "camera" else (32, "H", "BH-HUB32", 600)
    )
    return [
        DeviceRecord(
            f"{lot}-{letter}{number + 1:02}",
            spaces=codes[start : start + group],
            model=model,
            firmware="2.0.1",
            expected_interval_s=interval_s,
        )
        for number, start in enumerate(range(0, len(codes), group))
    ]
