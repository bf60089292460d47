"""Sharing agreements with their classes of spaces and their history, as rows. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

from parking_core.errors import NotFoundError
from parking_core.sharing import AgreementState, Terms, read_terms

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

CHANNEL: Final = "sharing"  # worker.sharing listens

_ADD = """
INSERT INTO sharing_agreements (code, lot_id, state, terms, created_at, changed_at)
VALUES (%(code)s, %(lot_id)s, %(state)s, %(terms)s, %(now)s, %(now)s) ON CONFLICT DO NOTHING RETURNING id
"""

_ADD_CLASS = "INSERT INTO space_classes (agreement_id, lot_id, code, windows) VALUES (%s, %s, %s, %s) RETURNING id"
_ADD_SPACES = "INSERT INTO class_spaces (class_id, space_id, named) SELECT %s, unnest(%s::integer[]), %s"
_RETIRE = "UPDATE space_classes SET retired_at = %s WHERE agreement_id = %s AND retired_at IS NULL"

_AGREEMENTS = """
SELECT a.id, a.code, a.lot_id, l.code, l.name, l.operator_id, a.state, a.terms, a.version, a.created_at, a.changed_at
FROM sharing_agreements a JOIN lots l ON l.id = a.lot_id
"""
_OF_CODE = f"{_AGREEMENTS} WHERE a.code = %s"
_LOCK = f"{_OF_CODE} FOR UPDATE OF a"
_OF_LOT = f"{_AGREEMENTS} WHERE a.lot_id = %s AND a.state <> 'terminated'"
_LIST = f"""
{_AGREEMENTS}
WHERE (%(operator_id)s::integer IS NULL OR l.operator_id = %(operator_id)s)
    AND (%(state)s::text IS NULL OR a.state = %(state)s)
    AND (%(after)s::text IS NULL OR a.code COLLATE "C" > %(after)s)
ORDER BY a.code COLLATE "C" LIMIT %(most)s
"""

# Whoever changes an agreement, or rolls its capacity, takes his turn: a roll must not overlook a suspension.
_TAKE_TURN = "SELECT pg_advisory_xact_lock(hashtextextended('sharing agreement', %s))"

_CLASSES = """
SELECT c.id, c.code, c.windows, c.retired_at,
       coalesce(array_agg(s.code ORDER BY s.code COLLATE "C") FILTER (WHERE p.space_id IS NOT NULL), '{}'),
       coalesce(array_agg(s.code ORDER BY s.code COLLATE "C") FILTER (WHERE p.named), '{}'),
       coalesce(array_agg(s.id) FILTER (WHERE p.space_id IS NOT NULL), '{}')
