"""A batch becomes durable: tried again for as long as it takes, with as much caution as it needs."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import psycopg
import structlog
from psycopg import errors

from parking_core.flows.record_batch import Batch, Caution, Recorded, is_row_at_fault, record_batch

if TYPE_CHECKING:
    from gateway.metrics import Metrics

log = structlog.get_logger()

BACKOFF_FIRST_S = 0.05
BACKOFF_LAST_S = 2.0  # a restarted database is back within seconds, and nobody is served by waiting longer
# After a batch that held rows seen before, the next ones likely do too (a device or the broker repeats itself).
REPEATING_BATCHES = 32

CONNECTION_OPTIONS = {
    "application_name": "parking-gateway",
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "tcp_user_timeout": "15000",  # ms: a host that vanished is noticed, and the batch tried again
    "options": "-c statement_timeout=60000 -c synchronous_commit=on",
}


class Recorder:
    """Owns the database connection of the pipeline; nobody else uses it."""

    def __init__(self, database_url: str, metrics: Metrics) -> None:
        self._url = database_url
        self._metrics = metrics
        self._connection: psycopg.AsyncConnection[Any] | None = None
        self._cautious_batches = 0

    async def record(self, batch: Batch) -> Recorded:
        """Makes a batch durable and says what it held; returns only then."""
        started = time.perf_counter()
        caution = Caution.REPEATING if self._cautious_batches else Caution.TRUSTED
        self._cautious_batches = max(0, self._cautious_batches - 1)
        wait_s = BACKOFF_FIRST_S
        while True:
            try:
                recorded = await record_batch(await self._connected(), batch, caution)
            except psycopg.Error as error:
                if isinstance(error, errors.UniqueViolation) and caution is Caution.TRUSTED:
                    caution, self._cautious_batches = Caution.REPEATING, REPEATING_BATCHES
                    self._retry("repeated rows", error)
                    continue
                if is_row_at_fault(error) and caution is not Caution.POISONED:
                    caution = Caution.POISONED
                    self._retry("refused row", error)
                    continue
                self._retry("database", error)
                await self._give_up_connection()
                await asyncio.sleep(wait_s * random.uniform(0.5, 1.5))  # noqa: S311  # jitter, not a secret
                wait_s = min(wait_s * 2, BACKOFF_LAST_S)
                # The commit may have arrived although its answer did not: everything may be there already.
                caution = Caution.REPEATING if caution is Caution.TRUSTED else caution
                batch = replace(batch, rejections=[replace(letter, redelivered=True) for letter in batch.rejections])
            else:
                self._metrics.commit_seconds.observe(time.perf_counter() - started)
                return recorded

    async def close(self) -> None:
        """Closes the connection."""
        await self._give_up_connection()

    async def _connected(self) -> psycopg.AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True, **CONNECTION_OPTIONS)  # type: ignore[arg-type]  # psycopg takes libpq's options as text
        return self._connection

    async def _give_up_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()

    def _retry(self, cause: str, error: psycopg.Error) -> None:
        self._metrics.retries.labels(cause).inc()
        say = log.info if cause == "repeated rows" else log.warning
        say("batch is tried again", cause=cause, sqlstate=error.sqlstate, error=str(error).strip()[:300])
