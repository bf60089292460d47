"""Counts who is inside by the lanes, so that lots without bay sensors have availability and the others a drift."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.store import lane_counts

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from psycopg import Connection

RENEW: Final = timedelta(seconds=30)  # an unchanged count is dated anew so often


def count_lanes(connection: Connection[Any], sensors: Mapping[int, int], now: datetime) -> int:
    """Counts every lot with lanes in one transaction; gives how many counts moved or were dated anew.

    Args:
        connection: of the worker.
        sensors: occupied spaces by lot as live state knows them; lots of which it knows nothing are left out.
        now: the counts' date; it may be behind what was counted, never ahead.
    """
    with connection.transaction():
        return lane_counts.count(connection, sensors, now, RENEW)
