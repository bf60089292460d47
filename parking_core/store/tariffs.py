"""Tariffs as rows: versions that are never changed, and which lot charges by which from when on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

_LOCK_CODE = "SELECT pg_advisory_xact_lock(hashtextextended('tariff ' || %s, 0))"

_VERSIONS_OF = "SELECT id, code, version, document, created_at FROM tariffs WHERE code = %s ORDER BY version DESC"

_ADD_VERSION = """
INSERT INTO tariffs (code, version, document)
SELECT %(code)s, coalesce(max(version), 0) + 1, %(document)s FROM tariffs WHERE code = %(code)s
RETURNING id, version
"""

# Binding again to the same version moves nothing, so that nobody reloads for it.
_BIND = """
INSERT INTO lot_tariffs AS known (lot_id, valid_from, tariff_id)
SELECT lot_id, %(valid_from)s, %(tariff_id)s FROM unnest(%(lots)s::integer[]) AS l (lot_id)
ON CONFLICT (lot_id, valid_from) DO UPDATE SET tariff_id = excluded.tariff_id
WHERE known.tariff_id <> excluded.tariff_id
"""

# By which version each of these lots charges who enters at a moment; without a row: by none.
_HOLDING = """
SELECT w.n, (SELECT b.tariff_id FROM lot_tariffs b WHERE b.lot_id = w.lot_id AND b.valid_from <= w.entered_at
             ORDER BY b.valid_from DESC LIMIT 1)
FROM unnest(%s::integer[], %s::timestamptz[]) WITH ORDINALITY AS w (lot_id, entered_at, n) ORDER BY w.n
"""

_VERSIONS = "SELECT id, code, version, document, created_at FROM tariffs WHERE id = ANY(%s)"

_VERSION = """
SELECT id, code, version, document, created_at FROM tariffs
WHERE code = %(code)s AND (%(version)s::integer IS NULL OR version = %(version)s) ORDER BY version DESC LIMIT 1
"""

# Every version with the number of lots that charge by it at a moment.
_LIST = """
WITH holding AS (
    SELECT DISTINCT ON (lot_id) lot_id, tariff_id FROM lot_tariffs WHERE valid_from <= %(at)s
    ORDER BY lot_id, valid_from DESC
)
SELECT t.id, t.code, t.version, t.document, t.created_at, count(h.lot_id)
FROM tariffs t LEFT JOIN holding h ON h.tariff_id = t.id GROUP BY t.id ORDER BY t.code COLLATE "C", t.version
"""

_BOUND_BY = "SELECT l.code FROM lots l WHERE l.id = ANY(%s) AND EXISTS (SELECT FROM lot_tariffs b WHERE b.lot_id = l.id AND b.valid_from <= %s) ORDER BY l.code"

_LOTS_WITHOUT = """
SELECT id, code, kind, etc_lanes, time_limited FROM lots l
WHERE NOT EXISTS (SELECT FROM lot_tariffs b WHERE b.lot_id = l.id) ORDER BY code COLLATE "C"
"""

_LOTS_BY_CODE = "SELECT code, id FROM lots WHERE code = ANY(%s)"

_OFF_STREET_LOTS = """SELECT code, id FROM lots WHERE kind = 'off_street' ORDER BY code COLLATE "C" """

# Lots belong to what is held in memory: a new one must be found by its code.
_CHANGE_NUMBERS = "SELECT t.version, r.version FROM tariffs_version t, registry_version r"

_ALL_LOTS = "SELECT id, code FROM lots"

_BINDINGS = "SELECT lot_id, valid_from, tariff_id FROM lot_tariffs ORDER BY lot_id, valid_from"

_BOUND_VERSIONS = """
SELECT id, code, version, document, created_at FROM tariffs WHERE id IN (SELECT tariff_id FROM lot_tariffs)
"""

# What the lanes of these lots need to compute by while they are offline: what holds at a moment, and what follows.
_LANES_AND_BINDINGS = """
SELECT n.device_id, l.code, b.valid_from, t.code, t.version, t.document
FROM lanes n JOIN devices d ON d.id = n.device_id JOIN lots l ON l.id = d.lot_id
JOIN lot_tariffs b ON b.lot_id = l.id JOIN tariffs t ON t.id = b.tariff_id
WHERE l.id = ANY(%(lots)s) AND b.valid_from >= coalesce(
    (SELECT max(h.valid_from) FROM lot_tariffs h WHERE h.lot_id = l.id AND h.valid_from <= %(at)s), '-infinity')
