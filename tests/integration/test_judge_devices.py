"""Devices judged from the rows that gateways write: faults are found with evidence, make one work item, and heal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks.device_fleet import DAY_US, Fault
from benchmarks.device_week import FIRST_DAY, ZONE, Week
from parking_core.districts import DeviceRecord, District, LotRecord, SpaceRecord
from parking_core.flows.judge_devices import close_days, judge_devices, load_past, running_day
from parking_core.flows.seed_district import seed_district
from parking_core.health.conditions import Condition
from parking_core.store import conditions, device_pages

if TYPE_CHECKING:
    from collections.abc import Iterator

    import psycopg

    from benchmarks.device_week import Outcome

pytestmark = pytest.mark.services

LOTS, BAYS = 6, 40
CALM, LIVED = 8, 4


@pytest.fixture
def town(database_url: str) -> str:
    """Six lots of forty sensors."""
    lots = [
        LotRecord(
            code=f"H{lot}",
            name=f"停车场 {lot}",
            kind="off_street",
            lat=31.5,
            lon=120.2,
            spaces=[SpaceRecord(code=f"H{lot}-{bay:03}") for bay in range(BAYS)],
            devices=[DeviceRecord(code=f"H{lot}-{bay:03}", space=f"H{lot}-{bay:03}") for bay in range(BAYS)],
        )
        for lot in range(LOTS)
    ]
    seed_district(database_url, District(name="滨湖区", lots=lots))
    return database_url


@pytest.fixture
def week(town: str) -> Iterator[Week]:
    lived = Week(town, seed=11)
    yield lived
    lived.close()


def open_now(db: psycopg.Connection[Any]) -> dict[Condition, set[int]]:
    return {condition: found for condition, found in conditions.open_conditions(db).items() if found}


def test_what_is_wrong_is_found_and_the_rest_left_alone(week: Week, db: psycopg.Connection[Any]) -> None:
    outcome: Outcome = week.run(each=4, calm_days=CALM, week_days=LIVED)
    scores = outcome.conditions
    for condition in (Condition.SILENT, Condition.CLOCK, Condition.FROZEN, Condition.FLAPPING):
        assert scores[condition].recall == 1.0, (condition, scores[condition])
    assert scores[Condition.BATTERY].found >= 2
    wrong = {condition: score.false_alarms for condition, score in scores.items()}
    assert sum(wrong.values()) <= 0.004 * outcome.device_days, wrong
    items = conditions.page(db, most=1000)
    assert len(items) == outcome.items_open == len(set().union(*open_now(db).values()))
    silent = week.fleet.fault == Fault.SILENT
    codes = {row[0] for row in db.execute("SELECT code FROM devices WHERE id = ANY (%s)", (week.devices(silent),))}
    shown = {item.device: item.conditions for item in items if item.device in codes}
    assert shown.keys() == codes
    assert all(one["evidence"]["quiet_s"] > one["evidence"]["limit_s"] for found in shown.values() for one in found)
    days = device_pages.days(db, week.devices(week.fleet.fault == Fault.BATTERY)[0], 28)
    assert len(days) == CALM + LIVED
    assert days[-1].battery_v is not None
    assert days[0].battery_v is not None
    assert days[-1].battery_v < days[0].battery_v - 0.1
    _all_heals(week, db)


def _all_heals(week: Week, db: psycopg.Connection[Any]) -> None:
    """Repaired, the devices speak again: their conditions end, their items close, and their lots are seen soundly."""
    before = {item.device for item in conditions.page(db, most=1000)}
    week.fleet.mend()
    week.live_on(CALM + LIVED, days=3)
    rest = open_now(db)
    assert not rest.keys() & {Condition.SILENT, Condition.CLOCK, Condition.FROZEN, Condition.FLAPPING}
    closed = conditions.page(db, most=1000, closed=True)
    assert len(before - {item.device for item in closed}) <= 3
    assert all(one["cleared_at"] for item in closed for one in item.conditions)
    assert db.execute(
        "SELECT count(*) FROM work_items WHERE state = 'closed' AND closed_by <> 'healed'"
    ).fetchone() == (0,)


def test_days_are_closed_once_in_order_and_after_a_standstill(week: Week, db: psycopg.Connection[Any]) -> None:
    week.fleet.break_some(0, 0, 1)
    for day in range(3):
        week.enter_day(day)
    end = datetime.fromtimestamp((week.begins_us + 3 * DAY_US) / 1e6, UTC)
    assert close_days(db, end + timedelta(minutes=19), ZONE) == 2, "the third is closed after twenty minutes"
    assert close_days(db, end + timedelta(minutes=21), ZONE) == 1
    assert close_days(db, end + timedelta(minutes=22), ZONE) == 0
    assert db.execute("SELECT count(DISTINCT day), count(*) FROM bay_days").fetchone() == (3, 3 * LOTS * BAYS)
    assert db.execute("SELECT count(*) FROM lot_days").fetchone() == (3 * LOTS,)
    (events,) = db.execute("SELECT count(*) FROM occupancy_events").fetchone() or (0,)
    (told,) = db.execute("SELECT sum(messages) FROM bay_days").fetchone() or (0,)
    assert 0 <= events - told < 0.01 * events, "what came after midnight belongs to the next day"
    assert running_day(end + timedelta(minutes=19), ZONE) == FIRST_DAY + timedelta(days=2)


def test_a_pass_said_twice_changes_nothing(week: Week, db: psycopg.Connection[Any]) -> None:
    week.fleet.break_some(0, 0, 1)
    week.enter_day(0)
    now = datetime.fromtimestamp((week.begins_us + DAY_US) / 1e6, UTC) + timedelta(days=2)
    close_days(db, now, ZONE)
    past = load_past(db, running_day(now, ZONE), ZONE)
    first = judge_devices(db, past, now)
    assert {finding.condition for finding in first.findings} == {Condition.SILENT}
    assert first.applied.begun == first.applied.items_opened == LOTS * BAYS
    again = judge_devices(db, past, now + timedelta(minutes=15))
    assert (again.applied.begun, again.applied.cleared, again.applied.items_opened, again.applied.items_closed) == (
        0,
        0,
        0,
        0,
    )
    quality = {row[0]: (row[1], row[2]) for row in db.execute(conditions.QUALITY, (["silent"],)).fetchall()}
    assert set(quality.values()) == {(BAYS, 0)}


def test_a_removed_device_or_space_disturbs_nobody(week: Week, db: psycopg.Connection[Any]) -> None:
    week.fleet.break_some(0, 0, 1)
    week.enter_day(0)
    now = datetime.fromtimestamp((week.begins_us + DAY_US) / 1e6, UTC) + timedelta(minutes=30)
    assert close_days(db, now, ZONE) == 1
    db.execute("UPDATE devices SET enabled = false WHERE code = 'H0-000'")
    past = load_past(db, running_day(now, ZONE), ZONE)
    done = judge_devices(db, past, now)
    assert done.devices == LOTS * BAYS - 1


@pytest.mark.usefixtures("town")
def test_with_no_history_at_all_nothing_is_said(db: psycopg.Connection[Any]) -> None:
    now = datetime.now(UTC)
    assert close_days(db, now, ZONE) == 0
    done = judge_devices(db, load_past(db, running_day(now, ZONE), ZONE), now)
    assert (done.devices, done.messages, done.findings) == (LOTS * BAYS, 0, [])
