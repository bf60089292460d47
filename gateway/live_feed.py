"""Durable readings to the live state. Redis may be away: what is pending is kept, newest a space, and applied later."""

from __future__ import annotations

import asyncio
import random
import time
from typing import TYPE_CHECKING

import numpy as np
import structlog
from redis.exceptions import RedisError

from parking_core.store.live_state import OBSERVED_SEQ, UPDATE, LiveStateMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.metrics import Metrics
    from parking_core.readings import Readings
    from parking_core.store.live_state import Columns, LiveState

log = structlog.get_logger()

RETRY_S = 0.25  # a restarted Redis is rebuilt within seconds
COMPACT_ABOVE = 50_000  # readings: more than twice the district's spaces, so most are outdated
MOST_OBSERVED = 200_000  # message numbers kept while Redis is away; the count of gaps is then a lower bound
UPDATES_A_CALL = 4000  # keeps one call in Redis near 5 ms, so that the API's reads are not held up


class LiveFeed:
    """One task applies, `put` never waits."""

    def __init__(self, live: LiveState, metrics: Metrics) -> None:
        self._live = live
        self._metrics = metrics
        self._pending: list[Columns] = []
        self._since_us: int | None = None  # receipt of the oldest reading in _pending
        self._applying_since_us: int | None = None
        self._observed: list[tuple[int, int]] = []
        self._missing: dict[int, int] = {}
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def oldest_us(self) -> int | None:
        """Receipt of the oldest reading that is not applied yet."""
        waiting = [us for us in (self._applying_since_us, self._since_us) if us is not None]
        return min(waiting, default=None)

    def put(self, readings: Readings, received_us: int, observed: Sequence[tuple[int, int]]) -> None:
        """Takes durable readings, of which the oldest was received at `received_us`."""
        if len(readings):
            updates = np.zeros(len(readings), UPDATE)
            for name in ("space_id", "lot_id", "seq", "occupied"):
                updates[name] = readings[name]
            updates["occurred_us"] = np.maximum(readings["occurred_us"], 0)  # unsigned on the wire
            self._pending.append(updates)
            self._since_us = received_us if self._since_us is None else min(self._since_us, received_us)
            if sum(map(len, self._pending)) > COMPACT_ABOVE:
                self._pending = [newest_a_space(np.concatenate(self._pending))]
        if len(self._observed) < MOST_OBSERVED:
            self._observed.extend(observed)
        self._metrics.live_waiting.set(sum(map(len, self._pending)))
        if self._pending or self._observed:
            self._idle.clear()
            self._work.set()

    def take_missing(self) -> dict[int, int]:
        """Changes of the count of missing messages a device, to be made durable with the next batch."""
        missing, self._missing = self._missing, {}
        return missing

    async def run(self) -> None:
        """Applies for ever."""
        was_away = False
        while True:
            await self._work.wait()
            try:
                await self._apply_pending()
            except (RedisError, OSError, LiveStateMissingError) as error:
                if not was_away:
                    log.warning("live state waits", error=str(error))
                was_away = True
                await asyncio.sleep(RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
                continue
            if was_away:
                log.info("live state has caught up")
            was_away = False

    async def drain(self, patience_s: float) -> None:
        """Waits until everything is applied, but no longer than `patience_s`: history holds it anyway."""
        try:
            async with asyncio.timeout(patience_s):
                await self._idle.wait()
        except TimeoutError:
            log.warning("left readings out of the live state, the next start finds them in history")

    async def _apply_pending(self) -> None:
        if self._pending:
            updates, self._pending = np.concatenate(self._pending), []
            since_us, self._since_us = self._since_us or 0, None
            self._applying_since_us = since_us
            try:
                for first in range(0, len(updates), UPDATES_A_CALL):
                    await self._live.apply(updates[first : first + UPDATES_A_CALL])
            except BaseException:
                # Applying some of them again is harmless.
                self._pending.insert(0, updates)
                self._since_us = since_us
                raise
            finally:
                self._applying_since_us = None
            self._metrics.live_seconds.observe(max(0.0, time.time() - since_us / 1e6))
            self._metrics.live_waiting.set(sum(map(len, self._pending)))
        if self._observed:
            observed = np.array(self._observed, "u4")
            columns = np.zeros(len(observed), OBSERVED_SEQ)
            columns["device_id"], columns["seq"] = observed[:, 0], observed[:, 1]
            changes = await self._live.observe_sequences(columns)
            del self._observed[: len(observed)]
            for device, change in changes.items():
                self._missing[device] = self._missing.get(device, 0) + change
            self._metrics.missing.inc(sum(changes.values()))
        if not self._pending and not self._observed:
            self._work.clear()
            self._idle.set()


def newest_a_space(updates: Columns) -> Columns:
    """Of each space the update that the compare-and-set would keep."""
    order = np.lexsort((updates["occupied"], updates["seq"], updates["occurred_us"], updates["space_id"]))
    ordered = updates[order]
    last = np.append(ordered["space_id"][1:] != ordered["space_id"][:-1], True)
    kept: Columns = ordered[last]
    return kept
