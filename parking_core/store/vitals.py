"""What devices said last of themselves: each value with its time, the newest wins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from psycopg import AsyncConnection

    from parking_core.frames import Joined, Vitals

_LONGEST: Final = 200  # characters of what a device says of itself

# A restart counts once: what is told again is not newer.
_PUT: Final = """
INSERT INTO device_vitals AS known (
    device_id, battery_v, battery_percent, battery_state, battery_at, temperature_c, rssi_dbm, snr_db, signal_at,
    firmware, firmware_at, clock_offset_s, clock_at, restarted_at, restarts, application, quarantined, quarantined_at
)
SELECT v.device_id, v.battery_v, v.battery_percent, v.battery_state,
       CASE WHEN num_nonnulls(v.battery_v, v.battery_percent, v.battery_state) > 0 THEN v.at END,
       v.temperature_c, v.rssi_dbm, v.snr_db, CASE WHEN num_nonnulls(v.rssi_dbm, v.snr_db) > 0 THEN v.at END,
       v.firmware, CASE WHEN v.firmware IS NOT NULL THEN v.at END,
       v.clock_offset_s, CASE WHEN v.clock_offset_s IS NOT NULL THEN v.at END,
       CASE WHEN v.restarted THEN v.at END, v.restarted::integer, v.application,
       v.quarantined, CASE WHEN v.quarantined IS NOT NULL THEN v.at END
FROM (
    SELECT *, timestamptz 'epoch' + at_us * interval '1 microsecond' AS at
    FROM unnest(%s::int[], %s::bigint[], %s::real[], %s::real[], %s::text[], %s::real[], %s::real[], %s::real[],
                %s::text[], %s::real[], %s::boolean[], %s::text[], %s::jsonb[])
        AS u (device_id, at_us, battery_v, battery_percent, battery_state, temperature_c, rssi_dbm, snr_db,
              firmware, clock_offset_s, restarted, application, quarantined)
    WHERE EXISTS (SELECT FROM devices WHERE id = u.device_id)  -- it may have been removed a moment ago
    ORDER BY device_id
) AS v
ON CONFLICT (device_id) DO UPDATE SET
    (battery_v, battery_percent, battery_state, battery_at) = (
        SELECT coalesce(excluded.battery_v, known.battery_v), coalesce(excluded.battery_percent, known.battery_percent),
               coalesce(excluded.battery_state, known.battery_state), excluded.battery_at
        WHERE excluded.battery_at > coalesce(known.battery_at, '-infinity')
        UNION ALL
        SELECT known.battery_v, known.battery_percent, known.battery_state, known.battery_at
        WHERE excluded.battery_at > coalesce(known.battery_at, '-infinity') IS NOT TRUE
    ),
    (temperature_c, rssi_dbm, snr_db, signal_at) = (
        SELECT coalesce(excluded.temperature_c, known.temperature_c), coalesce(excluded.rssi_dbm, known.rssi_dbm),
               coalesce(excluded.snr_db, known.snr_db), excluded.signal_at
        WHERE excluded.signal_at > coalesce(known.signal_at, '-infinity')
        UNION ALL
        SELECT coalesce(known.temperature_c, excluded.temperature_c), known.rssi_dbm, known.snr_db, known.signal_at
        WHERE excluded.signal_at > coalesce(known.signal_at, '-infinity') IS NOT TRUE
    ),
    firmware = CASE WHEN excluded.firmware_at > coalesce(known.firmware_at, '-infinity')
               THEN excluded.firmware ELSE known.firmware END,
    firmware_at = greatest(known.firmware_at, excluded.firmware_at),
    clock_offset_s = CASE WHEN excluded.clock_at > coalesce(known.clock_at, '-infinity')
                     THEN excluded.clock_offset_s ELSE known.clock_offset_s END,
    clock_at = greatest(known.clock_at, excluded.clock_at),
    restarts = known.restarts + (excluded.restarted_at > coalesce(known.restarted_at, '-infinity') IS TRUE)::integer,
    restarted_at = greatest(known.restarted_at, excluded.restarted_at),
    application = coalesce(excluded.application, known.application),
    quarantined = CASE WHEN excluded.quarantined_at > coalesce(known.quarantined_at, '-infinity')
                  THEN excluded.quarantined ELSE known.quarantined END,
    quarantined_at = greatest(known.quarantined_at, excluded.quarantined_at)
"""

_JOIN: Final = """
INSERT INTO device_vitals AS known (device_id, joined_at)
SELECT device_id, max(timestamptz 'epoch' + at_us * interval '1 microsecond')
FROM unnest(%s::int[], %s::bigint[]) AS j (device_id, at_us)
WHERE EXISTS (SELECT FROM devices WHERE id = j.device_id)
GROUP BY device_id ORDER BY device_id
ON CONFLICT (device_id) DO UPDATE SET joined_at = greatest(known.joined_at, excluded.joined_at)
"""


async def put(connection: AsyncConnection[Any], told: Sequence[Vitals]) -> None:
    """Keeps what is newer than what is known; at most one a device."""
    columns = (
        [one.device_id for one in told],
        [one.at_us for one in told],
        [one.battery_v for one in told],
        [one.battery_percent for one in told],
        [one.battery_state for one in told],
        [one.temperature_c for one in told],
        [one.rssi_dbm for one in told],
        [one.snr_db for one in told],
        [_text(one.firmware) for one in told],
        [one.clock_offset_s for one in told],
        [one.restarted for one in told],
        [_text(one.application) for one in told],
        [_reasons(one.quarantined) for one in told],
    )
    await connection.execute(_PUT, columns)


async def join(connection: AsyncConnection[Any], joins: Sequence[Joined]) -> None:
    """Keeps when devices joined their network last."""
    await connection.execute(_JOIN, ([one.device_id for one in joins], [one.at_us for one in joins]))


def _text(told: str | None) -> str | None:
    """What a column can hold of it: a device may write anything."""
    return None if told is None else told[:_LONGEST].replace("\0", "").encode("utf-8", "replace").decode()


def _reasons(quarantined: Mapping[str, str] | None) -> Jsonb | None:
    return None if quarantined is None else Jsonb({name: _text(why) for name, why in quarantined.items()})
