"""Permits of shared lots, their history and their months as rows. Nothing here commits.

Locks: `take_turns` of classes first, then permits by id, capacity last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.errors import NotFoundError
from parking_core.reservations import PermitState
from parking_core.share_permits import SharedPermit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.share_permits import PermitAsk

_COLUMNS = """s.id, s.code, s.user_id, s.class_id, s.lot_id, s.plate, s.user_group, s.state, s.valid_from, s.valid_until,
s.months, s.first_day, s.price_fen, s.asked_at, s.decided_at, s.withdrawn_at, s.ended_at, s.request_digest"""

_ANY_ID = 2**62  # above all ids

# Whoever changes how many permits a class has waits here for others that do; in the order of ids.
_TAKE_TURNS = """
SELECT pg_advisory_xact_lock(hashtextextended('permits of a class', id)) FROM (SELECT unnest(%s::integer[]) AS id ORDER BY 1) c
"""

# Two applications of one person wait for each other here, so that none overlooks the other.
_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('permits of a person', %s))"

_ADD = """
INSERT INTO shared_permits (code, user_id, idempotency_key, request_digest, class_id, lot_id, plate, user_group, state,
    valid_from, valid_until, months, first_day, price_fen, asked_at)
VALUES (%(code)s, %(user_id)s, %(key)s, %(digest)s, %(class_id)s, %(lot_id)s, %(plate)s, %(group)s, %(state)s,
    %(valid_from)s, %(valid_until)s, %(months)s, %(first_day)s, %(price_fen)s, %(now)s)
RETURNING id
"""

_FIND = f"SELECT {_COLUMNS} FROM shared_permits s WHERE s.code = %s"  # noqa: S608  # the columns are the constant above
_OF_KEY = f"SELECT {_COLUMNS} FROM shared_permits s WHERE s.user_id = %s AND s.idempotency_key = %s"  # noqa: S608  # the columns are the constant above
_LOCK = f"SELECT {_COLUMNS} FROM shared_permits s WHERE s.id = %s FOR UPDATE"  # noqa: S608  # the columns are the constant above
_LOCK_OF_PERSON = f"SELECT {_COLUMNS} FROM shared_permits s WHERE s.user_id = %s AND s.code = %s FOR UPDATE"  # noqa: S608  # the columns are the constant above
_OF_ID = f"SELECT {_COLUMNS} FROM shared_permits s WHERE s.id = %s"  # noqa: S608  # the columns are the constant above
_IDS_OF_CLASSES = "SELECT id FROM shared_permits WHERE class_id = ANY(%s) AND state = ANY(%s) ORDER BY id"
_LOCK_OF_CLASSES = f"""
SELECT {_COLUMNS} FROM shared_permits s WHERE s.class_id = ANY(%s) AND s.state = ANY(%s) ORDER BY s.id FOR UPDATE
"""  # noqa: S608  # the columns are the constant above
_OF_PERSON = f"SELECT {_COLUMNS} FROM shared_permits s WHERE s.user_id = %s AND s.id < %s ORDER BY s.id DESC LIMIT %s"  # noqa: S608  # the columns are the constant above
_OF_OPERATOR = f"""
SELECT {_COLUMNS} FROM shared_permits s JOIN lots l ON l.id = s.lot_id
WHERE l.operator_id = %(operator)s AND s.id < %(before)s AND (%(state)s::text IS NULL OR s.state = %(state)s)
ORDER BY s.id DESC LIMIT %(most)s
"""  # noqa: S608  # the columns are the constant above

# Time that permits hold, or are applied for, of a class.
_SPANS = """
SELECT greatest(valid_from, %(since)s), least(valid_until, %(until)s) FROM shared_permits
WHERE class_id = %(class_id)s AND state IN ('applied', 'active') AND valid_from < %(until)s AND valid_until > %(since)s
  AND id <> %(but)s
"""

_PLATE_TAKEN = """
SELECT EXISTS (SELECT FROM shared_permits WHERE plate = %s AND state IN ('applied', 'active')
               AND valid_from < %s AND valid_until > %s)
"""

_STAND = """
UPDATE shared_permits SET state = %(state)s, valid_until = %(valid_until)s, valid_from = %(valid_from)s,
    decided_at = coalesce(decided_at, %(decided_at)s), withdrawn_at = coalesce(withdrawn_at, %(withdrawn_at)s),
    ended_at = coalesce(ended_at, %(ended_at)s)
