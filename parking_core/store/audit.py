"""Both sides of every balance, as the audit compares them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.audit import EXPLAIN_A_BALANCE, AuditLine

if TYPE_CHECKING:
    from psycopg import Connection

_TRIAL_BALANCE = "SELECT count(*), coalesce(sum(amount_fen), 0)::bigint FROM postings"

# What each visit owes or is owed: a difference explains the amount that it names, no other. A vehicle that is inside may
# have paid before it was charged.
_RECEIVABLES = """
WITH owed AS (
    SELECT a.code, j.visit_id, sum(p.amount_fen) AS fen
    FROM postings p JOIN accounts a ON a.id = p.account_id JOIN journal j ON j.id = p.journal_id
    WHERE a.kind = 'receivable' GROUP BY 1, 2 HAVING sum(p.amount_fen) <> 0
), judged AS (
    SELECT o.code, o.fen, (v.state = 'open' AND o.fen < 0) OR EXISTS (
        SELECT FROM differences d
        WHERE d.visit_id = o.visit_id AND d.state IN ('open', 'explained') AND d.name = ANY(%(names)s)
          AND d.amount_fen = o.fen) AS is_explained
    FROM owed o LEFT JOIN visits v ON v.id = o.visit_id
)
SELECT code, count(*), sum(fen)::bigint, coalesce(sum(fen) FILTER (WHERE is_explained), 0)::bigint,
       count(*) FILTER (WHERE is_explained IS NOT TRUE)
FROM judged GROUP BY 1 ORDER BY 1
"""

# An account of ETC money holds exactly the transactions in its states; cleared days are those that the centre has paid,
# less or more than ours by what a difference of the day names.
_ETC = """
WITH held AS (
    SELECT a.kind, sum(p.amount_fen) AS fen
    FROM accounts a JOIN postings p ON p.account_id = a.id
    WHERE a.kind IN ('etc_clearing', 'etc_awaiting_tac', 'etc_held', 'etc_disputed') GROUP BY 1
), listed AS (
    SELECT CASE WHEN t.state IN ('ready', 'packed', 'booked') THEN 'etc_clearing'
                WHEN t.state = 'awaiting_tac' THEN 'etc_awaiting_tac'
                WHEN t.state = 'held' THEN 'etc_held' ELSE 'etc_disputed' END AS kind,
           count(*) AS items, sum(t.amount_fen) AS fen
    FROM etc_transactions t
    WHERE t.state IN ('ready', 'packed', 'booked', 'awaiting_tac', 'held', 'disputed')
      AND NOT (t.state = 'booked' AND EXISTS (SELECT FROM clearing_totals c WHERE c.clearing_day = t.clearing_day))
    GROUP BY 1
    UNION ALL
    SELECT 'etc_clearing', count(*), sum(amount_fen) FROM differences
    WHERE name = 'clearing_total' AND state IN ('open', 'explained') HAVING count(*) > 0
), explained AS (
    SELECT kind, sum(items)::bigint AS items, sum(fen) AS fen FROM listed GROUP BY 1
)
SELECT coalesce(h.kind, l.kind), coalesce(l.items, 0), coalesce(h.fen, 0)::bigint, coalesce(l.fen, 0)::bigint
FROM held h FULL JOIN explained l ON l.kind = h.kind ORDER BY 1
"""

# What an acquirer still holds for us: payments and refunds of days whose bill has not been booked, and what a booked
# bill has otherwise than we.
_ACQUIRERS = """
WITH held AS (
    SELECT split_part(a.code, ':', 2) AS acquirer, sum(p.amount_fen) AS fen
    FROM accounts a JOIN postings p ON p.account_id = a.id WHERE a.kind = 'acquirer' GROUP BY 1
), moved AS (
    SELECT split_part(a.code, ':', 2) AS acquirer, count(*) AS items, sum(p.amount_fen) AS fen
    FROM accounts a JOIN postings p ON p.account_id = a.id JOIN journal j ON j.id = p.journal_id
    WHERE a.kind = 'acquirer' AND j.kind <> 'acquirer_bill' AND NOT EXISTS (
        SELECT FROM journal b
        WHERE b.key = 'acquirer_bill:' || split_part(a.code, ':', 2) || ':'
                      || to_char(j.occurred_at AT TIME ZONE %(zone)s, 'YYYY-MM-DD'))
    GROUP BY 1
), named AS (
    SELECT channel AS acquirer, count(*) AS items, sum(amount_fen) AS fen FROM differences
    WHERE key LIKE 'bill:%%' AND state IN ('open', 'explained') GROUP BY 1
)
SELECT h.acquirer, coalesce(m.items, 0) + coalesce(n.items, 0), h.fen::bigint,
       (coalesce(m.fen, 0) + coalesce(n.fen, 0))::bigint
