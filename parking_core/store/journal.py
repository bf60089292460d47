"""The journal: entries booked once by their keys, set by set, and what they sum to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError
from parking_core.settlement import Arrear
from parking_core.settlement.accounts import OF_A_LOT, OF_AN_OPERATOR

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.settlement import Account, Entry

# Sorted by key: two writers of the same keys wait for each other instead of deadlocking.
_BOOK_ENTRIES = """
INSERT INTO journal (key, kind, occurred_at, visit_id, detail)
SELECT e.key, e.kind, e.occurred_at, e.visit_id, e.detail
FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::bigint[], %s::jsonb[])
    AS e (key, kind, occurred_at, visit_id, detail)
ORDER BY e.key
ON CONFLICT (key) DO NOTHING
RETURNING id, key
"""

_BOOK_POSTINGS = """
INSERT INTO postings (journal_id, line, account_id, amount_fen)
SELECT * FROM unnest(%s::bigint[], %s::smallint[], %s::integer[], %s::bigint[])
"""

_ACCOUNTS = "SELECT code, id FROM accounts WHERE code = ANY(%s)"

# An account of a lot is also its operator's. A code that names no lot or operator gives no row, and that is an error.
_OPEN_ACCOUNTS = """
INSERT INTO accounts (code, kind, lot_id, operator_id)
SELECT a.code, a.kind, l.id, coalesce(l.operator_id, o.id)
FROM unnest(%(codes)s::text[], %(kinds)s::text[], %(lots)s::text[], %(operators)s::text[])
    AS a (code, kind, lot, operator)
LEFT JOIN lots l ON l.code = a.lot
LEFT JOIN operators o ON o.code = a.operator
WHERE (a.lot IS NULL OR l.id IS NOT NULL) AND (a.operator IS NULL OR o.id IS NOT NULL)
ORDER BY a.code
ON CONFLICT (code) DO NOTHING
"""

_BALANCES = """
SELECT a.code, a.kind, count(*), coalesce(sum(p.amount_fen) FILTER (WHERE p.amount_fen > 0), 0)::bigint,
       coalesce(-sum(p.amount_fen) FILTER (WHERE p.amount_fen < 0), 0)::bigint
FROM postings p JOIN journal j ON j.id = p.journal_id JOIN accounts a ON a.id = p.account_id
WHERE %(until)s::timestamptz IS NULL OR j.occurred_at < %(until)s
GROUP BY a.code, a.kind ORDER BY a.code
"""

_OWED = """
SELECT j.visit_id, sum(p.amount_fen)::bigint
FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE j.visit_id = ANY(%s) AND a.kind = 'receivable'
GROUP BY j.visit_id
"""

_UNPAID = """
SELECT v.id, l.code, v.vehicle, v.exited_at, sum(p.amount_fen)::bigint
FROM visits v JOIN lots l ON l.id = v.lot_id JOIN journal j ON j.visit_id = v.id
JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE v.vehicle = ANY(%s) AND v.exited_at IS NOT NULL AND a.kind = 'receivable'
GROUP BY v.id, l.code HAVING sum(p.amount_fen) > 0 ORDER BY v.exited_at, v.id
"""

_BOOKED = "SELECT key FROM journal WHERE key = ANY(%s)"

_OF_VISIT = """
SELECT j.id, j.key, j.kind, j.occurred_at, j.booked_at, j.visit_id, j.detail, a.code, p.amount_fen
FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE j.visit_id = %s ORDER BY j.id, p.line
"""

_BY_KEY = """
SELECT j.id, j.key, j.kind, j.occurred_at, j.booked_at, j.visit_id, j.detail, a.code, p.amount_fen
FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE j.key = %s ORDER BY p.line
"""

_OF_PROMISE = """
SELECT j.id, j.key, j.kind, j.occurred_at, j.booked_at, j.visit_id, j.detail, a.code, p.amount_fen
FROM journal j JOIN postings p ON p.journal_id = j.id JOIN accounts a ON a.id = p.account_id
WHERE j.kind = 'promise_paid' AND (j.key = %(key)s OR starts_with(j.key, 'promise_refund:' || %(promise)s || ':')
    OR starts_with(j.key, 'permit_refund:' || %(promise)s || ':'))
