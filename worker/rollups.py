"""Bites of dirty buckets, as often as they are needed and as seldom as load allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import structlog

from parking_core.flows.roll_up_lots import roll_up_lots
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from psycopg import Connection

log = structlog.get_logger()

_PASS_S = 5.0  # a late event is in the rollups within this
_RUNNING_S = 15.0  # the bucket that is not over yet is computed again every so often
_RUNNING_REST = 20.0  # and at least so many times as long after: all of its events are read again, 5 % of a core
_REST = 4.0  # pauses are at least so many times the pass: under load a fifth of a core at most
_LONGEST_PAUSE_S = 60.0
_BACKLOG_PAUSE_S = 0.05  # between full bites: a replayed year is computed without rest


class Rollups:
    """State of the loop: when the running buckets are computed again."""

    def __init__(self, connection: Connection, time_zone: str) -> None:
        self._connection = connection
        self._zone = ZoneInfo(time_zone)
        self._running_again_at = 0.0

    async def step(self) -> float:
        """One bite; gives the seconds until the next."""
        begins = time.monotonic()
        running = begins >= self._running_again_at
        now_us = time.time_ns() // 1000
        bite = await in_thread(lambda: roll_up_lots(self._connection, now_us, running=running, zone=self._zone))
        metrics.DIRTY_BACKLOG.set(bite.waiting)
        metrics.ROLLUPS_WRITTEN.inc(bite.written)
        took = time.monotonic() - begins
        if running and not bite.busy:
            self._running_again_at = begins + max(_RUNNING_S, _RUNNING_REST * took)
        if bite.more:
            log.info("rollups behind", waiting=bite.waiting, written=bite.written, seconds=round(took, 2))
            return _BACKLOG_PAUSE_S
        return min(_LONGEST_PAUSE_S, max(_PASS_S, _REST * took))
