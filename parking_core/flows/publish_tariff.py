"""Publishes a tariff: the document becomes a version, lots charge by it from a moment on, their lanes are told.

    document ─► parse_tariff ─► version (the same document: the same one) ─► binding of lots ─► commands to their lanes

All in one transaction: a lane never computes by what the platform does not know.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import UTC
from typing import TYPE_CHECKING, Any

import msgspec

from parking_core.commands import CommandKind, CommandOrder
from parking_core.errors import InvalidInputError, NotFoundError
from parking_core.store import commands, tariffs
from parking_core.tariffs import Tariff, parse_tariff

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.tariffs import TariffDocument

_NAMED = 10  # of many lots in an error


@dataclass(frozen=True, slots=True)
class Binding:
    """Which lots charge by the version, for vehicles that enter from a moment on."""

    valid_from: datetime
    lots: Collection[str] = ()  # codes
    all_off_street: bool = False  # instead


@dataclass(frozen=True, slots=True)
class Publication:
    """What became of a document."""

    tariff_id: int
    code: str
    version: int
    is_new: bool  # False: this version was there
    bound: int  # lots for which the binding is new
    announced: int  # lanes that are told


def publish_tariff(
    connection: Connection[Any], document: bytes | str | Mapping[str, Any], binding: Binding | None, now: datetime
) -> Publication:
    """Publishes a document and binds lots to it. Publishing the same again changes nothing.

    A moment before `now` is taken only for lots that had no tariff until now: vehicles that entered since then were told
    another price.

    Raises:
        InvalidInputError: the document is no valid tariff (every problem is named), or the moment is refused.
        NotFoundError: a lot is unknown.
    """
    tariff = valid_tariff(document)
    with connection.transaction():
        tariff_id, version, is_new = version_for(connection, tariff.document)
        bound = announced = 0
        if binding is not None:
            lots = _lots(connection, binding)
            _refuse_the_past(connection, lots, binding.valid_from, now)
            bound = tariffs.bind(connection, list(lots.values()), tariff_id, binding.valid_from)
            announced = announce(connection, list(lots.values()), now) if bound else 0
        return Publication(tariff_id, tariff.document.code, version, is_new, bound, announced)


def version_for(connection: Connection[Any], document: TariffDocument) -> tuple[int, int, bool]:
    """Id and version of a document in the caller's transaction, and whether it is new: the same one is the same version.

    Documents are compared by what they mean: defaults that are spelt out make no new version.
    """
    for stored in tariffs.versions_of(connection, document.code):
        known = parse_tariff(stored.document)
        if isinstance(known, Tariff) and known.document == document:
            return stored.id, stored.version, False
    return *tariffs.add_version(connection, document.code, msgspec.to_builtins(document)), True


def valid_tariff(document: bytes | str | Mapping[str, Any]) -> Tariff:
    """The tariff of a document.

    Raises:
        InvalidInputError: it is none; every problem is named, one a line.
    """
    tariff = parse_tariff(document)
    if isinstance(tariff, Tariff):
        return tariff
    count = "1 problem" if len(tariff) == 1 else f"{len(tariff)} problems"
    lines = "\n".join(f"  {problem}" for problem in tariff)
    raise InvalidInputError(f"The tariff cannot be used, it has {count}; correct the document:\n{lines}")


def announce(connection: Connection[Any], lots: Sequence[int], now: datetime) -> int:
    """Commands the lanes of these lots to compute by what holds now and later while they are offline; gives how many.

    The command's body: {"lot": code, "tariffs": [{"from": RFC 3339, "code", "version", "document"}, ...]}, oldest first;
    the newest one that begins by a vehicle's entry holds for it. What a lane was told already is not told again.
    """
    orders = [
        CommandOrder(device, CommandKind.TARIFF, body, f"tariff:{_digest(body)}")
        for device, body in _bodies(connection, lots, now).items()
    ]
    return len(commands.queue(connection, orders, now))


def announce_again(connection: Connection[Any], now: datetime) -> int:
    """Tells lanes that were away until their tariff command timed out, and are back; gives how many."""
    with connection.transaction():
        missed = tariffs.lanes_that_missed(connection)
        bodies = _bodies(connection, sorted({lot for _, lot, _ in missed}), now)
        orders = [
            CommandOrder(device, CommandKind.TARIFF, bodies[device], f"tariff:{_digest(bodies[device])}:{told + 1}")
            for device, _, told in missed
            if device in bodies
        ]
        return len(commands.queue(connection, orders, now))


def _bodies(connection: Connection[Any], lots: Sequence[int], now: datetime) -> dict[int, dict[str, Any]]:
    """What each lane of these lots is told."""
    bodies: dict[int, dict[str, Any]] = {}
    for one in tariffs.for_lanes(connection, lots, now):
        body = bodies.setdefault(one.device_id, {"lot": one.lot, "tariffs": []})
        begins = one.valid_from.astimezone(UTC).isoformat()
        body["tariffs"].append({"from": begins, "code": one.code, "version": one.version, "document": one.document})
    return bodies


def _digest(body: dict[str, Any]) -> str:
    """What a lane is told, as its command's cause: the same again is the same command."""
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:24]


def _lots(connection: Connection[Any], binding: Binding) -> dict[str, int]:
    if binding.all_off_street:
        return tariffs.off_street_lots(connection)
    found = tariffs.lots_by_code(connection, binding.lots)
    unknown = sorted(set(binding.lots) - found.keys())
    if unknown:
        raise NotFoundError(f"There is no lot with the code {_list(unknown)}; `GET /v1/lots` lists all codes.")
    return found


def _refuse_the_past(connection: Connection[Any], lots: dict[str, int], valid_from: datetime, now: datetime) -> None:
    if valid_from >= now:
        return
    charging = tariffs.already_bound(connection, list(lots.values()), now)
    if charging:
        raise InvalidInputError(
            f"The binding begins at {valid_from.isoformat()}, in the past, but these lots charge by a tariff already: "
            f"{_list(charging)}. Whoever entered since then was told another price; let it begin now or later."
        )


def _list(codes: Sequence[str]) -> str:
    more = f" and {len(codes) - _NAMED} more" if len(codes) > _NAMED else ""
    return ", ".join(codes[:_NAMED]) + more
