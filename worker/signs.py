"""Guidance signs: every quarter of a minute their lots' free spaces, told where they have changed."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import structlog
from redis.exceptions import RedisError

from parking_core.flows.keep_signs import forget_old_counts, keep_signs
from parking_core.store.live_state import LiveState
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from psycopg import Connection
    from redis.asyncio import Redis

log = structlog.get_logger()

_PASS_S: Final = 15.0  # a driver reads it for a few seconds; a number that moves all the time says less
_FORGET_S: Final = 3_600.0


class Signs:
    """State of the loop: when old orders were deleted last."""

    def __init__(self, connection: Connection[Any], redis: Redis) -> None:
        self._connection = connection
        self._live = LiveState(redis)
        self._forget_again_at = 0.0

    async def step(self) -> float:
        """One look; gives the seconds until the next."""
        try:
            known = await self._live.counts_by_lot()
        except (RedisError, OSError) as error:
            log.warning("signs are not told: live state not reached", error=str(error))
            return _PASS_S
        told = await in_thread(lambda: keep_signs(self._connection, known, datetime.now(UTC)))
        metrics.SIGNS_TOLD.inc(told)
        if time.monotonic() >= self._forget_again_at:
            await in_thread(lambda: forget_old_counts(self._connection, datetime.now(UTC)))
            self._forget_again_at = time.monotonic() + _FORGET_S
        return _PASS_S
