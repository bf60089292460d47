"""An operator binds an unknown device to a space, or refuses it: one transaction each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from parking_core.discoveries import DiscoveryState
from parking_core.errors import ConflictError, InvalidInputError, NotFoundError
from parking_core.store import discoveries as store

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

    from parking_core.discoveries import Discovery


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What an unknown device is, and which space it watches.

    Attributes:
        code: its name from now on; "": its identity.
    """

    lot: str
    space: str
    family: str = "native"
    model: str = ""
    firmware: str = ""
    code: str = ""
    serial: str | None = None
    expected_interval_s: int = 3600


def bind(connection: Connection[Any], identity: str, binding: Binding, *, by: str, now: datetime) -> str:
    """Registers the device; gateways read its next message. Gives its code.

    Raises:
        NotFoundError: no such device was seen, or there is no such space.
        ConflictError: it is bound already, its code is another device's, or its serial is.
    """
    with connection.transaction():
        found = _one(connection, identity)
        if found.state is DiscoveryState.BOUND:
            raise ConflictError(f"{identity} is bound already, as device {found.device!r}.")
        if not found.network and binding.code not in {"", found.identity}:
            raise InvalidInputError(f"{identity} publishes under its own name: its code is {found.identity!r}.")
        code = binding.code or found.identity
        try:
            registered = store.register(
                connection,
                {
                    "code": code,
                    "lot": binding.lot,
                    "space": binding.space,
                    "family": binding.family,
                    "model": binding.model,
                    "firmware": binding.firmware,
                    "network": found.network,
                    "eui": found.identity if found.network else None,
                    "serial": binding.serial,
                    "interval_s": binding.expected_interval_s,
                },
            )
        except psycopg.errors.UniqueViolation as error:
            raise ConflictError(f"Another device has the DevEUI or the serial of {identity}.") from error
        if not registered:
            raise NotFoundError(
                f"Lot {binding.lot!r} has no space {binding.space!r}, or a device {code!r} is registered already."
            )
        store.decide(connection, found, DiscoveryState.BOUND, now, by=by, device=code)
    return code


def refuse(connection: Connection[Any], identity: str, *, reason: str, by: str, now: datetime) -> None:
    """What the device sends is counted from now on, and nothing else; a later binding takes it back.

    Raises:
        NotFoundError: no such device was seen.
        ConflictError: it is bound.
    """
    with connection.transaction():
        found = _one(connection, identity)
        if found.state is DiscoveryState.BOUND:
            raise ConflictError(f"{identity} is bound, as device {found.device!r}; disable that device instead.")
        store.decide(connection, found, DiscoveryState.REFUSED, now, by=by, reason=reason)


def _one(connection: Connection[Any], identity: str) -> Discovery:
    found = store.find(connection, identity)
    if not found:
        raise NotFoundError(f"No unknown device {identity!r} was seen; `parking devices unknown` lists them.")
    return found[0]
