"""Who asks: a bearer token becomes a person.

A token is 256 random bits, of which the database holds the SHA-256 digest; no log, metric or error says it. What the
database said of a digest is believed for 3 seconds (KNOWN_S): so long a disabled account or a replaced token still works
at most.

Limits, in each process: 20 requests a second and account (100 at once), 1,000 a second and client (2,000 at once: mobile
networks put many phones behind one address, and a flood of bad requests is cheap to refuse), and of tokens that nobody
has 1 a second and client (20 at once). A client that has guessed too often is let in only with tokens that this process
knows at the moment.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import psycopg

from api.rates import TooManyRequestsError, client_key
from parking_core.errors import ForbiddenError, ServiceUnavailableError, UnauthorizedError
from parking_core.people import digest_of
from parking_core.store import people

if TYPE_CHECKING:
    from starlette.requests import Request

    from api.state import ApiState
    from parking_core.people import Person, Role

_SCHEME: Final = "bearer"


class InvalidTokenError(UnauthorizedError):
    """Nobody has the token."""

    code = "invalid_token"


async def identify(api: ApiState, request: Request, *roles: Role) -> Person:
    """The person behind a request; without `roles` any account may.

    Raises:
        UnauthorizedError: no token, or one that nobody has.
        ForbiddenError: the account's role may not.
        TooManyRequestsError: the account or the client asks, or guesses, too often.
        ServiceUnavailableError: the database cannot be asked.
    """
    desk, now_s = api.identity, time.monotonic()
    client = client_key(request.client.host if request.client else "")
    _allow(desk.clients.take(client, now_s))
    digest = digest_of(_token(request))
    person = desk.recall(digest, now_s) if digest else None
    if person is None:
        if desk.strangers.is_empty(client, now_s):
            _allow(1 / desk.strangers.rate)
        person = await _ask(api, digest, now_s) if digest else None
    if person is None:
        desk.strangers.take(client, now_s)
        raise InvalidTokenError("Nobody has this token: it is mistyped, was replaced, or its account is disabled.")
    _allow(desk.accounts.take(person.code, now_s))
    if roles and person.role not in roles:
        wanted = " or ".join(role.value for role in roles)
        raise ForbiddenError(f"An account with the role {person.role.value} may not do this; it takes {wanted}.")
    return person


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != _SCHEME or not token:
        raise UnauthorizedError("This needs a token: send it as `Authorization: Bearer <token>`.")
    return token.strip()


async def _ask(api: ApiState, digest: bytes, now_s: float) -> Person | None:
    if api.database is None:
        raise ServiceUnavailableError("This process has no database; nobody can be identified.")
    try:
        async with api.database.connection() as connection:
            person = await people.by_digest(connection, digest)
    except psycopg.OperationalError as error:
        raise ServiceUnavailableError("The database does not answer; ask again in a moment.") from error
    if person is not None:
        api.identity.remember(digest, person, now_s)
    return person


def _allow(wait_s: float) -> None:
    if wait_s > 0:
        raise TooManyRequestsError("Too many requests; wait a moment.", wait_s)
