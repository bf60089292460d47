"""Money that is promised before it is charged: placed, then captured, released or expired. One transaction each.

Each may be done again under the same key and changes nothing then.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parking_core.errors import InvalidInputError
from parking_core.settlement import holds as rules
from parking_core.settlement import postings
from parking_core.settlement.accounts import account_of_channel
from parking_core.settlement.holds import HoldState
from parking_core.store import charges, holds, journal

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.settlement import Hold

_BITE = 500  # promises that expire in one transaction


def place_hold(connection: Connection[Any], hold: Hold) -> Hold:
    """Keeps a promise; gives it as it stands.

    Raises:
        InvalidInputError: the channel is unknown, or the key is that of another promise.
    """
    account_of_channel(hold.channel)  # a promise that no account could take is refused now, not at its capture
    with connection.transaction():
        holds.place(connection, hold)
        stored = holds.lock(connection, hold.key)
    if (stored.amount_fen, stored.channel) != (hold.amount_fen, hold.channel):
        raise InvalidInputError(
            f"Hold {hold.key} is over {stored.amount_fen} fen by {stored.channel}; use another key for another promise."
        )
    return stored


def capture_hold(
    connection: Connection[Any], key: str, amount_fen: int, now: datetime, *, visit_id: int | None = None
) -> Hold:
    """Takes money of a promise and books it as the visit's payment; what is left of the promise is let go.

    Raises:
        NotFoundError: there is no such promise.
        InvalidInputError: it has ended or expired, is over less, or says for no visit.
    """
    with connection.transaction():
        before = holds.lock(connection, key)
        captured = rules.capture(before, amount_fen, now)
        visit = before.visit_id if before.visit_id is not None else visit_id
        if visit is None:
            raise InvalidInputError(f"Hold {key} is for no visit; say for which one it is captured.")
        lot = charges.lots_of(connection, [visit]).get(visit)
        if lot is None:
            raise InvalidInputError(f"Hold {key} is for visit {visit}, which does not exist.")
        captured = replace(captured, visit_id=visit)
        holds.end(connection, captured)
        entry = postings.hold_captured(
            key=key,
            channel=captured.channel,
            visit_id=visit,
            lot=lot,
            amount_fen=amount_fen,
            at=captured.ended_at or now,
        )
        journal.book(connection, [entry])
    return captured


def capture_promise(
    connection: Connection[Any],
    key: str,
    amount_fen: int,
    now: datetime,
    *,
    lot: str,
    owner_permille: int,
    visit_id: int | None = None,
) -> int:
    """Takes what a promise of a shared space has earned, at most what was promised, and shares it with the lot's owner.

    The key is that of the hold and of the entry: "reservation:<code>" or "permit:<code>"; `lot` is a code. An amount of
    0 lets go of all of it. Gives the fen that are taken by now: of a hold that has ended, what was taken before.

    Raises:
        NotFoundError: there is no such promise.
    """
    with connection.transaction():
        before = holds.lock(connection, key)
        if before.state is not HoldState.PLACED or rules.is_expired(before, now):
            return before.captured_fen
        taken = min(amount_fen, before.amount_fen)
        if not taken:
            holds.end(connection, rules.release(before, now))
            return 0
        holds.end(connection, replace(rules.capture(before, taken, now), visit_id=visit_id))
        entry = postings.promise_paid(
            key=key,
            channel=before.channel,
            lot=lot,
            amount_fen=taken,
            owner_permille=owner_permille,
            at=now,
            visit_id=visit_id,
        )
        journal.book(connection, [entry])
    return taken


def release_hold(connection: Connection[Any], key: str, now: datetime) -> Hold:
    """Lets go of a promise.

    Raises:
        NotFoundError: there is no such promise.
        InvalidInputError: money of it was captured.
    """
    with connection.transaction():
        released = rules.release(holds.lock(connection, key), now)
        holds.end(connection, released)
    return released


def expire_holds(connection: Connection[Any], now: datetime) -> int:
    """Ends all promises whose time has passed, bite by bite; gives how many. One duty of the worker's minute."""
    expired = 0
    while True:
        with connection.transaction():
            bite = holds.expire(connection, now, _BITE)
        expired += len(bite)
        if len(bite) < _BITE:
            return expired
