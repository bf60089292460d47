"""The district file: what a registry is filled from, read by `parking seed FILE` and written by the simulators.

UTF-8 JSON, one object:

    {"format": "parking-district/1", "name": "滨湖区",
     "areas":     [{"code", "name", "kind": "district"|"street", "parent"?: area code, "boundary"?: GeoJSON}],
     "operators": [{"code", "name"}],
     "places":    [{"code", "name", "kind": "hospital", "lat", "lon"}],                  where many want to go
     "lots": [{"code", "name", "kind": "off_street"|"on_street", "lat", "lon",           WGS 84
               "area"?, "operator"?, "address"?, "shared"?, "etc_lanes"?, "time_limited"?, "height_limit_m"?, "use"?,
               "opening"?: [{"days": [1..7], "from": "08:00", "until": "22:00"}],        local time; absent: always
               "legal_windows"?: {"windows": [..], ..},      of time-limited roads; parking_core.windows has the form
               "sharing"?: {"classes": [{"code", "windows": {..}, "quota": n | "named": [space code, ..]}],
                            "terms"?: {parking_core.sharing.Terms}},                     of lots with "shared"
               "spaces":  [{"code", "kind"?, "level"?, "lat"?, "lon"?, "geometry"?: GeoJSON polygon}],
               "devices": [{"code", "space": code | "spaces": [code, ..], "family"?, "model"?, "firmware"?,
                            "expected_interval_s"?, "clock_earliest_s"?, "clock_latest_s"?, "enabled"?}],
               "lanes": [{"code", "direction": "entry"|"exit"|"both", "plate_codes"?: "national"|"4pyun", "active"?,
                          "amount_limit_fen"?, "model"?, "firmware"?, "expected_interval_s"?, "clock_earliest_s"?,
                          "clock_latest_s"?, "enabled"?}]}]}

A lane is a device too (family `lane`): its code is unique among all devices and is a level of its MQTT topics.
What `sharing` says becomes a published agreement where the lot has none: the first ordinary spaces for a quota.
`use` says what a lot is mostly used for; only the simulators read it, and the places. Unknown fields are refused,
because a field that nobody reads is nearly always a misspelt one.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

from parking_core.errors import InvalidInputError
from parking_core.sharing import read_terms
from parking_core.windows import parse_schedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FORMAT: Final = "parking-district/1"
LANE_FAMILY: Final = "lane"  # family of a lane's controller

# Lot and device codes are levels of MQTT topics: no separator, wildcard or blank.
TopicCode = Annotated[str, Meta(pattern=r"^[^/+#\s\x00-\x1f$][^/+#\s\x00-\x1f]*$", max_length=64)]
Code = Annotated[str, Meta(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f]+$")]
Name = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[^\x00]+$")]
ShortText = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00]*$")]
Latitude = Annotated[float, Meta(ge=-90, le=90)]
Longitude = Annotated[float, Meta(ge=-180, le=180)]
ClockTime = Annotated[str, Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d|24:00)$")]
Weekday = Annotated[int, Meta(ge=1, le=7)]  # ISO: Monday is 1


class OpeningRecord(Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    """Hours that begin on some weekdays, local time; with `until` before `from` they end on the next day."""

    days: Annotated[list[Weekday], Meta(min_length=1)]
    from_: ClockTime
    until: ClockTime


class AreaRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A district or one of its streets; `boundary` is a GeoJSON geometry."""

    code: Code
    name: Name
    kind: Literal["district", "street"]
    parent: str | None = None
    boundary: dict[str, Any] | None = None


class OperatorRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """Who runs lots."""

    code: Code
    name: Name


class PlaceRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """Somewhere that many people want to go."""

    code: Code
    name: Name
    kind: Literal["hospital"]
    lat: Latitude
    lon: Longitude


class SpaceRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One bay; `geometry` is a GeoJSON polygon."""

    code: Code
    kind: Literal["standard", "accessible", "ev", "large", "motorcycle"] = "standard"
    level: ShortText = ""
    lat: Latitude | None = None
    lon: Longitude | None = None
    geometry: dict[str, Any] | None = None


class DeviceRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A sensor of one bay (`space`) or of several (`spaces`); intervals and clock bounds in seconds.

    `eui` and `network` are of LoRaWAN devices, `serial` is how the device names itself in its payloads, `addresses` how it calls
    the bays (space -> address).
    """

    code: TopicCode
    space: str | None = None
    spaces: list[str] = []
    family: ShortText = "native"
    model: ShortText = ""
    firmware: ShortText = ""
    eui: Annotated[str, Meta(pattern="^[0-9a-f]{16}$")] | None = None
    network: Literal["", "chirpstack", "things_stack", "loriot"] = ""
    serial: Name | None = None
    addresses: dict[str, Name] = {}
    expected_interval_s: Annotated[int, Meta(ge=1, le=2_147_483_647)] = 3600
    clock_earliest_s: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None
    clock_latest_s: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None
    enabled: bool = True

    def watched(self) -> tuple[str, ...]:
        """Codes of the bays this device reports."""
        return (self.space,) if self.space is not None else tuple(self.spaces)


class LaneRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A way into or out of a lot, with its controller.

    `plate_codes` names the list of colour codes that its camera speaks, `active` says whether the clearing centre has
    activated the site, `amount_limit_fen` bounds one transaction. Intervals and clock bounds in seconds.
    """

    code: TopicCode
    direction: Literal["entry", "exit", "both"]
    plate_codes: Literal["national", "4pyun"] = "national"
    active: bool = True
    amount_limit_fen: Annotated[int, Meta(ge=1, le=100_000_000)] = 50_000
    model: ShortText = ""
    firmware: ShortText = ""
    expected_interval_s: Annotated[int, Meta(ge=1, le=2_147_483_647)] = 60
    clock_earliest_s: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None
    clock_latest_s: Annotated[int, Meta(ge=-(2**62), le=2**62)] | None = None
    enabled: bool = True


class SharedClassRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Spaces that an owner shares in the same windows: `quota` of them, or those that he names."""

    code: Annotated[str, Meta(pattern="^[A-Z]{1,2}$")]
    windows: dict[str, Any]
    quota: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    named: list[str] = []


