"""Reservations and their events as rows. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.errors import NotFoundError
from parking_core.reservations import Event, EventKind, Lateness, Reservation, ReservationState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.reservations import Ask, Standing

COLUMNS = """id, code, user_id, plate, user_group, lat, lon, walk_m, arrive_at, depart_at, until_at, lot_id, class_id, state,
lateness, price_fen, fee_fen, value_fen, hold_key, visit_id, moved_to, asked_at, arrived_at, left_at, request_digest"""

# A request that is refused or waits, with its history and what forecasts and planners read of it, of nobody.
_ADD = """
WITH request AS (
    INSERT INTO reservations (code, user_id, idempotency_key, request_digest, plate, user_group, lat, lon, walk_m, arrive_at,
        depart_at, until_at, state, asked_at, ended_at)
    VALUES (%(code)s, %(user_id)s, %(key)s, %(digest)s, %(plate)s, %(group)s, %(lat)s, %(lon)s, %(walk_m)s, %(arrive_at)s,
        %(depart_at)s, %(until_at)s, %(state)s, %(now)s, CASE WHEN %(refused)s THEN %(now)s::timestamptz END)
    RETURNING id
), history AS (
    INSERT INTO reservation_events (reservation_id, kind, at, by, detail)
    SELECT r.id, e.kind, %(now)s, e.by, e.detail
    FROM request r, unnest(%(kinds)s::text[], %(bys)s::text[], %(details)s::jsonb[])
        WITH ORDINALITY AS e (kind, by, detail, n) ORDER BY e.n
), asked AS (
    INSERT INTO asked_demand (asked_at, arrive_at, depart_at, lat, lon, walk_m, user_group, granted)
    SELECT %(now)s, %(arrive_at)s, %(depart_at)s, %(lat)s, %(lon)s, %(walk_m)s, %(group)s, false WHERE %(is_demand)s
), refused AS (
    INSERT INTO refused_demand (asked_at, arrive_at, depart_at, lat, lon, user_group, reason, alternatives)
    SELECT %(now)s, %(arrive_at)s, %(depart_at)s, %(lat)s, %(lon)s, %(group)s, %(reason)s, %(alternatives)s WHERE %(refused)s
)
SELECT id FROM request
"""

_OF_CODE = f"SELECT {COLUMNS} FROM reservations WHERE code = %s"  # noqa: S608  # the columns are the constant above
OF_KEY = f"SELECT {COLUMNS} FROM reservations WHERE user_id = %s AND idempotency_key = %s"  # noqa: S608  # the columns are a constant
_LOCK = f"SELECT {COLUMNS} FROM reservations WHERE id = %s FOR UPDATE"  # noqa: S608  # the columns are a constant

_CODE = "SELECT code FROM reservations WHERE id = %s"

_STAND = """
UPDATE reservations SET state = %(state)s, lateness = %(lateness)s, class_id = %(class_id)s, fee_fen = %(fee_fen)s,
    moved_to = (SELECT id FROM reservations WHERE code = %(moved_to)s), visit_id = coalesce(%(visit_id)s, visit_id),
    arrived_at = coalesce(%(arrived_at)s, arrived_at), left_at = coalesce(%(left_at)s, left_at),
    ended_at = coalesce(ended_at, %(ended_at)s)
WHERE id = %(id)s
"""

_ADD_EVENTS = """
INSERT INTO reservation_events (reservation_id, kind, at, by, detail)
SELECT %s, kind, at, by, detail FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::jsonb[])
    WITH ORDINALITY AS e (kind, at, by, detail, n) ORDER BY n
