"""Live state in a real Redis: any order, any partition, any number of writers leave the newest of every space."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from parking_core.flows.rebuild_live_state import merge_into_live_state, rebuild_live_state
from parking_core.flows.record_batch import Batch, Caution, record_batch
from parking_core.flows.seed_district import seed_district
from parking_core.store.live_state import OBSERVED_SEQ, SPACE, SPACE_IN_LOT, UPDATE, LiveState, LiveStateMissingError
from tests.builders import NOON_US, a_district, a_message, readings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from parking_core.store.live_state import Columns

pytestmark = pytest.mark.services

LOTS = 3  # space n belongs to lot n % LOTS + 1
Row = tuple[int, int, int, int]  # space, occurred_us, seq, occupied
each_example = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def with_live(url: str, scene: Callable[[LiveState], Awaitable[Any]]) -> Any:
    async def play() -> Any:
        async with Redis.from_url(url) as redis:
            await redis.flushall()
            return await scene(LiveState(redis))

    return asyncio.run(play())


async def empty(live: LiveState) -> None:
    await live.finish_rebuild(await live.begin_rebuild(), np.zeros(0, SPACE), np.zeros(0, "i4"))


def updates(rows: list[Row]) -> Columns:
    columns = np.zeros(len(rows), UPDATE)
    for number, (space, occurred, seq, occupied) in enumerate(rows):
        columns[number] = (space, space % LOTS + 1, occurred, seq, occupied)
    return columns


def spaces_in_lots(*spaces: int) -> Columns:
    return np.array([(space, space % LOTS + 1) for space in spaces], SPACE_IN_LOT)


async def states(live: LiveState) -> dict[int, tuple[int, ...]]:
    image = await live.load()
    await assert_counts(live)
    return {
        int(row["space_id"]): tuple(int(row[name]) for name in ("occurred_us", "seq", "occupied", "known"))
        for row in image.spaces
    }


async def assert_counts(live: LiveState) -> None:
    """A lot's counts are always those of its spaces."""
    image = await live.load()
    known = image.spaces[image.spaces["known"] == 1]
    for lot in image.lots:
        mine = known[known["space_id"] % LOTS + 1 == lot["lot_id"]]
        assert (int(lot["known"]), int(lot["occupied"])) == (len(mine), int(mine["occupied"].sum()))


_rows = st.lists(st.tuples(st.integers(1, 6), st.integers(0, 4), st.integers(0, 2), st.integers(0, 1)), max_size=40)


@each_example
@given(_rows, st.lists(st.integers(0, 40), max_size=5))
def test_any_partition_leaves_the_newest_of_every_space(redis_url: str, rows: list[Row], cuts: list[int]) -> None:
    async def scene(live: LiveState) -> dict[int, tuple[int, ...]]:
        await empty(live)
        edges = sorted({0, len(rows), *(min(cut, len(rows)) for cut in cuts)})
        parts = [rows[start:end] for start, end in pairwise(edges)]
        await asyncio.gather(*(live.apply(updates(part)) for part in parts))
        return await states(live)

    expected: dict[int, tuple[int, ...]] = {}
    for space, *order in rows:
        expected[space] = max((*order, 1), expected.get(space, (-1,)))
    assert with_live(redis_url, scene) == expected


@each_example
@given(_rows, st.lists(st.tuples(st.booleans(), st.integers(1, 6)), max_size=8))
def test_silence_and_revival_never_change_a_state_or_break_a_count(
    redis_url: str, rows: list[Row], calls: list[tuple[bool, int]]
) -> None:
    async def scene(live: LiveState) -> None:
        await empty(live)
        await live.apply(updates(rows))
        before = await states(live)
        for silent, space in calls:
            await (live.silence if silent else live.revive)(spaces_in_lots(space))
            assert {key: state[:3] for key, state in (await states(live)).items()} == {
                key: state[:3] for key, state in before.items()
            }

    with_live(redis_url, scene)


def test_a_silent_space_is_known_again_by_the_same_reading_but_not_by_an_older_one(redis_url: str) -> None:
    async def scene(live: LiveState) -> list[tuple[int, ...]]:
        await empty(live)
        await live.apply(updates([(1, 10, 1, 1)]))
        await live.silence(spaces_in_lots(1))
        found = []
        for row in ((1, 9, 9, 0), (1, 10, 1, 1)):
            await live.apply(updates([row]))
            found.append((await states(live))[1])
        return found

    assert with_live(redis_url, scene) == [(10, 1, 1, 0), (10, 1, 1, 1)]