class SharingRecord(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an owner shares, and on which terms (parking_core.sharing.Terms; what is left out is as usual)."""

    classes: Annotated[list[SharedClassRecord], Meta(min_length=1, max_length=100)]
    terms: dict[str, Any] = {}


class LotFacts(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A lot without its bays and devices."""

    code: TopicCode
    name: Name
    kind: Literal["off_street", "on_street"]
    lat: Latitude
    lon: Longitude
    area: str | None = None
    operator: str | None = None
    address: ShortText = ""
    shared: bool = False
    etc_lanes: Annotated[int, Meta(ge=0, le=100)] = 0
    time_limited: bool = False
    opening: list[OpeningRecord] | None = None
    height_limit_m: Annotated[float, Meta(gt=0, le=100)] | None = None
    use: Literal["office", "school", "hospital", "residential", "shopping", "on_street"] | None = None
    legal_windows: dict[str, Any] | None = None
    sharing: SharingRecord | None = None


class LotRecord(LotFacts, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A lot with its bays, the devices that watch them, and its lanes."""

    spaces: list[SpaceRecord]
    devices: list[DeviceRecord] = []
    lanes: list[LaneRecord] = []


class District(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole district."""

    format: Literal["parking-district/1"] = FORMAT
    name: Name
    areas: list[AreaRecord] = []
    operators: list[OperatorRecord] = []
    places: list[PlaceRecord] = []
    lots: list[LotRecord]

    def space_count(self) -> int:
        """Bays of all lots."""
        return sum(len(lot.spaces) for lot in self.lots)

    def device_count(self) -> int:
        """Devices of all lots, lanes among them."""
        return sum(len(lot.devices) for lot in self.lots) + self.lane_count()

    def lane_count(self) -> int:
        """Lanes of all lots."""
        return sum(len(lot.lanes) for lot in self.lots)


def every_device(lots: Iterable[LotRecord]) -> Iterator[tuple[LotRecord, DeviceRecord | LaneRecord]]:
    """All devices with their lots: those that watch bays, then the lanes of each lot."""
    for lot in lots:
        for device in lot.devices:
            yield lot, device
        for lane in lot.lanes:
            yield lot, lane


class RowProblem(Struct, frozen=True):
    """Why one row of a file cannot be used. `row` is a path such as `lots[3] BH0004 spaces[7]`."""

    row: str
    reason: str

    def __str__(self) -> str:
        return f"{self.row}: {self.reason}"


def parse_district(data: bytes) -> District | list[RowProblem]:
    """The district of a file, or every problem of it, each naming its row. Does not raise."""
    try:
        district = msgspec.json.decode(data, type=District)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return list(_malformed_rows(data)) or [RowProblem("file", str(error))]
    return list(_contradictions(district)) or district


def encode_district(district: District) -> bytes:
    """The file of a district, one line."""
    return msgspec.json.encode(district)


class _RawLot(LotFacts, frozen=True, forbid_unknown_fields=True, kw_only=True):
    spaces: list[msgspec.Raw]
    devices: list[msgspec.Raw] = []
    lanes: list[msgspec.Raw] = []


class _RawDistrict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    format: Literal["parking-district/1"] = FORMAT
    name: Name
    areas: list[msgspec.Raw] = []
    operators: list[msgspec.Raw] = []
    places: list[msgspec.Raw] = []
    lots: list[msgspec.Raw]


def _malformed_rows(data: bytes) -> Iterator[RowProblem]:
    """Reads a refused file once more, row by row, so that one report names all bad rows."""
    try:
        file = msgspec.json.decode(data, type=_RawDistrict)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        yield RowProblem("file", str(error))
        return
    yield from _malformed("areas", file.areas, AreaRecord)
    yield from _malformed("operators", file.operators, OperatorRecord)
    yield from _malformed("places", file.places, PlaceRecord)
    for index, raw in enumerate(file.lots):
        row = f"lots[{index}]"
        try:
            lot = msgspec.json.decode(raw, type=_RawLot)
        except msgspec.DecodeError as error:
            yield RowProblem(row, str(error))
            continue
        yield from _malformed(f"{row} {lot.code} spaces", lot.spaces, SpaceRecord)
        yield from _malformed(f"{row} {lot.code} devices", lot.devices, DeviceRecord)
        yield from _malformed(f"{row} {lot.code} lanes", lot.lanes, LaneRecord)


def _malformed(path: str, rows: list[msgspec.Raw], record: type[Struct]) -> Iterator[RowProblem]:
    for index, raw in enumerate(rows):
        try:
            msgspec.json.decode(raw, type=record)
        except msgspec.DecodeError as error:
            yield RowProblem(f"{path}[{index}]", str(error))


def _contradictions(district: District) -> Iterator[RowProblem]:
    areas = {area.code for area in district.areas}
    operators = {operator.code for operator in district.operators}
    yield from _repeated("areas", (area.code for area in district.areas))
    yield from _repeated("operators", (operator.code for operator in district.operators))
    yield from _repeated("places", (place.code for place in district.places))
    yield from _repeated("lots", (lot.code for lot in district.lots))
    yield from _repeated("devices", (device.code for _, device in every_device(district.lots)))
    for index, area in enumerate(district.areas):
        if area.parent is not None and area.parent not in areas:
            yield RowProblem(f"areas[{index}] {area.code}", f"its parent {area.parent!r} is no area of this file")
    for index, lot in enumerate(district.lots):
        row = f"lots[{index}] {lot.code}"
        if lot.area is not None and lot.area not in areas:
            yield RowProblem(row, f"its area {lot.area!r} is no area of this file")
        if lot.operator is not None and lot.operator not in operators:
            yield RowProblem(row, f"its operator {lot.operator!r} is no operator of this file")
        for hours in lot.opening or ():
            if hours.from_ == hours.until:
                yield RowProblem(row, f"it opens and closes at {hours.until}; a whole day is 00:00 to 24:00")
        yield from _lot_contradictions(row, lot)
        yield from _window_contradictions(row, lot)


def _lot_contradictions(row: str, lot: LotRecord) -> Iterator[RowProblem]:
    yield from _repeated(f"{row} spaces", (space.code for space in lot.spaces))
    spaces = {space.code for space in lot.spaces}
    for index, device in enumerate(lot.devices):
        where = f"{row} devices[{index}] {device.code}"
        if (device.space is None) == (not device.spaces):
            yield RowProblem(where, "it needs either `space` or a list `spaces`")
        if device.family == LANE_FAMILY:
            yield RowProblem(where, "a device of the family `lane` stands in the list `lanes` of its lot")
        yield from _identity_contradictions(where, device)
        yield from _repeated(f"{where} spaces", device.spaces)
        for code in device.watched():
            if code not in spaces:
                yield RowProblem(where, f"its space {code!r} is no space of this lot")
        yield from _clock_contradictions(where, device)
    for index, lane in enumerate(lot.lanes):
        yield from _clock_contradictions(f"{row} lanes[{index}] {lane.code}", lane)
    if lot.lanes:
        ways = {lane.direction for lane in lot.lanes}
        for needed, way in (("entry", "in"), ("exit", "out")):
            if not ways & {needed, "both"}:
                yield RowProblem(row, f"none of its lanes leads {way}; a visit needs a way in and a way out")


def _identity_contradictions(where: str, device: DeviceRecord) -> Iterator[RowProblem]:
    if (device.eui is None) != (device.network == ""):
        yield RowProblem(where, "a LoRaWAN device needs both `eui` and `network`")
    yield from _repeated(f"{where} addresses", device.addresses.values())
    for code in device.addresses:
        if code not in device.spaces:
            yield RowProblem(where, f"its address is of {code!r}, which is not in its list `spaces`")


def _window_contradictions(row: str, lot: LotRecord) -> Iterator[RowProblem]:
    """What is wrong with hours at which bays are legal, and with what an owner shares."""
    if lot.legal_windows is not None:
        if not lot.time_limited:
            yield RowProblem(row, "it has legal windows; then `time_limited` is true")
        yield from _unreadable(f"{row} legal_windows", lot.legal_windows, parse_schedule)
    if lot.sharing is None:
        return
    if not lot.shared:
        yield RowProblem(row, "it has a sharing agreement; then `shared` is true")
    yield from _unreadable(f"{row} sharing terms", lot.sharing.terms, read_terms)
    yield from _repeated(f"{row} sharing", (each.code for each in lot.sharing.classes))
    ordinary = {space.code for space in lot.spaces if space.kind == "standard"}
    known, named = {space.code for space in lot.spaces}, [code for each in lot.sharing.classes for code in each.named]
    yield from _repeated(f"{row} sharing", named)
    for each in lot.sharing.classes:
        where = f"{row} sharing class {each.code}"
        yield from _unreadable(where, each.windows, parse_schedule)
        if (each.quota is None) == (not each.named):
            yield RowProblem(where, "it needs either a `quota` or a list `named`")
        for code in each.named:
            if code not in known:
                yield RowProblem(where, f"its space {code!r} is no space of this lot")
    wanted, left = sum(each.quota or 0 for each in lot.sharing.classes), len(ordinary - set(named))
    if wanted > left:
        yield RowProblem(
            f"{row} sharing", f"its quotas are {wanted} spaces, and {left} ordinary ones are left for them"
        )


def _unreadable(where: str, document: object, read: Callable[[object], object]) -> Iterator[RowProblem]:
    try:
        read(document)
    except InvalidInputError as error:
        yield RowProblem(where, str(error))


def _clock_contradictions(where: str, device: DeviceRecord | LaneRecord) -> Iterator[RowProblem]:
    bounds = (device.clock_earliest_s, device.clock_latest_s)
    if bounds[0] is not None and bounds[1] is not None and bounds[0] > bounds[1]:
        yield RowProblem(where, "clock_earliest_s lies after clock_latest_s")


def _repeated(path: str, codes: Iterable[str]) -> Iterator[RowProblem]:
    for code, count in Counter(codes).items():
        if count > 1:
            yield RowProblem(path, f"the code {code!r} is given {count} times")
