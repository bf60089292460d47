"""Shared spaces in an API process: flows of the database in a few threads, each with a connection.

The flows are the worker's: written once, synchronous. A thread and its connection cost a request 0.1 ms.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

import psycopg
from psycopg_pool import ConnectionPool, PoolTimeout

from parking_core.allocation.choice import warm_up
from parking_core.errors import ServiceUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

    from parking_core.flows.offers_in_force import OffersInForce

_Result = TypeVar("_Result")
THREADS: Final = 8  # of which most wait for the database
_PATIENCE_S: Final = 3.0  # for a connection
_WAITING: Final = 200  # requests that may wait for a thread; more are told to come back


@dataclass(slots=True)
class SharingDesk:
    """Opened and closed with the application; without a database it offers nothing."""

    offers: OffersInForce
    database_url: str | None = None
    _pool: ConnectionPool | None = None
    _threads: ThreadPoolExecutor | None = None
    _under_way: int = field(default=0)

    def open(self) -> None:
        """Makes threads and connections; the database may be away. What is compiled is ready within a second or two."""
        if self.database_url is None:
            return
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="sharing")
        self._pool = ConnectionPool(
            self.database_url,
            min_size=2,
            max_size=THREADS,
            timeout=_PATIENCE_S,
            kwargs={
                "autocommit": True,
                "connect_timeout": 3,
                "options": "-c statement_timeout=5s -c application_name=api-sharing",
            },
            open=False,
            name="api-sharing",
        )
        self._pool.open(wait=False)
        self._threads.submit(warm_up)

    def close(self) -> None:
        """Lets what is under way finish."""
        if self._threads is not None:
            self._threads.shutdown(wait=True)
        if self._pool is not None:
            self._pool.close()

    async def __aenter__(self) -> Self:
        self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self.close)

    async def run(self, flow: Callable[[Connection[Any]], _Result]) -> _Result:
        """What `flow` gives for a connection; a transaction that the server rolled back as a deadlock is tried once more.

        Raises:
            ServiceUnavailableError: the database is away, or too many requests wait.
        """
        if self._threads is None:
            raise ServiceUnavailableError("This process has no database; shared spaces are not offered.")
        if self._under_way >= _WAITING:
            raise ServiceUnavailableError("Too many requests for shared spaces wait; ask again in a moment.")
        self._under_way += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._run, flow)
        finally:
            self._under_way -= 1

    def _run(self, flow: Callable[[Connection[Any]], _Result]) -> _Result:
        assert self._pool is not None  # noqa: S101  # opened with the threads
        try:
            with self._pool.connection() as connection:
                try:
                    return flow(connection)
                except (psycopg.errors.DeadlockDetected, psycopg.errors.SerializationFailure):
                    return flow(connection)
        except (psycopg.OperationalError, PoolTimeout) as error:
            raise ServiceUnavailableError("The database does not answer; ask again in a moment.") from error
