"""Who is silent: decided from durable signs of life, shown in live state, corrected in the rollups."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import numpy as np
import psycopg
import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from parking_core.flows.decide_silence import apply, compare, sweep
from parking_core.flows.rebuild_live_state import rebuild_live_state
from parking_core.flows.roll_up_lots import roll_up_lots
from parking_core.flows.seed_district import seed_district
from parking_core.store import silences
from parking_core.store.live_state import UPDATE, LiveState
from tests.integration.test_rollups import make_lot
from tests.lane_builders import lane_district
from worker.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

pytestmark = pytest.mark.services

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def add_device(store: Connection, lot: int, spaces: list[int], heard: datetime | None, rhythm_s: int = 3600) -> int:
    row = store.execute(
        "INSERT INTO devices (code, lot_id, space_id, expected_interval_s) VALUES (gen_random_uuid()::text, %s, %s, %s)"
        " RETURNING id",
        (lot, spaces[0] if len(spaces) == 1 else None, rhythm_s),
    ).fetchone()
    assert row is not None
    if len(spaces) > 1:
        for space in spaces:
            store.execute("INSERT INTO device_spaces (device_id, space_id) VALUES (%s, %s)", (row[0], space))
    if heard is not None:
        hear(store, row[0], heard)
    return int(row[0])


def hear(store: Connection, device: int, at: datetime) -> None:
    store.execute(
        "INSERT INTO device_liveness (device_id, last_heard_at) VALUES (%s, %s)"
        " ON CONFLICT (device_id) DO UPDATE SET last_heard_at = excluded.last_heard_at",
        (device, at),
    )


def record(store: Connection, space: int, at: datetime, occupied: bool) -> None:  # noqa: FBT001  # reads as a sentence
    store.execute(
        "INSERT INTO occupancy_events (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect)"
        " VALUES (%s, 1, %s, %s, 0, %s, false)",
        (space, at, at, occupied),
    )
    store.execute(
        "INSERT INTO dirty_buckets SELECT lot_id, time_bucket('5 minutes', %s::timestamptz) FROM spaces WHERE id = %s",
        (at, space),
    )


def ids(spaces: Any) -> list[int]:
    return sorted(spaces["space_id"].tolist())


def test_silence_begins_after_the_rhythm_and_is_decided_a_tenth_later(store: Connection) -> None:
    lot, (space,) = make_lot(store, 1)
    add_device(store, lot, [space], NOON)
    assert ids(sweep(store, NOON + timedelta(minutes=66)).begun) == []
    begun = sweep(store, NOON + timedelta(minutes=66, seconds=1)).begun
    assert begun.tolist() == [(space, lot)]
    assert store.execute("SELECT space_id, began_at, ended_at FROM space_silences").fetchall() == [
        (space, NOON + HOUR, None)
    ]
    assert ids(sweep(store, NOON + 2 * HOUR).begun) == []  # decided once


def test_hearing_ends_it_and_a_later_silence_is_another_one(store: Connection) -> None:
    lot, (space,) = make_lot(store, 1)
    device = add_device(store, lot, [space], NOON)
    sweep(store, NOON + 2 * HOUR)
    hear(store, device, NOON + 3 * HOUR)
    decided = sweep(store, NOON + 3 * HOUR + timedelta(seconds=1))
    assert (ids(decided.begun), ids(decided.ended)) == ([], [space])
    sweep(store, NOON + 5 * HOUR)
    rows = store.execute("SELECT began_at, ended_at FROM space_silences ORDER BY began_at").fetchall()
    assert rows == [(NOON + HOUR, NOON + 3 * HOUR), (NOON + 4 * HOUR, None)]


def test_a_device_of_many_spaces_silences_them_all(store: Connection) -> None:
    lot, spaces = make_lot(store, 3)
    add_device(store, lot, spaces, NOON)
    assert ids(sweep(store, NOON + 2 * HOUR).begun) == spaces


def test_a_space_is_silent_only_when_all_its_devices_are(store: Connection) -> None:
    lot, (left, right) = make_lot(store, 2)
    add_device(store, lot, [left], NOON)
    camera = add_device(store, lot, [left, right], NOON + HOUR, rhythm_s=600)
    assert ids(sweep(store, NOON + timedelta(minutes=70)).begun) == []
    assert ids(sweep(store, NOON + timedelta(minutes=72)).begun) == [left, right]
    began: dict[int, datetime] = dict(store.execute("SELECT space_id, began_at FROM space_silences").fetchall())
    assert began == {left: NOON + timedelta(minutes=70), right: NOON + timedelta(minutes=70)}
    hear(store, camera, NOON + timedelta(minutes=80))
    assert ids(sweep(store, NOON + timedelta(minutes=80)).ended) == [left, right]


def test_a_device_that_was_never_heard_has_no_silence(store: Connection) -> None:
    lot, (space,) = make_lot(store, 1)
    add_device(store, lot, [space], None)
    assert ids(sweep(store, NOON).begun) == []
    assert ids(silences.open_silences(store)) == []


def test_a_device_of_which_only_the_last_will_came_was_never_heard(store: Connection) -> None:
    lot, (space,) = make_lot(store, 1)
    add_device(store, lot, [space], datetime.fromtimestamp(0, UTC))
    assert ids(sweep(store, NOON).begun) == []
    assert store.execute("SELECT count(*) FROM dirty_buckets").fetchone() == (0,)


def test_a_longer_rhythm_ends_a_silence_that_has_become_none(store: Connection) -> None:
    lot, (space,) = make_lot(store, 1)
    add_device(store, lot, [space], NOON)
    sweep(store, NOON + 2 * HOUR)
    store.execute("UPDATE devices SET expected_interval_s = 86400")
    assert ids(sweep(store, NOON + 2 * HOUR).ended) == [space]
    store.execute("UPDATE devices SET expected_interval_s = 3600")
    assert ids(sweep(store, NOON + 2 * HOUR).begun) == [space]  # the same silence, open again
    assert store.execute("SELECT began_at, ended_at FROM space_silences").fetchall() == [(NOON + HOUR, None)]


def test_unknown_minutes_follow_the_silence_and_shrink_when_buffered_events_arrive(store: Connection) -> None:
    lot, (space,) = make_lot(store, 1)
    device = add_device(store, lot, [space], NOON)
    record(store, space, NOON, occupied=True)

    def minutes(now: datetime) -> tuple[float, float]:
        bite = roll_up_lots(store, int(now.timestamp()) * 1_000_000, running=True, zone=ZoneInfo("Asia/Shanghai"))
        assert not bite.more
        row = store.execute("SELECT sum(occupied_min), sum(unknown_min) FROM lot_rollups_5m").fetchone()
        assert row is not None
        return round(row[0], 6), round(row[1], 6)

    assert minutes(NOON + HOUR) == (60.0, 0.0)
    now = NOON + 2 * HOUR
    assert minutes(now) == (120.0, 0.0)
    sweep(store, now)
    assert minutes(now) == (60.0, 60.0)  # decided late, and corrected from its beginning
    assert minutes(NOON + 3 * HOUR) == (60.0, 120.0)
    hear(store, device, NOON + 3 * HOUR)
    sweep(store, NOON + 4 * HOUR)  # the worker was away for an hour
    assert minutes(NOON + 4 * HOUR) == (120.0, 120.0)
    record(store, space, NOON + timedelta(minutes=90), occupied=True)  # what the device had buffered
    assert minutes(NOON + 4 * HOUR) == (210.0, 30.0)


def reading(space: int, lot: int, at_us: int, occupied: int) -> Any:
    return np.array([(space, lot, at_us, 0, occupied)], UPDATE)


async def shown(live: LiveState) -> dict[int, tuple[int, int]]:
    image = await live.load()
    return {int(space["space_id"]): (int(space["occupied"]), int(space["known"])) for space in image.spaces}


def test_live_state_follows_and_reconciles(store: Connection, database_url: str, redis_url: str) -> None:
    lot, spaces = make_lot(store, 3)
    heard = [NOON, NOON, NOON + 2 * HOUR]
    devices = [add_device(store, lot, [space], at) for space, at in zip(spaces, heard, strict=True)]
    for space in spaces:
        record(store, space, NOON, occupied=True)

    async def scenario() -> None:
        async with Redis.from_url(redis_url) as redis:
            live = LiveState(redis)
            await rebuild_live_state(database_url, live)
            assert await shown(live) == dict.fromkeys(spaces, (1, 1))
            await apply(live, sweep(store, NOON + 2 * HOUR))
            assert await shown(live) == {spaces[0]: (1, 0), spaces[1]: (1, 0), spaces[2]: (1, 1)}
            assert (await live.load()).lots.tolist() == [(lot, 1, 1)]

            # A sweep whose decision never reached Redis: the worker was killed after its commit.
            hear(store, devices[0], NOON + 3 * HOUR)
            sweep(store, NOON + 3 * HOUR + timedelta(minutes=10))
            assert await shown(live) == {spaces[0]: (1, 0), spaces[1]: (1, 0), spaces[2]: (1, 1)}
            await apply(live, compare(store, await live.load()))
            assert await shown(live) == {spaces[0]: (1, 1), spaces[1]: (1, 0), spaces[2]: (1, 0)}

            # From scratch, the open silences come with it.
            await redis.flushall()
            await rebuild_live_state(database_url, live)
            assert await shown(live) == {spaces[0]: (1, 1), spaces[1]: (1, 0), spaces[2]: (1, 0)}

    asyncio.run(scenario())


def test_a_space_whose_device_is_taken_away_is_unknown_until_another_one_speaks(
    store: Connection, database_url: str, redis_url: str
) -> None:
    now = datetime.now(UTC)
    lot, (space, other) = make_lot(store, 2)
    device = add_device(store, lot, [space], now)
    add_device(store, lot, [other], now)
    for each in (space, other):
        record(store, each, now, occupied=False)

    async def scenario() -> None:
        async with Redis.from_url(redis_url) as redis:
            live = LiveState(redis)
            await Silence(database_url, store, redis).step()
            assert await shown(live) == {space: (0, 1), other: (0, 1)}
            store.execute("UPDATE devices SET space_id = NULL WHERE id = %s", (device,))
            await Silence(database_url, store, redis).step()
            assert await shown(live) == {space: (0, 0), other: (0, 1)}
            successor = add_device(store, lot, [space], None)
            await Silence(database_url, store, redis).step()
            assert await shown(live) == {space: (0, 0), other: (0, 1)}
            hear(store, successor, now)
            await Silence(database_url, store, redis).step()
            assert await shown(live) == {space: (0, 1), other: (0, 1)}

    asyncio.run(scenario())


def test_a_device_of_which_only_the_last_will_came_watches_nothing(store: Connection) -> None:
    lot, (single, *pair) = make_lot(store, 3)
    never = datetime.fromtimestamp(0, UTC)
    add_device(store, lot, [single], never)
    both = add_device(store, lot, pair, never)
    hear(store, both, NOON)
    assert ids(silences.begin_unwatched(store, [single, *pair], NOON)) == [single]
    hear(store, both, never)
    assert ids(silences.begin_unwatched(store, [single, *pair], NOON)) == pair


def test_the_loop_rebuilds_a_lost_live_state_and_outlives_redis(
    store: Connection, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lot, (silent, heard) = make_lot(store, 2)
    now = datetime.now(UTC)
    add_device(store, lot, [silent], now - 3 * HOUR)
    later = add_device(store, lot, [heard], now)
    for space in (silent, heard):
        record(store, space, now - 3 * HOUR, occupied=False)

    async def scenario() -> None:
        async with Redis.from_url(redis_url) as redis:
            live, loop = LiveState(redis), Silence(database_url, store, redis)
            await loop.step()
            assert await shown(live) == {silent: (0, 0), heard: (0, 1)}
            await redis.flushall()
            await loop.step()
            assert await shown(live) == {silent: (0, 0), heard: (0, 1)}

            # Redis away: the durable decision is taken nevertheless, and reaches Redis when it is back.
            async def refuse(*_: object, **__: object) -> None:
                raise RedisConnectionError("away")

            hear(store, later, now - 2 * HOUR)
            with monkeypatch.context() as away:
                away.setattr(redis, "execute_command", refuse)
                await loop.step()
            assert ids(silences.open_silences(store)) == [silent, heard]
            assert await shown(live) == {silent: (0, 0), heard: (0, 1)}
            monkeypatch.setattr(time, "monotonic", lambda since=time.monotonic: since() + 10)
            await loop.step()
            assert await shown(live) == {silent: (0, 0), heard: (0, 0)}

            # A reading overtaken by a sweep: unknown for one pass, never free.
            hear(store, later, datetime.now(UTC))
            await live.apply(reading(heard, lot, int(now.timestamp() * 1e6), 1))
            await loop.step()
            assert await shown(live) == {silent: (0, 0), heard: (1, 1)}

    asyncio.run(scenario())


def test_one_session_leads(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as first:
        assert silences.try_to_lead(first)
        with psycopg.connect(database_url, autocommit=True) as second:
            assert not silences.try_to_lead(second)
            first.close()
            deadline = time.monotonic() + 10
            while not silences.try_to_lead(second):
                assert time.monotonic() < deadline
                time.sleep(0.05)


def test_a_silent_lane_makes_no_space_unknown(store: Connection, database_url: str) -> None:
    """A lane watches no bay: its silence is its own."""
    seed_district(database_url, lane_district())
    for (device,) in store.execute("SELECT id FROM devices WHERE family = 'native'").fetchall():
        hear(store, device, NOON)
    for (device,) in store.execute("SELECT device_id FROM lanes").fetchall():
        hear(store, device, NOON - 24 * HOUR)
    assert not len(sweep(store, NOON + HOUR).begun)
    assert len(sweep(store, NOON + 2 * HOUR).begun) == 2, "its neighbours, the bay sensors, are watched as before"
