"""What one API process knows: the registry, live figures in NumPy columns, and answers half encoded.

A board belongs to one version of the registry. Rows of lots follow the lots' codes, rows of spaces the
lot and the space's code, so that a lot's spaces are one slice. Unknown is never free.
"""

from __future__ import annotations

import hashlib
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from parking_core.calendar import is_open
from parking_core.places import Floats, LotId, PointIndex, to_gcj02

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from parking_core.places import Lot, Registry
    from parking_core.store.live_state import Columns, LiveImage
    from parking_core.visits import LaneCount

    Integers = np.ndarray[Any, np.dtype[np.int64]]

_UNKNOWN, _FREE, _OCCUPIED = 0, 1, 2
_STATES = ("unknown", "free", "occupied")
_STAMP_BYTES = 8  # an answer is known by those of its lots together
_DEGREE_DIGITS = 7  # a centimetre
encode = msgspec.json.encode


class LotStatus(StrEnum):
    """What a driver can expect of a lot now."""

    OPEN = "open"
    CLOSED = "closed"  # outside its opening hours
    FULL = "full"  # no space is known to be free
    UNKNOWN = "unknown"  # no space's state is known


class SpaceState(StrEnum):
    """State of one space."""

    UNKNOWN = "unknown"
    FREE = "free"
    OCCUPIED = "occupied"


class FigureSource(StrEnum):
    """Where a lot's figures come from."""

    SENSORS = "sensors"  # of its bays
    LANES = "lanes"  # who entered and has not left


def moment(at_us: int, zone: ZoneInfo) -> str | None:
    """RFC 3339 with the district's offset, to the millisecond; None for 0 (never)."""
    return datetime.fromtimestamp(at_us / 1e6, zone).isoformat(timespec="milliseconds") if at_us else None


