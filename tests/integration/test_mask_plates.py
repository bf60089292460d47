"""Old plates go, the accounts stay: rows remain joined by their numbers, and what is still open keeps its plate."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from parking_core.flows.mask_old_plates import Masked, mask_old_plates
from parking_core.flows.seed_district import seed_district
from parking_core.plates import masked
from parking_core.readings import moment
from parking_core.settings import Settings
from parking_core.store.lanes import all_lanes
from tests.builders import NOON_US
from tests.integration.test_lane_ledger import query, record
from tests.lane_builders import a_report, lane_district
from worker import jobs

if TYPE_CHECKING:
    from parking_core.lanes import Lane

pytestmark = pytest.mark.services

OLD = moment(NOON_US)
NOW = OLD + timedelta(days=181)
DAY_US = 86_400_000_000


@pytest.fixture
def lane(database_url: str) -> Lane:
    seed_district(database_url, lane_district())
    with psycopg.connect(database_url) as connection:
        return next(lane for lane in all_lanes(connection).values() if lane.code == "L1-X1")


def mask(url: str, now: datetime = NOW, keep_days: int = 180) -> Masked:
    with psycopg.connect(url, autocommit=True) as connection:
        return mask_old_plates(connection, now, keep_days)


def execute(url: str, statement: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement.encode())


def a_past(url: str, lane: Lane) -> None:
    """Three old exits, a repeat, a young exit; all followed, with a visit for each exit."""
    young_us = NOON_US + 30 * DAY_US
    other = {"obu_plate": "苏B54321", "card_plate": "苏B54321"}
    reports = [
        a_report(lane, record_no=1, etc={"terminal_serial": "01"}),
        a_report(lane, record_no=2, etc={"terminal_serial": "02"} | other, plate={"text": "苏B54321"}),
        a_report(lane, record_no=3, etc={"terminal_serial": "03"}),
        a_report(lane, record_no=9, etc={"terminal_serial": "03"}),
        a_report(lane, record_no=4, etc={"terminal_serial": "04"}, received_us=young_us, at=young_us // 1000),
        a_report(lane, record_no=5, etc=None, plate=None, ticket="T-77"),
    ]
    record(url, reports)
    execute(url, "UPDATE lane_events SET processed_at = now()")
    execute(url, "UPDATE lane_repeats SET processed_at = now()")
    execute(
        url,
        "INSERT INTO visits (lot_id, vehicle, state, exit_event_id, exited_at, matters_until)"
        " SELECT lot_id, vehicle, 'closed', id, occurred_at, occurred_at FROM lane_events",
    )


def test_what_is_old_tells_nobody_who_it_was_and_is_still_joined(database_url: str, lane: Lane) -> None:
    a_past(database_url, lane)
    assert mask(database_url) == Masked(events=4, repeats=1, visits=4, letters=0)
    rows = query(
        database_url,
        "SELECT e.record_no, e.vehicle, v.vehicle, e.plate, e.card_plate, e.card_no, e.obu_id, e.contract_no, e.payload,"
        " e.amount_fen, e.terminal_serial FROM lane_events e JOIN visits v ON v.exit_event_id = e.id ORDER BY 1",
    )
    text = repr([row for row in rows if row[0] != 4])
    for known in ("苏B12345", "苏B54321", "32010000000000000017", "32010000A1B2C3D4", "3201000000000001", "T-77"):
        assert known not in text
    assert all(row[1] == row[2] for row in rows), "visit and event still name one vehicle"
    assert rows[0][1] == rows[2][1] != rows[1][1], "a vehicle keeps one name within a run"
    assert rows[0][1].startswith("苏B·**345#")
    assert rows[4][1].startswith("unplated:#")
    assert rows[0][3:8] == ("苏B·**345", "苏B·**345", "*0017", "*C3D4", "*0001")
    assert [row[9:] for row in rows][:4] == [(1_000, "01"), (1_000, "02"), (1_000, "03"), (1_000, "04")]
    assert rows[3][1] == "苏B12345", "what is young stays"
    assert query(database_url, "SELECT count(*) FROM lane_repeats WHERE payload <> ''") == [(0,)]
    assert mask(database_url) == Masked(0, 0, 0, 0)


def test_what_is_open_keeps_its_plate(database_url: str, lane: Lane) -> None:
    a_past(database_url, lane)
    execute(database_url, "UPDATE visits SET state = 'open' WHERE vehicle = '苏B54321'")
    execute(
        database_url,
        "INSERT INTO differences (key, name, owner, state, visit_id, day) SELECT 'arrears:1', 'arrears', 'operator',"
        " 'open', v.id, '2026-05-29' FROM visits v JOIN lane_events e ON e.id = v.exit_event_id WHERE e.record_no = 1",
    )
    execute(database_url, "UPDATE lane_events SET processed_at = NULL WHERE record_no = 5")
    assert mask(database_url) == Masked(events=1, repeats=1, visits=2, letters=0)
    kept = query(database_url, "SELECT record_no FROM lane_events WHERE masked_at IS NULL ORDER BY 1")
    assert kept == [(1,), (2,), (4,), (5,)]
    execute(database_url, "UPDATE differences SET state = 'written_off'")
    assert mask(database_url) == Masked(events=1, repeats=0, visits=1, letters=0)


def test_nothing_younger_than_a_month_is_masked_whatever_is_set(database_url: str, lane: Lane) -> None:
    a_past(database_url, lane)
    assert mask(database_url, OLD + timedelta(days=29), keep_days=0).events == 0
    assert mask(database_url, OLD + timedelta(days=31), keep_days=0).events == 4


def test_old_letters_of_lanes_are_emptied(database_url: str, lane: Lane) -> None:
    del lane
    execute(
        database_url,
        "INSERT INTO dead_letters (received_at, topic, payload, reason, detail, digest) VALUES"
        " ('2026-01-01', 'parking/v1/L1/L1-X1/lane', '苏B12345', 'invalid', '', ''),"
        " ('2026-01-01', 'parking/v1/L1/L1-001/occupancy', '{', 'malformed', '', ''),"
        " ('2026-11-01', 'parking/v1/L1/L1-X1/lane', '苏B12345', 'invalid', '', '')",
    )
    assert mask(database_url).letters == 1
    assert query(database_url, "SELECT length(payload) FROM dead_letters ORDER BY id") == [(0,), (1,), (9,)]


def test_the_database_masks_as_the_rule_does(database_url: str) -> None:
    for plate in ("苏B12345", "苏BD12345", "123", "", "WJ苏1234A"):
        with psycopg.connect(database_url) as connection:
            assert connection.execute("SELECT masked_plate(%s)", (plate,)).fetchone() == (masked(plate),)


def test_the_nightly_job_masks(database_url: str, lane: Lane) -> None:
    long_ago_us = int((datetime.now(UTC) - timedelta(days=200)).timestamp() * 1e6)
    record(database_url, [a_report(lane, received_us=long_ago_us, at=long_ago_us // 1000)])
    execute(database_url, "UPDATE lane_events SET processed_at = now()")
    settings = Settings(database_url=database_url, redis_url="redis://x", mqtt_url="mqtt://x")
    jobs.drop(replace(settings, plate_retention_days=201))
    assert query(database_url, "SELECT count(*) FROM lane_events WHERE masked_at IS NULL") == [(1,)]
    jobs.drop(settings)
    assert query(database_url, "SELECT plate, masked_at IS NOT NULL FROM lane_events") == [("苏B·**345", True)]


def test_the_setting_is_read_from_the_environment() -> None:
    urls = {"database_url": "postgresql://x", "redis_url": "redis://x", "mqtt_url": "mqtt://x"}
    assert Settings.from_environ({}, **urls).plate_retention_days == 180
    assert Settings.from_environ({"PARKING_PLATE_RETENTION_DAYS": "90"}, **urls).plate_retention_days == 90
