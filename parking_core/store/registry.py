"""Writes the registry: areas, operators, lots, bays, devices and lanes of a district file, in bulk.

Each table is filled the same way: COPY into a temporary table, then one INSERT ... ON CONFLICT that touches only rows
that differ. Loading the same file twice therefore changes nothing. What a file does not name stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from parking_core.districts import LANE_FAMILY, LaneRecord, every_device

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from psycopg import Connection

    from parking_core.districts import District, LotRecord

Row = tuple[object, ...]
_JSON = msgspec.json.encode


@dataclass(frozen=True, slots=True)
class _Bulk:
    """One table's way in: the staged columns, and the statement that takes them over."""

    what: str
    staged: str  # column definitions of the temporary table
    takeover: str


_AREAS = _Bulk(
    "areas",
    "position int, code text, name text, kind text, boundary jsonb",
    """
    INSERT INTO areas AS known (code, name, kind, boundary)
    SELECT code, name, kind, boundary FROM staged ORDER BY position
    ON CONFLICT (code) DO UPDATE SET name = excluded.name, kind = excluded.kind, boundary = excluded.boundary
    WHERE (known.name, known.kind, known.boundary) IS DISTINCT FROM (excluded.name, excluded.kind, excluded.boundary)
    """,
)
_PARENTS = _Bulk(
    "parents of areas",
    "code text, parent text",
    """
    UPDATE areas SET parent_id = parent.id
    FROM staged LEFT JOIN areas AS parent ON parent.code = staged.parent
    WHERE areas.code = staged.code AND areas.parent_id IS DISTINCT FROM parent.id
    """,
)
_OPERATORS = _Bulk(
    "operators",
    "position int, code text, name text",
    """
    INSERT INTO operators AS known (code, name) SELECT code, name FROM staged ORDER BY position
    ON CONFLICT (code) DO UPDATE SET name = excluded.name WHERE known.name IS DISTINCT FROM excluded.name
    """,
)
_LOTS = _Bulk(
    "lots",
    "position int, code text, name text, kind text, area text, operator text, lat float8, lon float8, address text,"
    " shared bool, etc_lanes int, time_limited bool, opening jsonb, height_limit_m real,"
    " legal_windows jsonb",
    """
    INSERT INTO lots AS known (code, name, kind, area_id, operator_id, lat, lon, address,
                               shared, etc_lanes, time_limited, opening, height_limit_m, legal_windows)
    SELECT staged.code, staged.name, staged.kind, areas.id, operators.id, lat, lon, address,
           shared, etc_lanes, time_limited, opening, height_limit_m, legal_windows
    FROM staged LEFT JOIN areas ON areas.code = staged.area LEFT JOIN operators ON operators.code = staged.operator
    ORDER BY position
    ON CONFLICT (code) DO UPDATE SET
        name = excluded.name, kind = excluded.kind, area_id = excluded.area_id, operator_id = excluded.operator_id,
        lat = excluded.lat, lon = excluded.lon, address = excluded.address, shared = excluded.shared,
        etc_lanes = excluded.etc_lanes, time_limited = excluded.time_limited, opening = excluded.opening,
        height_limit_m = excluded.height_limit_m, legal_windows = excluded.legal_windows
    WHERE (known.name, known.kind, known.area_id, known.operator_id, known.lat, known.lon, known.address, known.shared,
           known.etc_lanes, known.time_limited, known.opening, known.height_limit_m,
           known.legal_windows)
        IS DISTINCT FROM
          (excluded.name, excluded.kind, excluded.area_id, excluded.operator_id, excluded.lat, excluded.lon,
           excluded.address, excluded.shared, excluded.etc_lanes, excluded.time_limited, excluded.opening,
           excluded.height_limit_m, excluded.legal_windows)
    """,
)
_SPACES = _Bulk(
    "spaces",
    "position int, lot text, code text, kind text, level text, lat float8, lon float8, geometry jsonb",
    """
    INSERT INTO spaces AS known (lot_id, code, kind, level, lat, lon, geometry)
    SELECT lots.id, staged.code, staged.kind, level, staged.lat, staged.lon, geometry
    FROM staged JOIN lots ON lots.code = staged.lot ORDER BY position
    ON CONFLICT (lot_id, code) DO UPDATE SET
        kind = excluded.kind, level = excluded.level, lat = excluded.lat, lon = excluded.lon,
        geometry = excluded.geometry
    WHERE (known.kind, known.level, known.lat, known.lon, known.geometry)
        IS DISTINCT FROM (excluded.kind, excluded.level, excluded.lat, excluded.lon, excluded.geometry)
    """,
)
_DEVICES = _Bulk(
    "devices",
    "position int, lot text, code text, space text, family text, model text, firmware text,"
    " expected_interval_s int, clock_earliest_s int8, clock_latest_s int8, enabled bool, eui text, network text, serial text",
    """
    INSERT INTO devices AS known (lot_id, code, space_id, family, model, firmware, expected_interval_s,
                                  clock_earliest_s, clock_latest_s, enabled, eui, network, serial)
    SELECT lots.id, staged.code, spaces.id, family, model, firmware, expected_interval_s,
           clock_earliest_s, clock_latest_s, enabled, eui, network, serial
    FROM staged JOIN lots ON lots.code = staged.lot
    LEFT JOIN spaces ON spaces.lot_id = lots.id AND spaces.code = staged.space
    ORDER BY position
    ON CONFLICT (code) DO UPDATE SET
        lot_id = excluded.lot_id, space_id = excluded.space_id, family = excluded.family, model = excluded.model,
        firmware = excluded.firmware, expected_interval_s = excluded.expected_interval_s,
        clock_earliest_s = excluded.clock_earliest_s, clock_latest_s = excluded.clock_latest_s,
        enabled = excluded.enabled, eui = excluded.eui, network = excluded.network, serial = excluded.serial
    WHERE (known.lot_id, known.space_id, known.family, known.model, known.firmware, known.expected_interval_s,
           known.clock_earliest_s, known.clock_latest_s, known.enabled, known.eui, known.network, known.serial)
        IS DISTINCT FROM
          (excluded.lot_id, excluded.space_id, excluded.family, excluded.model, excluded.firmware,
           excluded.expected_interval_s, excluded.clock_earliest_s, excluded.clock_latest_s, excluded.enabled,
           excluded.eui, excluded.network, excluded.serial)
    """,
)
# Bindings of the named devices are replaced as a whole: a camera that was turned must not keep its old bays.
_BINDINGS = _Bulk(
    "bays of devices",
    "device text, lot text, space text, address text",
    """
    WITH named AS (
        SELECT devices.id AS device_id, spaces.id AS space_id, staged.address
        FROM staged JOIN devices ON devices.code = staged.device
        LEFT JOIN (lots JOIN spaces ON spaces.lot_id = lots.id)
            ON lots.code = staged.lot AND spaces.code = staged.space
    ), removed AS (
        DELETE FROM device_spaces USING (SELECT DISTINCT device_id FROM named) AS device
        WHERE device_spaces.device_id = device.device_id
          AND (device_spaces.device_id, device_spaces.space_id) NOT IN (
              SELECT device_id, space_id FROM named WHERE space_id IS NOT NULL)
    )
    INSERT INTO device_spaces AS known (device_id, space_id, address)
    SELECT device_id, space_id, address FROM named WHERE space_id IS NOT NULL
    ON CONFLICT (device_id, space_id) DO UPDATE SET address = excluded.address
    WHERE known.address IS DISTINCT FROM excluded.address
    """,
)