class Board:
    """Registry and live figures of all lots and spaces; see the module."""

    def __init__(self, registry: Registry, image: LiveImage, *, zone: ZoneInfo, version: int) -> None:
        self.registry = registry
        self.lots = registry.lots
        self._zone = zone
        self.row_of_id = {lot.id: row for row, lot in enumerate(self.lots)}
        self.row_of_code = {lot.code: row for row, lot in enumerate(self.lots)}
        lat = np.array([lot.lat for lot in self.lots], np.float64)
        lon = np.array([lot.lon for lot in self.lots], np.float64)
        self.points = PointIndex(lat, lon)
        self._place_spaces(registry)
        self._place_figures(image, version)
        self.is_open = [True] * len(self.lots)
        self._with_hours = [row for row, lot in enumerate(self.lots) if lot.opening is not None]
        self._figures: list[bytes | None] = [None] * len(self.lots)
        self.stamps = [b""] * len(self.lots)  # of each lot's facts, as `figures` gave them last
        self.brief = {"wgs84": _beginnings(self.lots, lat, lon), "gcj02": _beginnings(self.lots, *to_gcj02(lat, lon))}
        self.codes = [lot.code for lot in self.lots]
        self._lanes: dict[int, LaneCount] = {}  # by row
        self._quality: dict[int, float] = {}  # by row

    def _place_spaces(self, registry: Registry) -> None:
        lot_of_space = np.fromiter((space.lot_id for space in registry.spaces), np.int64, len(registry.spaces))
        space_ids = np.fromiter((space.id for space in registry.spaces), np.int64, len(registry.spaces))
        lot_ids = np.fromiter((lot.id for lot in self.lots), np.int64, len(self.lots))
        self._lot_row = _rows_by_id(lot_ids)
        self._space_row = _rows_by_id(space_ids)
        self.first_space = np.searchsorted(lot_of_space, lot_ids, side="left")
        self.end_space = np.searchsorted(lot_of_space, lot_ids, side="right")
        self.capacity = self.end_space - self.first_space

    def _place_figures(self, image: LiveImage, version: int) -> None:
        count, spaces = len(self.lots), len(self.registry.spaces)
        self.known, self.occupied = np.zeros(count, np.int64), np.zeros(count, np.int64)
        self.version = np.full(count, version, np.int64)
        self.changed_us = np.zeros(count, np.int64)
        self.space_state = np.full(spaces, _UNKNOWN, np.uint8)
        self.space_changed_us = np.zeros(spaces, np.int64)
        rows, lots = _present(self._lot_row, image.lots, "lot_id")
        self.known[rows], self.occupied[rows] = lots["known"], lots["occupied"]
        rows, held = _present(self._space_row, image.spaces, "space_id")
        self.space_state[rows] = _state(held)
        self.space_changed_us[rows] = held["occurred_us"]
        for lot in range(count):
            changes = self.space_changed_us[self.first_space[lot] : self.end_space[lot]]
            self.changed_us[lot] = changes.max(initial=0)

    def change(self, spaces: Columns, lots: Columns, *, at_us: int, version: int) -> bool:
        """Takes over states (SPACE_CHANGE) and counts (LOT) as they are since `at_us`; whether any lot's figures moved.

        Spaces and lots that this version of the registry does not know are passed over.
        """
        rows, held = _present(self._space_row, spaces, "space_id")
        self.space_state[rows] = _state(held)
        self.space_changed_us[rows] = at_us
        rows, counts = _present(self._lot_row, lots, "lot_id")
        moved = (self.known[rows] != counts["known"]) | (self.occupied[rows] != counts["occupied"])
        rows, counts = rows[moved], counts[moved]
        self.known[rows], self.occupied[rows] = counts["known"], counts["occupied"]
        self.changed_us[rows] = at_us
        self._touch(rows, version)
        return len(rows) > 0

    def _touch(self, rows: Integers, version: int) -> None:
        self.version[rows] = version
        for row in rows.tolist():
            self._figures[row] = None

    def open_and_close(self, now_us: int, version: int) -> bool:
        """Follows the opening hours to `now_us`; whether any lot opened or closed."""
        now = datetime.fromtimestamp(now_us / 1e6, self._zone)
        moved = [
            row for row in self._with_hours if is_open(self.lots[row].opening, now, self._zone) != self.is_open[row]
        ]
        for row in moved:
            self.is_open[row] = not self.is_open[row]
        self._touch(np.array(moved, np.int64), version)
        return bool(moved)

    def count_lanes(self, counts: Mapping[int, LaneCount], *, at_us: int, version: int) -> bool:
        """Takes over what lanes count by lot id, all of it; whether any lot's figures moved.

        A lot that is left out has no count any more: without sensors all of its spaces are then unknown.
        """
        lanes = {self.row_of_id[LotId(lot)]: count for lot, count in counts.items() if lot in self.row_of_id}
        before, self._lanes = self._lanes, lanes
        moved = [row for row in before.keys() | lanes.keys() if _of_lanes(before.get(row)) != _of_lanes(lanes.get(row))]
        self.changed_us[moved] = at_us
        self._touch(np.array(moved, np.int64), version)
        return bool(moved)

    def rate_quality(self, quality: Mapping[int, float], *, version: int) -> bool:
        """Takes over which part of their watched bays is seen soundly, by lot id; whether any lot's moved."""
        rated = {self.row_of_id[LotId(lot)]: part for lot, part in quality.items() if lot in self.row_of_id}
        before, self._quality = self._quality, rated
        moved = [row for row in before.keys() | rated.keys() if before.get(row) != rated.get(row)]
        self._touch(np.array(moved, np.int64), version)
        return bool(moved)

    def lane_count(self, row: int) -> LaneCount | None:
        """What lanes count; None: the lot has none, or nobody counts at the moment."""
        return self._lanes.get(row)

    def source(self, row: int) -> FigureSource:
        """Where the lot's figures come from."""
        return FigureSource.SENSORS if _of_lanes(self._lanes.get(row)) is None else FigureSource.LANES

    def counts(self, row: int) -> tuple[int, int, int, int]:
        """Capacity, free, occupied and unknown of a lot; they always add up."""
        capacity = int(self.capacity[row])
        inside = _of_lanes(self._lanes.get(row))
        if inside is not None:
            occupied = min(inside, capacity)  # more may be inside than there are bays
            return capacity, capacity - occupied, occupied, 0
        known = min(int(self.known[row]), capacity)  # a space may have left the registry but not yet the live state
        occupied = min(int(self.occupied[row]), known)
        return capacity, known - occupied, occupied, capacity - known

    def status(self, row: int) -> LotStatus:
        """What a driver can expect of a lot now."""
        capacity, free, _, unknown = self.counts(row)
        if not self.is_open[row]:
            return LotStatus.CLOSED
        if unknown == capacity:
            return LotStatus.UNKNOWN
        return LotStatus.OPEN if free else LotStatus.FULL

    def figures(self, row: int) -> bytes:
        """The lot's changing facts as the middle of a JSON object, kept until they change."""
        known = self._figures[row]
        if known is None:
            capacity, free, occupied, unknown = self.counts(row)
            known = (
                b',"capacity":%d,"free":%d,"occupied":%d,"unknown":%d,"status":"%b","source":"%b","quality":%b,"changed_at":%b'
                % (
                    capacity,
                    free,
                    occupied,
                    unknown,
                    self.status(row).encode(),
                    self.source(row).encode(),
                    encode(self._quality.get(row)),
                    encode(moment(int(self.changed_us[row]), self._zone)),
                )
            )
            self._figures[row] = known
            self.stamps[row] = hashlib.blake2b(self.brief["wgs84"][row] + known, digest_size=_STAMP_BYTES).digest()
        return known

    def find(self, lot: str) -> int | None:
        """Row of a lot by its code, else by its id."""
        row = self.row_of_code.get(lot)
        if row is None and lot.isascii() and lot.isdecimal() and len(lot) <= 10:
            row = self.row_of_id.get(int(lot))  # type: ignore[call-overload]  # a number from outside is not yet a LotId
        return row