FROM space_classes c LEFT JOIN class_spaces p ON p.class_id = c.id LEFT JOIN spaces s ON s.id = p.space_id
WHERE c.agreement_id = %s AND (c.retired_at IS NULL OR %s) GROUP BY c.id ORDER BY c.retired_at NULLS FIRST, c.code
"""

_LOT = "SELECT id, code, name, operator_id FROM lots WHERE code = %s"
_SPACES = 'SELECT code, id, kind FROM spaces WHERE lot_id = %s ORDER BY code COLLATE "C"'

_SET_TERMS = "UPDATE sharing_agreements SET terms = %s, version = version + 1, changed_at = %s WHERE id = %s"
_TOUCH = "UPDATE sharing_agreements SET version = version + 1, changed_at = %s WHERE id = %s"
_SET_STATE = "UPDATE sharing_agreements SET state = %s, version = version + 1, changed_at = %s WHERE id = %s"

_ADD_EVENT = "INSERT INTO agreement_events (agreement_id, kind, at, by, detail) VALUES (%s, %s, %s, %s, %s)"
_EVENTS = "SELECT kind, at, by, detail FROM agreement_events WHERE agreement_id = %s ORDER BY id"

_NOTIFY = "SELECT pg_notify(%s, '')"
_LISTEN = f"LISTEN {CHANNEL}"


@dataclass(frozen=True, slots=True, kw_only=True)
class NewClass:
    """Spaces of the lot that are shared in the same windows. `windows` is a document of parking_core.windows."""

    code: str
    windows: Mapping[str, Any]
    spaces: tuple[int, ...]  # ids
    named: bool = False  # by the owner; otherwise picked for his quota
    picked: tuple[int, ...] = ()  # further ones, for the quota of another part with the same windows


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAgreement:
    """What an agreement begins with."""

    code: str
    lot_id: int
    terms: Terms
    classes: tuple[NewClass, ...] = ()
    state: AgreementState = AgreementState.NEGOTIATING


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """An agreement as it stands."""

    id: int
    code: str
    lot_id: int
    lot: str  # code
    lot_name: str
    operator_id: int | None
    state: AgreementState
    terms: Terms
    version: int
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassRow:
    """A class of an agreement."""

    id: int
    code: str
    windows: Mapping[str, Any]
    retired_at: datetime | None
    spaces: tuple[str, ...]  # codes
    named: tuple[str, ...]  # those of them that the owner named
    space_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AgreementEvent:
    """One thing that happened to an agreement: a state it reached, or 'terms', 'windows', 'exception'."""

    kind: str
    at: datetime
    by: str
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LotSpaces:
    """A lot with its spaces by code, in the order of their codes."""

    id: int
    code: str
    name: str
    operator_id: int | None
    spaces: Mapping[str, int]
    ordinary: frozenset[str]  # those of them that any car may take


def add(connection: Connection[Any], new: NewAgreement, now: datetime, *, by: str) -> int | None:
    """Adds an agreement with its classes and its first event; gives its id.

    None: the code is taken, or the lot has an agreement that is not terminated.
    """
    row = connection.execute(
        _ADD,
        {
            "code": new.code,
            "lot_id": new.lot_id,
            "state": new.state.value,
            "terms": Jsonb(new.terms.document()),
            "now": now,
        },
    ).fetchone()
    if row is None:
        return None
    agreement_id = int(row[0])
    add_classes(connection, agreement_id, new.lot_id, new.classes)
    add_event(connection, agreement_id, AgreementEvent(new.state.value, now, by))
    return agreement_id


def add_classes(connection: Connection[Any], agreement_id: int, lot_id: int, classes: Sequence[NewClass]) -> list[int]:
    """Adds classes with their spaces; gives their ids."""
    ids = []
    for each in classes:
        row = connection.execute(_ADD_CLASS, (agreement_id, lot_id, each.code, Jsonb(dict(each.windows)))).fetchone()
        if row is None:
            raise AssertionError("An INSERT with RETURNING gives a row.")
        for spaces, named in ((each.spaces, each.named), (each.picked, False)):
            connection.execute(_ADD_SPACES, (row[0], list(spaces), named))
        ids.append(int(row[0]))
    return ids


def retire_classes(connection: Connection[Any], agreement_id: int, now: datetime) -> int:
    """Takes all classes of an agreement out of force; gives how many."""
    return connection.execute(_RETIRE, (now, agreement_id)).rowcount


def find(connection: Connection[Any], code: str) -> Agreement | None:
    """The agreement of a code."""
    row = connection.execute(_OF_CODE, (code,)).fetchone()
    return None if row is None else _agreement(row)


def of_lot(connection: Connection[Any], lot_id: int) -> Agreement | None:
    """The one agreement of a lot that is not terminated."""
    row = connection.execute(_OF_LOT, (lot_id,)).fetchone()
    return None if row is None else _agreement(row)


def lock(connection: Connection[Any], code: str) -> Agreement:
    """An agreement, which nobody else changes or rolls until the caller's transaction ends.

    Raises:
        NotFoundError: there is none of this code.
    """
    row = connection.execute(_LOCK, (code,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no sharing agreement {code!r}.")
    found = _agreement(row)
    take_turn(connection, found.id)
    return found


def take_turn(connection: Connection[Any], agreement_id: int) -> None:
    """Makes changes, suspensions and rolls of the agreement wait until the caller's transaction ends."""
    connection.execute(_TAKE_TURN, (agreement_id,))


