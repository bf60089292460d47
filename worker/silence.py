"""One pass a second: durable silences, and live state after them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog
from redis.exceptions import RedisError

from parking_core.flows import decide_silence
from parking_core.flows.rebuild_live_state import merge_into_live_state, rebuild_live_state
from parking_core.store import silences
from parking_core.store.live_state import LiveState, LiveStateMissingError
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from psycopg import Connection
    from redis.asyncio import Redis

    from parking_core.store.live_state import LiveImage

log = structlog.get_logger()

_PASS_S = 1.0
_RECONCILE_S = 60.0
_REDIS_PAUSE_S = 5.0  # Redis away: the durable sweep goes on, Redis is asked again after this


class Silence:
    """State of the loop: which live state the open silences were applied to, and when."""

    def __init__(self, database_url: str, connection: Connection, redis: Redis) -> None:
        self._database_url = database_url
        self._connection = connection
        self._live = LiveState(redis)
        self._epoch: str | None = None  # of the live state that holds all open silences; None: not known
        self._server: str | None = None  # the Redis process whose state was compared with history
        self._reconciled_at = 0.0
        self._redis_again_at = 0.0

    async def step(self) -> float:
        """One pass; gives the seconds until the next."""
        image = await self._image()
        sweep = await in_thread(lambda: decide_silence.sweep(self._connection, datetime.now(UTC)))
        if len(sweep.begun) or len(sweep.ended):
            log.info("silence", begun=len(sweep.begun), ended=len(sweep.ended))
            silent = await in_thread(lambda: silences.open_silences(self._connection))
            metrics.SILENT_SPACES.set(len(silent))
        if self._redis_again_at > time.monotonic():
            self._epoch = None  # what this pass decided does not reach Redis: reconcile when it is back
            return _PASS_S
        try:
            await decide_silence.apply(self._live, sweep)
            if image is not None:
                await self._reconcile(image)
        except (RedisError, OSError, LiveStateMissingError) as error:
            self._lost(error)
        return _PASS_S

    async def _image(self) -> LiveImage | None:
        """The live state where it must be compared with the open silences, read before the sweep; rebuilt if missing."""
        if self._redis_again_at > time.monotonic():
            return None
        try:
            epoch = await self._live.epoch()
            if epoch is None:
                await self._rebuild()
                epoch = await self._live.epoch()
            await self._bring_up_to_date()
            if epoch == self._epoch and time.monotonic() - self._reconciled_at < _RECONCILE_S:
                return None
            return await self._live.load()
        except (RedisError, OSError, LiveStateMissingError) as error:
            self._lost(error)
            return None

    async def _rebuild(self) -> None:
        spaces = await rebuild_live_state(self._database_url, self._live)
        metrics.REBUILDS.inc()
        log.info("live state rebuilt", spaces=spaces)

    async def _bring_up_to_date(self) -> None:
        """At the start and when another Redis process answers: it may hold an old copy, which its epoch does not tell."""
        server = await self._live.server()
        if server != self._server:
            applied = await merge_into_live_state(self._database_url, self._live)
            log.info("live state compared with history", applied=applied)
            self._server = server

    async def _reconcile(self, image: LiveImage) -> None:
        if await in_thread(lambda: decide_silence.is_miscounted(self._connection, image)):
            log.warning("counts of a lot are not those of its spaces")
            await self._rebuild()  # open silences come with it
            return
        difference = await in_thread(lambda: decide_silence.compare(self._connection, image))
        await decide_silence.apply(self._live, difference)
        silent = await in_thread(lambda: silences.open_silences(self._connection))
        metrics.SILENT_SPACES.set(len(silent))
        if len(difference.to_silence) or len(difference.to_revive):
            log.info("live state reconciled", silenced=len(difference.to_silence), revived=len(difference.to_revive))
        self._epoch, self._reconciled_at = image.epoch, time.monotonic()

    def _lost(self, error: Exception) -> None:
        """Redis missed something: apply all open silences when it is back."""
        self._epoch = None
        self._redis_again_at = time.monotonic() + _REDIS_PAUSE_S
        metrics.FAILURES.labels("live_state").inc()
        log.warning("live state not reached", error=str(error), again_in_s=_REDIS_PAUSE_S)