FROM held h LEFT JOIN moved m USING (acquirer) LEFT JOIN named n USING (acquirer) ORDER BY 1
"""

_REFUNDS = """
SELECT count(*) FILTER (WHERE fen <> 0), coalesce(sum(fen), 0)::bigint, count(*) FILTER (WHERE fen > 0)
FROM (
    SELECT split_part(j.key, ':', 2) || coalesce(':' || nullif(split_part(j.key, ':', 3), ''), '') AS refund, sum(p.amount_fen) AS fen
    FROM accounts a JOIN postings p ON p.account_id = a.id JOIN journal j ON j.id = p.journal_id
    WHERE a.kind = 'refunds_payable' GROUP BY 1
) AS refunds
"""

# Money that lanes named in records which the ledger could not take, because their numbers were used: kept beside it, each
# under a difference of its amount.
_BESIDE = """
SELECT count(*), coalesce(sum(r.amount_fen), 0)::bigint, coalesce(sum(-d.amount_fen), 0)::bigint,
       count(*) FILTER (WHERE d.amount_fen IS DISTINCT FROM -r.amount_fen)
FROM lane_repeats r LEFT JOIN differences d
  ON d.key = 'record_no_reused:' || r.device_id || ':' || r.record_no || ':' || r.id
WHERE r.reason = 'record_no_reused' AND r.amount_fen <> 0
"""

# What was captured of holds less what was given back of it is with the acquirer, on no bill yet. No promise gives back more
# than was captured of it.
_PREAUTHORISED = """
WITH booked AS (
    SELECT split_part(a.code, ':', 2) AS acquirer, j.key ~ '^(permit|promise)_refund:' AS is_back, p.amount_fen AS fen,
           CASE WHEN j.kind = 'hold_captured' THEN substr(j.key, 6)
                WHEN starts_with(j.key, 'permit_refund:') THEN
                    'permit:' || split_part(j.key, ':', 2) || ':' || split_part(j.key, ':', 3)
                ELSE coalesce(j.detail ->> 'promise', j.key) END AS promise
    FROM accounts a JOIN postings p ON p.account_id = a.id JOIN journal j ON j.id = p.journal_id
    WHERE a.kind = 'preauthorised'
), by_promise AS (
    SELECT acquirer, promise, sum(fen) AS fen, sum(fen) FILTER (WHERE is_back) AS back FROM booked GROUP BY 1, 2
), kept AS (
    SELECT acquirer, count(*) AS items, sum(fen) AS fen, coalesce(sum(back), 0) AS back,
           count(*) FILTER (WHERE fen < 0) AS overdrawn
    FROM by_promise GROUP BY 1
), captured AS (
    SELECT split_part(channel, ':', 2) AS acquirer, sum(captured_fen) AS fen FROM holds
    WHERE state = 'captured' AND starts_with(channel, 'hold:') GROUP BY 1
)
SELECT acquirer, coalesce(k.items, 0), coalesce(k.fen, 0)::bigint, (coalesce(c.fen, 0) + coalesce(k.back, 0))::bigint,
       coalesce(k.overdrawn, 0)
FROM kept k FULL JOIN captured c USING (acquirer) ORDER BY 1
"""

# What owners are to get is their part of every promise that was paid or given back, by the part that the entry names, and
# by what had been kept of the promise before.
_OWNERS = """
WITH shared AS (
    SELECT l.code, j.id, -sum(p.amount_fen) AS fen, sum(p.amount_fen) FILTER (WHERE a.kind = 'owner_payable') AS owner_fen,
           CASE WHEN j.kind = 'promise_paid' THEN min(j.detail ->> 'owner_permille')::numeric END AS permille,
           coalesce(min(j.detail ->> 'kept_fen')::numeric, 0) AS kept
    FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
    JOIN lots l ON l.id = a.lot_id
    WHERE j.kind = 'promise_paid'
       OR EXISTS (SELECT FROM postings o JOIN accounts b ON b.id = o.account_id
                  WHERE o.journal_id = j.id AND b.kind = 'owner_payable')
    GROUP BY 1, 2, j.kind
), judged AS (
    SELECT code, coalesce(owner_fen, 0)::bigint AS fen,
           (floor((kept * permille * 2 + 1000) / 2000) - floor(((kept + fen) * permille * 2 + 1000) / 2000))::bigint AS expected
    FROM shared
)
SELECT 'owner_payable:' || code, count(*), sum(fen)::bigint, coalesce(sum(expected), 0)::bigint,
       count(*) FILTER (WHERE expected IS DISTINCT FROM fen)
FROM judged GROUP BY code ORDER BY code
"""

# Money that lanes took from cards and that is no entry, charges that are no entry, payments that are no entry; promises of spaces
# that were used and not paid.
_NOT_BOOKED = """
SELECT 'etc_transactions', count(*), coalesce(sum(t.amount_fen), 0)::bigint FROM etc_transactions t
WHERE NOT EXISTS (SELECT FROM journal j WHERE j.key = 'etc:' || t.terminal_no || ':' || t.terminal_serial)
UNION ALL
SELECT 'lane_events', count(*), coalesce(sum(e.amount_fen), 0)::bigint FROM lane_events e
WHERE e.event IN ('entry', 'exit') AND e.amount_fen > 0
  AND NOT EXISTS (SELECT FROM etc_transactions t WHERE t.event_id = e.id)
