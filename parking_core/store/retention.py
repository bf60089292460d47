"""What is dropped when it is old. Chunks belong to the owner of the schema: functions there do it, with least ages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from datetime import datetime, timedelta

    from psycopg import Connection

_DROP_CHUNKS = "SELECT drop_old_chunks(%s, %s)"
_COMPRESS = "SELECT compress_history(%s)"
_DROP_STAYS = "DELETE FROM space_stays WHERE left_at < %s"
_DROP_DEPARTURES = "DELETE FROM departures WHERE left_at < %s"
_DROP_LET_DOWNS = "DELETE FROM let_downs WHERE at < %s"
_DROP_LEDGER = "DELETE FROM clock_ledger WHERE received_at < %s"


def drop_chunks(
    connection: Connection,
    relation: Literal["occupancy_events", "lot_rollups_5m", "lot_closings"],
    keep: timedelta,
) -> int:
    """Drops the chunks that are wholly older; gives their number.

    Raises:
        psycopg.errors.RaiseException: `keep` is less than the least age, 7 days (closings: 1 day).
    """
    row = connection.execute(_DROP_CHUNKS, (relation, keep)).fetchone()
    return int(row[0]) if row else 0


def drop_ledger(connection: Connection, before: datetime) -> int:
    """Deletes the entries of `clock_ledger` that were received before; gives their number."""
    return connection.execute(_DROP_LEDGER, (before,)).rowcount


def drop_stays(connection: Connection, before: datetime) -> int:
    """Deletes where cars stood that had left before; gives their number."""
    return connection.execute(_DROP_STAYS, (before,)).rowcount


def drop_lessons(connection: Connection, before: datetime) -> int:
    """Deletes departures, and promises that were broken, before then; gives their number. Days' figures stay."""
    gone = connection.execute(_DROP_DEPARTURES, (before,)).rowcount
    return gone + connection.execute(_DROP_LET_DOWNS, (before,)).rowcount


def compress(connection: Connection, older_than: timedelta) -> str:
    """Switches compression of history on where the edition has it; gives what is the case."""
    row = connection.execute(_COMPRESS, (older_than,)).fetchone()
    return str(row[0]) if row else ""