_LANES = _Bulk(
    "lanes",
    "code text, direction text, active bool, plate_codes text, amount_limit_fen int8",
    """
    INSERT INTO lanes AS known (device_id, direction, active, plate_codes, amount_limit_fen)
    SELECT devices.id, direction, active, plate_codes, amount_limit_fen
    FROM staged JOIN devices ON devices.code = staged.code ORDER BY devices.id
    ON CONFLICT (device_id) DO UPDATE SET
        direction = excluded.direction, active = excluded.active, plate_codes = excluded.plate_codes,
        amount_limit_fen = excluded.amount_limit_fen
    WHERE (known.direction, known.active, known.plate_codes, known.amount_limit_fen)
        IS DISTINCT FROM (excluded.direction, excluded.active, excluded.plate_codes, excluded.amount_limit_fen)
    """,
)

# What a lot's own operator entered stays as it is when recorded sessions are replayed into the lot.
_ADD_LOT = """
INSERT INTO lots (code, name, kind, lat, lon) VALUES (%s, %s, %s, %s, %s) ON CONFLICT (code) DO NOTHING
"""
_ADD_SPACES = """
INSERT INTO spaces (lot_id, code) SELECT lots.id, wanted.code
FROM lots, unnest(%s::text[]) WITH ORDINALITY AS wanted (code, position) WHERE lots.code = %s ORDER BY wanted.position
ON CONFLICT (lot_id, code) DO NOTHING
"""
_ADD_DEVICES = """
INSERT INTO devices (lot_id, code, space_id, model)
SELECT lots.id, wanted.code, spaces.id, 'replay'
FROM unnest(%s::text[], %s::text[]) AS wanted (code, space)
JOIN lots ON lots.code = %s JOIN spaces ON spaces.lot_id = lots.id AND spaces.code = wanted.space
ORDER BY spaces.id
ON CONFLICT (code) DO NOTHING
"""
_WIDEN_CLOCKS = """
UPDATE devices SET clock_earliest_s = %(earliest)s, clock_latest_s = %(latest)s
FROM lots WHERE lots.id = devices.lot_id AND lots.code = %(lot)s AND devices.code = ANY(%(devices)s)
  AND (clock_earliest_s, clock_latest_s) IS DISTINCT FROM (%(earliest)s::bigint, %(latest)s::bigint)
"""
_WATCHERS = """
SELECT DISTINCT ON (spaces.id) spaces.code, devices.code
FROM lots JOIN spaces ON spaces.lot_id = lots.id
LEFT JOIN (SELECT space_id, id AS device_id FROM devices WHERE space_id IS NOT NULL
           UNION ALL SELECT space_id, device_id FROM device_spaces) AS watch ON watch.space_id = spaces.id
LEFT JOIN devices ON devices.id = watch.device_id AND devices.enabled
WHERE lots.code = %s
ORDER BY spaces.id, devices.id
"""

