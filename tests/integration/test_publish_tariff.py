"""Tariffs as versions, bindings of lots, what lanes are told, and what a fresh district starts with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.flows.publish_tariff import Binding, announce_again, publish_tariff
from parking_core.flows.seed_district import seed_district
from parking_core.flows.seed_tariffs import BRANCH_ROAD, HOSPITAL, OFF_STREET, SINCE, TRUNK_ROAD, seed_tariffs
from parking_core.store import tariffs
from simulators.district import DistrictSize, generate_district
from tests.tariff_rows import add_lane, add_lot, hourly

pytestmark = pytest.mark.services

NOW = datetime(2026, 11, 23, 4, tzinfo=UTC)
HOUR = timedelta(hours=1)


def count(db: psycopg.Connection[Any], table: str) -> int:
    row = db.execute(f"SELECT count(*) FROM {table}".encode()).fetchone()
    assert row is not None
    return int(row[0])


def test_the_same_document_is_the_same_version_and_another_one_the_next(db: psycopg.Connection[Any]) -> None:
    first = publish_tariff(db, hourly(), None, NOW)
    spelt_out = hourly(exempt=[], grace_minutes=0, time_zone="Asia/Shanghai")  # what a document means counts
    again = publish_tariff(db, spelt_out, None, NOW + HOUR)
    assert (first.code, first.version, first.is_new) == ("hourly", 1, True)
    assert (again.tariff_id, again.version, again.is_new) == (first.tariff_id, 1, False)
    dearer = publish_tariff(db, hourly(price_fen=600), None, NOW + HOUR)
    assert (dearer.version, dearer.is_new) == (2, True)
    assert publish_tariff(db, hourly(), None, NOW + HOUR).tariff_id == first.tariff_id
    assert publish_tariff(db, hourly("other"), None, NOW).version == 1
    assert count(db, "tariffs") == 3


def test_a_version_is_never_changed(db: psycopg.Connection[Any]) -> None:
    publish_tariff(db, hourly(), None, NOW)
    for statement in ("UPDATE tariffs SET document = '{}'", "DELETE FROM tariffs"):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="never changed"):
            db.execute(statement.encode())


def test_a_bad_document_is_refused_with_its_problems_and_leaves_nothing(db: psycopg.Connection[Any]) -> None:
    bad = hourly(grace_minutes="ten")
    with pytest.raises(InvalidInputError, match=r"1 problem.*\n.*grace_minutes"):
        publish_tariff(db, bad, None, NOW)
    with pytest.raises(InvalidInputError, match="no JSON"):
        publish_tariff(db, b"{", None, NOW)
    assert count(db, "tariffs") == 0


def test_an_unknown_lot_leaves_nothing(db: psycopg.Connection[Any]) -> None:
    add_lot(db, "L1")
    with pytest.raises(NotFoundError, match="L8, L9"):
        publish_tariff(db, hourly(), Binding(NOW, ["L1", "L9", "L8"]), NOW)
    assert count(db, "tariffs") == 0
    assert count(db, "lot_tariffs") == 0


def test_a_lot_charges_by_the_version_that_held_at_entry(db: psycopg.Connection[Any]) -> None:
    lot, other = add_lot(db, "L1"), add_lot(db, "L2")
    old = publish_tariff(db, hourly(), Binding(NOW, ["L1"]), NOW)
    new = publish_tariff(db, hourly(price_fen=600), Binding(NOW + HOUR, ["L1"]), NOW)
    assert (old.bound, new.bound) == (1, 1)
    entries = [
        NOW - timedelta(microseconds=1),
        NOW,
        NOW + HOUR - timedelta(microseconds=1),
        NOW + HOUR,
        NOW + 90 * HOUR,
    ]
    held = tariffs.holding(db, [lot] * 5 + [other], [*entries, NOW])
    assert held == [None, old.tariff_id, old.tariff_id, new.tariff_id, new.tariff_id, None]
    assert tariffs.holding(db, [], []) == []


def test_every_lot_off_the_street(db: psycopg.Connection[Any]) -> None:
    lots = [add_lot(db, "L1"), add_lot(db, "S1", "on_street"), add_lot(db, "L2")]
    published = publish_tariff(db, hourly(), Binding(NOW, all_off_street=True), NOW)
    assert published.bound == 2
    assert tariffs.holding(db, lots, [NOW] * 3) == [published.tariff_id, None, published.tariff_id]


def test_the_past_is_open_to_lots_without_a_tariff_only(db: psycopg.Connection[Any]) -> None:
    add_lot(db, "L1")
    add_lot(db, "L2")
    assert publish_tariff(db, hourly(), Binding(NOW - HOUR, ["L1"]), NOW).bound == 1
    with pytest.raises(InvalidInputError, match=r"in the past.*L1"):
        publish_tariff(db, hourly(price_fen=600), Binding(NOW - HOUR, ["L1", "L2"]), NOW)
    assert count(db, "tariffs") == 1
    assert publish_tariff(db, hourly(price_fen=600), Binding(NOW, ["L1", "L2"]), NOW).bound == 2


def test_what_moves_the_number_that_processes_watch(db: psycopg.Connection[Any]) -> None:
    def number() -> int:
        row = db.execute("SELECT version FROM tariffs_version").fetchone()
        assert row is not None
        return int(row[0])

    add_lot(db, "L1")
    before = number()
    publish_tariff(db, hourly(), Binding(NOW, ["L1"]), NOW)
    assert number() > before


def test_lanes_are_told_what_holds_now_and_later_and_only_once(db: psycopg.Connection[Any]) -> None:
    lot = add_lot(db, "L1")
    lanes = {add_lane(db, lot, "L1-IN"), add_lane(db, lot, "L1-OUT")}
    add_lot(db, "L2")
    assert publish_tariff(db, hourly(), Binding(NOW - HOUR, ["L1", "L2"]), NOW).announced == 2
    assert publish_tariff(db, hourly(), Binding(NOW, ["L2"]), NOW).announced == 0  # it has no lane
    again = publish_tariff(db, hourly(), Binding(NOW - HOUR, all_off_street=False, lots=[]), NOW)
    assert (again.bound, again.announced) == (0, 0)
    published = publish_tariff(db, hourly(price_fen=600), Binding(NOW + HOUR, ["L1"]), NOW + HOUR / 2)
    assert published.announced == 2
    rows = db.execute(
        "SELECT device_id, state, payload FROM commands WHERE kind = 'tariff' ORDER BY created_at"
    ).fetchall()
    assert [state for _, state, _ in rows] == ["superseded", "superseded", "queued", "queued"]
    for device, _, body in rows[2:]:
        assert device in lanes
        assert body["lot"] == "L1"
        assert [(one["from"], one["version"]) for one in body["tariffs"]] == [
            ("2026-11-23T03:00:00+00:00", 1),
            ("2026-11-23T05:00:00+00:00", 2),
        ]
        assert body["tariffs"][1]["document"]["rates"]["hour"]["price_fen"] == 600


def test_a_fresh_district_has_a_tariff_for_every_lot_and_keeps_what_it_has(db: psycopg.Connection[Any]) -> None:
    district = generate_district(DistrictSize(lots=60))
    seed_district(db.info.dsn + f" password={db.info.password}", district)
    with_own = district.lots[0].code
    own = publish_tariff(db, hourly(), Binding(NOW, [with_own]), NOW)
    assert seed_tariffs(db, district, NOW) == 59
    assert seed_tariffs(db, district, NOW + HOUR) == 0
    rows = db.execute(
        "SELECT l.code, t.code, b.valid_from FROM lots l JOIN lot_tariffs b ON b.lot_id = l.id JOIN tariffs t ON t.id = tariff_id"
    ).fetchall()
    bound = {lot: (tariff, begins) for lot, tariff, begins in rows}
    assert len(rows) == len(bound) == 60
    assert bound.pop(with_own) == (own.code, NOW)
    for lot in district.lots[1:]:
        road = TRUNK_ROAD if lot.time_limited else BRANCH_ROAD
        expected = road if lot.kind == "on_street" else HOSPITAL if lot.use == "hospital" else OFF_STREET
        assert bound[lot.code] == (expected, SINCE)
    assert count(db, "commands WHERE kind = 'tariff'") == count(db, "lanes") > 0, "each lane once"


@pytest.mark.parametrize(
    ("role", "tables"),
    [
        ("api_role", "tariffs lot_tariffs tariffs_version registry_version lots"),
        ("worker_role", "tariffs lot_tariffs permits permit_plates coupons visits charges"),
    ],
)
def test_each_process_may_read_what_it_prices_by(db: psycopg.Connection[Any], role: str, tables: str) -> None:
    for table in tables.split():
        assert db.execute("SELECT has_table_privilege(%s, %s, 'SELECT')", (role, table)).fetchone() == (True,), table
    for table in ("tariffs", "lot_tariffs"):
        assert db.execute("SELECT has_table_privilege(%s, %s, 'INSERT')", (role, table)).fetchone() == (False,), table
    # Promises of shared spaces are granted and ended as permits; what a permit says is never changed.
    changes = (
        "SELECT has_table_privilege(%s, 'permits', 'DELETE'), has_column_privilege(%s, 'permits', 'windows', 'UPDATE')"
    )
    assert db.execute(changes, (role, role)).fetchone() == (False, False)


def test_a_lane_that_was_away_for_too_long_is_told_again_when_it_is_back(db: psycopg.Connection[Any]) -> None:
    lanes = [add_lane(db, add_lot(db, f"L{place}"), f"L{place}-X1") for place in (1, 2, 3)]
    publish_tariff(db, hourly(), Binding(NOW, ["L1", "L2", "L3"]), NOW)
    given_up = NOW + timedelta(days=7)
    db.execute("UPDATE commands SET state = 'acknowledged', ended_at = %s WHERE device_id = %s", (NOW, lanes[0]))
    db.execute("UPDATE commands SET state = 'timed_out', ended_at = %s WHERE state = 'queued'", (given_up,))
    db.execute(
        "INSERT INTO device_liveness (device_id, last_heard_at, online) VALUES (%s, %s, true), (%s, %s, false)",
        (lanes[1], given_up - HOUR, lanes[0], given_up + HOUR),
    )
    assert announce_again(db, given_up + HOUR) == 0, "the one that was told is back; those that were not are away"
    db.execute("UPDATE device_liveness SET last_heard_at = %s, online = true", (given_up + HOUR,))
    assert announce_again(db, given_up + 2 * HOUR) == 1
    assert announce_again(db, given_up + 3 * HOUR) == 0, "it is on its way"
    told = db.execute(
        "SELECT state, payload, cause FROM commands WHERE device_id = %s ORDER BY created_at", (lanes[1],)
    )
    (first, body, cause), (state, again, second) = told.fetchall()
    assert (first, state, again) == ("timed_out", "queued", body)
    assert second == f"{cause}:2"
    db.execute("UPDATE commands SET state = 'timed_out', ended_at = %s WHERE state = 'queued'", (given_up + 4 * HOUR,))
    db.execute("UPDATE device_liveness SET last_heard_at = %s", (given_up + 5 * HOUR,))
    assert announce_again(db, given_up + 5 * HOUR) == 1, "as often as it takes"