"""

_EVENTS = "SELECT kind, at, by, detail FROM reservation_events WHERE reservation_id = %s ORDER BY id"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewReservation:
    """What a row begins with."""

    code: str
    user_id: int
    key: str
    digest: bytes
    ask: Ask
    state: ReservationState
    until_at: datetime
    walk_m: int
    lot_id: int | None = None
    class_id: int | None = None
    price_fen: int = 0
    value_fen: int = 0
    hold_key: str | None = None


@dataclass(frozen=True, slots=True)
class PersonNow:
    """What of a person limits his next request."""

    active: int
    no_shows: int
    overlaps: bool  # his car is promised a space for some of the time already


def add(
    connection: Connection[Any],
    new: NewReservation,
    events: Sequence[Event],
    now: datetime,
    *,
    refusal: tuple[str, int] | None = None,
    is_demand: bool,
) -> Reservation:
    """Adds a request that is refused, for a reason and with so many alternatives, or waits.

    `is_demand`: somebody asked who was not counted before.
    """
    reason, alternatives = refusal or (None, None)
    values = {
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
        "state": new.state.value,
        "now": now,
        "kinds": [event.kind.value for event in events],
        "bys": [event.by for event in events],
        "details": [Jsonb(dict(event.detail)) for event in events],
        "refused": refusal is not None,
        "reason": reason,
        "alternatives": alternatives,
        "is_demand": is_demand,
    }
    row = connection.execute(_ADD, values).fetchone()
    if row is None:
        raise AssertionError("What is inserted is returned.")
    return stored(int(row[0]), new, now)


def find(connection: Connection[Any], code: str) -> Reservation | None:
    """The reservation of a code."""
    row = connection.execute(_OF_CODE, (code,)).fetchone()
    return None if row is None else reservation_of(row)


def of_key(connection: Connection[Any], user_id: int, key: str) -> Reservation | None:
    """What a person asked for under an idempotency key."""
    row = connection.execute(OF_KEY, (user_id, key)).fetchone()
    return None if row is None else reservation_of(row)


def code_of(connection: Connection[Any], reservation_id: int) -> str | None:
    """The code that a reservation is known by outside."""
    row = connection.execute(_CODE, (reservation_id,)).fetchone()
    return None if row is None else str(row[0])


def lock(connection: Connection[Any], reservation_id: int) -> Reservation:
    """A reservation, locked until the caller's transaction ends.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = connection.execute(_LOCK, (reservation_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no reservation with the id {reservation_id}.")
    return reservation_of(row)


def stand(
    connection: Connection[Any],
    reservation_id: int,
    standing: Standing,
    *,
    visit_id: int | None = None,
    arrived_at: datetime | None = None,
    left_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> None:
    """Stores where a locked reservation stands after its newest event."""
    values = {
        "id": reservation_id,
        "state": standing.state.value,
        "lateness": standing.lateness.value,
        "class_id": standing.class_id,
        "fee_fen": standing.fee_fen,
        "moved_to": standing.moved_to,
        "visit_id": visit_id,
        "arrived_at": arrived_at,
        "left_at": left_at,
        "ended_at": ended_at,
    }
    connection.execute(_STAND, values)


def add_events(connection: Connection[Any], reservation_id: int, events: Sequence[Event]) -> None:
    """Appends to a reservation's history."""
    connection.execute(
        _ADD_EVENTS,
        (
            reservation_id,
            [event.kind.value for event in events],
            [event.at for event in events],
            [event.by for event in events],
            [Jsonb(dict(event.detail)) for event in events],
        ),
    )


def events(connection: Connection[Any], reservation_id: int) -> list[Event]:
    """A reservation's history in order."""
    return [
        Event(EventKind(kind), at, by, detail)
        for kind, at, by, detail in connection.execute(_EVENTS, (reservation_id,))
    ]


def stored(number: int, new: NewReservation, now: datetime) -> Reservation:
    """What was written just now, without another look."""
    return Reservation(
        id=number,
        code=new.code,
        user_id=new.user_id,
        plate=new.ask.plate,
        group=new.ask.group,
        lat=new.ask.lat,
        lon=new.ask.lon,
        walk_m=new.walk_m,
        arrive_at=new.ask.arrive_at,
        depart_at=new.ask.depart_at,
        until_at=new.until_at,
        lot_id=new.lot_id,
        class_id=new.class_id,
        state=new.state,
        lateness=Lateness.NONE,
        price_fen=new.price_fen,
        fee_fen=0,
        value_fen=new.value_fen,
        hold_key=new.hold_key,
        visit_id=None,
        moved_to=None,
        asked_at=now,
        arrived_at=None,
        left_at=None,
        request_digest=new.digest,
    )


def reservation_of(row: Sequence[Any]) -> Reservation:
    """Of a row of COLUMNS."""
    (
        number,
        code,
        user_id,
        plate,
        group,
        lat,
        lon,
        walk_m,
        arrive_at,
        depart_at,
        until_at,
        lot_id,
        class_id,
        state,
        lateness,
        price_fen,
        fee_fen,
        value_fen,
        hold_key,
        visit_id,
        moved_to,
        asked_at,
        arrived_at,
        left_at,
        digest,
    ) = row
    return Reservation(
        id=number,
        code=code,
        user_id=user_id,
        plate=plate,
        group=group,
        lat=lat,
        lon=lon,
        walk_m=walk_m,
        arrive_at=arrive_at,
        depart_at=depart_at,
        until_at=until_at,
        lot_id=lot_id,
        class_id=class_id,
        state=ReservationState(state),
        lateness=Lateness(lateness),
        price_fen=price_fen,
        fee_fen=fee_fen,
        value_fen=value_fen,
        hold_key=hold_key,
        visit_id=visit_id,
        moved_to=moved_to,
        asked_at=asked_at,
        arrived_at=arrived_at,
        left_at=left_at,
        request_digest=digest,
    )