@each_example
@given(st.lists(st.integers(1000, 1050), min_size=1, max_size=60), st.lists(st.integers(0, 60), max_size=4))
def test_missing_numbers_are_counted_and_filled_by_late_messages(
    redis_url: str, numbers: list[int], cuts: list[int]
) -> None:
    async def scene(live: LiveState) -> int:
        edges = sorted({0, len(numbers), *(min(cut, len(numbers)) for cut in cuts)})
        total = 0
        for start, end in pairwise(edges):
            observed = np.array([(7, number) for number in numbers[start:end]], OBSERVED_SEQ)
            total += (await live.observe_sequences(observed)).get(7, 0)
        return total

    highest, missing = numbers[0], set()
    for number in numbers[1:]:
        missing |= set(range(highest + 1, number))
        missing.discard(number)
        highest = max(highest, number)
    assert with_live(redis_url, scene) == len(missing)


def test_numbers_wrap_and_devices_restart_without_false_gaps(redis_url: str) -> None:
    async def scene(live: LiveState) -> list[dict[int, int]]:
        runs = (
            [2**32 - 2, 2**32 - 1, 1, 2],
            [500, 501, 1, 2, 3],
            [5, 1_000_000, 1_000_001],
            [65_530, 65_535, 20, 21, 2, 65_533],  # 16 bits: 4 and 20 are passed over, 2 of them come late
        )
        return [
            await live.observe_sequences(np.array([(device, number) for number in run], OBSERVED_SEQ))
            for device, run in enumerate(runs, 1)
        ]

    # 0 is not a number but its absence: after a wrap it is passed over, which counts as one message missing.
    assert with_live(redis_url, scene) == [{1: 1}, {}, {}, {4: 22}]


def test_nothing_is_applied_while_the_state_is_not_complete(redis_url: str) -> None:
    async def scene(live: LiveState) -> None:
        for attempt in (
            live.apply(updates([(1, 1, 1, 1)])),
            live.silence(spaces_in_lots(1)),
            live.pulse("1", 5),
            live.require(),
        ):
            with pytest.raises(LiveStateMissingError):
                await attempt
        await empty(live)
        await live.require()
        assert await live.apply(updates([(1, 1, 1, 1)])) == 1

    with_live(redis_url, scene)


def test_rebuild_and_merge_agree_with_history(redis_url: str, database_url: str) -> None:
    seed_district(database_url, a_district(lots=1, spaces=3))

    async def scene(live: LiveState) -> tuple[object, ...]:
        async with await psycopg.AsyncConnection.connect(database_url, autocommit=True) as connection:
            cursor = await connection.execute("SELECT id, lot_id FROM spaces ORDER BY id")
            (one, lot), (two, _), _ = await cursor.fetchall()
            rows = readings(
                {"space_id": one, "lot_id": lot, "seq": 1, "occupied": True},
                {"space_id": one, "lot_id": lot, "seq": 2, "occupied": False},
                {"space_id": two, "lot_id": lot, "occurred_us": -NOON_US, "occupied": True},
            )
            await record_batch(connection, Batch(rows, [a_message()] * 3), Caution.TRUSTED)
        rebuilt = await rebuild_live_state(database_url, live)
        first = {int(row["space_id"]): row.tolist()[1:] for row in (await live.load()).spaces}
        later = await live.apply(np.array([(two, lot, 5, 0, 0)], UPDATE))
        return rebuilt, first[one], first[two], later, await merge_into_live_state(database_url, live)

    assert with_live(redis_url, scene) == (2, (NOON_US, 2, 0, 1), (0, 0, 1, 1), 1, 0)


def test_the_figures_are_as_old_as_the_slowest_gateways(redis_url: str) -> None:
    async def scene(live: LiveState) -> list[int | None]:
        await empty(live)
        image = await live.load()
        for instance, at_us in (("1", 50), ("2", 20), ("1", 60), ("2", 55)):
            await live.pulse(instance, at_us)
        pulses: list[int | None] = [(await live.load()).pulse_us]
        async for change in live.follow(image):
            pulses.append(change.pulse_us)
            if len(pulses) == 5:
                break
        return pulses

    assert with_live(redis_url, scene) == [55, 50, 20, 20, 55]


def test_a_gateway_that_was_taken_over_no_longer_counts(redis_url: str) -> None:
    async def scene(live: LiveState) -> int:
        await empty(live)
        await live.pulse("gone", 7)
        async with Redis.from_url(redis_url) as redis:
            await redis.hset("parking:pulse", "gone", f"7 {time.time_ns() // 1000 - 41_000_000}")
        await live.pulse("1", 90)
        return (await live.load()).pulse_us

    assert with_live(redis_url, scene) == 90