WHERE id = %(id)s
"""

_ADD_EVENT = "INSERT INTO permit_events (shared_permit_id, kind, at, by, detail) VALUES (%s, %s, %s, %s, %s)"
_EVENTS = "SELECT kind, at, by, detail FROM permit_events WHERE shared_permit_id = %s ORDER BY id"
_LAST_EVENTS = """
SELECT DISTINCT ON (shared_permit_id) shared_permit_id, kind, at, by, detail FROM permit_events
WHERE shared_permit_id = ANY(%s) ORDER BY shared_permit_id, id DESC
"""

_COVER = """
WITH added AS (
    INSERT INTO permits (code, lot_id, kind, valid_from, valid_until, slots, windows)
    VALUES (%(code)s, %(lot_id)s, 'shared', %(valid_from)s, %(valid_until)s, 1, %(windows)s) RETURNING id
)
INSERT INTO permit_plates (permit_id, plate) SELECT id, %(plate)s FROM added
"""

# What begins and ends by itself: permits whose time is over, applications that nobody decided.
_DUE = """
SELECT id FROM shared_permits WHERE (state = 'active' AND valid_until <= %(now)s) OR (state = 'applied' AND valid_from <= %(now)s)
ORDER BY id LIMIT %(most)s
"""

_AGREEMENT = """
SELECT a.terms, c.windows, l.lat, l.lon, l.code, c.code, l.operator_id FROM space_classes c
JOIN sharing_agreements a ON a.id = c.agreement_id JOIN lots l ON l.id = c.lot_id WHERE c.id = %s
"""
_NAMES = """
SELECT c.id, l.code, c.code, l.operator_id FROM space_classes c JOIN lots l ON l.id = c.lot_id WHERE c.id = ANY(%s)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewPermit:
    """What a row begins with; `price_fen` is for a month."""

    code: str
    user_id: int
    key: str
    ask: PermitAsk
    valid_from: datetime
    valid_until: datetime
    state: PermitState = PermitState.APPLIED
    class_id: int | None = None
    lot_id: int | None = None
    price_fen: int = 0


@dataclass(frozen=True, slots=True)
class PermitEvent:
    """One thing that happened to a permit."""

    kind: str
    at: datetime
    by: str
    detail: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ClassNames:
    """What people call a class by, and whose it is."""

    lot: str
    code: str
    operator_id: int | None


@dataclass(frozen=True, slots=True)
class AgreementOfClass:
    """What a permit of a class hangs on, in force or not: documents of terms and windows; where its lot is."""

    terms: Mapping[str, Any]
    windows: Any
    lat: float
    lon: float
    names: ClassNames


def take_turn(connection: Connection[Any], user_id: int) -> None:
    """Makes further applications of the person wait until the caller's transaction ends."""
    connection.execute(_TAKE_TURN, (user_id,))


def take_turns(connection: Connection[Any], class_ids: Sequence[int]) -> None:
    """Makes others that add to the permits of these classes wait until the caller's transaction ends."""
    connection.execute(_TAKE_TURNS, (sorted(set(class_ids)),))


def add(connection: Connection[Any], new: NewPermit, now: datetime) -> int:
    """Adds an application; the caller has looked that the person's key is new, and holds his turn."""
    ask = new.ask
    values = {
        "code": new.code,
        "user_id": new.user_id,
        "key": new.key,
        "digest": ask.digest(),
        "class_id": new.class_id,
        "lot_id": new.lot_id,
        "plate": ask.plate,
        "group": ask.group,
        "state": new.state.value,
        "valid_from": new.valid_from,
        "valid_until": new.valid_until,
        "months": ask.months,
        "first_day": ask.first_day,
        "price_fen": new.price_fen,
        "now": now,
    }
    row = connection.execute(_ADD, values).fetchone()
    if row is None:
        raise AssertionError("INSERT ... RETURNING gives a row.")
    return int(row[0])


def find(connection: Connection[Any], code: str) -> SharedPermit | None:
    """The permit of a code."""
    row = connection.execute(_FIND, (code,)).fetchone()
    return None if row is None else _permit(row)


def of_key(connection: Connection[Any], user_id: int, key: str) -> SharedPermit | None:
    """What a person applied for under an idempotency key."""
    row = connection.execute(_OF_KEY, (user_id, key)).fetchone()
    return None if row is None else _permit(row)


