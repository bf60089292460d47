"""The synthetic district and the district file."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parking_core.calendar import is_open, parse_opening
from parking_core.districts import District, RowProblem, encode_district, parse_district
from parking_core.places import distance_m
from parking_core.sharing import read_terms
from parking_core.windows import GRID_MINUTES, MOST_CLASSES, may_stand, parse_schedule
from parking_core.work_calendar import WorkCalendar
from simulators.district import DistrictSize, generate_district
from simulators.district_map import contains


@pytest.fixture(scope="module")
def district() -> District:
    return generate_district()


def test_the_numbers_are_those_of_the_contract(district: District) -> None:
    assert len(district.lots) == 500
    assert district.space_count() == 21_000
    assert sum(lot.etc_lanes > 0 for lot in district.lots) == 7
    assert sum(lot.shared for lot in district.lots) == 43
    assert sum(lot.time_limited for lot in district.lots) == 11
    assert all(lot.kind == "on_street" and lot.opening for lot in district.lots if lot.time_limited)
    assert all(len(lot.spaces) >= 4 for lot in district.lots)


def test_the_same_seed_gives_the_same_district_and_another_seed_another(district: District) -> None:
    assert generate_district() == district
    small = DistrictSize(lots=20)
    assert generate_district(small, seed=7) != generate_district(small, seed=8)


@given(lots=st.integers(10, 120), spaces_a_lot=st.integers(4, 60), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_any_size_has_exactly_the_asked_numbers(lots: int, spaces_a_lot: int, seed: int) -> None:
    made = generate_district(DistrictSize(lots=lots, spaces=lots * spaces_a_lot + 3), seed)
    assert len(made.lots) == lots
    assert made.space_count() == lots * spaces_a_lot + 3
    assert parse_district(encode_district(made)) == made


def test_a_larger_district_keeps_the_shares() -> None:
    made = generate_district(DistrictSize(lots=1_000))
    assert (len(made.lots), made.space_count()) == (1_000, 42_000)
    assert sum(lot.etc_lanes > 0 for lot in made.lots) == 14


def test_too_small_a_district_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 10 lots"):
        generate_district(DistrictSize(lots=9))


def test_every_bay_is_watched_by_exactly_one_device(district: District) -> None:
    for lot in district.lots:
        watched = Counter(code for device in lot.devices for code in device.watched())
        assert watched == Counter(space.code for space in lot.spaces)
    one_bay = sum(device.space is not None for lot in district.lots for device in lot.devices)
    many_bays = sum(bool(device.spaces) for lot in district.lots for device in lot.devices)
    assert one_bay > 0.8 * district.space_count()
    assert many_bays > 50


def test_every_etc_lot_has_lanes_in_and_out_every_shared_lot_a_barrier_and_no_other_lot_any(district: District) -> None:
    for lot in district.lots:
        etc = [lane for lane in lot.lanes if lane.active]
        ways = Counter(lane.direction for lane in etc)
        assert ways["entry"] == ways["exit"] == lot.etc_lanes // 2
        assert all(lane.code.startswith(f"{lot.code}-") for lane in lot.lanes)
        assert {"entry": "E", "exit": "X"}.items() >= {(lane.direction, lane.code[7]) for lane in etc}
        barriers = [(lane.code, lane.direction) for lane in lot.lanes if not lane.active]
        assert barriers == ([(f"{lot.code}-B1", "both")] if lot.shared else [])
    lanes = [lane.code for lot in district.lots for lane in lot.lanes]
    assert len(lanes) == len(set(lanes)) == district.lane_count() >= 14 + 43


def test_shared_lots_share_by_windows_on_a_grid_in_at_most_six_classes(district: District) -> None:
    for lot in district.lots:
        assert (lot.sharing is not None) == lot.shared
        if lot.sharing is None:
            continue
        schedules = [parse_schedule(each.windows) for each in lot.sharing.classes]
        assert 1 <= len(schedules) <= MOST_CLASSES
        assert len(set(schedules)) == len(schedules), "classes differ by their windows"
        assert all(
            minute % GRID_MINUTES == 0
            for schedule in schedules
            for window in schedule.windows
            for minute in (window.hours.from_minute, window.hours.until_minute)
        )
        assert [each.code for each in lot.sharing.classes] == list("ABCDEF"[: len(schedules)])
        given = sum(each.quota or 0 for each in lot.sharing.classes)
        ordinary = sum(space.kind == "standard" for space in lot.spaces)
        assert 0 < given <= max(1, round(0.6 * ordinary))
        terms = read_terms(lot.sharing.terms)
        assert (terms.permit_fen_per_month is None) == (lot.use == "residential")
    used = Counter(lot.use for lot in district.lots if lot.shared)
    assert set(used) == {"office", "school", "residential"}
    assert max(len(lot.sharing.classes) for lot in district.lots if lot.sharing) > 2


def test_a_third_of_the_shared_lots_stand_around_the_hospital(district: District) -> None:
    (place,) = district.places
    assert (place.kind, place.code) == ("hospital", "hospital")
    metres = {lot.code: distance_m(place.lat, place.lon, lot.lat, lot.lon) for lot in district.lots}
    (own,) = [lot for lot in district.lots if metres[lot.code] == 0]
    assert own.use == "hospital"
    near = [lot for lot in district.lots if lot.shared and metres[lot.code] <= 800]
    assert 12 <= len(near) <= 18
    assert sum(lot.use == "residential" for lot in near) > len(near) / 2


def test_time_limited_roads_are_legal_at_night_and_on_days_off(district: District) -> None:
    zone, calendar = ZoneInfo("Asia/Shanghai"), WorkCalendar()
    kinds = set()
    for lot in district.lots:
        assert (lot.legal_windows is not None) == lot.time_limited
        if lot.legal_windows is None:
            continue
        schedule = parse_schedule(lot.legal_windows)
        kinds.add(schedule)
        for day, hour, legal in (
            (23, 3, True),
            (23, 12, False),
            (23, 22, True),
            (28, 12, True),
        ):  # a Monday, a Saturday
            at = datetime(2026, 11, day, hour, tzinfo=zone)
            assert may_stand(schedule, calendar, zone, at, at + timedelta(hours=1)).allowed == legal
            # In a plain week the live figures' opening hours say the same.
            assert is_open(parse_opening(msgspec.to_builtins(lot.opening)), at, zone) == legal
    assert len(kinds) > 2


def test_streets_divide_the_district_without_gap_or_overlap(district: District) -> None:
    whole, *streets = (area.boundary or {} for area in district.areas)
    assert sum(_size(street) for street in streets) == pytest.approx(_size(whole), rel=1e-9)
    by_code = {area.code: area.boundary or {} for area in district.areas}
    for lot in district.lots:
        assert lot.area is not None
        assert sum(contains(street, (lot.lon, lot.lat)) for street in streets) == 1
        assert contains(by_code[lot.area], (lot.lon, lot.lat))


def _size(boundary: dict[str, Any]) -> float:
    ring = boundary["coordinates"][0]
    twice: float = sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring))
    return abs(twice) / 2


def test_places_are_in_binhu_and_a_driver_in_the_centre_has_twenty_lots_near(district: District) -> None:
    for lot in district.lots:
        assert 31.45 < lot.lat < 31.60
        assert 120.15 < lot.lon < 120.40
    near = [lot for lot in district.lots if abs(lot.lat - 31.53) < 0.009 and abs(lot.lon - 120.27) < 0.0105]
    assert len(near) > 20


def test_opening_hours_are_what_the_calendar_reads(district: District) -> None:
    limited = [lot for lot in district.lots if lot.opening is not None]
    assert len(limited) > 11  # some lots close at night, beside the time-limited roads
    for lot in json.loads(encode_district(district))["lots"]:
        assert parse_opening(lot.get("opening")) is not None or "opening" not in lot


WINDOWS = {"windows": [{"days": ["workday"], "from": "18:00", "until": "08:00"}]}
A: dict[str, Any] = {"code": "A", "windows": WINDOWS, "quota": 1}


def shared(*classes: dict[str, Any], terms: dict[str, Any] | None = None) -> dict[str, Any]:
    """A lot that shares these classes."""
    return {"shared": True, "sharing": {"classes": list(classes), "terms": terms or {}}}


def _file(**changes: Any) -> dict[str, Any]:
    lot = {
        "code": "L1",
        "name": "一号停车场",
        "kind": "off_street",
        "lat": 31.5,
        "lon": 120.3,
        "spaces": [{"code": "1"}, {"code": "2"}],
        "devices": [{"code": "D1", "space": "1"}],
    }
    return {"format": "parking-district/1", "name": "x", "lots": [{**lot, **changes}]}


def _problems(content: object) -> list[RowProblem]:
    parsed = parse_district(json.dumps(content).encode())
    assert isinstance(parsed, list), "the file was accepted"
    return parsed


def test_a_small_file_is_read() -> None:
    parsed = parse_district(json.dumps(_file()).encode())
    assert isinstance(parsed, District)
    assert parsed.lots[0].devices[0].watched() == ("1",)


@pytest.mark.parametrize(
    ("changes", "row", "reason"),
    [
        ({"lat": 91}, "lots[0]", "lat"),
        ({"code": "a/b"}, "lots[0]", "code"),
        ({"colour": "red"}, "lots[0]", "colour"),
        ({"kind": "roof"}, "lots[0]", "kind"),
        ({"area": "nowhere"}, "lots[0] L1", "no area of this file"),
        ({"operator": "nobody"}, "lots[0] L1", "no operator of this file"),
        ({"spaces": [{"code": "1"}, {"code": "1"}]}, "lots[0] L1 spaces", "2 times"),
        ({"spaces": [{"code": "1"}, {"code": "2", "lon": 181}]}, "lots[0] L1 spaces[1]", "lon"),
        ({"spaces": [{"code": "1", "level": 1}]}, "lots[0] L1 spaces[0]", "level"),
        ({"devices": [{"code": "D1", "space": "9"}]}, "lots[0] L1 devices[0] D1", "'9' is no space of this lot"),
        ({"devices": [{"code": "D1"}]}, "lots[0] L1 devices[0] D1", "either"),
        ({"devices": [{"code": "D1", "space": "1", "spaces": ["2"]}]}, "lots[0] L1 devices[0] D1", "either"),
        ({"devices": [{"code": "D+1", "space": "1"}]}, "lots[0] L1 devices[0]", "code"),
        ({"devices": [{"code": "D1", "space": "1", "expected_interval_s": 0}]}, "lots[0] L1 devices[0]", "interval"),
        (
            {"devices": [{"code": "D1", "space": "1", "clock_earliest_s": 5, "clock_latest_s": 1}]},
            "lots[0] L1 devices[0] D1",
            "clock_earliest_s",
        ),
        ({"lanes": [{"code": "E", "direction": "in"}]}, "lots[0] L1 lanes[0]", "direction"),
        ({"lanes": [{"code": "E", "direction": "both", "plate_codes": "5"}]}, "lots[0] L1 lanes[0]", "plate_codes"),
        ({"lanes": [{"code": "E", "direction": "both", "amount_limit_fen": 0}]}, "lots[0] L1 lanes[0]", "amount_limit"),
        ({"lanes": [{"code": "E", "direction": "entry"}]}, "lots[0] L1", "none of its lanes leads out"),
        ({"lanes": [{"code": "X", "direction": "exit"}]}, "lots[0] L1", "none of its lanes leads in"),
        ({"lanes": [{"code": "D1", "direction": "both"}]}, "devices", "'D1' is given 2 times"),
        (
            {"lanes": [{"code": "E", "direction": "both", "clock_earliest_s": 5, "clock_latest_s": 1}]},
            "lots[0] L1 lanes[0] E",
            "clock_earliest_s",
        ),
        ({"devices": [{"code": "D1", "space": "1", "family": "lane"}]}, "lots[0] L1 devices[0] D1", "list `lanes`"),
        ({"legal_windows": WINDOWS}, "lots[0] L1", "`time_limited` is true"),
        ({"legal_windows": {"windows": 1}, "time_limited": True}, "lots[0] L1 legal_windows", "list of at most"),
        ({"legal_windows": [], "time_limited": True}, "lots[0]", "legal_windows"),
        ({"sharing": {"classes": [A]}}, "lots[0] L1", "`shared` is true"),
        (shared({**A, "windows": {}}), "lots[0] L1 sharing class A", "windows: missing"),
        (shared({**A, "quota": 3}), "lots[0] L1 sharing", "3 spaces, and 2 ordinary ones"),
        (
            shared({**A, "quota": 2}, {**A, "code": "B", "quota": None, "named": ["1"]}),
            "lots[0] L1 sharing",
            "1 ordinary",
        ),
        (shared({**A, "quota": None}), "lots[0] L1 sharing class A", "either a `quota`"),
        (shared({**A, "named": ["1"]}), "lots[0] L1 sharing class A", "either a `quota`"),
        (shared({**A, "quota": None, "named": ["7"]}), "lots[0] L1 sharing class A", "'7' is no space of this lot"),
        (shared({**A, "quota": None, "named": ["1", "1"]}), "lots[0] L1 sharing", "2 times"),
        (shared(A, A), "lots[0] L1 sharing", "2 times"),
        (shared({**A, "code": "a"}), "lots[0]", "code"),
        (shared(), "lots[0]", "classes"),
        (shared(A, terms={"price": 3}), "lots[0] L1 sharing terms", "no field 'price'"),
        (shared(A, terms={"notice_h": 9999}), "lots[0] L1 sharing terms", "notice_h"),
        ({"opening": [{"days": [8], "from": "08:00", "until": "22:00"}]}, "lots[0]", "opening"),
        ({"opening": [{"days": [1], "from": "08:00", "until": "08:00"}]}, "lots[0] L1", "00:00 to 24:00"),
    ],
)
def test_a_bad_row_is_named_with_its_reason(changes: dict[str, Any], row: str, reason: str) -> None:
    problems = _problems(_file(**changes))
    assert [problem.row for problem in problems] == [row]
    assert reason in problems[0].reason


def test_all_bad_rows_are_reported_at_once() -> None:
    content = _file(spaces=[{"code": 1}, {"code": "2"}, {"kind": "ev"}], devices=[{"code": ""}])
    content["areas"] = [{"code": "a", "name": "n", "kind": "planet"}]
    assert [problem.row for problem in _problems(content)] == [
        "areas[0]",
        "lots[0] L1 spaces[0]",
        "lots[0] L1 spaces[2]",
        "lots[0] L1 devices[0]",
    ]


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{", b'{"name": "x"}', b"\xff\xfe", b'{"format": "x", "name": "n", "lots": []}']
)
def test_what_is_no_district_file_is_one_problem(data: bytes) -> None:
    parsed = parse_district(data)
    assert isinstance(parsed, list)
    assert [problem.row for problem in parsed] == ["file"]


@given(st.binary(max_size=200))
def test_reading_never_raises(data: bytes) -> None:
    assert isinstance(parse_district(data), District | list)
