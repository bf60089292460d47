"""The worker's turn at the money, its call to work, and how far it is behind. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

_LISTEN = "LISTEN lane_events"

# Whoever reads what a visit owes and then says something of it waits for the others who do: lanes, payments, people.
_TAKE_TURN = "SELECT pg_advisory_xact_lock(7201010)"

_BACKLOG = """
SELECT count(*), min(recorded_at)
FROM (SELECT recorded_at FROM lane_events WHERE processed_at IS NULL ORDER BY id LIMIT %(most)s) AS waiting
"""


def listen(connection: Connection[Any]) -> None:
    """Asks to be woken when a gateway has entered lane records."""
    connection.execute(_LISTEN)


def wait(connection: Connection[Any], seconds: float) -> None:
    """Waits for a call, at most so long; calls that came meanwhile count."""
    for _ in connection.notifies(timeout=seconds, stop_after=1):
        pass


def take_turn(connection: Connection[Any]) -> None:
    """Waits until no other transaction is about to say what visits owe; held until the caller's transaction ends."""
    connection.execute(_TAKE_TURN)


def backlog(connection: Connection[Any], most: int) -> tuple[int, datetime | None]:
    """How many records wait, counted up to `most`, and since when the oldest does."""
    row = connection.execute(_BACKLOG, {"most": most}).fetchone()
    return (0, None) if row is None else (int(row[0]), row[1])
