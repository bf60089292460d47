"""Months of operators: figures out of the journal, statements as rows."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.statements import LotMonth, Statement

if TYPE_CHECKING:
    from datetime import date, datetime

    from psycopg import Connection

# One pass over the month's postings. Payments are what stands against receivables, by the rule that booked them.
_BOOKED = """
SELECT a.lot_id, j.kind, a.kind, sum(p.amount_fen)::bigint
FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE j.occurred_at >= %(since)s AND j.occurred_at < %(until)s AND a.lot_id IS NOT NULL
GROUP BY 1, 2, 3
"""

_VISITS = """
SELECT lot_id, count(*) FROM visits
WHERE exited_at >= %(since)s AND exited_at < %(until)s AND state <> 'void' GROUP BY 1
"""

_UNCERTAIN = """
SELECT coalesce(v.lot_id, t.lot_id), sum(t.amount_fen)::bigint
FROM etc_transactions t LEFT JOIN visits v ON v.id = t.visit_id
WHERE t.occurred_at >= %(since)s AND t.occurred_at < %(until)s AND t.state IN ('awaiting_tac', 'held', 'disputed')
GROUP BY 1
"""

_OWED = """
SELECT lot_id, coalesce(sum(fen) FILTER (WHERE fen > 0), 0)::bigint, coalesce(-sum(fen) FILTER (WHERE fen < 0), 0)::bigint
FROM (
    SELECT a.lot_id, j.visit_id, sum(p.amount_fen) AS fen
    FROM visits v JOIN journal j ON j.visit_id = v.id JOIN postings p ON p.journal_id = j.id
    JOIN accounts a ON a.id = p.account_id
    WHERE v.exited_at >= %(since)s AND v.exited_at < %(until)s AND a.kind = 'receivable'
    GROUP BY 1, 2
) AS balances WHERE fen <> 0 GROUP BY 1
"""

_OPERATORS = """
SELECT o.id, o.code, o.name, coalesce((
    SELECT s.district_permille FROM revenue_shares s
    WHERE s.operator_id = o.id AND s.valid_from <= %(month)s ORDER BY s.valid_from DESC LIMIT 1), 0),
    l.id, l.code, l.name