def _of_lanes(count: LaneCount | None) -> int | None:
    """Vehicles inside, where lanes are all that says so."""
    return None if count is None or count.sensors else count.inside


def _beginnings(lots: tuple[Lot, ...], lat: Floats, lon: Floats) -> list[bytes]:
    """Each lot's unchanging facts as the beginning of a JSON object, up to the value of its distance."""
    return [
        b'%b,"distance_m":'
        % encode(
            {
                "id": lot.id,
                "code": lot.code,
                "name": lot.name,
                "kind": lot.kind,
                "lat": round(float(lot_lat), _DEGREE_DIGITS),
                "lon": round(float(lot_lon), _DEGREE_DIGITS),
            }
        )[:-1]
        for lot, lot_lat, lot_lon in zip(lots, lat, lon, strict=True)
    ]


def _rows_by_id(ids: Integers) -> Integers:
    """Row of each id, -1 where there is none; ids are database identities, so a plain array is small."""
    rows = np.full(int(ids.max(initial=0)) + 1, -1, np.int64)
    rows[ids] = np.arange(len(ids))
    return rows


def _present(row_of_id: Integers, columns: Columns, name: str) -> tuple[Integers, Columns]:
    """Rows of the ids that the registry knows, and their records."""
    ids = columns[name].astype(np.int64)
    inside = ids < len(row_of_id)
    rows = row_of_id[ids[inside]]
    return rows[rows >= 0], columns[inside][rows >= 0]


def _state(columns: Columns) -> np.ndarray[Any, np.dtype[np.uint8]]:
    state: np.ndarray[Any, np.dtype[np.uint8]] = np.where(
        columns["known"] == 1, np.where(columns["occupied"] == 1, _OCCUPIED, _FREE), _UNKNOWN
    ).astype(np.uint8)
    return state


SPACE_STATES = tuple(SpaceState(name) for name in _STATES)  # by the code in Board.space_state
