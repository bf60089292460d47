"""Live state against what is rare: spaces that move, rebuilds that overlap, a Redis that came back with an old copy."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import pytest
from redis.asyncio import Redis

from parking_core.flows.rebuild_live_state import rebuild_live_state
from parking_core.store import history
from parking_core.store.live_state import UPDATE, LiveState
from tests.integration.test_rollups import make_lot
from tests.integration.test_silence import add_device, record
from worker.silence import Silence

if TYPE_CHECKING:
    from collections.abc import Iterator

    from psycopg import Connection

pytestmark = pytest.mark.services


@pytest.fixture
def store(database_url: str) -> Iterator[Connection]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield connection


def reading(space: int, lot: int, at: datetime, occupied: int) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.array([(space, lot, int(at.timestamp()) * 1_000_000, 0, occupied)], UPDATE)


async def counts(live: LiveState) -> dict[int, tuple[int, int]]:
    return {int(lot["lot_id"]): (int(lot["occupied"]), int(lot["known"])) for lot in (await live.load()).lots}


def test_a_space_that_moves_to_another_lot_is_counted_there_and_never_below_nothing(
    store: Connection, database_url: str, redis_url: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    old, (moving, staying) = make_lot(store, 2)
    new, (other,) = make_lot(store, 1)
    for lot, space in ((old, moving), (old, staying), (new, other)):
        add_device(store, lot, [space], now)
        record(store, space, now, occupied=True)

    async def scenario() -> None:
        async with Redis.from_url(redis_url) as redis:
            live, loop = LiveState(redis), Silence(database_url, store, redis)
            await rebuild_live_state(database_url, live)
            assert await counts(live) == {old: (2, 2), new: (1, 1)}
            store.execute("UPDATE devices SET lot_id = %s WHERE space_id = %s", (new, moving))
            store.execute("UPDATE spaces SET lot_id = %s, code = 'moved' WHERE id = %s", (new, moving))
            for number, space in enumerate((moving, other), 1):
                at = datetime.fromtimestamp(now.timestamp() + number, UTC)
                record(store, space, at, occupied=False)
                await live.apply(reading(space, new, at, 0))
            assert await counts(live), "the API and the worker must still be able to read it"
            await loop.step()
            assert await counts(live) == {old: (1, 1), new: (0, 2)}

    asyncio.run(scenario())


def test_a_space_that_is_removed_is_counted_no_longer(store: Connection, database_url: str, redis_url: str) -> None:
    now = datetime.now(UTC)
    lot, (removed, staying) = make_lot(store, 2)
    for space in (removed, staying):
        record(store, space, now, occupied=space == removed)

    async def scenario() -> None:
        async with Redis.from_url(redis_url) as redis:
            live, loop = LiveState(redis), Silence(database_url, store, redis)
            await rebuild_live_state(database_url, live)
            store.execute("DELETE FROM spaces WHERE id = %s", (removed,))
            await loop.step()
            assert await counts(live) == {lot: (0, 1)}

    asyncio.run(scenario())


def test_an_older_rebuild_never_replaces_what_was_applied_after_it_read_history(
    store: Connection, database_url: str, redis_url: str
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    lot, (space,) = make_lot(store, 1)
    record(store, space, now, occupied=False)

    async def scenario() -> None:
        async with (
            Redis.from_url(redis_url) as redis,
            await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
        ):
            live = LiveState(redis)
            slow = await live.begin_rebuild()
            read_early = await history.newest_states(connection)
            await rebuild_live_state(database_url, live)
            later = datetime.fromtimestamp(now.timestamp() + 60, UTC)
            record(store, space, later, occupied=True)
            await live.apply(reading(space, lot, later, 1))
            third = await live.begin_rebuild()
            assert not await live.finish_rebuild(slow, read_early.spaces, read_early.lot_ids)
            assert await live.epoch() is None
            read_late = await history.newest_states(connection)
            assert await live.finish_rebuild(third, read_late.spaces, read_late.lot_ids)
            assert await counts(live) == {lot: (1, 1)}

    asyncio.run(scenario())


def test_a_flush_in_the_middle_of_a_rebuild_leaves_no_half_state(
    store: Connection, database_url: str, redis_url: str
) -> None:
    make_lot(store, 1)

    async def scenario() -> None:
        async with (
            Redis.from_url(redis_url) as redis,
            await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection,
        ):
            live = LiveState(redis)
            begun = await live.begin_rebuild()
            newest = await history.newest_states(connection)
            await redis.flushall()
            assert not await live.finish_rebuild(begun, newest.spaces, newest.lot_ids)
            assert await live.epoch() is None

    asyncio.run(scenario())


def test_a_redis_that_came_back_with_an_old_copy_is_brought_up_to_date(
    store: Connection, database_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    lot, (space,) = make_lot(store, 1)
    add_device(store, lot, [space], now)
    record(store, space, now, occupied=False)

    async def scenario() -> None:
        async with Redis.from_url(redis_url) as redis:
            live, loop = LiveState(redis), Silence(database_url, store, redis)
            await rebuild_live_state(database_url, live)
            await loop.step()
            record(store, space, datetime.fromtimestamp(now.timestamp() + 1, UTC), occupied=True)  # the copy is older

            async def another_process(_: LiveState) -> str:
                return "a replica that was promoted"

            monkeypatch.setattr(LiveState, "server", another_process)
            await loop.step()
            assert await counts(live) == {lot: (1, 1)}

    asyncio.run(scenario())
