"""Lanes: records followed as soon as they come, and what has to be looked at every minute.

lanes    on notify, 1 s at the latest   lane_events ─► questions first, batches of 400 ─► visits, charges, journal, answers
         every second                   open visits ─► lane_counts, beside what sensors say (Redis)
duties   every minute                   numbers of lanes ─► gaps; stays that are too long ─► given up;
                                        holds that expire; payment links that have expired ─► out of fee answers
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import structlog
from psycopg.errors import DeadlockDetected, SerializationFailure
from redis.exceptions import RedisError

from parking_core.flows.count_lanes import count_lanes
from parking_core.flows.follow_lanes import Desk, follow_lanes, follow_questions, give_up_stays
from parking_core.flows.hold_money import expire_holds
from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.strip_old_messages import strip_tokens
from parking_core.flows.watch_lane_gaps import watch_lane_gaps
from parking_core.store import lane_work
from parking_core.store.live_state import LiveState
from parking_core.store.quick_lists import use_quick_lists
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from psycopg import Connection
    from redis.asyncio import Redis

    from parking_core.flows.follow_lanes import Followed

log = structlog.get_logger()

BATCH: Final = 400  # records a transaction: more gain little and let a lane that asks wait longer
QUESTIONS: Final = 100  # of lanes, answered before the next batch
_WAIT_S: Final = 1.0  # a record whose notification was lost is followed within this
_COUNT_S: Final = 1.0
_MOST_COUNTED: Final = 100_000  # records of a backlog; behind that it is "at least"
_BACKLOG_S: Final = 5.0
_DUTIES_S: Final = 60.0


class Lanes:
    """State of the loop: its connection, which listens, and when it counted last."""

    def __init__(self, connection: Connection, redis: Redis, time_zone: str, channel: str = "hold:none") -> None:
        use_quick_lists(connection)
        self._connection = connection
        self._live = LiveState(redis)
        zone = ZoneInfo(time_zone)
        self._desk = Desk(zone, offers=OffersInForce(zone, channel))
        self._listens = False
        self._count_again_at = self._backlog_again_at = 0.0

    async def step(self) -> float:
        """One batch, or a wait for one; gives the seconds until the next pass."""
        try:
            followed = await in_thread(self._follow)
        except (DeadlockDetected, SerializationFailure) as error:  # with another writer: nothing was kept, once more
            log.warning("lane batch rolled back", error=type(error).__name__)
            return 0.0
        if time.monotonic() >= self._count_again_at:
            sensors = await self._sensors()
            await in_thread(lambda: count_lanes(self._connection, sensors, datetime.now(UTC)))
            self._count_again_at = time.monotonic() + _COUNT_S
        if not followed.more:
            await in_thread(lambda: lane_work.wait(self._connection, _WAIT_S))
        return 0.0

    def _follow(self) -> Followed:
        if not self._listens:
            lane_work.listen(self._connection)  # before the first look, so that no call is missed
            self._listens = True
        begins = time.monotonic()
        self._count(follow_questions(self._connection, self._desk, datetime.now(UTC), QUESTIONS), begins)
        begins = time.monotonic()
        followed = follow_lanes(self._connection, self._desk, datetime.now(UTC), BATCH)
        self._count(followed, begins)
        if begins >= self._backlog_again_at:
            self._backlog_again_at = begins + _BACKLOG_S
            waiting, since = lane_work.backlog(self._connection, _MOST_COUNTED)
            metrics.LANE_BACKLOG.set(waiting)
            age = 0.0 if since is None else (datetime.now(UTC) - since).total_seconds()
            metrics.LANE_BACKLOG_AGE.set(max(0.0, age))
        return followed

    def _count(self, followed: Followed, begins: float) -> None:
        if not followed.events:
            return
        metrics.LANE_BATCH_SECONDS.observe(time.monotonic() - begins)
        metrics.LANE_EVENTS.inc(followed.events)
        metrics.LANE_SET_ASIDE.inc(followed.set_aside)
        metrics.FEE_ANSWERS.inc(followed.answers)

    async def _sensors(self) -> dict[int, int]:
        """Occupied spaces by lot; of none while Redis is away."""
        try:
            return await self._live.occupied_by_lot()
        except (RedisError, OSError):
            return {}


class LaneDuties:
    """What is looked at every minute, by a connection of its own: no lane that asks waits for it."""

    def __init__(self, connection: Connection, time_zone: str) -> None:
        self._connection = connection
        self._zone = time_zone
        self._desk = Desk(ZoneInfo(time_zone))

    async def step(self) -> float:
        """One look at everything; gives the seconds until the next."""
        await in_thread(self._look)
        return _DUTIES_S

    def _look(self) -> None:
        now = datetime.now(UTC)
        gaps = watch_lane_gaps(self._connection, now, self._zone)
        if gaps.missing or gaps.filled:
            log.info("lane records", missing=gaps.missing, came_late=gaps.filled)
        given_up = give_up_stays(self._connection, self._desk, now)
        expired = expire_holds(self._connection, now)
        strip_tokens(self._connection, now)
        if given_up or expired:
            log.info("lane duties", stays_given_up=given_up, holds_expired=expired)
