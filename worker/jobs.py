"""Periodic work by the job queue, whose tables are in the schema `jobs`."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import structlog
from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import AlreadyEnqueued

from parking_core.flows.drop_old_history import drop_old_history
from worker.threads import in_thread

if TYPE_CHECKING:
    from parking_core.settings import Settings

log = structlog.get_logger()

_NIGHTLY = "17 19 * * *"  # UTC: 03:17 in China, when least happens
_GRACE_S = 30.0  # a running job may finish within this when the worker stops


def build(settings: Settings) -> App:
    """The job queue with all periodic tasks; it must be opened before use."""
    connector = PsycopgConnector(
        conninfo=settings.database_url,
        kwargs={"options": "-c search_path=jobs,public", "application_name": "parking-worker-jobs"},
        min_size=1,
        max_size=2,
    )
    app = App(connector=connector)

    @app.periodic(cron=_NIGHTLY)
    @app.task(name="retention", queueing_lock="retention", pass_context=False)
    async def retention(timestamp: int) -> None:  # noqa: ARG001  # procrastinate passes the time it was due
        await in_thread(lambda: drop(settings))

    return app


def drop(settings: Settings) -> None:
    """Drops old history and says what went."""
    with psycopg.connect(
        settings.database_url, autocommit=True, application_name="parking-worker-retention"
    ) as connection:
        dropped = drop_old_history(connection, datetime.now(UTC), settings.retention_days)
    log.info("retention", **asdict(dropped))


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
