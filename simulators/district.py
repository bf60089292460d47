"""A synthetic district: invented lots on plausible streets of Binhu, Wuxi; the same seed gives the same district.

Nothing here is a record of a real place: the streets' names exist, the polygons, lots, bays and devices do not. One lot
is that of the district's hospital; about a third of the lots that share spaces stand around it, most of them compounds.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from parking_core.districts import (
    DeviceRecord,
    District,
    LaneRecord,
    LotRecord,
    OperatorRecord,
    PlaceRecord,
    SpaceRecord,
)
from simulators.district_hours import closed_at_night, legal_opening, legal_windows, sharing
from simulators.district_map import (
    COS,
    HOSPITAL,
    M_A_DEGREE,
    Point,
    anywhere,
    contains,
    near_hospital,
    polygon,
    streets_of,
)

if TYPE_CHECKING:
    from parking_core.districts import AreaRecord

Use = Literal["office", "school", "hospital", "residential", "shopping", "on_street"]

DEFAULT_LOTS = 500
SPACES_A_LOT = 42
SEED = 20_240

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
    streets = streets_of(rng)
    uses = _uses(rng, size.lots)
    capacities = _capacities(rng, uses, size.total_spaces())
    traits = _traits(rng, uses, size)
    lots = [
        _lot(rng, _Plan(index, use, capacity, traits[index]), streets)
        for index, (use, capacity) in enumerate(zip(uses, capacities, strict=True))
    ]
    operators = [OperatorRecord(code, name) for code, name in _OPERATORS]
    lon, lat = HOSPITAL
    places = [PlaceRecord("hospital", "滨湖区人民医院", "hospital", lat, lon)]
    return District(name="滨湖区", areas=streets, operators=operators, places=places, lots=lots)


@dataclass(frozen=True, slots=True)
class _Traits:
    shared: bool
    etc: bool
    time_limited: bool
    closed_at_night: bool
    near_hospital: bool
    is_hospital: bool  # the district's own
    equipment: Literal["sensor", "camera", "concentrator"]


@dataclass(frozen=True, slots=True)
class _Plan:
    index: int
    use: Use
    capacity: int
    traits: _Traits


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
    by_wish = sorted(sorted(shared), key=lambda index: rng.random() - (uses[index] == "residential") / 2)
    near = set(by_wish[: round(len(shared) / 3)])
    return [
        _Traits(
            shared=index in shared,
            etc=index in etc,
            time_limited=index in time_limited,
            closed_at_night=index in closed,
            near_hospital=index in near,
            is_hospital=index == uses.index("hospital"),
            equipment="sensor" if index not in grouped else ("camera" if index % 2 else "concentrator"),
        )
        for index in range(len(uses))
    ]


def _lot(rng: random.Random, plan: _Plan, areas: list[AreaRecord]) -> LotRecord:
    traits, on_street = plan.traits, plan.use == "on_street"
    lon, lat = _site(rng, traits)
    area = next((area for area in areas[1:] if contains(area.boundary or {}, (lon, lat))), areas[1])
    road, number = rng.choice(_ROADS), plan.index + 1
    code = f"BH{number:04}"
    spaces = _spaces(rng, plan, (lon, lat))
    underground = any(space.level for space in spaces)
    etc_lanes = _lanes(code, rng.choice((1, 2)) if traits.etc else 0)
    opening = None
    if traits.time_limited:
        opening = legal_opening(number)
    elif traits.closed_at_night:
        opening = closed_at_night(rng)
    return LotRecord(
        code=code,
        name=f"{road}{number}号{_NAMES['hospital'][0] if traits.is_hospital else rng.choice(_NAMES[plan.use])}",
        kind="on_street" if on_street else "off_street",
        lat=lat,
        lon=lon,
        area=area.code,
        operator=_OPERATORS[0][0] if on_street else rng.choice(_OPERATORS)[0],
        address=f"无锡市滨湖区{area.name}{road}{number}号",
        shared=traits.shared,
        etc_lanes=len(etc_lanes),
        time_limited=traits.time_limited,
        opening=opening,
        height_limit_m=rng.choice((2.0, 2.2)) if underground else None,
        use=plan.use,
        legal_windows=legal_windows(number) if traits.time_limited else None,
        sharing=sharing(rng, plan.use, spaces) if traits.shared else None,
        spaces=spaces,
        devices=_devices(rng, code, traits, spaces),
        lanes=[*etc_lanes, _barrier(code)] if traits.shared else etc_lanes,
    )


def _site(rng: random.Random, traits: _Traits) -> Point:
    if traits.is_hospital:
        return HOSPITAL
    return near_hospital(rng) if traits.near_hospital else anywhere(rng)


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
        lon = centre[0] + (column - a_row / 2) * across / (M_A_DEGREE * COS)
        lat = centre[1] + row * along / M_A_DEGREE
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
    half_x, half_y = width / 2 / (M_A_DEGREE * COS), depth / 2 / M_A_DEGREE
    west, east = round(lon - half_x, 7), round(lon + half_x, 7)
    south, north = round(lat - half_y, 7), round(lat + half_y, 7)
    return polygon([(west, south), (east, south), (east, north), (west, north)])


def _lanes(lot: str, pairs: int) -> list[LaneRecord]:
    """As many lanes in (`BH0017-E1`) as out (`BH0017-X1`), each with antenna and camera."""
    ways: tuple[tuple[str, Literal["entry", "exit"]], ...] = (("E", "entry"), ("X", "exit"))
    return [
        LaneRecord(f"{lot}-{letter}{number}", direction=direction, model="BH-LANE1", firmware="1.0.0")
        for letter, direction in ways
        for number in range(1, pairs + 1)
    ]


def _barrier(lot: str) -> LaneRecord:
    """The way in and out of a lot that shares spaces: camera and barrier, no antenna that a clearing centre knows."""
    return LaneRecord(f"{lot}-B1", direction="both", active=False, model="BH-GATE1", firmware="1.0.0")


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
