"""Makes and ends accounts, replaces tokens, keeps plates: one transaction each. A token is given once and never stored."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.people import ANYONE, Role, digest_of, new_token
from parking_core.plates import form_of, masked, normal
from parking_core.store import people
from parking_core.store.people import NewAccount

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

_CODE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_GROUP: Final = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # none is mistaken for another (Crockford)
_MOST_PLATES: Final = 20  # of one account


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An account as somebody wants it; plates as they are written on vehicles. Without a code it gets one."""

    role: Role = Role.DRIVER
    code: str = ""
    operator: str | None = None
    groups: tuple[str, ...] = ()
    plates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Issued:
    """An account with its token, which nobody can read again."""

    code: str
    token: str


def add_account(connection: Connection[Any], wanted: Wanted) -> Issued:
    """Makes an account and gives its token.

    Raises:
        InvalidInputError: the code is taken or none, a group or a plate is none, or role and operator do not fit.
        NotFoundError: there is no such operator.
    """
    (issued,) = add_accounts(connection, [wanted])
    return issued


def add_accounts(connection: Connection[Any], wanted: Sequence[Wanted]) -> list[Issued]:
    """Makes all of these accounts or none. Errors as in `add_account`."""
    with connection.transaction():
        return [_add(connection, each) for each in wanted]


def _add(connection: Connection[Any], wanted: Wanted) -> Issued:
    code = wanted.code or f"U-{''.join(secrets.choice(_ALPHABET) for _ in range(8))}"
    plates = checked_plates(wanted.plates)
    _check(code, wanted)
    if wanted.operator and not people.has_operator(connection, wanted.operator):
        raise NotFoundError(f"There is no operator {wanted.operator!r}; `parking seed` registers operators.")
    token, digest = _token()
    account = NewAccount(
        code=code, role=wanted.role, digest=digest, operator=wanted.operator, groups=wanted.groups, plates=plates
    )
    if not people.add(connection, account):
        raise InvalidInputError(f"There is an account {code!r} already; choose another code.")
    return Issued(code=code, token=token)


def _check(code: str, wanted: Wanted) -> None:
    if not _CODE.fullmatch(code):
        raise InvalidInputError(f"The code {code[:80]!r} cannot be used; give up to 64 letters, digits, dots, - or _.")
    for group in wanted.groups:
        if group == ANYONE or not _GROUP.fullmatch(group):
            raise InvalidInputError(
                f"No group is called {group[:40]!r}; give small letters, digits and _, such as night_worker. "
                f"Everybody belongs to {ANYONE!r} anyway."
            )
    if (wanted.role is Role.OPERATOR) != bool(wanted.operator):
        raise InvalidInputError(
            "An account of the role operator names whose lots it may touch, and no other role does."
        )


def replace_token(connection: Connection[Any], code: str) -> str:
    """Another token for an account; the old one is nobody's from now on.

    Raises:
        NotFoundError: there is no such account, or it is disabled.
    """
    token, digest = _token()
    with connection.transaction():
        if not people.set_digest(connection, code, digest):
            raise NotFoundError(f"There is no account {code!r} in use; `parking users list --disabled` lists all.")
    return token


def disable_account(connection: Connection[Any], code: str, now: datetime) -> datetime:
    """Ends an account; gives since when it is disabled. What it was promised stays promised.

    Raises:
        NotFoundError: there is no such account.
    """
    with connection.transaction():
        since = people.disable(connection, code, now)
    if since is None:
        raise NotFoundError(f"There is no account {code!r}; `parking users list` lists all.")
    return since


def change_plates(
    connection: Connection[Any], code: str, *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> frozenset[str]:
    """Adds plates to an account and removes others; gives those that it has then.

    Raises:
        NotFoundError: there is no such account.
        InvalidInputError: a plate is none, or there would be too many.
    """
    new, old = checked_plates(add), [normal(plate) or plate for plate in remove]
    with connection.transaction():
        person = people.by_code(connection, code)
        if person is None:
            raise NotFoundError(f"There is no account {code!r}; `parking users list` lists all.")
        people.remove_plates(connection, person.id, old)
        people.add_plates(connection, person.id, new)
        after = people.by_code(connection, code) or person
        if len(after.plates) > _MOST_PLATES:
            raise InvalidInputError(f"An account may have {_MOST_PLATES} plates; remove some first.")
    return after.plates


def checked_plates(texts: Sequence[str]) -> tuple[str, ...]:
    """Plates in their one form, each once, in order.

    Raises:
        InvalidInputError: no plate looks so.
    """
    found = []
    for text in texts:
        plate = normal(text)
        if plate is None or form_of(plate) is None:
            raise InvalidInputError(
                f"No plate looks like {masked(plate or text)!r}; write it as on the vehicle, 苏B12345."
            )
        found.append(plate)
    return tuple(sorted(set(found)))


def _token() -> tuple[str, bytes]:
    token = new_token()
    digest = digest_of(token)
    if digest is None:
        raise AssertionError("A new token has the form of one.")
    return token, digest
