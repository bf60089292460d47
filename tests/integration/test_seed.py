"""Seeding the registry: complete, repeatable, correcting, all or nothing."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import msgspec
import psycopg
import pytest
from typer.testing import CliRunner

from onebox.__main__ import application
from parking_core.districts import (
    DeviceRecord,
    District,
    LaneRecord,
    LotRecord,
    OperatorRecord,
    SpaceRecord,
    encode_district,
    parse_district,
)
from parking_core.errors import InvalidInputError, ServiceUnavailableError
from parking_core.flows.seed_district import known_watchers, register_recorded_lot, seed_district, spaces_beside
from parking_core.store.lots import load_registry
from simulators.district import DistrictSize, generate_district

if TYPE_CHECKING:
    from pathlib import Path

    from parking_core.places import Registry

pytestmark = pytest.mark.services


def _rows(database_url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(database_url) as connection:
        return connection.execute(query.encode()).fetchall()


def _registry(database_url: str) -> Registry:
    async def load() -> Registry:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            return await load_registry(connection)

    return asyncio.run(load())


def _small(**changes: Any) -> District:
    lot = LotRecord(
        code="L1",
        name="一号停车场",
        kind="off_street",
        lat=31.5,
        lon=120.3,
        operator="op",
        spaces=[SpaceRecord("1"), SpaceRecord("2", kind="ev"), SpaceRecord("3")],
        devices=[DeviceRecord("D1", space="1"), DeviceRecord("C1", spaces=["2", "3"], expected_interval_s=60)],
    )
    return District(name="x", operators=[OperatorRecord("op", "o")], lots=[msgspec.structs.replace(lot, **changes)])


def test_the_whole_district_is_loaded_quickly_and_only_once(database_url: str) -> None:
    district = generate_district()
    told: dict[str, int] = {}
    began = time.perf_counter()
    changed = seed_district(database_url, district, lambda table, rows: told.update({table: told.get(table, 0) + rows}))
    seconds = time.perf_counter() - began
    assert (changed["lots"], changed["spaces"], changed["devices"]) == (500, 21_000, district.device_count())
    assert (told["lots"], told["spaces"]) == (500, 21_000)
    assert changed["lanes"] == district.lane_count()
    assert seconds < 10, "21,000 spaces take 1.3 s on the development machine"
    ids = _rows(database_url, "SELECT id, code FROM devices ORDER BY id")
    assert set(seed_district(database_url, district).values()) == {0}
    assert _rows(database_url, "SELECT id, code FROM devices ORDER BY id") == ids
    watched = """SELECT count(*), count(DISTINCT space_id) FROM (
        SELECT space_id FROM devices WHERE space_id IS NOT NULL UNION ALL SELECT space_id FROM device_spaces) AS bound"""
    assert _rows(database_url, watched) == [(21_000, 21_000)]
    assert _rows(database_url, "SELECT count(*) FROM lots WHERE area_id IS NULL OR operator_id IS NULL") == [(0,)]
    assert _rows(database_url, "SELECT count(*) FROM areas WHERE kind = 'street' AND parent_id IS NULL") == [(0,)]


def test_what_a_file_holds_reaches_the_columns(database_url: str) -> None:
    seed_district(database_url, generate_district(DistrictSize(lots=12)))
    district = generate_district(DistrictSize(lots=12))
    stored = _rows(
        database_url,
        """SELECT lots.code, lots.name, lots.kind, lots.lat, lots.lon, address, shared, etc_lanes, time_limited, opening,
           legal_windows, areas.code, operators.code, (SELECT count(*) FROM spaces WHERE lot_id = lots.id)
           FROM lots JOIN areas ON areas.id = area_id JOIN operators ON operators.id = operator_id ORDER BY lots.code""",
    )
    expected = [
        (
            *(lot.code, lot.name, lot.kind, lot.lat, lot.lon, lot.address, lot.shared, lot.etc_lanes, lot.time_limited),
            *(msgspec.to_builtins(lot.opening), lot.legal_windows, lot.area, lot.operator, len(lot.spaces)),
        )
        for lot in district.lots
    ]
    assert stored == expected
    assert any(row[10] for row in stored), "one of twelve lots is a time-limited road"


def test_legal_windows_reach_the_registry_and_are_corrected_and_taken_away(database_url: str) -> None:
    nights = {"windows": [{"days": ["workday"], "from": "20:00", "until": "07:00"}]}
    seed_district(database_url, _small(time_limited=True, legal_windows=nights))
    (lot,) = _registry(database_url).lots
    assert json.loads(lot.legal_windows or "") == nights
    nights["windows"][0]["until"] = "08:00"
    assert seed_district(database_url, _small(time_limited=True, legal_windows=nights))["lots"] == 1
    (lot,) = _registry(database_url).lots
    assert json.loads(lot.legal_windows or "") == nights
    seed_district(database_url, _small(time_limited=True))
    assert _registry(database_url).lots[0].legal_windows is None
    with psycopg.connect(database_url) as connection:
        connection.execute("""UPDATE lots SET legal_windows = '{"windows": "always"}'""")
    with pytest.raises(InvalidInputError, match="Lot 'L1': The schedule has 1 problem"):
        _registry(database_url)


def test_spaces_that_a_file_no_longer_names_stay_and_are_counted(database_url: str) -> None:
    seed_district(database_url, _small())
    assert spaces_beside(database_url, _small()) == 0
    fewer = _small(spaces=[SpaceRecord("1"), SpaceRecord("2", kind="ev")], devices=[])
    seed_district(database_url, fewer)
    assert spaces_beside(database_url, fewer) == 1


def test_a_second_file_corrects_and_adds(database_url: str) -> None:
    seed_district(database_url, _small())
    changed = seed_district(
        database_url,
        _small(
            name="二号停车场",
            spaces=[SpaceRecord("1", level="B1"), SpaceRecord("4")],
            devices=[DeviceRecord("C1", spaces=["4"]), DeviceRecord("D1", space="1")],
        ),
    )
    assert (changed["lots"], changed["spaces"], changed["devices"]) == (1, 2, 1)
    assert _rows(database_url, "SELECT name FROM lots") == [("二号停车场",)]
    assert _rows(database_url, "SELECT code, level FROM spaces ORDER BY code") == [
        ("1", "B1"),
        ("2", ""),
        ("3", ""),
        ("4", ""),
    ]
    bound = "SELECT spaces.code FROM device_spaces JOIN spaces ON spaces.id = space_id"
    assert _rows(database_url, bound) == [("4",)]


def test_lanes_are_devices_without_a_bay_and_are_corrected(database_url: str) -> None:
    lanes = [LaneRecord("E1", "entry"), LaneRecord("X1", "exit", plate_codes="4pyun", expected_interval_s=30)]
    seed_district(database_url, _small(lanes=lanes))
    query = """SELECT code, family, space_id, expected_interval_s, direction, active, plate_codes, amount_limit_fen
        FROM devices JOIN lanes ON lanes.device_id = devices.id ORDER BY code"""
    assert _rows(database_url, query) == [
        ("E1", "lane", None, 60, "entry", True, "national", 50_000),
        ("X1", "lane", None, 30, "exit", True, "4pyun", 50_000),
    ]
    version = "SELECT version FROM registry_version"
    before = _rows(database_url, version)
    lanes[0] = LaneRecord("E1", "both", active=False, amount_limit_fen=9_900)
    assert seed_district(database_url, _small(lanes=lanes))["lanes"] == 1
    assert _rows(database_url, query)[0] == ("E1", "lane", None, 60, "both", False, "national", 9_900)
    assert _rows(database_url, version) > before, "gateways look at the registry again"
    assert set(seed_district(database_url, _small(lanes=lanes)).values()) == {0}


def test_who_a_device_is_reaches_the_registry_and_is_corrected(database_url: str) -> None:
    lorawan = DeviceRecord(
        "D1", space="1", family="bosch", model="tps110", firmware="0.39", eui="00c0ffee00000001", network="chirpstack"
    )
    concentrator = DeviceRecord(
        "C1", spaces=["2", "3"], family="bay_frames", serial="9", addresses={"2": "12", "3": "13"}
    )
    identity = "SELECT code, eui, network, serial FROM devices ORDER BY code"
    bays = "SELECT s.code, b.address FROM device_spaces b JOIN spaces s ON s.id = b.space_id ORDER BY 1"
    seed_district(database_url, _small(devices=[lorawan, concentrator]))
    assert _rows(database_url, identity) == [("C1", None, "", "9"), ("D1", "00c0ffee00000001", "chirpstack", None)]
    assert _rows(database_url, bays) == [("2", "12"), ("3", "13")]
    seed_district(database_url, _small())
    assert _rows(database_url, identity) == [("C1", None, "", None), ("D1", None, "", None)]
    assert _rows(database_url, bays) == [("2", None), ("3", None)]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ({"eui": "00c0ffee00000001"}, "needs both"),
        ({"network": "loriot"}, "needs both"),
        ({"eui": "00C0FFEE00000001", "network": "loriot"}, "eui"),
        ({"network": "sigfox"}, "network"),
        ({"addresses": {"2": "1"}}, "not in its list"),
    ],
)
def test_who_a_device_is_must_fit_together(device: dict[str, Any], words: str) -> None:
    file = json.loads(encode_district(_small()))
    file["lots"][0]["devices"][0] |= device
    problems = parse_district(json.dumps(file).encode())
    assert isinstance(problems, list)
    assert words in " ".join(map(str, problems))


def test_a_change_moves_the_registry_version(database_url: str) -> None:
    version = "SELECT version FROM registry_version"
    before = _rows(database_url, version)
    seed_district(database_url, _small())
    assert _rows(database_url, version) > before


def test_a_refused_row_leaves_nothing_behind(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        connection.execute("ALTER TABLE devices ADD CONSTRAINT no_camera CHECK (code <> 'C1')")
    with pytest.raises(InvalidInputError, match="no_camera"):
        seed_district(database_url, _small())
    assert _rows(database_url, "SELECT count(*) FROM lots") == [(0,)]


def test_an_absent_database_and_an_absent_schema_are_said(database_url: str) -> None:
    with pytest.raises(ServiceUnavailableError, match="PARKING_DATABASE_URL"):
        seed_district("postgresql://nobody@127.0.0.1:9/x?connect_timeout=2", _small())
    with psycopg.connect(database_url) as connection:
        connection.execute("DROP TABLE areas CASCADE")
    with pytest.raises(InvalidInputError, match="parking migrate"):
        seed_district(database_url, _small())


def test_a_recorded_lot_leaves_known_rows_alone(database_url: str) -> None:
    seed_district(database_url, _small())
    record = LotRecord(
        code="L1",
        name="recorded",
        kind="on_street",
        lat=0.0,
        lon=0.0,
        spaces=[SpaceRecord("2"), SpaceRecord("9")],
        devices=[DeviceRecord("L1-2", space="2"), DeviceRecord("L1-9", space="9")],
    )
    first = register_recorded_lot(database_url, record, (-1_000_000, 5))
    assert first.watchers == {"2": "C1", "9": "L1-9"}  # the camera that watches bay 2 already goes on doing so
    assert first.known_clocks_moved
    again = register_recorded_lot(database_url, record, (-1_000_000, 5))
    assert (again.watchers, again.known_clocks_moved) == (first.watchers, False)
    assert known_watchers(database_url, "L1") == {"1": "D1", "2": "C1", "3": "C1", "9": "L1-9"}
    assert known_watchers(database_url, "L2") == {}
    assert _rows(database_url, "SELECT name, lat FROM lots") == [("一号停车场", 31.5)]
    clocks = _rows(database_url, "SELECT code, clock_earliest_s, clock_latest_s FROM devices ORDER BY code")
    assert clocks == [("C1", -1_000_000, 5), ("D1", None, None), ("L1-9", -1_000_000, 5)]


def test_a_code_of_another_lot_is_not_taken_over(database_url: str) -> None:
    seed_district(database_url, _small())
    record = LotRecord(
        code="L2",
        name="other",
        kind="off_street",
        lat=31.0,
        lon=120.0,
        spaces=[SpaceRecord("1")],
        devices=[DeviceRecord("D1", space="1")],
    )
    with pytest.raises(InvalidInputError, match="choose another --lot"):
        register_recorded_lot(database_url, record, (-1, 1))
    assert known_watchers(database_url, "L2") == {}


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARKING_DATABASE_URL", database_url)
    monkeypatch.setenv("PARKING_REDIS_URL", "redis://127.0.0.1:9")
    monkeypatch.setenv("PARKING_MQTT_URL", "mqtt://127.0.0.1:9")


@pytest.mark.usefixtures("environment")
def test_the_command_loads_a_file_and_says_what_was_new(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "district.json"
    file.write_bytes(encode_district(_small()))
    first = CliRunner().invoke(application(), ["seed", str(file)])
    assert first.exit_code == 0, first.output
    assert "x: 1 lots, 3 spaces, 2 devices" in first.output
    assert "3 spaces, 2 devices, 2 bays of devices" in first.output
    assert "Nothing was new" in CliRunner().invoke(application(), ["seed", str(file)]).output
    assert _rows(database_url, "SELECT count(*) FROM spaces") == [(3,)]


@pytest.mark.usefixtures("environment")
def test_the_command_refuses_a_bad_file_with_every_row(database_url: str, tmp_path: Path) -> None:
    file = tmp_path / "district.json"
    content = msgspec.to_builtins(_small())
    content["lots"][0]["spaces"][1]["kind"] = "boat"
    content["lots"][0]["devices"][0]["space"] = 5
    file.write_bytes(msgspec.json.encode(content))
    result = CliRunner().invoke(application(), ["seed", str(file)])
    assert isinstance(result.exception, InvalidInputError)
    assert "2 problems" in str(result.exception)
    assert "lots[0] L1 spaces[1]" in str(result.exception)
    assert "lots[0] L1 devices[0]" in str(result.exception)
    assert _rows(database_url, "SELECT count(*) FROM lots") == [(0,)]


@pytest.mark.usefixtures("environment")
def test_the_command_without_a_file_makes_the_synthetic_district(database_url: str) -> None:
    result = CliRunner().invoke(application(), ["seed", "--lots", "10"])
    assert result.exit_code == 0, result.output
    assert _rows(database_url, "SELECT count(*) FROM spaces") == [(420,)]
