"""The worker's loops: one worker leads, others stand by.

    PostgreSQL ── advisory lock of a session ──► this worker leads             another one asks again every 2 s
         │
         ├─ silence   every 1 s     device_liveness ─► space_silences ─► Redis: known / unknown
         │                          parking:epoch missing ─► rebuild; every minute, or after a loss ─► reconcile
         ├─ rollups   every 5 s     dirty_buckets ─► bites ─► lot_rollups_5m, lot_rollups_1h
         │                          (the bucket that runs: every 15 s)
         ├─ lanes     on notify     lane_events ─► visits, charges, journal, commands; every second: lane_counts
         ├─ duties    every minute  gaps in lanes' numbers, stays that are too long, holds that expire
         ├─ booking   on notify     payment_notices ─► journal, payments, commands, differences
         ├─ asking    every 2 s     acquirer: orders without a notice, refunds, bills (only where one is set up)
         ├─ clearing  every second  etc_transactions ─► packages ─► ETC clearing centre (TCP) ─► bookkeeping, totals, lists
         │                          status lists ─► commands to lanes
         ├─ sharing   on notify     agreements, suspensions ─► capacity_days, promises moved or refunded
         ├─ prices    every 2 s     asked_demand of past days, capacity left ─► capacity_prices, demand_bonuses
         ├─ admission every 2 s     floods ─► broker: suspended for a while, let in again; broker and registry in step
         ├─ signs     every 15 s    live state, lane counts ─► free spaces that changed ─► commands to guidance signs
         ├─ health    every 15 min  occupancy_events, liveness, vitals ─► bay_days ... ─► device_conditions, work_items
         └─ jobs      every minute  procrastinate: promises of shared spaces by the clock
                      every night   retention, compression, buffers learned (and once when a term begins)

Each loop holds one connection and works in a thread; there are no queues but the one in clearing. The session that holds
the lock is the one that decides silence: when it breaks, all loops end, and the worker asks for the lock again. SIGTERM
lets each loop finish its pass. A pass that fails is repeated after a pause that grows; a database that is away ends the
term instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import psycopg
import structlog
from psycopg.errors import DeadlockDetected, SerializationFailure
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from parking_core.store import silences
from parking_core.store.acquirer import AcquirerClient
from parking_core.store.keeper import Keeper
from worker import jobs, metrics
from worker.admission import Admission
from worker.clearing import Clearing
from worker.health import Health
from worker.lanes import LaneDuties, Lanes
from worker.pauses import Pauses, pause
from worker.payments import Asking, Booking
from worker.prices import Prices
from worker.rollups import Rollups
from worker.sharing import Sharing
from worker.signs import Signs
from worker.silence import Silence
from worker.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from parking_core.settings import Settings

log = structlog.get_logger()

_ASK_AGAIN_S = 2.0  # a standing-by worker takes over within this after the leader's session ended
_REDIS_TIMEOUT_S = 10.0  # longer than any of our functions takes in Redis


def connect(settings: Settings) -> psycopg.Connection:
    """A connection of this process; a dead network is noticed within half a minute."""
    return psycopg.connect(
        settings.database_url,
        autocommit=True,
        application_name="parking-worker",
        connect_timeout=5,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
    )


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Leads, term after term, until `stop` is set."""
    pauses = Pauses()
    redis = Redis.from_url(
        settings.redis_url, socket_timeout=_REDIS_TIMEOUT_S, socket_connect_timeout=5, retry=Retry(NoBackoff(), 0)
    )
    async with redis:
        while not stop.is_set():
            try:
                await _term(settings, redis, stop, pauses)
            except* psycopg.OperationalError as group:
                wait = pauses.following()
                error = str(_first(group)).strip()
                log.warning("database away", error=error, again_in_s=round(wait, 1))
                await pause(stop, wait)
            finally:
                metrics.LEADING.set(0)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


async def _term(settings: Settings, redis: Redis, stop: asyncio.Event, pauses: Pauses) -> None:
    """From the lock to the end of its session."""
    leader = await in_thread(lambda: connect(settings))
    try:
        pauses.reset()
        if not await in_thread(lambda: silences.try_to_lead(leader)):
            log.info("standing by: another worker leads")
            while not stop.is_set() and not await in_thread(lambda: silences.try_to_lead(leader)):
                await pause(stop, _ASK_AGAIN_S)
        if stop.is_set():
            return
        metrics.LEADING.set(1)
        log.info("leading")
        await _lead(settings, redis, leader, stop)
    finally:
        leader.close()


async def _lead(settings: Settings, redis: Redis, leader: psycopg.Connection, stop: asyncio.Event) -> None:
    async with contextlib.AsyncExitStack() as held:

        async def connection() -> psycopg.Connection:
            return held.enter_context(contextlib.closing(await in_thread(lambda: connect(settings))))

        silence = Silence(settings.database_url, leader, redis)
        rollups = Rollups(await connection(), settings.time_zone)
        channel = f"hold:{settings.acquirer.code}"
        lanes = Lanes(await connection(), redis, settings.time_zone, channel)
        duties = LaneDuties(await connection(), settings.time_zone)
        booking = Booking(await connection(), settings.time_zone)
        steps = {"silence": silence.step, "rollups": rollups.step, "booking": booking.step}
        steps |= {"lanes": lanes.step, "duties": duties.step}
        if acquirer := AcquirerClient.of_settings(settings.acquirer):
            await held.enter_async_context(acquirer)
            steps["asking"] = Asking(await connection(), acquirer, settings.time_zone).step
        steps["sharing"] = Sharing(await connection(), ZoneInfo(settings.time_zone), channel).step
        steps["prices"] = Prices(await connection(), ZoneInfo(settings.time_zone), channel).step
        steps["signs"] = Signs(await connection(), redis).step
        steps["health"] = Health(await connection(), ZoneInfo(settings.time_zone)).step
        if settings.keeper_url:
            steps["admission"] = Admission(await connection(), Keeper(settings.keeper_url)).step
        steps["clearing"] = Clearing(settings, lambda: connect(settings), stop).step
        async with asyncio.TaskGroup() as loops:
            for name, step in steps.items():
                loops.create_task(supervise(name, step, stop), name=name)
            loops.create_task(supervise("jobs", lambda: jobs.run(settings, stop), stop), name="jobs")


async def supervise(loop: str, step: Callable[[], Awaitable[float]], stop: asyncio.Event) -> None:
    """Repeats `step`, which gives the seconds until its next pass, until `stop` is set.

    Raises:
        psycopg.OperationalError: the database is away; the term ends.
    """
    pauses = Pauses()
    while not stop.is_set():
        begins = time.monotonic()
        try:
            wait = await step()
        except (DeadlockDetected, SerializationFailure) as error:  # with another writer; the database is there
            metrics.FAILURES.labels(loop).inc()
            wait = pauses.following()
            log.warning("pass rolled back", loop=loop, error=type(error).__name__, again_in_s=round(wait, 1))
        except psycopg.OperationalError:
            raise
        except Exception:  # supervisor: one failing pass must not end the other loops
            metrics.FAILURES.labels(loop).inc()
            wait = pauses.following()
            log.exception("pass failed", loop=loop, again_in_s=round(wait, 1))
        else:
            pauses.reset()
            if (task := asyncio.current_task()) and task.cancelling():
                raise asyncio.CancelledError  # wait_for of Python 3.11, which the Redis client uses, may lose one
            metrics.LAST_SUCCESS.labels(loop).set_to_current_time()
        metrics.LOOP_SECONDS.labels(loop).observe(time.monotonic() - begins)
        await pause(stop, wait)
