"""Keeps the snapshot: tasks that run as long as the process does.

    registry   database ─ every 2 s: version moved? load ─► registry ─► reload of the live state
    live       Redis ─ load the whole state ─► install ─ follow the change stream ─► apply
    prices     database ─ every 2 s: tariffs, bindings or registry moved? load ─► price list
    probe      Redis ─ every 2 s: is there a complete state?
    lanes      database ─ every second ─► vehicles inside by the lanes
    hours      opening and closing of lots, counts of lanes that became too old
    hub        wakes event streams

Each is begun again with backoff when it fails; meanwhile the last figures are answered and age.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import structlog

from api.snapshot import set_aside_from_collection
from parking_core.store import tariffs
from parking_core.store.conditions import load_quality
from parking_core.store.lane_counts import load_lane_counts
from parking_core.store.lots import load_registry, registry_version

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from psycopg_pool import AsyncConnectionPool

    from api.live import LiveHub
    from api.state import ApiState
    from parking_core.places import Registry
    from parking_core.store.live_state import LiveState

log = structlog.get_logger()

_LOOK_EVERY_S = 2.0  # how soon a change of the registry is seen; also how the services are watched
_REBUILD_LOOK_S = 0.25  # how soon a finished rebuild is seen
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_HOURS_EVERY_S = 1.0
_LANES_EVERY_S = 1.0
_QUALITY_EVERY_S = 60.0  # the worker judges devices every quarter of an hour


def _is_cancelled() -> bool:
    """Whether this task was cancelled, also where the Redis client lost it: wait_for of Python 3.11 sometimes does."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


class Follower:
    """Feeds `api.snapshot` from the database and Redis."""

    def __init__(self, api: ApiState, database: AsyncConnectionPool, live: LiveState) -> None:
        self._api = api
        self._database = database
        self._live = live
        self._registry: Registry | None = None
        self._registry_moved = asyncio.Event()

    async def run(self, hub: LiveHub) -> None:
        """Runs all tasks until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for name, work in (
                ("registry", self._watch_registry),
                ("live", self._follow_live),
                ("prices", self._watch_prices),
                ("probe", self._probe),
                ("lanes", self._follow_lanes),
                ("quality", self._follow_quality),
                ("hours", self._follow_hours),
                ("hub", hub.run),
            ):
                tasks.create_task(self._supervise(name, work), name=name)

    async def _supervise(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        pause = _FIRST_PAUSE_S
        while not _is_cancelled():
            began = time.monotonic()
            try:
                await work()
            except Exception as error:  # supervisor: whatever it is, the process keeps answering and tries again
                self._api.measures.failures.labels(name).inc()
                pause = _FIRST_PAUSE_S if time.monotonic() - began > _LONGEST_PAUSE_S else pause
                log.warning("background task begins again", task=name, reason=repr(error), pause_s=round(pause, 2))
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311  # jitter, not a secret
            pause = min(pause * 2, _LONGEST_PAUSE_S)

    async def _watch_registry(self) -> None:
        while True:
            async with self._database.connection() as connection:
                version = await registry_version(connection)
                if self._registry is None or version != self._registry.version:
                    self._registry = await load_registry(connection)
                    self._registry_moved.set()
                    log.info("registry loaded", lots=len(self._registry.lots), spaces=len(self._registry.spaces))
            self._api.health.database_at = time.monotonic()
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _watch_prices(self) -> None:
        while True:
            async with self._database.connection() as connection:
                if await tariffs.change_numbers(connection) != self._api.prices.numbers:
                    self._api.prices.install(await tariffs.load_price_list(connection))
                    log.info("price list loaded", numbers=self._api.prices.numbers)
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _probe(self) -> None:
        while not _is_cancelled():
            complete = await self._live.epoch() is not None
            self._api.health.redis_at = time.monotonic()
            if not complete:
                self._api.snapshot.complete = False
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _follow_hours(self) -> None:
        while True:
            self._api.snapshot.open_and_close()
            self._api.snapshot.count_lanes()
            await asyncio.sleep(_HOURS_EVERY_S)

    async def _follow_lanes(self) -> None:
        counts = None
        while True:
            async with self._database.connection() as connection:
                now = await load_lane_counts(connection)
            if now != counts:
                self._api.snapshot.count_lanes(now)
                counts = now
            await asyncio.sleep(_LANES_EVERY_S)

    async def _follow_quality(self) -> None:
        while True:
            async with self._database.connection() as connection:
                seen = await load_quality(connection)
            self._api.snapshot.rate_quality({lot: round(sound / bays, 4) for lot, (bays, sound) in seen.items()})
            await asyncio.sleep(_QUALITY_EVERY_S)

    async def _follow_live(self) -> None:
        """Loads and follows; every round is one whole state, ended by a rebuild, a gap or a new registry."""
        while not _is_cancelled():
            while self._registry is None:
                await self._registry_moved.wait()
            while await self._live.epoch() is None:
                self._api.snapshot.complete = False  # the last figures stay, and age
                await asyncio.sleep(_REBUILD_LOOK_S)
            self._registry_moved.clear()
            following = asyncio.create_task(self._one_round())
            moved = asyncio.create_task(self._registry_moved.wait())
            try:
                await asyncio.wait((following, moved), return_when=asyncio.FIRST_COMPLETED)
                if following.done():
                    following.result()
            finally:
                moved.cancel()
                while not following.done():
                    following.cancel()
                    await asyncio.wait((following,), timeout=1.0)
                await asyncio.gather(following, moved, return_exceptions=True)

    async def _one_round(self) -> None:
        registry = self._registry
        if registry is None:
            return
        image = await self._live.load()
        if image.epoch is None:
            return
        self._api.measures.loads.inc()
        self._api.snapshot.install(registry, image)
        set_aside_from_collection()
        self._api.health.redis_at = time.monotonic()
        async for change in self._live.follow(image):
            self._api.health.redis_at = time.monotonic()
            if change.reset:
                return
            self._api.snapshot.apply(change)
            self._api.measures.changes.inc()
            if self._registry is not registry:  # a cancelled read of the Redis client sometimes goes on: look here too
                return
