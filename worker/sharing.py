"""Shared spaces that owners offer or take back: capacity rolled ahead, suspensions resolved.

sharing    on notify "sharing" or 2 s ─► a new day, or something that is offered has changed ─► capacity_days ahead
                                      ─► promises that meet a suspension ─► moved or refunded, one transaction each

A new day is a UTC day: at 08:00 in China the horizon moves by one.
"""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Final

import structlog

from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.resolve_suspensions import resolve_suspensions
from parking_core.flows.roll_capacity import roll_capacity
from parking_core.slots import day_of
from parking_core.store import agreements, sharing
from worker import metrics
from worker.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.sharing import AllocationPolicy

log = structlog.get_logger()

_WAIT_S: Final = 2.0  # what was announced while nobody listened is done within this; so long a stop may wait


class Sharing:
    """State of the loop: its connection, which listens, and what was rolled last."""

    def __init__(
        self,
        connection: Connection,
        zone: ZoneInfo,
        channel: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._offers = OffersInForce(zone, channel)
        self._clock = clock
        self._listens = False
        self._rolled: tuple[date, int, AllocationPolicy] | None = None
        self._unannounced: tuple[int, ...] = ()

    async def step(self) -> float:
        """What is due, then a wait for news; gives the seconds until the next pass."""
        await in_thread(self._pass)
        return 0.0

    def _pass(self) -> None:
        if not self._listens:
            agreements.listen(self._connection)
            self._listens = True
        now = self._clock()
        self._roll(now)
        resolved = resolve_suspensions(self._connection, self._offers, now)
        if resolved.moved or resolved.refunded or resolved.failed:
            log.info(
                "suspensions", moved=resolved.moved, refunded=resolved.refunded, left_for_next_pass=resolved.failed
            )
        metrics.SUSPENDED_PROMISES.labels("moved").inc(resolved.moved)
        metrics.SUSPENDED_PROMISES.labels("refunded").inc(resolved.refunded)
        if not resolved.more:
            agreements.wait(self._connection, _WAIT_S)

    def _roll(self, now: datetime) -> None:
        version = sharing.version(self._connection)
        offer = self._offers.of(self._connection, now)
        due = (day_of(now), version, offer.policy)
        if due == self._rolled:
            return
        rolled = roll_capacity(self._connection, offer, now)
        self._rolled = due
        log.info(
            "capacity rolled",
            classes=rolled.classes,
            days_written=rolled.days_written,
            days_dropped=rolled.days_dropped,
        )
        if rolled.unannounced != self._unannounced:
            self._unannounced = rolled.unannounced
            log.warning(
                "holidays are not announced: plain weekdays and weekends are offered", years=list(rolled.unannounced)
            )