def listed(
    connection: Connection[Any],
    *,
    operator_id: int | None = None,
    state: AgreementState | None = None,
    after: str | None = None,
    most: int = 100,
) -> list[Agreement]:
    """Agreements by code, those of one operator's lots or all, from the one after `after` on."""
    values = {"operator_id": operator_id, "state": state and state.value, "after": after, "most": most}
    return [_agreement(row) for row in connection.execute(_LIST, values)]


def classes_of(connection: Connection[Any], agreement_id: int, *, retired_too: bool = False) -> list[ClassRow]:
    """Classes of an agreement by code, those in force first."""
    rows = connection.execute(_CLASSES, (agreement_id, retired_too))
    return [
        ClassRow(
            id=number,
            code=code,
            windows=windows,
            retired_at=retired_at,
            spaces=tuple(spaces),
            named=tuple(named),
            space_ids=tuple(space_ids),
        )
        for number, code, windows, retired_at, spaces, named, space_ids in rows
    ]


def lot_spaces(connection: Connection[Any], lot: str) -> LotSpaces:
    """A lot with all of its spaces.

    Raises:
        NotFoundError: there is no such lot.
    """
    row = connection.execute(_LOT, (lot,)).fetchone()
    if row is None:
        raise NotFoundError(f"There is no lot {lot!r}; see /v1/lots for their codes.")
    spaces = connection.execute(_SPACES, (row[0],)).fetchall()
    number, code, name, operator_id = row
    return LotSpaces(
        number,
        code,
        name,
        operator_id,
        spaces={space: space_id for space, space_id, _ in spaces},
        ordinary=frozenset(space for space, _, kind in spaces if kind == "standard"),
    )


def set_terms(connection: Connection[Any], agreement_id: int, terms: Terms, now: datetime) -> None:
    """Stores other terms; the version moves."""
    connection.execute(_SET_TERMS, (Jsonb(terms.document()), now, agreement_id))


def touch(connection: Connection[Any], agreement_id: int, now: datetime) -> None:
    """Moves the version: what belongs to the agreement has changed."""
    connection.execute(_TOUCH, (now, agreement_id))


def set_state(connection: Connection[Any], agreement_id: int, state: AgreementState, now: datetime) -> None:
    """Stores the state that was reached; the version moves."""
    connection.execute(_SET_STATE, (state.value, now, agreement_id))


def add_event(connection: Connection[Any], agreement_id: int, event: AgreementEvent) -> None:
    """Appends to the agreement's history."""
    connection.execute(_ADD_EVENT, (agreement_id, event.kind, event.at, event.by, Jsonb(dict(event.detail))))


def events(connection: Connection[Any], agreement_id: int) -> list[AgreementEvent]:
    """An agreement's history in order."""
    return [AgreementEvent(*row) for row in connection.execute(_EVENTS, (agreement_id,))]


def announce(connection: Connection[Any]) -> None:
    """Wakes the worker, which rolls capacity and resolves suspensions, when the transaction commits."""
    connection.execute(_NOTIFY, (CHANNEL,))


def listen(connection: Connection[Any]) -> None:
    """This session hears of what is announced; it must not be in a transaction."""
    connection.execute(_LISTEN)


def wait(connection: Connection[Any], seconds: float) -> bool:
    """Waits for an announcement; gives whether one came."""
    return any(True for _ in connection.notifies(timeout=seconds, stop_after=1))


def _agreement(row: Sequence[Any]) -> Agreement:
    number, code, lot_id, lot, lot_name, operator_id, state, terms, version, created_at, changed_at = row
    return Agreement(
        id=number,
        code=code,
        lot_id=lot_id,
        lot=lot,
        lot_name=lot_name,
        operator_id=operator_id,
        state=AgreementState(state),
        terms=read_terms(terms),
        version=version,
        created_at=created_at,
        changed_at=changed_at,
    )
