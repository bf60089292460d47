"""Prices of shared capacity, solved while people book.

prices     every 2 s     what has changed since the last pass? ─► the nearest day that is due ─► capacity_prices, bonuses

One day a pass, so that a stop waits for half a second at most. The descent runs without the interpreter's lock, beside
the other loops; what holds it is the reading of a past day, once a day.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import structlog

from parking_core.flows.offers_in_force import OffersInForce
from parking_core.flows.price_capacity import PriceRuns
from worker.threads import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable
    from zoneinfo import ZoneInfo

    from psycopg import Connection

log = structlog.get_logger()

_PASS_S: Final = 2.0  # bookings of so long are looked at together
_MORE_S: Final = 0.1  # further days are due; the others want their turn too


class Prices:
    """State of the loop: its connection, and forecasts with the prices that were solved before."""

    def __init__(
        self,
        connection: Connection,
        zone: ZoneInfo,
        channel: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._connection = connection
        self._runs = PriceRuns(OffersInForce(zone, channel))
        self._clock = clock

    async def step(self) -> float:
        """Prices a day that is due; gives the seconds until the next pass."""
        run = await in_thread(lambda: self._runs.step(self._connection, self._clock()))
        if run is None:
            return _PASS_S
        if run.past:
            log.debug("priced", day=str(run.day), past_days=len(run.past), asked=run.asked, volume=round(run.volume, 2))
        return _MORE_S
