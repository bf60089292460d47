"""What was asked for, granted or not, of nobody: forecasts and planners read it. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Ask, Refusal

_REFUSED = """
INSERT INTO refused_demand (asked_at, arrive_at, depart_at, lat, lon, user_group, reason, alternatives)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
"""


def refused(connection: Connection[Any], ask: Ask, reason: Refusal, alternatives: int, now: datetime) -> None:
    """Notes demand that was not served."""
    connection.execute(
        _REFUSED, (now, ask.arrive_at, ask.depart_at, ask.lat, ask.lon, ask.group, reason.value, alternatives)
    )
