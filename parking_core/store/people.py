"""Accounts with their groups and plates. Of a token only the digest is stored. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, LiteralString

from parking_core.people import Person, Role

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

_PERSON: Final[LiteralString] = """
SELECT a.id, a.code, a.role, a.operator_id, a.groups,
       ARRAY(SELECT plate FROM user_plates WHERE user_id = a.id)
FROM user_accounts a
"""
_OF_DIGEST: Final[LiteralString] = f"{_PERSON} WHERE a.token_digest = %s AND a.disabled_at IS NULL"
_OF_CODE: Final[LiteralString] = f"{_PERSON} WHERE a.code = %s"

# An operator that does not exist adds nothing, as a code that is taken does.
_ADD = """
INSERT INTO user_accounts (code, role, operator_id, groups, token_digest)
SELECT n.code, n.role, o.id, n.groups, n.digest
FROM (SELECT %(code)s AS code, %(role)s AS role, %(operator)s::text AS operator, %(groups)s::text[] AS groups,
             %(digest)s::bytea AS digest) n
LEFT JOIN operators o ON o.code = n.operator
WHERE n.operator IS NULL OR o.id IS NOT NULL
ON CONFLICT (code) DO NOTHING RETURNING id
"""
_OPERATOR = "SELECT EXISTS (SELECT FROM operators WHERE code = %s)"

_SET_DIGEST = "UPDATE user_accounts SET token_digest = %s WHERE code = %s AND disabled_at IS NULL RETURNING id"
_DISABLE = "UPDATE user_accounts SET disabled_at = coalesce(disabled_at, %s) WHERE code = %s RETURNING disabled_at"

_ADD_PLATES = "INSERT INTO user_plates (user_id, plate) SELECT %s, unnest(%s::text[]) ON CONFLICT DO NOTHING"
_REMOVE_PLATES = "DELETE FROM user_plates WHERE user_id = %s AND plate = ANY(%s)"

_LIST = """
SELECT a.code, a.role, o.code, a.groups, a.created_at, a.disabled_at,
       ARRAY(SELECT plate FROM user_plates WHERE user_id = a.id ORDER BY plate)
FROM user_accounts a LEFT JOIN operators o ON o.id = a.operator_id
WHERE (%(role)s::text IS NULL OR a.role = %(role)s) AND (%(disabled_too)s OR a.disabled_at IS NULL)
ORDER BY a.code COLLATE "C"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to be made; `digest` is the token's, plates are in their one form."""

    code: str
    role: Role
    digest: bytes
    operator: str | None = None  # code
    groups: tuple[str, ...] = ()
    plates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ListedAccount:
    """An account as those see it who keep accounts."""

    code: str
    role: Role
    operator: str | None  # code
    groups: tuple[str, ...]
    created_at: datetime
    disabled_at: datetime | None
    plates: tuple[str, ...]


async def by_digest(connection: AsyncConnection[Any], digest: bytes) -> Person | None:
    """Whose token has this digest; None: nobody's, or a disabled account's."""
    row = await (await connection.execute(_OF_DIGEST, (digest,))).fetchone()
    return None if row is None else _person(row)


def by_code(connection: Connection[Any], code: str) -> Person | None:
    """The account of a code, disabled or not."""
    row = connection.execute(_OF_CODE, (code,)).fetchone()
    return None if row is None else _person(row)


def add(connection: Connection[Any], account: NewAccount) -> bool:
    """Adds an account with its plates; False: its code is taken, or there is no such operator."""
    values = {
        "code": account.code,
        "role": account.role.value,
        "operator": account.operator,
        "groups": list(account.groups),
        "digest": account.digest,
    }
    row = connection.execute(_ADD, values).fetchone()
    if row is not None and account.plates:
        add_plates(connection, row[0], account.plates)
    return row is not None


def has_operator(connection: Connection[Any], code: str) -> bool:
    """Whether there is an operator of this code."""
    row = connection.execute(_OPERATOR, (code,)).fetchone()
    return bool(row and row[0])


def set_digest(connection: Connection[Any], code: str, digest: bytes) -> bool:
    """Another token for an account; False: there is none of this code, or it is disabled."""
    return connection.execute(_SET_DIGEST, (digest, code)).fetchone() is not None


def disable(connection: Connection[Any], code: str, now: datetime) -> datetime | None:
    """Ends an account; gives since when it is disabled. None: there is none of this code."""
    row = connection.execute(_DISABLE, (now, code)).fetchone()
    return None if row is None else row[0]


def add_plates(connection: Connection[Any], user_id: int, plates: Sequence[str]) -> int:
    """Adds plates; those that are known stay. Gives how many were new."""
    return connection.execute(_ADD_PLATES, (user_id, sorted(set(plates)))).rowcount


def remove_plates(connection: Connection[Any], user_id: int, plates: Sequence[str]) -> int:
    """Removes plates; gives how many there were."""
    return connection.execute(_REMOVE_PLATES, (user_id, list(plates))).rowcount


def listed(connection: Connection[Any], *, role: Role | None = None, disabled_too: bool = False) -> list[ListedAccount]:
    """Accounts by code; disabled ones only on request."""
    rows = connection.execute(_LIST, {"role": role.value if role else None, "disabled_too": disabled_too})
    return [
        ListedAccount(code, Role(role_name), operator, tuple(groups), created_at, disabled_at, tuple(plates))
        for code, role_name, operator, groups, created_at, disabled_at, plates in rows
    ]


def _person(row: Sequence[Any]) -> Person:
    number, code, role, operator_id, groups, plates = row
    return Person(
        id=number,
        code=code,
        role=Role(role),
        operator_id=operator_id,
        groups=frozenset(groups),
        plates=frozenset(plates),
    )
