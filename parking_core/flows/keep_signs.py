"""Signs show how many spaces of their lot are free: told when it changes, again when it did not arrive, and now and then.

    live state, lane counts ─► free of each sign's lot ─► other than it was told last? ─► show_sign, the newest supersedes

A lot of which nothing is known has no count: a sign must not go on showing the one of an hour ago.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.commands import UNFINISHED, CommandKind, CommandOrder, CommandState
from parking_core.store import commands, signs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

    from parking_core.store.signs import Sign

_AGAIN: Final = timedelta(minutes=10)  # one that was switched off meanwhile shows nothing
_FAILED_AGAIN: Final = timedelta(minutes=1)
_KEPT: Final = timedelta(days=1)  # of what nobody ordered


def keep_signs(connection: Connection[Any], known: Mapping[int, tuple[int, int]], now: datetime) -> int:
    """Tells the signs whose count is another one; gives how many.

    Args:
        connection: in autocommit mode; the flow is one transaction.
        known: spaces whose state is known, and occupied ones of them, by lot id.
        now: the time.
    """
    with connection.transaction():
        orders = [order for sign in signs.load(connection, now) if (order := _order(sign, known, now)) is not None]
        if orders:
            commands.queue(connection, orders, now)
    return len(orders)


def forget_old_counts(connection: Connection[Any], now: datetime) -> int:
    """Deletes the platform's own old orders to signs; gives how many."""
    with connection.transaction():
        return signs.forget(connection, now - _KEPT)


def free_of(sign: Sign, known: Mapping[int, tuple[int, int]]) -> int | None:
    """Free spaces of a sign's lot; None: nobody knows."""
    if sign.inside is not None:
        return max(0, sign.capacity - sign.inside)
    watched, occupied = known.get(sign.lot_id, (0, 0))
    return max(0, min(watched, sign.capacity) - occupied) if watched else None


def _order(sign: Sign, known: Mapping[int, tuple[int, int]], now: datetime) -> CommandOrder | None:
    free = free_of(sign, known)
    body = {"lines": sign.lines, "counts": {} if free is None else {sign.lot: free}}
    if sign.told is not None and sign.told_at is not None:
        same = {name: sign.told.get(name) for name in body} == body
        if same and (sign.state in UNFINISHED or now - sign.told_at < _patience(sign)):
            return None
    return CommandOrder(sign.device_id, CommandKind.SHOW_SIGN, body, f"sign:{sign.device_id}:{now.isoformat()}")


def _patience(sign: Sign) -> timedelta:
    return _AGAIN if sign.state is CommandState.ACKNOWLEDGED else _FAILED_AGAIN
