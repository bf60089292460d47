"""Credentials of devices as rows, and who did what to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from parking_core.device_credentials import Credential, Verifier

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.device_credentials import Action

_OF = """
SELECT d.code, c.salt, c.hash, c.iterations, c.issued_at, c.revoked_at, c.suspended_until, c.suspended_for
FROM device_credentials c JOIN devices d ON d.id = c.device_id
"""
_ONE: Final = _OF + "WHERE d.code = %s FOR UPDATE OF c"
_ALL: Final = _OF + "ORDER BY d.code"
# Suspended ones whose time is over.
_LIFTABLE: Final = _OF + "WHERE c.suspended_until <= %s ORDER BY d.code FOR UPDATE OF c SKIP LOCKED"

_LOCK_DEVICE: Final = "SELECT id FROM devices WHERE code = %s FOR UPDATE"

_PUT: Final = """
INSERT INTO device_credentials AS known (device_id, salt, hash, iterations, issued_at)
SELECT d.id, v.salt, v.hash, v.iterations, %(now)s
FROM unnest(%(codes)s::text[], %(salts)s::bytea[], %(hashes)s::bytea[], %(iterations)s::integer[])
    AS v (code, salt, hash, iterations) JOIN devices d ON d.code = v.code
ORDER BY d.id
ON CONFLICT (device_id) DO UPDATE SET
    salt = excluded.salt, hash = excluded.hash, iterations = excluded.iterations, issued_at = excluded.issued_at,
    revoked_at = NULL, suspended_until = NULL, suspended_for = NULL
"""

_REVOKE: Final = """
UPDATE device_credentials c SET revoked_at = %(now)s, suspended_until = NULL, suspended_for = NULL
FROM devices d WHERE d.id = c.device_id AND d.code = %(code)s
"""

_SUSPEND: Final = """
UPDATE device_credentials c SET suspended_until = %(until)s, suspended_for = %(reason)s
FROM devices d WHERE d.id = c.device_id AND d.code = ANY(%(codes)s)
"""

_NOTE: Final = """
INSERT INTO device_actions (at, device, action, actor, reason)
SELECT %(now)s, code, %(action)s, %(actor)s, %(reason)s FROM unnest(%(codes)s::text[]) AS code
"""

# Lanes, locks and signs too: whoever connects by himself. For a LoRaWAN device its network server connects.
_WITHOUT: Final = """
SELECT d.code FROM devices d
WHERE d.enabled AND d.network = '' AND NOT EXISTS (SELECT FROM device_credentials WHERE device_id = d.id)
ORDER BY d.code
"""


def get(connection: Connection[Any], code: str) -> Credential | None:
    """A device's credential, locked; None: it has none."""
    row = connection.execute(_ONE, (code,)).fetchone()
    return None if row is None else _credential(row)


def every(connection: Connection[Any]) -> list[Credential]:
    """All credentials, by device."""
    return [_credential(row) for row in connection.execute(_ALL).fetchall()]


def liftable(connection: Connection[Any], now: datetime) -> list[Credential]:
    """Suspended credentials whose time is over, locked."""
    return [_credential(row) for row in connection.execute(_LIFTABLE, (now,)).fetchall()]


def lock_device(connection: Connection[Any], code: str) -> bool:
    """Locks a device, so that its credential has one writer; False: there is no such device."""
    return connection.execute(_LOCK_DEVICE, (code,)).fetchone() is not None


def without(connection: Connection[Any]) -> list[str]:
    """Codes of devices that connect by themselves and have no credential."""
    return [row[0] for row in connection.execute(_WITHOUT).fetchall()]


def put(connection: Connection[Any], verifiers: Sequence[tuple[str, Verifier]], now: datetime) -> None:
    """New credentials of devices, instead of those that they had."""
    connection.execute(
        _PUT,
        {
            "codes": [code for code, _ in verifiers],
            "salts": [verifier.salt for _, verifier in verifiers],
            "hashes": [verifier.hash for _, verifier in verifiers],
            "iterations": [verifier.iterations for _, verifier in verifiers],
            "now": now,
        },
    )


def revoke(connection: Connection[Any], code: str, now: datetime) -> None:
    """The credential lets nobody in any more."""
    connection.execute(_REVOKE, {"code": code, "now": now})


def suspend(connection: Connection[Any], codes: Sequence[str], until: datetime | None, reason: str | None) -> None:
    """The credentials let nobody in until then; None: they do again."""
    connection.execute(_SUSPEND, {"codes": list(codes), "until": until, "reason": reason})


def note(
    connection: Connection[Any], action: Action, codes: Sequence[str], now: datetime, *, by: str, reason: str = ""
) -> None:
    """Keeps who did it."""
    connection.execute(_NOTE, {"now": now, "action": action.value, "actor": by, "reason": reason, "codes": list(codes)})


def _credential(row: tuple[Any, ...]) -> Credential:
    code, salt, hash_, iterations, issued_at, revoked_at, suspended_until, suspended_for = row
    return Credential(
        device=code,
        verifier=Verifier(bytes(salt), bytes(hash_), iterations),
        issued_at=issued_at,
        revoked_at=revoked_at,
        suspended_until=suspended_until,
        suspended_for=suspended_for,
    )
