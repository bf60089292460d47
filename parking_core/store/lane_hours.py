"""Both sides of lanes and hours: what the lanes counted, what the ledger holds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.lane_hours import LaneHour

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

# Hours are the zone's, which in most of the world are those of UTC. A lane's hours run from its first to its last
# record or total of the stretch: in between, an hour without anything is an hour whose total is missing.
_HOURS = """
WITH ledger AS (
    SELECT device_id, lot_id, date_trunc('hour', occurred_at, %(zone)s) AS hour_at, count(*) AS records,
           coalesce(sum(amount_fen) FILTER (WHERE event IN ('entry', 'exit')), 0) AS amount_fen
    FROM lane_events
    WHERE occurred_at >= %(since)s AND occurred_at < %(until)s AND event <> 'hour_total'
    GROUP BY 1, 2, 3
), repeats AS (
    SELECT r.device_id, e.lot_id, date_trunc('hour', r.occurred_at, %(zone)s) AS hour_at, count(*) AS records,
           coalesce(sum(e.amount_fen) FILTER (WHERE e.event IN ('entry', 'exit')), 0) AS amount_fen
    FROM lane_repeats r JOIN lane_events e ON e.id = r.event_id
    WHERE r.occurred_at >= %(since)s AND r.occurred_at < %(until)s AND r.reason = 'transaction_repeated'
    GROUP BY 1, 2, 3
), totals AS (
    SELECT DISTINCT ON (device_id, hour_at) device_id, lot_id, hour_at, hour_records, hour_amount_fen
    FROM lane_events
    WHERE event = 'hour_total' AND hour_at >= %(since)s AND hour_at < %(until)s
    ORDER BY device_id, hour_at, id DESC
), known AS (
    SELECT device_id, lot_id, min(hour_at) AS first_at, max(hour_at) AS last_at
    FROM (SELECT device_id, lot_id, hour_at FROM ledger UNION ALL SELECT device_id, lot_id, hour_at FROM repeats
          UNION ALL SELECT device_id, lot_id, hour_at FROM totals) AS any_side
    GROUP BY 1, 2
), hours AS (
    SELECT device_id, lot_id, hour_at
    FROM known, generate_series(first_at, last_at, INTERVAL '1 hour') AS hour_at
), gaps AS (
    SELECT g.device_id, date_trunc('hour', following.occurred_at, %(zone)s) AS hour_at,
           array_agg(g.record_no ORDER BY g.record_no) AS missing
    FROM lane_gaps g CROSS JOIN LATERAL (
        SELECT e.occurred_at FROM lane_events e
        WHERE e.device_id = g.device_id AND e.record_no > g.record_no ORDER BY e.record_no LIMIT 1
    ) AS following
    WHERE g.filled_at IS NULL
    GROUP BY 1, 2
)
SELECT h.device_id, h.lot_id, h.hour_at, t.hour_records, t.hour_amount_fen,
       coalesce(l.records, 0) + coalesce(r.records, 0), coalesce(l.amount_fen, 0) + coalesce(r.amount_fen, 0),
       coalesce(g.missing, '{}')
FROM hours h
LEFT JOIN totals t USING (device_id, hour_at)
LEFT JOIN ledger l USING (device_id, hour_at)
LEFT JOIN repeats r USING (device_id, hour_at)
LEFT JOIN gaps g USING (device_id, hour_at)
ORDER BY h.device_id, h.hour_at
"""


def lane_hours(connection: Connection[Any], since: datetime, until: datetime, zone: str) -> list[LaneHour]:
    """Every lane and hour that begins in [since, until), whole hours of `zone`; cost grows with records of the stretch."""
    cursor = connection.execute(_HOURS, {"since": since, "until": until, "zone": zone})
    return [
        LaneHour(device_id, lot_id, hour_at, records, amount, int(ledger_records), int(ledger_amount), tuple(missing))
        for device_id, lot_id, hour_at, records, amount, ledger_records, ledger_amount, missing in cursor.fetchall()
    ]