ORDER BY n.device_id, b.valid_from
"""

# A lane that was away for longer than the command's deadline, and has been heard since.
_LANES_THAT_MISSED = """
WITH newest AS (
    SELECT DISTINCT ON (device_id) device_id, state, ended_at, count(*) OVER (PARTITION BY device_id) AS told
    FROM commands WHERE kind = 'tariff' ORDER BY device_id, created_at DESC, id
)
SELECT newest.device_id, d.lot_id, newest.told
FROM newest JOIN devices d ON d.id = newest.device_id JOIN device_liveness alive ON alive.device_id = d.id
WHERE newest.state = 'timed_out' AND alive.last_heard_at > newest.ended_at
ORDER BY newest.device_id
"""


@dataclass(frozen=True, slots=True)
class StoredTariff:
    """One version as it was published; `document` is what parking_core.tariffs reads."""

    id: int
    code: str
    version: int
    document: dict[str, Any]
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Binding:
    """A lot charges who enters from `valid_from` on by a version, until the next binding."""

    lot_id: int
    valid_from: datetime
    tariff_id: int


@dataclass(frozen=True, slots=True)
class LotFacts:
    """What a default tariff is chosen by."""

    id: int
    code: str
    kind: str
    etc_lanes: int
    time_limited: bool


@dataclass(frozen=True, slots=True)
class LaneBinding:
    """One version that a lane may have to compute by."""

    device_id: int
    lot: str  # code
    valid_from: datetime
    code: str
    version: int
    document: dict[str, Any]


def versions_of(connection: Connection[Any], code: str) -> list[StoredTariff]:
    """Every version of a tariff, the newest first; until the transaction ends nobody else adds one."""
    connection.execute(_LOCK_CODE, (code,))  # two publications of one code: the second sees the first
    return [StoredTariff(*row) for row in connection.execute(_VERSIONS_OF, (code,))]


def add_version(connection: Connection[Any], code: str, document: Mapping[str, Any]) -> tuple[int, int]:
    """Id and number of the next version of a tariff."""
    row = connection.execute(_ADD_VERSION, {"code": code, "document": Jsonb(dict(document))}).fetchone()
    if row is None:
        raise RuntimeError("the insertion of a tariff gave no row")
    return row[0], row[1]


def bind(connection: Connection[Any], lots: Sequence[int], tariff_id: int, valid_from: datetime) -> int:
    """Lots charge by the version who enters from then on; gives for how many that is new."""
    values = {"lots": list(lots), "tariff_id": tariff_id, "valid_from": valid_from}
    return connection.execute(_BIND, values).rowcount


def holding(connection: Connection[Any], lots: Sequence[int], entered_at: Sequence[datetime]) -> list[int | None]:
    """Id of the version by which each pair of lot and entry is charged, in the same order; None: the lot had none."""
    return [tariff for _, tariff in connection.execute(_HOLDING, (list(lots), list(entered_at)))]


def versions(connection: Connection[Any], ids: Iterable[int]) -> list[StoredTariff]:
    """These versions, in no order."""
    return [StoredTariff(*row) for row in connection.execute(_VERSIONS, (list(ids),))]


def version(connection: Connection[Any], code: str, number: int | None = None) -> StoredTariff | None:
    """One version of a tariff, without a number the newest."""
    row = connection.execute(_VERSION, {"code": code, "version": number}).fetchone()
    return None if row is None else StoredTariff(*row)


def every_version(connection: Connection[Any], at: datetime) -> list[tuple[StoredTariff, int]]:
    """Every version by code, and how many lots charge by it who enters at `at`."""
    return [(StoredTariff(*row[:-1]), row[-1]) for row in connection.execute(_LIST, {"at": at})]


def already_bound(connection: Connection[Any], lots: Sequence[int], at: datetime) -> list[str]:
    """Codes of those lots that charge by some version at `at`."""
    return [code for (code,) in connection.execute(_BOUND_BY, (list(lots), at))]


def lots_without(connection: Connection[Any]) -> list[LotFacts]:
    """Lots that never had a tariff."""
    return [LotFacts(*row) for row in connection.execute(_LOTS_WITHOUT)]


def lots_by_code(connection: Connection[Any], codes: Iterable[str]) -> dict[str, int]:
    """Ids of the lots with these codes; unknown codes are left out."""
    return dict(connection.execute(_LOTS_BY_CODE, (list(codes),)).fetchall())


def off_street_lots(connection: Connection[Any]) -> dict[str, int]:
    """Ids by code of every lot off the street."""
    return dict(connection.execute(_OFF_STREET_LOTS).fetchall())


def for_lanes(connection: Connection[Any], lots: Sequence[int], at: datetime) -> list[LaneBinding]:
    """What the lanes of these lots compute by from `at` on, by lane and moment."""
    rows = connection.execute(_LANES_AND_BINDINGS, {"lots": list(lots), "at": at})
    return [LaneBinding(*row) for row in rows]


def lanes_that_missed(connection: Connection[Any]) -> list[tuple[int, int, int]]:
    """Lanes whose newest tariff command timed out and that were heard since: device, lot, how often it was told one."""
    return connection.execute(_LANES_THAT_MISSED).fetchall()


@dataclass(frozen=True, slots=True)
class PriceList:
    """Which lot charges by which version, as it stood when its numbers were read or later."""

    numbers: tuple[int, int]
    lots: dict[str, int]  # id by code
    bindings: tuple[Binding, ...]  # by lot and moment
    versions: tuple[StoredTariff, ...]  # that bindings name


async def change_numbers(connection: AsyncConnection[Any]) -> tuple[int, int]:
    """Numbers of which one moves with every publication, binding and change of the registry."""
    row = await (await connection.execute(_CHANGE_NUMBERS)).fetchone()
    return (int(row[0]), int(row[1])) if row else (0, 0)


async def load_price_list(connection: AsyncConnection[Any]) -> PriceList:
    """The whole price list. The numbers are read first: a change in between is seen as newer numbers later."""
    numbers = await change_numbers(connection)
    lots = await (await connection.execute(_ALL_LOTS)).fetchall()
    bindings = await (await connection.execute(_BINDINGS)).fetchall()
    bound = await (await connection.execute(_BOUND_VERSIONS)).fetchall()
    return PriceList(
        numbers,
        {code: lot for lot, code in lots},
        tuple(Binding(*row) for row in bindings),
        tuple(StoredTariff(*row) for row in bound),
    )
