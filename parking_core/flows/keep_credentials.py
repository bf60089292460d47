"""Issues, rotates, revokes and suspends devices' credentials: the registry's row and the broker, in one transaction each.

The broker is told before the transaction commits. When it cannot be told nothing is changed; when the commit fails after it, the broker
knows a secret that nobody has: the device is locked out until its credential is issued again, and nobody is let in who should not be.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.device_credentials import Action, new_secret, verifier_of
from parking_core.errors import ConflictError, NotFoundError
from parking_core.store import device_credentials as store

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.device_credentials import Verifier
    from parking_core.store.keeper import Keeper


def issue(connection: Connection[Any], keeper: Keeper, code: str, *, by: str, now: datetime) -> str:
    """Gives a device a credential, or another one: the secret, which nobody can read again.

    Raises:
        NotFoundError: there is no such device.
        ServiceUnavailableError: the broker cannot be told.
    """
    secret = new_secret()
    with connection.transaction():
        if not store.lock_device(connection, code):
            raise NotFoundError(f"There is no device {code!r}; `parking devices list` shows those that are registered.")
        action = Action.ISSUE if store.get(connection, code) is None else Action.ROTATE
        store.put(connection, [(code, verifier_of(secret))], now)
        store.note(connection, action, [code], now, by=by)
        keeper.admit(code, secret)
    return secret


def issue_many(connection: Connection[Any], codes: Sequence[str], *, by: str, now: datetime) -> dict[str, str]:
    """Credentials of many devices in the registry; the broker learns of them from its file, which the caller writes.

    Returns:
        Secret by device code.
    """
    secrets = {code: new_secret() for code in codes}
    with connection.transaction():
        store.put(connection, [(code, verifier_of(secret)) for code, secret in secrets.items()], now)
        store.note(connection, Action.ISSUE, codes, now, by=by, reason="all at once")
    return secrets


def revoke(connection: Connection[Any], keeper: Keeper, code: str, *, by: str, reason: str, now: datetime) -> None:
    """Takes a device's credential away; it is disconnected.

    Raises:
        NotFoundError: the device has none.
        ServiceUnavailableError: the broker cannot be told.
    """
    with connection.transaction():
        credential = store.get(connection, code)
        if credential is None:
            raise NotFoundError(f"Device {code!r} has no credential.")
        if credential.revoked_at is not None:
            raise ConflictError(f"The credential of device {code!r} is revoked already.")
        store.revoke(connection, code, now)
        store.note(connection, Action.REVOKE, [code], now, by=by, reason=reason)
        keeper.expel([code])


def suspend(
    connection: Connection[Any], keeper: Keeper, code: str, *, until: datetime, reason: str, by: str, now: datetime
) -> bool:
    """Shuts a device out for a while; False: it has no credential that lets it in, so there is nothing to do.

    Raises:
        ServiceUnavailableError: the broker cannot be told.
    """
    with connection.transaction():
        credential = store.get(connection, code)
        if credential is None or credential.revoked_at is not None:
            return False
        store.suspend(connection, [code], until, reason)
        store.note(connection, Action.SUSPEND, [code], now, by=by, reason=reason)
        keeper.shut_out([code])
    return True


def lift_suspensions(connection: Connection[Any], keeper: Keeper, now: datetime) -> list[str]:
    """Lets those in again whose time is over: their codes.

    Raises:
        ServiceUnavailableError: the broker cannot be told.
    """
    with connection.transaction():
        codes = [credential.device for credential in store.liftable(connection, now)]
        if codes:
            store.suspend(connection, codes, None, None)
            store.note(connection, Action.LIFT, codes, now, by="platform", reason="its time is over")
            keeper.let_in(codes)
    return codes


def clients(connection: Connection[Any], now: datetime) -> tuple[dict[str, Verifier], frozenset[str]]:
    """Devices for the broker's file: those that have a credential, and of them those that are shut out now."""
    with connection.transaction():
        live = [credential for credential in store.every(connection) if credential.revoked_at is None]
    shut_out = frozenset(credential.device for credential in live if not credential.lets_in(now))
    return {credential.device: credential.verifier for credential in live}, shut_out


def out_of_step(
    connection: Connection[Any], keeper: Keeper, own: frozenset[str], now: datetime
) -> tuple[list[str], list[str]]:
    """Clients of the broker that the registry does not let in, and devices with a credential that the broker does not know.

    Args:
        connection: to the registry.
        keeper: to the broker.
        own: users of the platform itself.
        now: suspended ones are known to the broker, and shut out there.
    """
    registered, _ = clients(connection, now)
    known = keeper.names() - own
    return sorted(known - registered.keys()), sorted(registered.keys() - known)
