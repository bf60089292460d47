"""Devices as operators see them: what they are, when they were heard, what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from datetime import date, datetime

    from psycopg import Connection

_PAGE: Final = """
SELECT d.code, l.code, s.code, d.family, d.model, coalesce(v.firmware, d.firmware), d.network, d.enabled,
       heard.last_heard_at, heard.online, coalesce(heard.seq_missing, 0), v.battery_v, v.battery_percent, v.battery_state,
       v.rssi_dbm, v.clock_offset_s,
       CASE WHEN c.device_id IS NULL THEN 'none' WHEN c.revoked_at IS NOT NULL THEN 'revoked'
            WHEN c.suspended_until > now() THEN 'suspended' ELSE 'issued' END
FROM devices d
JOIN lots l ON l.id = d.lot_id
LEFT JOIN spaces s ON s.id = d.space_id
LEFT JOIN device_liveness heard ON heard.device_id = d.id
LEFT JOIN device_vitals v ON v.device_id = d.id
LEFT JOIN device_credentials c ON c.device_id = d.id
WHERE d.code > %(after)s AND (%(lot)s::text IS NULL OR l.code = %(lot)s)
  AND (%(operator)s::integer IS NULL OR l.operator_id = %(operator)s)
ORDER BY d.code LIMIT %(most)s
"""


_IDENTITY: Final = "SELECT id, family FROM devices WHERE code = %s AND enabled"

_OWNED: Final = """
SELECT d.id FROM devices d JOIN lots l ON l.id = d.lot_id
WHERE d.code = %(code)s AND (%(operator)s::integer IS NULL OR l.operator_id = %(operator)s)
"""


_DAYS: Final = """
SELECT day.day, day.messages, coalesce(bays.changes, 0)::integer, coalesce(bays.flickers, 0)::integer, day.missing,
       day.quiet_s, day.battery_v, day.rssi_dbm, day.clock_offset_s, day.doubtful
FROM device_days day
LEFT JOIN LATERAL (SELECT sum(changes) AS changes, sum(flickers) AS flickers FROM bay_days
                   WHERE bay_days.device_id = day.device_id AND bay_days.day = day.day) bays ON true
WHERE day.device_id = %s ORDER BY day.day DESC LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class DeviceDay:
    """What a device did on a local day that is over; what nobody knows is None."""

    day: date
    messages: int
    changes: int
    short_stays: int
    missing: int
    quiet_s: int
    battery_v: float | None
    rssi_dbm: float | None
    clock_offset_s: float | None
    doubtful: bool


@dataclass(frozen=True, slots=True)
class DeviceRow:
    """A device; what nobody knows is None."""

    code: str
    lot: str
    space: str | None  # of a one-space device
    family: str
    model: str
    firmware: str
    network: str
    enabled: bool
    last_heard_at: datetime | None
    online: bool | None
    missing: int  # messages that it numbered and nobody received
    battery_v: float | None
    battery_percent: float | None
    battery_state: str | None
    rssi_dbm: float | None
    clock_offset_s: float | None
    credential: str  # none, issued, suspended, revoked


def page(
    connection: Connection[Any], *, after: str, most: int, lot: str | None = None, operator_id: int | None = None
) -> list[DeviceRow]:
    """Devices by their codes, those after a code; `operator_id`: of this operator's lots only."""
    parameters = {"after": after, "most": most, "lot": lot, "operator": operator_id}
    return [DeviceRow(*row) for row in connection.execute(_PAGE, parameters).fetchall()]


def days(connection: Connection[Any], device_id: int, most: int) -> list[DeviceDay]:
    """The newest days of a device, the oldest of them first."""
    rows = connection.execute(_DAYS, (device_id, most)).fetchall()
    return [DeviceDay(*row) for row in reversed(rows)]


def identity(connection: Connection[Any], code: str) -> tuple[int, str] | None:
    """Id and family of a device that is in use; None: there is none of this code."""
    row = connection.execute(_IDENTITY, (code,)).fetchone()
    return None if row is None else (row[0], row[1])


def owned(connection: Connection[Any], code: str, operator_id: int | None) -> int | None:
    """Id of a device of this operator's lots (None: of anybody's); None: there is none."""
    row = connection.execute(_OWNED, {"code": code, "operator": operator_id}).fetchone()
    return None if row is None else int(row[0])
