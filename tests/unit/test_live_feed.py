"""The live feed: what is pending while Redis is away is kept, newest a space, and nothing that comes meanwhile is lost."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import live_feed
from gateway.live_feed import LiveFeed, newest_a_space
from gateway.metrics import Metrics
from parking_core.store.live_state import UPDATE, LiveStateMissingError
from tests.builders import NOON_US, readings

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from parking_core.store.live_state import Columns, LiveState

Order = tuple[int, int, int]


class RememberedState:
    """Compare-and-set in memory, as Redis does it; `when_called` may interfere in the middle of a call."""

    def __init__(self) -> None:
        self.spaces: dict[int, Order] = {}
        self.away = 0
        self.when_called: Callable[[], None] = lambda: None

    async def apply(self, updates: Columns) -> int:
        await asyncio.sleep(0)
        self.when_called()
        if self.away:
            self.away -= 1
            raise LiveStateMissingError("away")
        for row in updates:
            order = (int(row["occurred_us"]), int(row["seq"]), int(row["occupied"]))
            self.spaces[int(row["space_id"])] = max(order, self.spaces.get(int(row["space_id"]), order))
        return len(updates)

    async def observe_sequences(self, observed: Columns) -> dict[int, int]:
        return {int(device): 1 for device in observed["device_id"]}


def a_feed(state: RememberedState) -> LiveFeed:
    return LiveFeed(cast("LiveState", state), Metrics())


async def run_until_drained(feed: LiveFeed) -> None:
    running = asyncio.create_task(feed.run())
    await feed.drain(10.0)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


def some(first: int, count: int, **fields: Any) -> Any:
    return readings(*({"space_id": space, **fields} for space in range(first, first + count)))


def test_what_is_put_is_applied() -> None:
    async def scene() -> None:
        feed = a_feed(state)
        feed.put(some(1, 3, occupied=True), NOON_US, [(7, 1)])
        await run_until_drained(feed)
        assert feed.oldest_us is None
        assert feed.take_missing() == {7: 1}
        assert feed.take_missing() == {}

    state = RememberedState()
    asyncio.run(scene())
    assert state.spaces == dict.fromkeys((1, 2, 3), (NOON_US, 0, 1))


def test_what_comes_while_redis_is_away_is_applied_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "RETRY_S", 0.001)

    async def scene() -> None:
        feed = a_feed(state)
        for seq in range(1, 6):
            feed.put(some(1, 4, seq=seq), NOON_US + seq, [])
        assert feed.oldest_us == NOON_US + 1
        await run_until_drained(feed)

    state = RememberedState()
    state.away = 3
    asyncio.run(scene())
    assert state.spaces == dict.fromkeys(range(1, 5), (NOON_US, 5, 0))


def test_what_is_compacted_during_a_call_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "COMPACT_ABOVE", 8)
    monkeypatch.setattr(live_feed, "RETRY_S", 0.001)
    state = RememberedState()

    async def scene(failures: int) -> None:
        feed, arriving = a_feed(state), iter(range(2, 12))
        state.away = failures

        def arrive() -> None:
            for seq in arriving:
                feed.put(some(1, 6, seq=seq), NOON_US, [])
                if seq % 5 == 0:
                    break

        state.when_called = arrive
        feed.put(some(1, 6, seq=1), NOON_US, [])
        await run_until_drained(feed)

    for failures in (0, 1, 2):
        state.spaces.clear()
        asyncio.run(scene(failures))
        assert state.spaces == dict.fromkeys(range(1, 7), (NOON_US, 11, 0))


def test_pending_readings_do_not_grow_beyond_the_spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_feed, "COMPACT_ABOVE", 100)

    async def scene() -> None:
        feed = a_feed(RememberedState())
        for seq in range(1, 200):
            feed.put(some(1, 20, seq=seq), NOON_US, [])
            assert sum(map(len, feed._pending)) <= 120

    asyncio.run(scene())


def test_a_time_before_the_epoch_is_the_oldest_of_all() -> None:
    async def scene() -> None:
        feed = a_feed(state)
        feed.put(readings({"occurred_us": -5}, {"occurred_us": 3, "occupied": True}), NOON_US, [])
        await run_until_drained(feed)

    state = RememberedState()
    asyncio.run(scene())
    assert state.spaces == {70: (3, 0, 1)}


_updates = st.lists(st.tuples(*(st.integers(0, 3) for _ in range(3)), st.integers(0, 1)), max_size=40)


@settings(deadline=None)
@given(_updates)
def test_the_newest_a_space_is_what_one_after_the_other_would_leave(drawn: list[tuple[int, int, int, int]]) -> None:
    updates = np.zeros(len(drawn), UPDATE)
    expected: dict[int, Order] = {}
    for number, (space, occurred, seq, occupied) in enumerate(drawn):
        updates[number] = (space, space + 1, occurred, seq, occupied)
        expected[space] = max((occurred, seq, occupied), expected.get(space, (occurred, seq, occupied)))
    if not drawn:
        return
    kept = newest_a_space(updates)
    assert {int(r["space_id"]): (int(r["occurred_us"]), int(r["seq"]), int(r["occupied"])) for r in kept} == expected
    assert (kept["lot_id"] == kept["space_id"] + 1).all()
