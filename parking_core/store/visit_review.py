"""What visits cost, paid and owe, as the journal knows it, and their differences, set by set. Nothing here commits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.reconciliation import DifferenceName, DifferenceState
from parking_core.tariffs import Payment
from parking_core.visits import VisitReview, VisitState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from psycopg import Connection

    from parking_core.reconciliation import Difference

# `OFFSET 0` keeps every lookup one by an index, also while the planner knows nothing of tables that grow: a few rows a
# visit, where it would read the whole journal.
_REVIEW = """
SELECT visit.id, visit.lot_id, visit.state, visit.reasons, visit.entered_at, visit.exited_at, leaving.device_id,
       visit.linked_event_id, coalesce(booked.owed, 0)::bigint, coalesce(booked.kinds, '{}'), charge.amount_fen,
       charge.tariff_id, coalesce(charge.by_permit, false), etc.amount_fen
FROM visits visit
LEFT JOIN LATERAL (SELECT device_id FROM lane_events WHERE id = visit.exit_event_id OFFSET 0) leaving ON true
LEFT JOIN LATERAL (
    SELECT sum(posted.owed) AS owed, array_agg(entry.kind) AS kinds
    FROM (SELECT id, kind FROM journal WHERE visit_id = visit.id OFFSET 0) entry
    CROSS JOIN LATERAL (
        SELECT sum(posting.amount_fen) FILTER (WHERE account.kind = 'receivable') AS owed
        FROM (SELECT account_id, amount_fen FROM postings WHERE journal_id = entry.id OFFSET 0) posting
        JOIN accounts account ON account.id = posting.account_id) posted) booked ON true
LEFT JOIN LATERAL (
    SELECT amount_fen, tariff_id, lines @> '[{"rule": "permit"}]' AS by_permit
    FROM charges WHERE visit_id = visit.id ORDER BY version DESC LIMIT 1) charge ON true
LEFT JOIN LATERAL (
    SELECT sum(amount_fen)::bigint AS amount_fen FROM etc_transactions
    WHERE visit_id = visit.id AND state <> 'rejected') etc ON true
WHERE visit.id = ANY(%(ids)s)
"""

# What drivers paid for these visits otherwise than at a lane: it may come before the exit, and then buys grace.
_PAYMENTS = """
SELECT entry.visit_id, entry.occurred_at, -sum(posting.amount_fen)::bigint
FROM (
    SELECT id, visit_id, occurred_at FROM journal
    WHERE visit_id = ANY(%(ids)s) AND kind IN ('qr_payment', 'cash_payment', 'hold_captured') OFFSET 0) entry
CROSS JOIN LATERAL (SELECT account_id, amount_fen FROM postings WHERE journal_id = entry.id OFFSET 0) posting
JOIN accounts account ON account.id = posting.account_id AND account.kind = 'receivable'
GROUP BY entry.id, entry.visit_id, entry.occurred_at ORDER BY entry.occurred_at, entry.id
"""

_KNOWN = """
SELECT visit_id, name, key, state FROM differences WHERE visit_id = ANY(%(ids)s) AND name = ANY(%(names)s)
"""

_OPEN = """
INSERT INTO differences (key, name, owner, state, lot_id, device_id, visit_id, event_id, day, channel, records, amount_fen,
                         detail)
SELECT key, name, owner, 'open', lot_id, device_id, visit_id, event_id, day, channel, records, amount_fen, detail
FROM unnest(%(keys)s::text[], %(names)s::text[], %(owners)s::text[], %(lots)s::integer[], %(devices)s::integer[],
            %(visits)s::bigint[], %(events)s::bigint[], %(days)s::date[], %(channels)s::text[], %(records)s::integer[],
            %(amounts)s::bigint[], %(details)s::jsonb[])
    AS new (key, name, owner, lot_id, device_id, visit_id, event_id, day, channel, records, amount_fen, detail)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET records = excluded.records, amount_fen = excluded.amount_fen, detail = excluded.detail,
       channel = excluded.channel, day = excluded.day, device_id = excluded.device_id
WHERE differences.state = 'open'
"""

_CHARGED = "SELECT DISTINCT visit_id FROM charges WHERE visit_id = ANY(%(ids)s)"

# What a promise of a space earned pays no visit: a permit covers that.
_PAID_BY = {"qr_payment": "qr", "hold_captured": "qr", "cash_payment": "cash"}


def review(connection: Connection[Any], visit_ids: Collection[int]) -> list[VisitReview]:
    """Visits as the journal knows them, in no order."""
    if not visit_ids:
        return []
    return [_review(row) for row in connection.execute(_REVIEW, {"ids": list(visit_ids)}).fetchall()]


def _review(row: tuple[Any, ...]) -> VisitReview:
    visit, lot_id, state, reasons, entered, exited, device, linked, owed, kinds, charge, tariff, by_permit, etc = row
    paid_by = {_PAID_BY[kind] for kind in kinds if kind in _PAID_BY}
    return VisitReview(
        visit_id=visit,
        lot_id=lot_id,
        state=VisitState(state),
        reasons=frozenset(reasons),
        entered_at=entered,
        exited_at=exited,
        exit_device_id=device,
        linked_event_id=linked,
        owed_fen=owed,
        paid_by=frozenset(paid_by | ({"etc"} if etc else set())),
        charge_fen=charge,
        tariff_id=tariff,
        by_permit=by_permit,
        etc_fen=etc,
    )


def payments_of(connection: Connection[Any], visit_ids: Collection[int]) -> dict[int, list[Payment]]:
    """What drivers paid for visits otherwise than at a lane, oldest first; visits without any are left out."""
    found: dict[int, list[Payment]] = {}
    if visit_ids:
        for visit, at, amount in connection.execute(_PAYMENTS, {"ids": list(visit_ids)}):
            found.setdefault(visit, []).append(Payment(at, amount))
    return found


def charged(connection: Connection[Any], visit_ids: Collection[int]) -> set[int]:
    """Those of the visits that were ever charged."""
    if not visit_ids:
        return set()
    return {visit for (visit,) in connection.execute(_CHARGED, {"ids": list(visit_ids)}).fetchall()}


def known_differences(
    connection: Connection[Any], visit_ids: Collection[int], names: Collection[DifferenceName]
) -> dict[int, list[tuple[DifferenceName, str, DifferenceState]]]:
    """Differences of visits by these names, ended ones too: name, key and state, by visit."""
    found: dict[int, list[tuple[DifferenceName, str, DifferenceState]]] = {}
    if visit_ids:
        parameters = {"ids": list(visit_ids), "names": [name.value for name in names]}
        for visit, name, key, state in connection.execute(_KNOWN, parameters).fetchall():
            found.setdefault(visit, []).append((DifferenceName(name), key, DifferenceState(state)))
    return found


def open_differences(connection: Connection[Any], differences: Sequence[Difference]) -> None:
    """Opens differences in one statement; one that is open by its key is brought up to date."""
    if not differences:
        return
    connection.execute(
        _OPEN,
        {
            "keys": [one.key for one in differences],
            "names": [one.name.value for one in differences],
            "owners": [one.owner.value for one in differences],
            "lots": [one.lot_id for one in differences],
            "devices": [one.device_id for one in differences],
            "visits": [one.visit_id for one in differences],
            "events": [one.event_id for one in differences],
            "days": [one.day for one in differences],
            "channels": [one.channel for one in differences],
            "records": [one.records for one in differences],
            "amounts": [one.amount_fen for one in differences],
            "details": [Jsonb(dict(one.detail)) for one in differences],
        },
    )