_COUNT_SPACES = "SELECT count(*) FROM spaces"


def count_spaces(connection: Connection) -> int:
    """Bays in the registry, of all lots."""
    row = connection.execute(_COUNT_SPACES).fetchone()
    return 0 if row is None else int(row[0])


def watchers_of(connection: Connection, lot: str) -> dict[str, str | None]:
    """Code of the device that watches each bay of a lot (the first one, None: no device); empty: no such lot."""
    return dict(connection.execute(_WATCHERS, (lot,)).fetchall())


def add_recorded_lot(connection: Connection, lot: LotRecord) -> int:
    """Adds a lot, its bays and its one-bay devices where they are missing; known rows are left alone.

    Gives the number of new devices.
    """
    connection.execute(_ADD_LOT, (lot.code, lot.name, lot.kind, lot.lat, lot.lon))
    connection.execute(_ADD_SPACES, ([space.code for space in lot.spaces], lot.code))
    known = watchers_of(connection, lot.code)
    new = [device for device in lot.devices if device.space is not None and known[device.space] is None]
    codes, spaces = [device.code for device in new], [device.space for device in new]
    return connection.execute(_ADD_DEVICES, (codes, spaces, lot.code)).rowcount


def widen_clocks(connection: Connection, lot: str, devices: list[str], bounds_s: tuple[int, int]) -> int:
    """Lets some devices of a lot report times within `bounds_s`, seconds relative to the first receipt.

    Gives the number of devices that had other bounds.
    """
    earliest, latest = bounds_s
    wanted = {"earliest": earliest, "latest": latest, "lot": lot, "devices": devices}
    return connection.execute(_WIDEN_CLOCKS, wanted).rowcount


