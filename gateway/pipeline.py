"""One gateway: what runs beside what, and what waits where.

    broker ──► Subscriber ──► Inbox ──► batches ─────────────────────────────────────────► LiveFeed ──► Redis
               (one socket)   (Receive   sort (decode, validate) ─► record ─► acknowledge    (newest
                    ▲          Maximum,                             one          │            a space)
                    │          32 MiB)                              transaction  │
                    └──────────────────────── PUBACK in order of arrival ◄───────┘

    commands rows ──► CommandSender ──► broker ──► device ──► command/ack ──► Subscriber, as every other message
                      (its own two connections)

    tasks: session (Subscriber.run) · batches · live (LiveFeed.run) · registry (RegistryView.run) · pulse
           adoption (Adoption.run: a second connection feeds the Inbox while an orphan's session is emptied)
           command connection · command passes (CommandSender)
           heal (once: what a killed gateway left between COMMIT and Redis)

Nothing waits without a bound: the broker stops at Receive Maximum unacknowledged messages, the socket at 32 MiB,
the live feed keeps one reading a space. Only `batches` touches the recording connection, so commits and PUBACKs
keep the order of arrival.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import numpy as np
import psycopg
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from gateway.adopt import Adoption
from gateway.commands import CommandSender
from gateway.floods import FloodGate
from gateway.inbox import Inbox
from gateway.live_feed import LiveFeed
from gateway.native_vitals import NativeVitals
from gateway.record import Recorder
from gateway.registry import RegistryView
from gateway.subscribe import RECEIVE_MAX, Subscriber
from gateway.validate import MAY_BE_NEW
from parking_core.broker_url import Broker
from parking_core.cancelling import cancel_until_done
from parking_core.flows.rebuild_live_state import merge_into_live_state
from parking_core.flows.record_batch import Batch
from parking_core.readings import READING
from parking_core.store.live_state import LiveState, LiveStateMissingError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.messages import RawMessage
    from gateway.metrics import Metrics
    from gateway.sorting import Sorted
    from parking_core.flows.record_batch import Recorded
    from parking_core.settings import Settings

log = structlog.get_logger()

BATCH_AGE_S = 0.02  # how long the first message of a batch waits for more: a commit costs about as much
# A dense stream (20,000 a second) waits longer: a transaction costs 3 ms of CPU however few messages it holds.
DENSE_MESSAGES = 400
DENSE_AGE_S = 0.05
BATCH_MESSAGES = 4096  # half the window: one batch commits while the next arrives
PULSE_S = 0.5
DRAIN_S = 10.0


class Gateway:
    """The process's parts, wired."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self._settings = settings
        self._metrics = metrics
        self._inbox = Inbox()
        broker = Broker.from_url(settings.mqtt_url)
        self._registry = registry = RegistryView(settings)
        self._subscriber = Subscriber(
            broker, settings.instance, self._inbox, metrics, shares=lambda: registry.has_company
        )
        self._adoption = Adoption(broker, self._inbox, self._registry, self._heal_live_state)
        self._commands = CommandSender(settings.database_url, broker, settings.instance, metrics)
        self._recorder = Recorder(settings.database_url, metrics)
        self._redis = Redis.from_url(settings.redis_url, socket_timeout=5.0, socket_connect_timeout=2.0)
        self._live = LiveState(self._redis)
        self._feed = LiveFeed(self._live, metrics)
        self._floods = FloodGate()
        self._native_vitals = NativeVitals()
        self._in_batch_since_us: int | None = None
        self._idle = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until `stop`, then drains: finishes what was received, acknowledges it, says goodbye."""
        if await self._has_registry(stop):
            await self._serve(stop)
        await self._recorder.close()
        await self._registry.close()
        await self._redis.aclose()

    async def _has_registry(self, stop: asyncio.Event) -> bool:
        """Waits for the registry as long as it takes; False when the process is to stop before that."""
        loading, stopping = asyncio.create_task(self._registry.load()), asyncio.create_task(stop.wait())
        await asyncio.wait({loading, stopping}, return_when=asyncio.FIRST_COMPLETED)
        is_there = loading.done()
        for task in (loading, stopping):
            task.cancel()
        await asyncio.wait({loading, stopping})
        if is_there:
            loading.result()
        return is_there

    async def _serve(self, stop: asyncio.Event) -> None:
        async with asyncio.TaskGroup() as tasks:
            running = [
                tasks.create_task(self._serve_metrics(), name="metrics"),
                tasks.create_task(self._subscriber.run(), name="session"),
                tasks.create_task(self._batches(), name="batches"),
                tasks.create_task(self._feed.run(), name="live"),
                tasks.create_task(self._registry.run(), name="registry"),
                tasks.create_task(self._adoption.run(), name="adoption"),
                # Not a group of their own: a group cancels its tasks once, and wait_for of 3.11 may lose that.
                tasks.create_task(self._commands.stay_connected(), name="command connection"),
                tasks.create_task(self._commands.send_for_ever(), name="command passes"),
                tasks.create_task(self._pulse(), name="pulse"),
                tasks.create_task(self._heal_live_state(), name="heal"),
            ]
            await stop.wait()
            await self._drain()
            await cancel_until_done(running)

    async def _serve_metrics(self) -> None:
        """From the first subscription on: until then nobody may take this gateway for ready."""
        await self._subscriber.subscribed.wait()
        self._metrics.serve(self._settings.metrics_port)

    async def _batches(self) -> None:
        while True:
            messages = await self._next_batch()
            self._in_batch_since_us = messages[0].received_us
            await self._process(messages)
            self._in_batch_since_us = None

    async def _next_batch(self) -> list[RawMessage]:
        """Full or old enough."""
        inbox = self._inbox
        if not len(inbox):
            self._idle.set()
        await inbox.wait()
        self._idle.clear()
        for fewest, age_s in ((1, BATCH_AGE_S), (DENSE_MESSAGES, DENSE_AGE_S)):
            young_s = (inbox.oldest_us or 0) / 1e6 + age_s - time.time()
            if fewest <= len(inbox) < BATCH_MESSAGES and young_s > 0:
                await asyncio.sleep(min(young_s, age_s))
        return inbox.take(BATCH_MESSAGES)

    async def _process(self, messages: Sequence[RawMessage]) -> None:
        """The life of a batch."""
        read = self._floods.sieve(messages, self._registry.validator.registry)
        found = await self._sort(read)
        signs = self._registry.signs_to_record(found)
        native = self._native_vitals.due(found)
        batch = found.batch(
            signs=signs,
            ledger_devices=self._registry.ledger_devices,
            missing=self._feed.take_missing(),
            vitals=[*found.vitals, *native],
            rejections=[*found.rejections, *self._floods.letters(messages[-1].received_us)],
            floods=self._floods.reports(messages[-1].received_us),
        )
        recorded = await self._recorder.record(batch)
        self._subscriber.acknowledge(messages)
        self._adoption.acknowledge(messages)
        suspects = found.readings["device_id"][found.readings["clock_suspect"]]
        self._native_vitals.noted(native)
        self._registry.recorded(signs, frozenset(suspects.tolist()))
        self._feed.put(recorded.readings, messages[0].received_us, found.observed_seqs)
        self._count(messages, found, recorded)

    async def _sort(self, messages: Sequence[RawMessage]) -> Sorted:
        found = self._registry.validator.sort(messages)
        if any(rejection.reason in MAY_BE_NEW for rejection in found.rejections):
            before = self._registry.validator
            await self._registry.load()  # waits for a database that is away: an answer not had is no answer
            if self._registry.validator is not before:
                found = self._registry.validator.sort(messages)
        return found

    async def _pulse(self) -> None:
        """Tells how far the live state has come; without it the API's figures grow old, as they then are."""
        while True:
            await asyncio.sleep(PULSE_S)
            now_us = time.time_ns() // 1000
            waiting = [self._inbox.oldest_us, self._in_batch_since_us, self._feed.oldest_us]
            up_to_us = min([us for us in waiting if us is not None], default=now_us)
            # With the window full the broker holds more, of an age that nobody here knows.
            if not self._subscriber.is_connected or len(self._inbox) >= RECEIVE_MAX - BATCH_MESSAGES:
                continue
            try:
                await self._live.pulse(self._settings.instance, up_to_us)
            except (RedisError, OSError, LiveStateMissingError):
                continue  # the live feed reports it
            self._metrics.waiting.set(len(self._inbox))

    async def _heal_live_state(self) -> None:
        """At the start, and after a session is taken over: a gateway that died left readings behind in history."""
        while True:
            try:
                applied = await merge_into_live_state(self._settings.database_url, self._live)
            except (RedisError, OSError, LiveStateMissingError, psycopg.Error) as error:
                log.info("live state is not there yet", error=str(error))
                await asyncio.sleep(1.0)
                continue
            log.info("live state compared with history", applied=applied)
            return

    async def _drain(self) -> None:
        log.info("draining", waiting=len(self._inbox))
        self._subscriber.hold()
        try:
            async with asyncio.timeout(DRAIN_S):
                await self._idle.wait()
        except TimeoutError:
            log.warning("could not finish, the broker delivers again", waiting=len(self._inbox))
        await self._feed.drain(DRAIN_S / 2)
        await self._keep_missing()
        await self._subscriber.leave()
        log.info("drained")

    async def _keep_missing(self) -> None:
        """Gaps and floods of the last batches become durable with the next one, which does not come."""
        missing, letters = self._feed.take_missing(), self._floods.letters(time.time_ns() // 1000, is_last=True)
        if not missing and not letters:
            return
        try:
            async with asyncio.timeout(DRAIN_S / 2):
                await self._recorder.record(
                    Batch(readings=np.zeros(0, READING), sources=(), missing=missing, rejections=letters)
                )
        except TimeoutError:
            log.warning("gaps are not recorded, the database is away", devices=len(missing))

    def _count(self, messages: Sequence[RawMessage], found: Sorted, recorded: Recorded) -> None:
        metrics, readings = self._metrics, found.readings
        metrics.messages.inc(len(messages) - found.broker_lines)
        metrics.batch_size.observe(len(messages))
        metrics.readings.inc(len(readings))
        metrics.refused.count(found, recorded, self._floods.left_out)
        for rejection in recorded.rejections:
            metrics.rejections.labels(rejection.reason.value).inc()
        for outcome in ("finished", "late", "unknown", "foreign"):
            metrics.command_acks.labels(outcome).inc(len(getattr(recorded.acks, outcome)))
        if found.lane_reports:
            metrics.lanes.count(found.lane_reports, recorded.lanes)
        if len(readings):
            metrics.clock_suspects.inc(int(readings["clock_suspect"].sum()))
            lag_us = np.median(readings["received_us"] - readings["occurred_us"])
            metrics.device_lag.observe(max(0.0, float(lag_us) / 1e6))
