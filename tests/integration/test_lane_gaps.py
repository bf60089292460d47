"""Holes in the numbers of a lane: known with the next record, named once, settled when the records come late."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from parking_core.flows.seed_district import seed_district
from parking_core.flows.watch_lane_gaps import GRACE, GapReport, watch_lane_gaps
from parking_core.readings import moment
from parking_core.store.lanes import all_lanes
from tests.builders import NOON_US
from tests.integration.test_lane_ledger import numbered, query, record
from tests.lane_builders import a_report, lane_district

if TYPE_CHECKING:
    from datetime import datetime

    from parking_core.lanes import Lane

pytestmark = pytest.mark.services

NOON = moment(NOON_US)
LATER = NOON + GRACE


@pytest.fixture
def lane(database_url: str) -> Lane:
    seed_district(database_url, lane_district())
    with psycopg.connect(database_url) as connection:
        return next(lane for lane in all_lanes(connection).values() if lane.code == "L1-X1")


def watch(url: str, now: datetime) -> GapReport:
    with psycopg.connect(url, autocommit=True) as connection:
        return watch_lane_gaps(connection, now)


def differences(url: str) -> list[tuple[Any, ...]]:
    return query(url, "SELECT key, name, owner, state, day::text, records, detail FROM differences ORDER BY id")


def test_a_hole_is_named_when_it_is_no_longer_fresh_and_settled_when_it_is_filled(
    database_url: str, lane: Lane
) -> None:
    record(database_url, numbered(lane, 1, 2, 5, 8))
    assert watch(database_url, NOON) == GapReport(missing=4)
    assert differences(database_url) == [], "a record that is overtaken on its way is no finding"
    assert watch(database_url, LATER) == GapReport(named=2)
    key = f"record_missing:{lane.device_id}"
    common = ("record_missing", "maintenance")
    assert differences(database_url) == [
        (f"{key}:3", *common, "open", "2026-05-29", 2, {"lane": "L1-X1", "record_nos": [3, 4]}),
        (f"{key}:6", *common, "open", "2026-05-29", 2, {"lane": "L1-X1", "record_nos": [6, 7]}),
    ]
    assert watch(database_url, LATER + GRACE) == GapReport()

    record(database_url, numbered(lane, 3, 6, 7))
    assert watch(database_url, LATER + GRACE) == GapReport(filled=3, settled=1)
    assert [(row[0], row[3], row[5]) for row in differences(database_url)] == [
        (f"{key}:3", "open", 1),
        (f"{key}:6", "settled", 2),
    ]
    gaps = query(database_url, "SELECT record_no, filled_at IS NOT NULL FROM lane_gaps ORDER BY 1")
    assert gaps == [(3, True), (4, False), (6, True), (7, True)]


def test_a_hole_that_is_filled_while_fresh_is_never_a_difference(database_url: str, lane: Lane) -> None:
    record(database_url, numbered(lane, 1, 3))
    watch(database_url, NOON)
    record(database_url, numbered(lane, 2))
    assert watch(database_url, LATER) == GapReport(filled=1)
    assert differences(database_url) == []


def test_a_repeat_counts_as_seen(database_url: str, lane: Lane) -> None:
    record(database_url, [a_report(lane, record_no=1), a_report(lane, record_no=2), *numbered(lane, 3)])
    assert watch(database_url, LATER) == GapReport()


def test_a_record_that_came_in_a_transaction_that_ended_late_is_found(database_url: str, lane: Lane) -> None:
    """Its id is lower than one that was looked at already: a cursor over ids would pass it by."""
    record(database_url, numbered(lane, 10))
    with psycopg.connect(database_url) as slow:
        slow.execute(
            "INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle,"
            " payload, digest) SELECT device_id, lot_id, 12, event, source, occurred_at, received_at, vehicle, payload,"
            " digest FROM lane_events"
        )
        record(database_url, numbered(lane, 13))
        assert watch(database_url, NOON).missing == 2
    assert watch(database_url, LATER) == GapReport(filled=1, named=1)
    assert [row[6]["record_nos"] for row in differences(database_url)] == [[11]]


def test_a_lane_that_counts_anew_makes_no_billion_gaps(database_url: str, lane: Lane) -> None:
    record(database_url, numbered(lane, 2_000_000_000, 2_000_000_001))
    watch(database_url, NOON)
    record(database_url, numbered(lane, 0, 1, 2))
    assert watch(database_url, LATER) == GapReport(leaps=1)
    assert differences(database_url) == []
    record(database_url, numbered(lane, 1_000_000))
    assert watch(database_url, LATER) == GapReport(leaps=1)
    (leapt,) = differences(database_url)
    assert leapt[6] == {"lane": "L1-X1", "from": 3, "until": 999_999, "leap": True}
    assert query(database_url, "SELECT count(*) FROM lane_gaps") == [(0,)]
    assert watch(database_url, LATER + timedelta(hours=1)) == GapReport()