FROM operators o JOIN lots l ON l.operator_id = o.id
WHERE l.id = ANY(%(lots)s) ORDER BY o.code, l.code
"""

_DIFFERENCES = """
SELECT l.operator_id, d.name, count(*) FROM differences d JOIN lots l ON l.id = d.lot_id
WHERE d.state = 'open' AND d.day >= %(first)s AND d.day < %(next)s GROUP BY 1, 2
"""

_NEWEST = """
SELECT DISTINCT ON (s.operator_id) s.operator_id, s.version, s.document
FROM statements s WHERE s.month = %s ORDER BY s.operator_id, s.version DESC
"""

_STATED = "SELECT DISTINCT month FROM statements ORDER BY month DESC LIMIT %s"

_INSERT = "INSERT INTO statements (operator_id, month, version, document) VALUES (%s, %s, %s, %s)"

_SHARE = """
INSERT INTO revenue_shares (operator_id, valid_from, district_permille)
SELECT id, %(valid_from)s, %(permille)s FROM operators WHERE code = %(operator)s
ON CONFLICT (operator_id, valid_from) DO UPDATE SET district_permille = excluded.district_permille
"""

# The channel of a payment by the rule that booked it; what gives a payment back or moves it belongs to the channel too.
_CHANNELS = {
    "etc_payment": "etc",
    "etc_rejected": "etc",
    "qr_payment": "qr",
    "cash_payment": "cash",
    "hold_captured": "hold",
    "moved_out": "moved",
    "moved_in": "moved",
}


@dataclass(frozen=True, slots=True)
class StatedMonth:
    """The newest statement of an operator and month."""

    version: int
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Month:
    """A calendar month: its days, and the instants between which its bookings lie."""

    first: date
    next: date
    since: datetime
    until: datetime


def operator_months(connection: Connection[Any], month: Month) -> dict[int, Statement]:
    """Statements by operator id, made anew from the journal; operators without a booking have none.

    Cost: one pass over the month's postings and visits.
    """
    stretch = {"since": month.since, "until": month.until}
    booked: dict[int, dict[tuple[str, str], int]] = defaultdict(dict)
    for lot_id, entry, account, fen in connection.execute(_BOOKED, stretch).fetchall():
        booked[lot_id][entry, account] = fen
    visits = dict(connection.execute(_VISITS, stretch).fetchall())
    uncertain = dict(connection.execute(_UNCERTAIN, stretch).fetchall())
    owed = {lot_id: (due, back) for lot_id, due, back in connection.execute(_OWED, stretch).fetchall()}
    differences: dict[int, dict[str, int]] = defaultdict(dict)
    for operator_id, name, count in connection.execute(
        _DIFFERENCES, {"first": month.first, "next": month.next}
    ).fetchall():
        differences[operator_id][name] = count
    lots: dict[tuple[int, str, str, int], list[LotMonth]] = defaultdict(list)
    concerned = sorted(booked.keys() | visits.keys() | uncertain.keys())
    for operator_id, code, name, permille, lot_id, lot, lot_name in connection.execute(
        _OPERATORS, {"month": month.first, "lots": concerned}
    ).fetchall():
        due, back = owed.get(lot_id, (0, 0))
        lots[operator_id, code, name, permille].append(
            _lot_month(
                booked[lot_id],
                lot=lot,
                name=lot_name,
                visits=visits.get(lot_id, 0),
                uncertain_fen=uncertain.get(lot_id, 0),
                owed_fen=due,
                overpaid_fen=back,
            )
        )
    return {
        operator_id: Statement(
            operator=code,
            name=name,
            month=month.first,
            district_permille=permille,
            lots=of_operator,
            open_differences=differences[operator_id],
        )
        for (operator_id, code, name, permille), of_operator in lots.items()
    }


def _lot_month(booked: dict[tuple[str, str], int], **facts: Any) -> LotMonth:  # noqa: ANN401  # the other columns of LotMonth
    paid: dict[str, int] = defaultdict(int)
    for (entry, account), fen in booked.items():
        if account == "receivable" and entry in _CHANNELS:
            paid[_CHANNELS[entry]] -= fen
    # A refund of an overpayment gives a payment back; which channel pays it is seen when it is paid.
    refunded_overpayment = booked.get(("refund_ordered", "receivable"), 0)
    allowance = booked.get(("refund_ordered", "revenue"), 0)
    paid["promises"] -= booked.get(("promise_paid", "revenue"), 0)  # never owed: taken when it is earned
    if refunded_overpayment or allowance:
        paid["refunds"] -= refunded_overpayment + allowance
    return LotMonth(
        charged_fen=-sum(fen for (_, account), fen in booked.items() if account == "revenue"),
        paid_fen={channel: fen for channel, fen in paid.items() if fen},
        refunded_fen=refunded_overpayment + allowance,
        bad_debt_fen=sum(fen for (_, account), fen in booked.items() if account == "bad_debt"),
        written_off_fen=sum(fen for (_, account), fen in booked.items() if account == "write_off"),
        owner_fen=-sum(fen for (_, account), fen in booked.items() if account == "owner_payable"),
        **facts,
    )


def newest(connection: Connection[Any], month: date) -> dict[int, StatedMonth]:
    """The statements of a month that are in force, by operator id."""
    return {
        operator_id: StatedMonth(version, document)
        for operator_id, version, document in connection.execute(_NEWEST, (month,)).fetchall()
    }


def stated(connection: Connection[Any], most: int) -> list[date]:
    """The newest months that have statements, the newest first."""
    return [month for (month,) in connection.execute(_STATED, (most,)).fetchall()]


def add(connection: Connection[Any], operator_id: int, month: date, version: int, document: dict[str, Any]) -> None:
    """Keeps a version."""
    connection.execute(_INSERT, (operator_id, month, version, Jsonb(document)))


def set_share(connection: Connection[Any], operator: str, valid_from: date, district_permille: int) -> bool:
    """Sets the district's part of an operator's revenue from a day on; False: there is no such operator."""
    parameters = {"operator": operator, "valid_from": valid_from, "permille": district_permille}
    return connection.execute(_SHARE, parameters).rowcount > 0
