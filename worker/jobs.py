"""Periodic work by the job queue, whose tables are in the schema `jobs`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import psycopg
import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued

from parking_core.flows.allocate_round import answer_waiting
from parking_core.flows.close_month import close_again, close_month, month_before
from parking_core.flows.drop_old_history import drop_old_history
from parking_core.flows.hold_money import expire_holds
from parking_core.flows.learn_buffers import learn_buffers
from parking_core.flows.mask_old_plates import mask_old_plates
from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.publish_tariff import announce_again
from parking_core.flows.reconcile import reconcile_bills, reconcile_hours
from parking_core.flows.settle_transactions import flag_missing_tacs
from parking_core.flows.share_permits import watch_permits
from parking_core.flows.strip_old_messages import strip_old_messages
from parking_core.flows.watch_promises import watch_promises
from parking_core.flows.watch_references import watch_references
from parking_core.store import promises
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from parking_core.settings import Settings

log = structlog.get_logger()

_EVERY_MINUTE = "* * * * *"  # promises of shared spaces live by minutes: grace, warnings, fees
_EVERY_TEN_MINUTES = "*/10 * * * *"  # a permit's car that stays too long is noted while it is still there
_HOURLY = "12 * * * *"  # lanes tell an hour's total within its first minutes
_LOOK_BACK = timedelta(days=7)  # a lane that was away for a week may still fill its hours
_CLOSES_ON = 3  # day of the month: the centre decides disputes of the last day by then (T+2)
_CLOSES_AGAIN_AT = 4  # local hour: months that are stated, for what was decided of them since
_NIGHTLY = "17 19 * * *"  # UTC: 03:17 in China, when least happens
_AT_ONCE = 3  # a long night's job and a round must not keep the minute's waiting
_ROUNDS = "*/5 * * * *"  # the day's round of shared spaces in its hour; who cannot wait for it is answered within this
_GRACE_S = 30.0  # a running job may finish within this when the worker stops


def build(settings: Settings) -> App:
    """The job queue with all periodic tasks; it must be opened before use."""
    connector = PsycopgConnector(
        conninfo=settings.database_url,
        kwargs={"options": "-c search_path=jobs,public", "application_name": "parking-worker-jobs"},
        min_size=1,
        max_size=4,
    )
    app = App(connector=connector)
    offers = OffersInForce(ZoneInfo(settings.time_zone), f"hold:{settings.acquirer.code}")

    @app.periodic(cron=_NIGHTLY)
    @app.task(name="retention", queueing_lock="retention", pass_context=False)
    async def retention(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes the time it was due
        await in_thread(lambda: drop(settings))

    @app.periodic(cron=_HOURLY)
    @app.task(name="reconciliation", queueing_lock="reconciliation", pass_context=False)
    async def reconciliation(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes the time it was due
        await in_thread(lambda: reconcile(settings))

    @app.periodic(cron=_EVERY_MINUTE)
    @app.task(name="promises", queueing_lock="promises", pass_context=False)
    async def promised(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes the time it was due
        await in_thread(lambda: watch(settings, offers))

    @app.periodic(cron=_EVERY_TEN_MINUTES)
    @app.task(name="permits", queueing_lock="permits", pass_context=False)
    async def permitted(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes the time it was due
        await in_thread(lambda: keep_permits(settings, offers))

    @app.periodic(cron=_ROUNDS)
    @app.task(name="rounds", queueing_lock="rounds", pass_context=False)
    async def rounds(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes the time it was due
        await in_thread(lambda: hold_round(settings, offers))

    return app


def hold_round(settings: Settings, offers: OffersInForce) -> None:
    """Answers those who wait for shared spaces, when their round is due, and says what was reached."""
    with psycopg.connect(
        settings.database_url, autocommit=True, application_name="parking-worker-rounds"
    ) as connection:
        found = answer_waiting(connection, offers, datetime.now(UTC))
    if found is not None:
        log.info(
            "round",
            kind=found.kind,
            requests=found.requests,
            served=found.served,
            value_fen=found.value_fen,
            upper_bound_fen=found.upper_bound_fen,
            seconds=round(found.seconds, 2),
        )


def keep_permits(settings: Settings, offers: OffersInForce) -> None:
    """Ends permits whose time is over, takes and gives back their money, notes cars that stay; says what was done."""
    with psycopg.connect(
        settings.database_url, autocommit=True, application_name="parking-worker-permits"
    ) as connection:
        done = watch_permits(connection, offers, datetime.now(UTC))
    if done.anything:
        log.info("permits", **asdict(done))


def watch(settings: Settings, offers: OffersInForce) -> None:
    """Looks at promises of shared spaces, and says what was due."""
    with psycopg.connect(
        settings.database_url, autocommit=True, application_name="parking-worker-promises"
    ) as connection:
        done = watch_promises(connection, offers, datetime.now(UTC))
    for what, count in asdict(done).items():
        metrics.PROMISES.labels(what).inc(count)
    if done.anything:
        log.info("promises", **asdict(done))


def reconcile(settings: Settings) -> None:
    """Compares lanes and bills, looks for lost TACs and expired holds, closes the month before; says what was found.

    Once a night it closes older months again.
    """
    zone, now = ZoneInfo(settings.time_zone), datetime.now(UTC)
    with psycopg.connect(
        settings.database_url, autocommit=True, application_name="parking-worker-reconciliation"
    ) as connection:
        hours = reconcile_hours(connection, now - _LOOK_BACK, now, zone, now)
        bills = reconcile_bills(connection, zone)
        tacs_missing = flag_missing_tacs(connection, now, zone=zone)
        references_missing = watch_references(connection, now, zone)
        holds_expired = expire_holds(connection, now)
        closed = (
            close_month(connection, month_before(now, zone), now) if now.astimezone(zone).day >= _CLOSES_ON else None
        )
        announced = announce_again(connection, now)
        unequal = promises.audit_capacity(connection, now)
        again = close_again(connection, zone, now) if now.astimezone(zone).hour == _CLOSES_AGAIN_AT else {}
    for one in unequal:
        log.error("capacity is not what promises leave of it", **asdict(one))
    metrics.CAPACITY_UNEQUAL.set(len(unequal))
    log.info(
        "reconciliation",
        hours=hours.hours,
        hour_differences=hours.hour_differences,
        bills=bills.bills,
        bill_differences=bills.bill_differences,
        tacs_missing=tacs_missing,
        references_missing=references_missing,
        holds_expired=holds_expired,
        statements=closed.new_versions if closed else {},
        statements_again=again,
        tariffs_announced_again=announced,
    )


def drop(settings: Settings) -> None:
    """Drops old history, learns from what stays, and says what went."""
    with psycopg.connect(
        settings.database_url, autocommit=True, application_name="parking-worker-retention"
    ) as connection:
        now = datetime.now(UTC)
        dropped = drop_old_history(connection, now, settings.retention_days)
        masked = mask_old_plates(connection, now, settings.plate_retention_days)
        stripped = strip_old_messages(connection, now, settings.plate_retention_days)
        learned = learn_buffers(connection, now, ZoneInfo(settings.time_zone))
    log.info("retention", **asdict(dropped))
    log.info("old plates masked", **asdict(masked))
    log.info("old messages emptied", **asdict(stripped))
    log.info("buffers learned", **asdict(learned))


async def run(settings: Settings, stop: asyncio.Event) -> float:
    """Runs jobs until `stop` is set.

    Retention runs once at the beginning too: the queue leaves out a night's run that is 10 minutes overdue, and a
    machine that is off every night would never drop anything.
    """
    app = build(settings)
    async with app.open_async():
        with contextlib.suppress(AlreadyEnqueued):
            await app.tasks["retention"].defer_async(timestamp=int(time.time()))
        queue = asyncio.create_task(
            app.run_worker_async(
                install_signal_handlers=False,
                concurrency=_AT_ONCE,
                delete_jobs="successful",
                shutdown_graceful_timeout=_GRACE_S,
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({queue, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if queue.done():
                queue.result()
        finally:
            stopping.cancel()
            queue.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await queue
    return 0.0