ORDER BY j.id, p.line
"""

_WITHOUT_POSTINGS = """
SELECT key FROM journal j WHERE NOT EXISTS (SELECT FROM postings p WHERE p.journal_id = j.id) ORDER BY id LIMIT 100
"""


@dataclass(frozen=True, slots=True)
class AccountBalance:
    """What an account holds: debit minus credit, in fen."""

    code: str
    kind: str
    postings: int
    debit_fen: int
    credit_fen: int

    @property
    def balance_fen(self) -> int:
        """Debit minus credit."""
        return self.debit_fen - self.credit_fen


@dataclass(frozen=True, slots=True)
class BookedEntry:
    """An entry as it stands in the journal; `postings` are account codes and fen, debit positive."""

    id: int
    key: str
    kind: str
    occurred_at: datetime
    booked_at: datetime
    visit_id: int | None
    detail: Mapping[str, Any]
    postings: tuple[tuple[str, int], ...]


def book(connection: Connection[Any], entries: Iterable[Entry]) -> frozenset[str]:
    """Books entries in two statements and gives the keys of those that are new.

    An entry whose key is in the journal is not booked again, nor any part of it. Within one call the first of a key
    counts. Accounts that do not exist yet are opened.

    Raises:
        NotFoundError: an account names a lot or operator that is not registered.
        psycopg.IntegrityError: postings do not balance (the database looks too).
    """
    wanted = {entry.key: entry for entry in reversed(list(entries))}
    if not wanted:
        return frozenset()
    accounts = _account_ids(connection, {posting.account for entry in wanted.values() for posting in entry.postings})
    ordered = list(wanted.values())
    new = connection.execute(
        _BOOK_ENTRIES,
        (
            [entry.key for entry in ordered],
            [entry.kind.value for entry in ordered],
            [entry.occurred_at for entry in ordered],
            [entry.visit_id for entry in ordered],
            [json.dumps(dict(entry.detail), ensure_ascii=False, default=str) for entry in ordered],
        ),
    ).fetchall()
    lines = [
        (journal_id, line, accounts[posting.account.code], posting.amount_fen)
        for journal_id, key in new
        for line, posting in enumerate(wanted[key].postings, start=1)
    ]
    if lines:
        connection.execute(_BOOK_POSTINGS, [list(column) for column in zip(*lines, strict=True)])
    return frozenset(key for _, key in new)


def _account_ids(connection: Connection[Any], accounts: Collection[Account]) -> dict[str, int]:
    codes = {account.code: account for account in accounts}
    ids: dict[str, int] = dict(connection.execute(_ACCOUNTS, (list(codes),)).fetchall())
    missing = [account for code, account in codes.items() if code not in ids]
    if missing:
        connection.execute(
            _OPEN_ACCOUNTS,
            {
                "codes": [account.code for account in missing],
                "kinds": [account.kind.value for account in missing],
                "lots": [account.of if account.kind in OF_A_LOT else None for account in missing],
                "operators": [account.of if account.kind in OF_AN_OPERATOR else None for account in missing],
            },
        )
        ids = dict(connection.execute(_ACCOUNTS, (list(codes),)).fetchall())
    unknown = sorted(codes.keys() - ids.keys())
    if unknown:
        raise NotFoundError(f"No lot or operator is registered for account {unknown[0]}; seed the district first.")
    return ids


def trial_balance(connection: Connection[Any], until: datetime | None = None) -> list[AccountBalance]:
    """Every account that was ever posted to, by code; with `until`, only entries whose cause happened before it.

    Debits and credits over all rows are equal.
    """
    return [AccountBalance(*row) for row in connection.execute(_BALANCES, {"until": until}).fetchall()]


def owed_by_visit(connection: Connection[Any], visit_ids: Sequence[int]) -> dict[int, int]:
    """What each visit owes, in fen: > 0 arrears, < 0 owed back; 0 where nothing is booked."""
    owed = dict.fromkeys(visit_ids, 0)
    if owed:
        owed.update(connection.execute(_OWED, (list(owed),)).fetchall())
    return owed


def unpaid_visits(connection: Connection[Any], vehicles: Sequence[str]) -> list[Arrear]:
    """Ended visits of vehicles that still owe something, the oldest exit first."""
    rows = connection.execute(_UNPAID, (list(vehicles),)).fetchall() if vehicles else []
    return [
        Arrear(visit_id=visit, lot=lot, vehicle=vehicle, exited_at=exited, owed_fen=owed)
        for visit, lot, vehicle, exited, owed in rows
    ]


def arrears_of(connection: Connection[Any], vehicles: Sequence[str]) -> dict[str, int]:
    """What each vehicle owes for ended visits, in fen; one that owes nothing is left out."""
    owed: dict[str, int] = {}
    for arrear in unpaid_visits(connection, vehicles):
        owed[arrear.vehicle] = owed.get(arrear.vehicle, 0) + arrear.owed_fen
    return owed


def booked(connection: Connection[Any], keys: Sequence[str]) -> frozenset[str]:
    """Those of the keys that are in the journal."""
    return frozenset(key for (key,) in connection.execute(_BOOKED, (list(keys),)).fetchall()) if keys else frozenset()


def entries_of_visit(connection: Connection[Any], visit_id: int) -> list[BookedEntry]:
    """All entries of a visit in the order of booking, for its explanation."""
    return _entries(connection.execute(_OF_VISIT, (visit_id,)).fetchall())


def entries_of_promise(connection: Connection[Any], key: str) -> list[BookedEntry]:
    """What was taken of a promise and given back, in the order of booking; `key` is that of the entry that took it.

    Cost: a pass over the journal's keys.
    """
    return _entries(connection.execute(_OF_PROMISE, {"key": key, "promise": key.partition(":")[2]}).fetchall())


def entry(connection: Connection[Any], key: str) -> BookedEntry | None:
    """The entry of a key; None: it is not booked."""
    return next(iter(_entries(connection.execute(_BY_KEY, (key,)).fetchall())), None)


def entries_without_postings(connection: Connection[Any]) -> list[str]:
    """Keys of entries that say nothing: none, unless something wrote past `book`."""
    return [key for (key,) in connection.execute(_WITHOUT_POSTINGS).fetchall()]


def _entries(rows: Sequence[tuple[Any, ...]]) -> list[BookedEntry]:
    heads: dict[int, tuple[Any, ...]] = {}
    lines: dict[int, list[tuple[str, int]]] = {}
    for row in rows:
        heads.setdefault(row[0], row[:7])
        lines.setdefault(row[0], []).append((row[7], row[8]))
    return [
        BookedEntry(number, key, kind, occurred_at, booked_at, visit_id, detail, tuple(lines[number]))
        for number, key, kind, occurred_at, booked_at, visit_id, detail in heads.values()
    ]
