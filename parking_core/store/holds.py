"""Holds as rows: promised once by key, ended once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError
from parking_core.settlement.holds import Hold, HoldState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

_PLACE = """
INSERT INTO holds (key, visit_id, channel, amount_fen, state, placed_at, expires_at)
VALUES (%s, %s, %s, %s, 'placed', %s, %s) ON CONFLICT (key) DO NOTHING
"""

_COLUMNS = "key, visit_id, channel, amount_fen, captured_fen, state, placed_at, expires_at, ended_at"

_LOCK = f"SELECT {_COLUMNS} FROM holds WHERE key = %s FOR UPDATE"  # noqa: S608  # the columns are the constant above

_END = (
    "UPDATE holds SET state = %s, captured_fen = %s, ended_at = %s, visit_id = %s WHERE key = %s AND state = 'placed'"
)

_EXPIRE = f"""
WITH due AS (
    SELECT id FROM holds WHERE state = 'placed' AND expires_at <= %(now)s
    ORDER BY expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
)
UPDATE holds SET state = 'expired', ended_at = %(now)s FROM due WHERE holds.id = due.id
RETURNING {_COLUMNS.replace("key", "holds.key", 1)}
"""  # noqa: S608  # the columns are the constant above

_PROMISED = """
SELECT visit_id, sum(amount_fen)::bigint FROM holds
WHERE visit_id = ANY(%s) AND state = 'placed' AND expires_at > %s GROUP BY visit_id
"""


def place(connection: Connection[Any], hold: Hold) -> None:
    """Stores a promise; one whose key is known stays as it is."""
    connection.execute(
        _PLACE, (hold.key, hold.visit_id, hold.channel, hold.amount_fen, hold.placed_at, hold.expires_at)
    )


def lock(connection: Connection[Any], key: str) -> Hold:
    """The hold of a key, locked until the caller's transaction ends.

    Raises:
        NotFoundError: nothing was promised under this key.
    """
    row = connection.execute(_LOCK, (key,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no hold {key!r}; place it before it is captured or released.")
    return _hold(row)


def end(connection: Connection[Any], hold: Hold) -> None:
    """Stores how a hold that the caller has locked ended."""
    connection.execute(_END, (hold.state.value, hold.captured_fen, hold.ended_at, hold.visit_id, hold.key))


def expire(connection: Connection[Any], now: datetime, limit: int) -> list[Hold]:
    """Ends promises whose time has passed, the oldest first; those that somebody captures at the moment are left out."""
    return [_hold(row) for row in connection.execute(_EXPIRE, {"now": now, "limit": limit}).fetchall()]


def promised(connection: Connection[Any], visit_ids: Sequence[int], now: datetime) -> dict[int, int]:
    """Fen that are promised for visits at a moment; visits without a promise are left out."""
    return dict(connection.execute(_PROMISED, (list(visit_ids), now)).fetchall())


def _hold(row: tuple[Any, ...]) -> Hold:
    key, visit_id, channel, amount, captured, state, placed, expires, ended = row
    return Hold(
        key=key,
        visit_id=visit_id,
        channel=channel,
        amount_fen=amount,
        captured_fen=captured,
        state=HoldState(state),
        placed_at=placed,
        expires_at=expires,
        ended_at=ended,
    )