def lock(connection: Connection[Any], permit_id: int) -> SharedPermit:
    """A permit, locked until the caller's transaction ends.

    Raises:
        NotFoundError: there is none of this id.
    """
    row = connection.execute(_LOCK, (permit_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no permit with the id {permit_id}.")
    return _permit(row)


def find_by_id(connection: Connection[Any], permit_id: int) -> SharedPermit | None:
    """The permit of an id."""
    row = connection.execute(_OF_ID, (permit_id,)).fetchone()
    return None if row is None else _permit(row)


def lock_of_person(connection: Connection[Any], user_id: int, code: str) -> SharedPermit:
    """A person's permit, locked until the caller's transaction ends.

    Raises:
        NotFoundError: the person has none of this code.
    """
    row = connection.execute(_LOCK_OF_PERSON, (user_id, code)).fetchone()
    if row is None:
        raise NotFoundError(f"You have no permit with the code {code!r}.")
    return _permit(row)


def ids_of_classes(connection: Connection[Any], class_ids: Sequence[int], *states: PermitState) -> list[int]:
    """Permits of classes that are in one of the states, the oldest first."""
    names = [state.value for state in states]
    return [number for (number,) in connection.execute(_IDS_OF_CLASSES, (list(class_ids), names))]


def lock_of_classes(connection: Connection[Any], class_ids: Sequence[int], *states: PermitState) -> list[SharedPermit]:
    """Permits of classes that are in one of the states, the oldest first, locked."""
    names = [state.value for state in states]
    return [_permit(row) for row in connection.execute(_LOCK_OF_CLASSES, (list(class_ids), names))]


def of_person(connection: Connection[Any], user_id: int, most: int, *, before: int | None = None) -> list[SharedPermit]:
    """A person's, the newest first; those before an id."""
    return [_permit(row) for row in connection.execute(_OF_PERSON, (user_id, before or _ANY_ID, most))]


def of_operator(
    connection: Connection[Any], operator_id: int, most: int, *, state: str | None = None, before: int | None = None
) -> list[SharedPermit]:
    """Those of an operator's lots, the newest first; those before an id."""
    values = {"operator": operator_id, "state": state, "most": most, "before": before or _ANY_ID}
    return [_permit(row) for row in connection.execute(_OF_OPERATOR, values)]


def spans(
    connection: Connection[Any], class_id: int, span: tuple[datetime, datetime], *, but: int = 0
) -> list[tuple[datetime, datetime]]:
    """When permits and applications of a class hold within a span, but for one of them."""
    values = {"class_id": class_id, "since": span[0], "until": span[1], "but": but}
    return [(begins, ends) for begins, ends in connection.execute(_SPANS, values)]


def plate_taken(connection: Connection[Any], plate: str, span: tuple[datetime, datetime]) -> bool:
    """Whether the car has a permit, or an application, for some of the span."""
    row = connection.execute(_PLATE_TAKEN, (plate, span[1], span[0])).fetchone()
    return bool(row and row[0])


def stand(
    connection: Connection[Any],
    permit: SharedPermit,
    *,
    decided_at: datetime | None = None,
    withdrawn_at: datetime | None = None,
    ended_at: datetime | None = None,
) -> None:
    """Stores state and validity of a locked permit as they are given, and moments that were not known before."""
    values = {
        "id": permit.id,
        "state": permit.state.value,
        "valid_from": permit.valid_from,
        "valid_until": permit.valid_until,
        "decided_at": decided_at,
        "withdrawn_at": withdrawn_at,
        "ended_at": ended_at,
    }
    connection.execute(_STAND, values)


def add_event(connection: Connection[Any], permit_id: int, event: PermitEvent) -> None:
    """Appends to a permit's history."""
    connection.execute(_ADD_EVENT, (permit_id, event.kind, event.at, event.by, Jsonb(dict(event.detail))))


def events(connection: Connection[Any], permit_id: int) -> list[PermitEvent]:
    """A permit's history in order."""
    return [PermitEvent(*row) for row in connection.execute(_EVENTS, (permit_id,))]


def last_events(connection: Connection[Any], permit_ids: Sequence[int]) -> dict[int, PermitEvent]:
    """What happened last, by permit."""
    return {number: PermitEvent(*rest) for number, *rest in connection.execute(_LAST_EVENTS, (list(permit_ids),))}


def cover(connection: Connection[Any], permit: SharedPermit, windows: object) -> None:
    """Covers the car's visits within the windows, for pricing."""
    values = {
        "code": permit.code,
        "lot_id": permit.lot_id,
        "valid_from": permit.valid_from,
        "valid_until": permit.valid_until,
        "windows": Jsonb(windows),
        "plate": permit.plate,
    }
    connection.execute(_COVER, values)


def due(connection: Connection[Any], now: datetime, most: int) -> list[int]:
    """Permits whose time is over, and applications that nobody decided before they would have begun."""
    return [number for (number,) in connection.execute(_DUE, {"now": now, "most": most})]


def agreement(connection: Connection[Any], class_id: int) -> AgreementOfClass:
    """What a permit of a class hangs on.

    Raises:
        NotFoundError: there is no such class.
    """
    row = connection.execute(_AGREEMENT, (class_id,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no class of shared spaces with the id {class_id}.")
    terms, windows, lat, lon, *names_of = row
    return AgreementOfClass(terms, windows, lat, lon, ClassNames(*names_of))


def names(connection: Connection[Any], class_ids: Sequence[int]) -> dict[int, ClassNames]:
    """Classes as people call them, retired ones too."""
    return {number: ClassNames(*rest) for number, *rest in connection.execute(_NAMES, (list(class_ids),))}


def _permit(row: Sequence[Any]) -> SharedPermit:
    number, code, user_id, class_id, lot_id, plate, group, state, valid_from, valid_until, *rest = row
    months, first_day, price_fen, asked_at, decided_at, withdrawn_at, ended_at, digest = rest
    return SharedPermit(
        id=number,
        code=code,
        user_id=user_id,
        class_id=class_id,
        lot_id=lot_id,
        plate=plate,
        group=group,
        state=PermitState(state),
        valid_from=valid_from,
        valid_until=valid_until,
        months=months,
        first_day=first_day,
        price_fen=price_fen,
        asked_at=asked_at,
        decided_at=decided_at,
        withdrawn_at=withdrawn_at,
        ended_at=ended_at,
        request_digest=digest,
    )
