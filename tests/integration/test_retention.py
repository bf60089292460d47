"""What is old goes by whole chunks, with least ages that no caller can go below."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from parking_core.flows.drop_old_history import drop_old_history
from parking_core.settings import Settings
from parking_core.store import retention
from tests.integration.test_rollups import make_lot
from worker import jobs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

    from onebox.services import RunningServices

pytestmark = pytest.mark.services

NOW = datetime.now(UTC)


@pytest.fixture
def store(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def add_event(store: Connection, age: timedelta) -> None:
    store.execute(
        "INSERT INTO occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
        " VALUES (1, 1, %s, now(), 0, true, false)",
        (NOW - age,),
    )


def make_chunks_older(database_url: str, services: RunningServices) -> None:
    """As if every chunk had been made a month ago."""
    assert services.admin_url is not None
    url = urlunsplit(urlsplit(services.admin_url)._replace(path=urlsplit(database_url).path))
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute("UPDATE _timescaledb_catalog.chunk SET creation_time = now() - INTERVAL '30 days'")


def ages(store: Connection) -> list[int]:
    rows = store.execute("SELECT occurred_at FROM occupancy_events ORDER BY 1 DESC").fetchall()
    return [(NOW - at).days for (at,) in rows]


def test_old_chunks_go_and_the_floor_of_history_rises(
    store: Connection, database_url: str, services: RunningServices
) -> None:
    for days in (0, 20, 60, 400):
        add_event(store, timedelta(days=days))
    make_chunks_older(database_url, services)
    dropped = drop_old_history(store, NOW, retention_days=40)
    assert (dropped.event_chunks, ages(store)) == (2, [0, 20])
    floor = store.execute("SELECT floor_at FROM history_floor").fetchone()
    assert floor is not None
    assert NOW - timedelta(days=60) < floor[0] < NOW - timedelta(days=40)


def test_records_of_years_ago_that_were_replayed_today_stay_for_now(store: Connection) -> None:
    add_event(store, timedelta(days=2000))
    assert drop_old_history(store, NOW, retention_days=40).event_chunks == 0
    assert ages(store) == [2000]
    assert store.execute("SELECT floor_at = '-infinity' FROM history_floor").fetchone() == (True,)


def test_no_caller_drops_the_last_week(store: Connection, database_url: str, services: RunningServices) -> None:
    add_event(store, timedelta(days=15))
    make_chunks_older(database_url, services)
    for keep in (timedelta(days=6), timedelta(0), timedelta(days=-3000)):
        with pytest.raises(psycopg.errors.RaiseException, match="at least"):
            retention.drop_chunks(store, "occupancy_events", keep)
    with pytest.raises(psycopg.errors.RaiseException, match="does not drop chunks of lots"):
        store.execute("SELECT drop_old_chunks('lots', INTERVAL '1 year')")
    assert drop_old_history(store, NOW, retention_days=0).event_chunks == 1  # a setting below counts as a week
    add_event(store, timedelta(days=1))
    assert drop_old_history(store, NOW, retention_days=0).event_chunks == 0


def test_ledger_and_ended_silences_go_by_age(store: Connection) -> None:
    _, spaces = make_lot(store, 2)
    for age in (1, 40):
        store.execute("INSERT INTO clock_ledger VALUES (1, 1, %s, 0, true, %s)", (age, NOW - timedelta(days=age)))
    for space, ended in ((spaces[0], NOW - timedelta(days=800)), (spaces[1], None)):
        store.execute("INSERT INTO space_silences VALUES (%s, %s, %s)", (space, NOW - timedelta(days=900), ended))
    dropped = drop_old_history(store, NOW, retention_days=730)
    assert (dropped.ledger_rows, dropped.silences) == (1, 1)
    assert store.execute("SELECT space_id FROM space_silences").fetchall() == [(spaces[1],)]


def test_frames_are_listed_for_a_month(store: Connection) -> None:
    for age in (29, 31):
        store.execute("INSERT INTO device_frames VALUES (1, 's', %s, %s)", (age, NOW - timedelta(days=age)))
    assert drop_old_history(store, NOW, retention_days=730).frames == 1
    assert store.execute("SELECT counter FROM device_frames").fetchall() == [(29,)]


def test_compression_says_what_the_edition_can(store: Connection) -> None:
    edition = store.execute("SHOW timescaledb.license").fetchone()
    if edition == ("apache",):
        assert retention.compress(store, timedelta(days=30)) == "not in this edition"
    else:
        assert retention.compress(store, timedelta(days=30)) == "switched on"
        assert retention.compress(store, timedelta(days=30)) == "on"


def test_only_the_worker_may_drop(store: Connection) -> None:
    may = "SELECT has_function_privilege(%s, 'drop_old_chunks(text, interval)', 'EXECUTE')"
    roles = store.execute("SELECT rolname FROM pg_roles WHERE rolname IN ('worker_role', 'gateway_role', 'api_role')")
    allowed = {role: store.execute(may, (role,)).fetchone() for (role,) in roles.fetchall()}
    assert allowed == {"worker_role": (True,), "gateway_role": (False,), "api_role": (False,)}


def test_the_nightly_job_runs_in_the_queue(store: Connection, database_url: str) -> None:
    settings = Settings(database_url=database_url, redis_url="redis://unused", mqtt_url="mqtt://unused")
    store.execute("INSERT INTO clock_ledger VALUES (1, 1, 1, 0, true, now() - INTERVAL '40 days')")

    async def scenario() -> None:
        app = jobs.build(settings)
        async with app.open_async():
            await app.tasks["retention"].defer_async(timestamp=0)
            await app.run_worker_async(wait=False, install_signal_handlers=False, delete_jobs="never")

    asyncio.run(scenario())
    # Others of the queue come due by the clock: what stands beside the job depends on the minute at which this runs.
    nightly = "SELECT status::text FROM jobs.procrastinate_jobs WHERE task_name = 'retention'"
    assert ("succeeded",) in store.execute(nightly).fetchall()
    assert store.execute("SELECT count(*) FROM clock_ledger").fetchone() == (0,)


@pytest.mark.parametrize("left_in_queue", [False, True])
def test_a_worker_that_was_off_at_night_drops_when_it_begins_to_lead(
    store: Connection, database_url: str, *, left_in_queue: bool
) -> None:
    settings = Settings(database_url=database_url, redis_url="redis://unused", mqtt_url="mqtt://unused")
    store.execute("INSERT INTO clock_ledger VALUES (1, 1, 1, 0, true, now() - INTERVAL '40 days')")

    async def scenario() -> None:
        app = jobs.build(settings)
        async with app.open_async():
            if left_in_queue:  # by a worker that was killed
                await app.tasks["retention"].defer_async(timestamp=0)
        stop = asyncio.Event()
        running = asyncio.create_task(jobs.run(settings, stop))
        async with asyncio.timeout(20):
            while store.execute("SELECT FROM clock_ledger").fetchone() is not None:  # noqa: ASYNC110  # rows set no event
                await asyncio.sleep(0.05)
        stop.set()
        await running

    asyncio.run(scenario())
