"""Drops what is older than its time, and compresses what stays where the edition of TimescaleDB can.

Each drop is a transaction of its own: dropping chunks takes locks, and one that fails leaves the others done.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from parking_core.store import demand, frames, retention, silences

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

FIVE_MINUTES_KEPT = timedelta(days=400)  # a year and a month: the same weeks of two years can be compared
CLOSINGS_KEPT = timedelta(days=2)  # states between buckets, a cache for late events
LEDGER_KEPT = timedelta(days=30)  # a device with a wrong clock that redelivers later than this counts twice
FRAMES_KEPT = timedelta(days=30)  # listed one by one; older ones stay counted by their session's mark
LEAST_KEPT = timedelta(days=7)  # late events and rollups need this much
STAYS_KEPT = timedelta(days=30)  # in which space: for complaints
LESSONS_KEPT = timedelta(days=200)  # buffers are learned from half a year
DEMAND_KEPT = timedelta(days=180)  # half a year for planners; prices look back 120 days
COMPRESSED_AFTER = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Dropped:
    """Numbers of chunks and rows, and what the edition says about compression."""

    event_chunks: int
    rollup_chunks: int
    closing_chunks: int
    ledger_rows: int
    silences: int
    compression: str
    stays: int = 0  # of guests in spaces
    lessons: int = 0  # of promises
    demand_rows: int = 0  # of shared spaces, asked and refused
    frames: int = 0  # of network servers


def drop_old_history(connection: Connection, now: datetime, retention_days: int) -> Dropped:
    """Drops by age; events and silences are kept `retention_days`, and 7 days at least."""
    events_kept = max(timedelta(days=retention_days), LEAST_KEPT)
    with connection.transaction():
        event_chunks = retention.drop_chunks(connection, "occupancy_events", events_kept)
    with connection.transaction():
        rollup_chunks = retention.drop_chunks(connection, "lot_rollups_5m", FIVE_MINUTES_KEPT)
    with connection.transaction():
        closing_chunks = retention.drop_chunks(connection, "lot_closings", CLOSINGS_KEPT)
    with connection.transaction():
        ledger_rows = retention.drop_ledger(connection, now - LEDGER_KEPT)
        ended_silences = silences.drop_silences(connection, now - events_kept)
    with connection.transaction():
        stays = retention.drop_stays(connection, now - STAYS_KEPT)
        lessons = retention.drop_lessons(connection, now - LESSONS_KEPT)
    with connection.transaction():
        demand_rows = demand.drop_before(connection, now - DEMAND_KEPT)
    with connection.transaction():
        forgotten_frames = frames.forget(connection, now - FRAMES_KEPT)
    with connection.transaction():
        compression = retention.compress(connection, COMPRESSED_AFTER)
    return Dropped(
        event_chunks,
        rollup_chunks,
        closing_chunks,
        ledger_rows,
        ended_silences,
        compression,
        stays,
        lessons,
        demand_rows,
        forgotten_frames,
    )
