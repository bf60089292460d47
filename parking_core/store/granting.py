"""A promise with all that stands or falls with it, in one statement. Nothing here commits.

One by one the same eight statements cost the client 3 ms of a decision that may take 5.
"""

from __future__ import annotations

import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from psycopg.errors import UniqueViolation
from psycopg.types.json import Jsonb

from parking_core.commands import CommandKind
from parking_core.errors import CapacityTakenError, ConflictError
from parking_core.slots import slots_of
from parking_core.store import capacity
from parking_core.store.commands import CHANNEL

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Event
    from parking_core.settlement import Hold
    from parking_core.store.reservations import NewReservation

_NEW = """
INSERT INTO reservations (code, user_id, idempotency_key, request_digest, plate, user_group, lat, lon, walk_m, arrive_at,
    depart_at, until_at, lot_id, class_id, state, price_fen, value_fen, hold_key, asked_at, granted_at)
VALUES (%(code)s, %(user_id)s, %(key)s, %(digest)s, %(plate)s, %(group)s, %(lat)s, %(lon)s, %(walk_m)s, %(arrive_at)s,
    %(depart_at)s, %(until_at)s, %(lot_id)s, %(class_id)s, 'granted', %(price_fen)s, %(value_fen)s, %(hold_key)s, %(now)s,
    %(now)s)
RETURNING id
"""

_WAITED = """
UPDATE reservations SET lot_id = %(lot_id)s, class_id = %(class_id)s, state = 'granted', walk_m = %(walk_m)s,
    until_at = %(until_at)s, price_fen = %(price_fen)s, value_fen = %(value_fen)s, hold_key = %(hold_key)s,
    granted_at = %(now)s
WHERE code = %(code)s AND state = 'waiting' RETURNING id
"""

# What covers the visit has the promise's code; the barriers are told under its name. Days of capacity are taken in order.
_ALL: Final = """
WITH promise AS ({promise}),
history AS (
    INSERT INTO reservation_events (reservation_id, kind, at, by, detail)
    SELECT p.id, e.kind, %(now)s, %(by)s, e.detail
    FROM promise p, unnest(%(kinds)s::text[], %(details)s::jsonb[]) WITH ORDINALITY AS e (kind, detail, n) ORDER BY e.n
), money AS (
    INSERT INTO holds (key, channel, amount_fen, state, placed_at, expires_at)
    SELECT %(hold_key)s, %(channel)s, %(amount_fen)s, 'placed', %(now)s, %(expires_at)s
    WHERE %(hold_key)s::text IS NOT NULL
), covering AS (
    INSERT INTO permits (code, lot_id, kind, valid_from, valid_until, slots)
    VALUES (%(code)s, %(lot_id)s, 'reservation', %(covers_from)s, %(covers_until)s, 1) RETURNING id
), covered AS (
    INSERT INTO permit_plates (permit_id, plate) SELECT id, %(plate)s FROM covering
), told AS (
    INSERT INTO commands (id, device_id, kind, payload, cause, state, created_at, deadline_at, next_try_at)
    SELECT b.id, b.device_id, %(command)s, %(payload)s, %(cause)s, 'queued', %(now)s, %(depart_at)s, %(now)s
    FROM unnest(%(command_ids)s::uuid[], %(barriers)s::integer[]) AS b (id, device_id)
), noticed AS (
    INSERT INTO user_notices (user_id, kind, at, detail) VALUES (%(user_id)s, 'reservation_granted', %(now)s, %(notice)s)
), asked AS (
    INSERT INTO asked_demand (asked_at, arrive_at, depart_at, lat, lon, walk_m, user_group, granted)
    SELECT %(now)s, %(arrive_at)s, %(depart_at)s, %(lat)s, %(lon)s, %(asked_walk_m)s, %(group)s, true WHERE %(is_demand)s
), taken AS (
    UPDATE capacity_days c SET free = shift_slots(c.free, t.first, t.until, -1)
    FROM unnest(%(days)s::date[], %(firsts)s::integer[], %(untils)s::integer[]) AS t (day, first, until)
    WHERE c.class_id = %(class_id)s AND c.day = t.day RETURNING 1
)
SELECT p.id, (SELECT count(*) FROM taken), pg_notify(%(channel_of_commands)s, '') FROM promise p
"""
_GRANT: Final = _ALL.format(promise=_NEW)
_GRANT_WAITED: Final = _ALL.format(promise=_WAITED)


