"""Rows of the reconciliation report: channels by day, lanes by day, differences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.reports import ChannelDay, LaneDay, OneDifference

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.store.statements import Month

# Both sides of a channel and local day: what we booked, what the other side has confirmed.
_CHANNELS = """
WITH days AS (
    SELECT 'etc' AS channel, (occurred_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS records,
           sum(amount_fen)::bigint AS fen,
           coalesce(sum(amount_fen) FILTER (WHERE state = 'booked'), 0)::bigint AS confirmed,
           coalesce(sum(amount_fen) FILTER (WHERE state IN ('awaiting_tac', 'held', 'disputed')), 0)::bigint AS uncertain,
           coalesce(sum(amount_fen) FILTER (WHERE state IN ('rejected', 'bad_debt')), 0)::bigint AS lost
    FROM etc_transactions WHERE occurred_at >= %(since)s AND occurred_at < %(until)s GROUP BY 1, 2
    UNION ALL
    SELECT 'qr:' || y.acquirer, (y.paid_at AT TIME ZONE %(zone)s)::date, count(*), sum(y.amount_fen)::bigint,
           coalesce(sum(b.amount_fen), 0)::bigint, 0, 0
    FROM payments y LEFT JOIN acquirer_bills b
      ON b.acquirer = y.acquirer AND b.transaction_ref = y.transaction_ref AND b.kind = 'payment'
    WHERE y.paid_at >= %(since)s AND y.paid_at < %(until)s GROUP BY 1, 2
)
SELECT channel, day, records, fen, confirmed, uncertain, lost FROM days ORDER BY channel, day
"""

_LANES = """
WITH days AS (
    SELECT device_id, lot_id, (occurred_at AT TIME ZONE %(zone)s)::date AS day, count(*) AS records,
           coalesce(sum(amount_fen) FILTER (WHERE event IN ('entry', 'exit')), 0)::bigint AS fen
    FROM lane_events
    WHERE occurred_at >= %(since)s AND occurred_at < %(until)s AND event <> 'hour_total' GROUP BY 1, 2, 3
), found AS (
    SELECT device_id, day, count(*) AS differences FROM differences WHERE device_id IS NOT NULL GROUP BY 1, 2
)
SELECT d.code, l.code, y.day, y.records, y.fen, coalesce(f.differences, 0)
FROM days y JOIN devices d ON d.id = y.device_id JOIN lots l ON l.id = y.lot_id LEFT JOIN found f USING (device_id, day)
ORDER BY d.code, y.day
"""

_DIFFERENCES = """
SELECT f.id, f.name, f.owner, f.state, f.day, f.hour_at, l.code, d.code, f.visit_id, f.channel, f.records, f.amount_fen,
       coalesce(f.explanation, ''), f.detail
FROM differences f LEFT JOIN lots l ON l.id = f.lot_id LEFT JOIN devices d ON d.id = f.device_id
WHERE f.day >= %(first)s AND f.day < %(next)s ORDER BY f.day, f.id
"""


def channel_days(connection: Connection[Any], month: Month, zone: str) -> list[ChannelDay]:
    """Channels by local day."""
    parameters = {"since": month.since, "until": month.until, "zone": zone}
    return [ChannelDay(*row) for row in connection.execute(_CHANNELS, parameters).fetchall()]


def lane_days(connection: Connection[Any], month: Month, zone: str) -> list[LaneDay]:
    """Lanes by local day, with how many differences name the lane that day."""
    parameters = {"since": month.since, "until": month.until, "zone": zone}
    return [LaneDay(*row) for row in connection.execute(_LANES, parameters).fetchall()]


def differences_of(connection: Connection[Any], month: Month) -> list[OneDifference]:
    """Differences of the month's days, whatever their state."""
    cursor = connection.execute(_DIFFERENCES, {"first": month.first, "next": month.next})
    return [OneDifference(*row) for row in cursor.fetchall()]