UNION ALL
SELECT 'payments', count(*), coalesce(sum(y.amount_fen), 0)::bigint FROM payments y
WHERE NOT EXISTS (SELECT FROM journal j WHERE j.key = 'qr:' || y.acquirer || ':' || y.transaction_ref)
  AND NOT EXISTS (SELECT FROM differences d WHERE d.name = 'payment_unknown' AND d.detail ->> 'transaction_ref' = y.transaction_ref)
UNION ALL
SELECT 'charges', count(*), coalesce(sum(c.amount_fen - coalesce(b.fen, 0)), 0)::bigint
FROM (SELECT DISTINCT ON (visit_id) visit_id, amount_fen FROM charges ORDER BY visit_id, version DESC) AS c
LEFT JOIN (
    SELECT j.visit_id, sum(p.amount_fen) AS fen
    FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
    WHERE j.kind = 'charge' AND a.kind = 'receivable' GROUP BY 1
) AS b USING (visit_id)
WHERE c.amount_fen <> coalesce(b.fen, 0)
UNION ALL
SELECT 'captured holds', count(*), coalesce(sum(coalesce(h.fen, 0) - coalesce(b.fen, 0)), 0)::bigint
FROM (
    SELECT CASE WHEN key LIKE 'permit:%' THEN 'permit:' || split_part(key, ':', 2) ELSE key END AS promise,
           sum(captured_fen) AS fen
    FROM holds WHERE state = 'captured' GROUP BY 1) AS h
FULL JOIN (
    SELECT CASE WHEN j.key LIKE 'permit:%' THEN 'permit:' || split_part(j.key, ':', 2)
                WHEN j.kind = 'hold_captured' THEN substr(j.key, 6) ELSE j.key END AS promise,
           sum(p.amount_fen) FILTER (WHERE p.amount_fen > 0) AS fen
    FROM journal j JOIN postings p ON p.journal_id = j.id
    WHERE j.kind IN ('hold_captured', 'promise_paid') AND j.key !~ '^(permit|promise)_refund:' GROUP BY 1) AS b
  ON b.promise = h.promise
WHERE h.fen IS DISTINCT FROM b.fen
UNION ALL
SELECT 'completed reservations', count(*), coalesce(sum(r.price_fen + r.fee_fen - coalesce(h.captured_fen, 0)), 0)::bigint
FROM reservations r LEFT JOIN holds h ON h.key = r.hold_key
WHERE r.state = 'completed' AND r.price_fen + r.fee_fen <> coalesce(h.captured_fen, 0)
UNION ALL
SELECT 'waiting lane events', count(*), 0 FROM lane_events WHERE processed_at IS NULL
UNION ALL
SELECT 'waiting payment notices', count(*), 0 FROM payment_notices WHERE processed_at IS NULL
"""


def audit_lines(connection: Connection[Any], zone: str) -> list[AuditLine]:
    """Every line of the audit. Cost: a few passes over the journal, seconds for millions of postings."""
    items, total = connection.execute(_TRIAL_BALANCE).fetchone() or (0, 0)
    lines = [_line("trial balance", items, total, 0, by="every entry balances")]
    names = [name.value for name in EXPLAIN_A_BALANCE]
    for code, count, fen, explained, open_items in connection.execute(_RECEIVABLES, {"names": names}).fetchall():
        lines.append(_line(code, count, fen, explained, by="differences of the visits", open_items=open_items))
    for kind, count, fen, explained in connection.execute(_ETC).fetchall():
        lines.append(_line(kind, count, fen, explained, by="transactions in its states"))
    for acquirer, count, fen, explained in connection.execute(_ACQUIRERS, {"zone": zone}).fetchall():
        lines.append(
            _line(f"acquirer:{acquirer}", count, fen, explained, by="days without a bill, differences of bills")
        )
    for acquirer, count, fen, explained, overdrawn in connection.execute(_PREAUTHORISED).fetchall():
        subject, by = f"preauthorised:{acquirer}", "captured holds, less what was given back"
        lines.append(_line(subject, count, fen, explained, by=by, open_items=overdrawn))
    count, fen, overdrawn = connection.execute(_REFUNDS).fetchone() or (0, 0, 0)
    lines.append(_line("refunds_payable", count, fen, fen, by="refunds ordered and not paid", open_items=overdrawn))
    for code, count, fen, expected, differing in connection.execute(_OWNERS).fetchall():
        lines.append(_line(code, count, fen, expected, by="parts of promises that were paid", open_items=differing))
    count, fen, named, unnamed = connection.execute(_BESIDE).fetchone() or (0, 0, 0, 0)
    lines.append(_line("beside the ledger: reused numbers", count, fen, named, by="differences", open_items=unnamed))
    for subject, count, fen in connection.execute(_NOT_BOOKED).fetchall():
        lines.append(_line(f"not booked: {subject}", count, fen, 0, by="nothing", open_items=count))
    return lines


def _line(  # a row of figures
    subject: str, items: int, balance_fen: int, explained_fen: int, *, by: str, open_items: int = 0
) -> AuditLine:
    return AuditLine(
        subject=subject,
        items=items,
        balance_fen=balance_fen,
        explained_fen=explained_fen,
        by=by,
        unexplained_items=open_items,
    )
