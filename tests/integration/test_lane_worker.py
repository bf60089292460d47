"""The worker's loop over the lanes: at once when it is called, counts beside sensors, duties of the minute."""

from __future__ import annotations

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest
from prometheus_client import REGISTRY
from redis.asyncio import Redis

from parking_core.flows.count_lanes import RENEW, count_lanes
from parking_core.store.lane_counts import load_lane_counts
from tests.visit_rows import CAR, HOUR, NOON, OTHER, Town
from worker.lanes import LaneDuties, Lanes

if TYPE_CHECKING:
    from parking_core.visits import LaneCount

pytestmark = pytest.mark.services


def counts(database_url: str) -> dict[int, LaneCount]:
    async def load() -> dict[int, LaneCount]:
        async with await psycopg.AsyncConnection.connect(database_url) as connection:
            return await load_lane_counts(connection)

    return asyncio.run(load())


def test_a_record_is_followed_when_the_gateway_calls(town: Town, database_url: str, redis_url: str) -> None:
    """Whoever asks for a fee waits for the batch alone, not for a pass of the loop."""
    waits = threading.Event()

    async def work() -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            async with Redis.from_url(redis_url) as redis:
                loop = Lanes(connection, redis, "Asia/Shanghai")
                begin = REGISTRY.get_sample_value("parking_worker_fee_answers_total") or 0.0
                for _ in range(30):
                    waits.set()
                    await loop.step()
                    if (REGISTRY.get_sample_value("parking_worker_fee_answers_total") or 0.0) > begin:
                        return

    now = datetime.now(UTC)
    town.enter(0, received_at=now)
    town.db.execute("UPDATE lane_events SET occurred_at = %s", (now - HOUR,))
    worker = threading.Thread(target=lambda: asyncio.run(work()))
    worker.start()
    assert waits.wait(10)
    deadline = time.monotonic() + 20
    while not town.rows("SELECT FROM visits") and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)  # the loop waits for a call now
    asked = datetime.now(UTC)
    with town.db.transaction():
        request = town.event("P01-out", "fee_request", 0, received_at=now)
        town.db.execute(
            "UPDATE lane_events SET occurred_at = %s, received_at = %s WHERE id = %s", (now, datetime.now(UTC), request)
        )
        town.db.execute("SELECT pg_notify('lane_events', '')")
    worker.join(30)
    ((reason, took),) = town.rows(
        "SELECT payload ->> 'reason', created_at - %s FROM commands WHERE kind = 'fee_answer'", asked
    )
    assert reason == "due"
    assert took < timedelta(seconds=0.8)  # a pass of the loop is a second, and a lane waits no longer


def test_open_visits_are_counted_beside_sensors(town: Town, database_url: str) -> None:
    town.enter(0)
    town.enter(0, OTHER, lot="P02")
    town.enter(0, CAR, lot="P02")  # so it has left P01 unseen
    town.follow()
    for lot in town.lots.values():
        town.db.execute("INSERT INTO spaces (lot_id, code) VALUES (%s, '1')", (lot,))
    town.db.execute(
        "INSERT INTO devices (code, lot_id, space_id) SELECT 'sensor', lot_id, id FROM spaces WHERE lot_id = %s",
        (town.lots["P02"],),
    )
    assert count_lanes(town.db, {town.lots["P02"]: 1, town.lots["P01"]: 9}, NOON) == 2
    found = counts(database_url)
    bare, watched = found[town.lots["P01"]], found[town.lots["P02"]]
    assert (bare.inside, bare.sensors, bare.drift) == (0, False, None)  # what sensors of others say is passed over
    assert (watched.inside, watched.sensors, watched.drift) == (2, True, 1)
    assert count_lanes(town.db, {town.lots["P02"]: 1}, NOON + RENEW) == 0
    assert count_lanes(town.db, {town.lots["P02"]: 2}, NOON + RENEW) == 1
    assert count_lanes(town.db, {}, NOON + 2 * RENEW + timedelta(seconds=1)) == 2
    assert counts(database_url)[town.lots["P02"]].drift is None  # Redis is away: nothing is known of sensors


def test_a_lot_with_a_way_in_only_is_not_counted(town: Town, database_url: str) -> None:
    town.db.execute(
        "UPDATE lanes SET direction = 'entry' WHERE device_id = ANY(%s)",
        ([town.lanes["P01-in"], town.lanes["P01-out"], town.lanes["P01-both"]],),
    )
    count_lanes(town.db, {}, NOON)
    assert list(counts(database_url)) == [town.lots["P02"]]


def test_the_duties_of_the_minute(town: Town) -> None:
    now = datetime.now(UTC)
    first = town.enter(0, record_no=1)
    town.enter(0, OTHER, record_no=3)
    town.db.execute("UPDATE lane_events SET occurred_at = %s, received_at = %s", (now - HOUR, now - HOUR))
    town.db.execute("UPDATE lane_events SET occurred_at = %s WHERE id = %s", (now - timedelta(days=16), first))
    town.follow(now - timedelta(days=10))
    asyncio.run(LaneDuties(town.db, "Asia/Shanghai").step())
    assert [(row[0], row[2]) for row in town.visits()] == [(CAR, "missing_exit"), (OTHER, "open")]
    assert town.rows("SELECT record_no FROM lane_gaps") == [(2,)]