@contextmanager
def key_used_once() -> Iterator[None]:
    """Around statements that use a person's idempotency key.

    Raises:
        ConflictError: the key was used before; the transaction is void.
    """
    try:
        yield
    except UniqueViolation as error:
        if error.diag.constraint_name != "reservations_user_id_idempotency_key_key":
            raise
        raise ConflictError("This idempotency key was used for another request; use a new one.") from error


def grant(
    connection: Connection[Any],
    new: NewReservation,
    events: Sequence[Event],
    hold: Hold | None,
    *,
    covers: tuple[datetime, datetime],
    barriers: Sequence[int],
    notice: Mapping[str, Any],
    waited: bool,
    is_demand: bool,
) -> int:
    """Writes a promise and gives the id of its reservation.

    `events` are of one moment and by one; the vehicle's visit is covered from and until `covers`, and each device of
    `barriers` is told to let it in. `waited`: the reservation is there and waits. `is_demand`: somebody asked for it, who
    was not counted before.

    Raises:
        CapacityTakenError: the class has no space in some slot, or does not offer it; the transaction is void.
        ConflictError: the key was used before, or the reservation does not wait any more; the same.
    """
    parts = sorted(slots_of(new.ask.arrive_at, new.until_at))
    values = _columns(new) | {
        "now": events[-1].at,
        "by": events[-1].by,
        "kinds": [event.kind.value for event in events],
        "details": [Jsonb(dict(event.detail)) for event in events],
        "channel": hold.channel if hold else None,
        "amount_fen": hold.amount_fen if hold else None,
        "expires_at": hold.expires_at if hold else None,
        "covers_from": covers[0],
        "covers_until": covers[1],
        "command": CommandKind.EXPECT_VEHICLE.value,
        "payload": Jsonb(
            {
                "plate": new.ask.plate,
                "from": covers[0].isoformat(),
                "until": new.ask.depart_at.isoformat(),
                "reservation": new.code,
            }
        ),
        "cause": f"reservation:{new.code}",
        "command_ids": [uuid.uuid4() for _ in barriers],
        "barriers": list(barriers),
        "notice": Jsonb(dict(notice)),
        "asked_walk_m": new.ask.walk_m,
        "is_demand": is_demand,
        "days": [part.day for part in parts],
        "firsts": [part.first for part in parts],
        "untils": [part.until for part in parts],
        "channel_of_commands": CHANNEL,
    }
    with capacity.taken(), key_used_once():
        row = connection.execute(_GRANT_WAITED if waited else _GRANT, values).fetchone()
    if row is None:
        raise ConflictError(f"Reservation {new.code} does not wait any more.")
    if row[1] < len(parts):
        raise CapacityTakenError("The capacity of that day is not offered.")
    return int(row[0])


def _columns(new: NewReservation) -> dict[str, Any]:
    return {
        "code": new.code,
        "user_id": new.user_id,
        "key": new.key,
        "digest": new.digest,
        "plate": new.ask.plate,
        "group": new.ask.group,
        "lat": new.ask.lat,
        "lon": new.ask.lon,
        "walk_m": new.walk_m,
        "arrive_at": new.ask.arrive_at,
        "depart_at": new.ask.depart_at,
        "until_at": new.until_at,
        "lot_id": new.lot_id,
        "class_id": new.class_id,
        "price_fen": new.price_fen,
        "value_fen": new.value_fen,
        "hold_key": new.hold_key,
    }
