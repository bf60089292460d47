"""What a database holds of lanes, said without its own ids and times of booking: two that tell the same are equal."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from tests.acceptance.month import FOUND

if TYPE_CHECKING:
    from tests.acceptance.stage import Stage

Ledger = dict[str, Counter[tuple[Any, ...]]]

# A record, by its lane and its number there.
_RECORDS = """
WITH record AS (
    SELECT e.id, v.code || '#' || e.record_no AS name FROM lane_events e JOIN devices v ON v.id = e.device_id),
stay AS (
    SELECT s.id, s.state, CASE WHEN s.state = 'void' THEN 'void ' || s.vehicle
        ELSE concat_ws(' ', l.code, s.vehicle, 'in', coalesce(came.name, '-'), 'out', coalesce(left_by.name, '-')) END AS name
    FROM visits s JOIN lots l ON l.id = s.lot_id
    LEFT JOIN record came ON came.id = s.entry_event_id LEFT JOIN record left_by ON left_by.id = s.exit_event_id)
"""

# How often a visit was derived again, charged again or found odd for a while depends on which records came in one
# batch, and a kill moves the borders of batches. So of charges the newest counts, of money the sum by account, of
# differences those that stand at the end; visits that came to nothing must be worth nothing.
_PARTS: Final = {
    "records": """
        SELECT r.name, e.event, e.source, encode(e.digest, 'hex'), e.vehicle, e.occurred_at, e.amount_fen, e.flags::text,
               e.processed_at IS NULL
        FROM lane_events e JOIN record r ON r.id = e.id""",
    "repeats": """
        SELECT v.code || '#' || a.record_no, encode(a.digest, 'hex'), a.reason, r.name, a.occurred_at, a.tac, a.amount_fen,
               a.processed_at IS NULL
        FROM lane_repeats a JOIN record r ON r.id = a.event_id JOIN devices v ON v.id = a.device_id""",
    "gaps": """
        SELECT v.code || '#' || g.record_no, g.named_at IS NOT NULL
        FROM lane_gaps g JOIN devices v ON v.id = g.device_id WHERE g.filled_at IS NULL""",
    "corrections": """
        SELECT r.name, about.name, a.vehicle_before, a.vehicle_after, a.in_force
        FROM lane_amendments a JOIN record r ON r.id = a.correction_event_id LEFT JOIN record about ON about.id = a.event_id""",
    "visits": """
        SELECT y.name, s.state, (SELECT string_agg(x, ',' ORDER BY x) FROM unnest(s.reasons) x), s.channel, s.plate_color,
               s.vehicle_class, s.entered_at, s.exited_at, linked.name
        FROM visits s JOIN stay y ON y.id = s.id LEFT JOIN record linked ON linked.id = s.linked_event_id
        WHERE s.state <> 'void'""",
    "charges": """
        SELECT y.name, c.amount_fen, c.lines::text, t.code, t.version
        FROM (SELECT DISTINCT ON (visit_id) * FROM charges ORDER BY visit_id, version DESC) c
        JOIN stay y ON y.id = c.visit_id LEFT JOIN tariffs t ON t.id = c.tariff_id
        WHERE c.amount_fen <> 0 OR c.lines <> '[]'""",
    "money": """
        SELECT y.name, a.code, sum(p.amount_fen)
        FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
        LEFT JOIN stay y ON y.id = j.visit_id
        WHERE j.kind <> 'statement'  -- the worker closes a month by the clock, perhaps during the test
        GROUP BY 1, 2 HAVING sum(p.amount_fen) <> 0""",
    "transactions": """
        SELECT t.terminal_no, t.terminal_serial, r.name, completed.name, y.name, t.amount_fen, t.occurred_at, t.tac, t.state,
               (SELECT string_agg(x, ',' ORDER BY x) FROM unnest(t.reasons) x), t.package_id,
               (SELECT count(*) FROM journal WHERE key = 'etc:' || t.terminal_no || ':' || t.terminal_serial),
               (SELECT string_agg(code || '=' || fen, ',' ORDER BY code) FROM (
                   SELECT a.code, sum(p.amount_fen) AS fen
                   FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
                   WHERE j.key IN (SELECT k || ':' || t.terminal_no || ':' || t.terminal_serial
                                   FROM unnest(ARRAY['etc', 'etc_ready', 'etc_held', 'etc_rejected']) k)
                   GROUP BY 1 HAVING sum(p.amount_fen) <> 0) booked)
        FROM etc_transactions t JOIN record r ON r.id = t.event_id
        LEFT JOIN record completed ON completed.id = t.completion_event_id LEFT JOIN stay y ON y.id = t.visit_id""",
    "commands": """
        SELECT v.code, c.kind, coalesce(r.name, split_part(c.cause, ':', 1)), c.payload ->> 'reason',
               CASE WHEN c.state IN ('queued', 'sent') THEN 'waits' ELSE c.state END
        FROM commands c JOIN devices v ON v.id = c.device_id LEFT JOIN record r ON c.cause = 'lane_event:' || r.id""",
    "dead letters": "SELECT reason, topic FROM dead_letters",
    "set aside": "SELECT r.name, a.error FROM lane_events_set_aside a JOIN record r ON r.id = a.event_id",
}
_WORTH = "SELECT name, state, sum(records), sum(amount_fen) FROM differences WHERE state IN ('open', 'explained') GROUP BY 1, 2"


def ledger_of(stage: Stage) -> Ledger:
    """Everything that lanes, their visits and their money left in a stage's database, part by part."""
    ledger = {part: Counter(_rows(stage, _RECORDS + query)) for part, query in _PARTS.items()}
    ledger["differences"] = Counter(_rows(stage, FOUND))
    ledger["worth of differences"] = Counter(_rows(stage, _WORTH))
    return ledger


def _rows(stage: Stage, query: str) -> list[tuple[Any, ...]]:
    return stage.query(query.replace("%", "%%"))


def unlike(one: Ledger, other: Ledger) -> dict[str, tuple[list[Any], list[Any]]]:
    """Of every part that differs: what only the one has and what only the other has, a few of each."""
    return {
        part: (_few(one[part] - other[part]), _few(other[part] - one[part])) for part in one if one[part] != other[part]
    }


def _few(rows: Counter[tuple[Any, ...]]) -> list[Any]:
    return sorted(map(str, rows.elements()))[:5]


def worthless(ledger: Ledger) -> bool:
    """Whether visits that came to nothing left no money behind."""
    return not any(re.match("void ", str(row[0])) for row in ledger["money"])