def write_district(connection: Connection, district: District, on_rows: Callable[[str, int], None]) -> dict[str, int]:
    """Adds and corrects the rows of a district inside the caller's transaction.

    `on_rows` is told a table's name and how many of its rows went by since it was last told.
    The result counts what was new or different, a table each.
    """
    areas, operators, lots = district.areas, district.operators, district.lots
    rows: list[tuple[_Bulk, Iterable[Row]]] = [
        (_AREAS, ((i, a.code, a.name, a.kind, _jsonb(a.boundary)) for i, a in enumerate(areas))),
        (_PARENTS, ((area.code, area.parent) for area in areas)),
        (_OPERATORS, ((i, operator.code, operator.name) for i, operator in enumerate(operators))),
        (_LOTS, (_lot_row(i, lot) for i, lot in enumerate(lots))),
        (_SPACES, _space_rows(lots)),
        (_DEVICES, _device_rows(lots)),
        (_BINDINGS, _binding_rows(lots)),
        (_LANES, _lane_rows(lots)),
    ]
    return {bulk.what: _load(connection, bulk, table_rows, on_rows) for bulk, table_rows in rows}


def _load(connection: Connection, bulk: _Bulk, rows: Iterable[Row], on_rows: Callable[[str, int], None]) -> int:
    connection.execute("DROP TABLE IF EXISTS staged")
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE staged ({}) ON COMMIT DROP").format(sql.SQL(bulk.staged)))
    pending = 0
    with connection.cursor() as cursor, cursor.copy("COPY staged FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            pending += 1
            if pending == 500:
                on_rows(bulk.what, pending)
                pending = 0
    on_rows(bulk.what, pending)
    connection.execute("ANALYZE staged")
    return connection.execute(sql.SQL(bulk.takeover)).rowcount


def _jsonb(value: object) -> Jsonb | None:
    return None if value is None else Jsonb(value, dumps=_JSON)


def _lot_row(position: int, lot: LotRecord) -> Row:
    opening = None if lot.opening is None else _jsonb(lot.opening)
    return (
        *(position, lot.code, lot.name, lot.kind, lot.area, lot.operator, lot.lat, lot.lon, lot.address),
        *(lot.shared, lot.etc_lanes, lot.time_limited, opening, lot.height_limit_m, _jsonb(lot.legal_windows)),
    )


def _space_rows(lots: Iterable[LotRecord]) -> Iterator[Row]:
    every = ((lot, space) for lot in lots for space in lot.spaces)
    for position, (lot, space) in enumerate(every):
        outline = _jsonb(space.geometry)
        yield position, lot.code, space.code, space.kind, space.level, space.lat, space.lon, outline


def _device_rows(lots: Iterable[LotRecord]) -> Iterator[Row]:
    for position, (lot, device) in enumerate(every_device(lots)):
        # A lane watches no bay.
        space, family = None, LANE_FAMILY
        identity: tuple[str | None, str, str | None] = (None, "", None)
        if not isinstance(device, LaneRecord):
            space, family, identity = device.space, device.family, (device.eui, device.network, device.serial)
        yield (
            *(position, lot.code, device.code, space, family, device.model, device.firmware),
            *(device.expected_interval_s, device.clock_earliest_s, device.clock_latest_s, device.enabled),
            *identity,
        )


def _lane_rows(lots: Iterable[LotRecord]) -> Iterator[Row]:
    for lot in lots:
        for lane in lot.lanes:
            yield lane.code, lane.direction, lane.active, lane.plate_codes, lane.amount_limit_fen


def _binding_rows(lots: Iterable[LotRecord]) -> Iterator[Row]:
    """One row a watched bay of a many-bay device; a one-bay device has a row without bay, which clears old bindings."""
    for lot in lots:
        for device in lot.devices:
            if device.space is not None:
                yield device.code, lot.code, None, None
            for space in device.spaces:
                yield device.code, lot.code, space, device.addresses.get(space)
