"""Arrears as rows: ended visits that still owe, with the charge that says why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

# What is owed is the journal's to say; the open differences only name the visits to look at. A visit with a link that
# still holds, and has been told nobody's lane, was asked already.
_ARREARS = """
WITH owing AS (
    SELECT v.id, l.code, v.vehicle, v.exited_at, (
        SELECT coalesce(sum(p.amount_fen), 0)::bigint
        FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
        WHERE j.visit_id = v.id AND a.kind = 'receivable') AS owed_fen
    FROM visits v JOIN lots l ON l.id = v.lot_id
    WHERE v.id IN (SELECT d.visit_id FROM differences d WHERE d.state = 'open' AND d.name IN ('arrears', 'tailgated'))
      AND v.exited_at < %(left_before)s AND (%(lot)s::text IS NULL OR l.code = %(lot)s)
)
SELECT o.id, o.code, o.vehicle, o.exited_at, o.owed_fen, coalesce(c.lines, '[]'), (
    SELECT max(k.created_at) FROM payment_links k
    WHERE k.visit_id = o.id AND k.device_id IS NULL AND k.superseded_at IS NULL AND k.expires_at > %(now)s) AS asked_at
FROM owing o LEFT JOIN LATERAL (
    SELECT lines FROM charges WHERE visit_id = o.id ORDER BY version DESC LIMIT 1
) AS c ON true
WHERE o.owed_fen > 0 ORDER BY o.exited_at, o.id
"""


@dataclass(frozen=True, slots=True)
class OwingVisit:
    """A visit that left and owes; `asked_at`: when the driver was last given a link that still holds."""

    visit_id: int
    lot: str  # code
    vehicle: str
    exited_at: datetime
    owed_fen: int
    lines: Sequence[Mapping[str, Any]]
    asked_at: datetime | None


def owing_visits(
    connection: Connection[Any], *, lot: str | None, left_before: datetime, now: datetime
) -> list[OwingVisit]:
    """Visits that owe, the oldest exit first."""
    parameters = {"lot": lot, "left_before": left_before, "now": now}
    return [OwingVisit(*row) for row in connection.execute(_ARREARS, parameters).fetchall()]
