"""Charges: what each visit costs, version by version; the newest counts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

_NEWEST = """
SELECT DISTINCT ON (visit_id) visit_id, version, amount_fen, tariff_id, lines, reason
FROM charges WHERE visit_id = ANY(%s) ORDER BY visit_id, version DESC
"""

_ALL = """
SELECT visit_id, version, amount_fen, tariff_id, lines, reason, created_at FROM charges
WHERE visit_id = %s ORDER BY version
"""

_INSERT = """
INSERT INTO charges (visit_id, version, tariff_id, amount_fen, lines, reason)
SELECT * FROM unnest(%s::bigint[], %s::integer[], %s::integer[], %s::bigint[], %s::jsonb[], %s::text[])
"""

_LOT_OF_VISIT = "SELECT v.id, l.code FROM visits v JOIN lots l ON l.id = v.lot_id WHERE v.id = ANY(%s)"


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedVisit:
    """What a visit costs as its tariff says now.

    `lines` are JSON objects, one a rule that made a part of it; `at` is when its cause happened (the exit, as a rule):
    it decides day and month of the journal entry.
    """

    visit_id: int
    amount_fen: int
    lines: Sequence[Mapping[str, Any]]
    reason: str  # why there may be a new version: 'exit', 'late_entry', 'correction', ...
    at: datetime
    tariff_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """One version of what a visit costs."""

    visit_id: int
    version: int
    amount_fen: int
    tariff_id: int | None
    lines: Sequence[Mapping[str, Any]]
    reason: str
    created_at: datetime | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ChargeChange:
    """A version that was inserted: `delta_fen` is the difference to the one before (0: only its lines changed)."""

    priced: PricedVisit
    version: int
    delta_fen: int


def newest(connection: Connection[Any], visit_ids: Sequence[int]) -> dict[int, Charge]:
    """The charge that counts, by visit; a visit that was never charged is left out."""
    if not visit_ids:
        return {}
    rows = connection.execute(_NEWEST, (list(visit_ids),)).fetchall()
    return {
        visit: Charge(
            visit_id=visit, version=version, amount_fen=amount, tariff_id=tariff, lines=tuple(lines), reason=reason
        )
        for visit, version, amount, tariff, lines, reason in rows
    }


def versions(connection: Connection[Any], visit_id: int) -> list[Charge]:
    """All versions of a visit's charge, the first one first."""
    return [
        Charge(
            visit_id=visit,
            version=version,
            amount_fen=amount,
            tariff_id=tariff,
            lines=tuple(lines),
            reason=reason,
            created_at=created,
        )
        for visit, version, amount, tariff, lines, reason, created in connection.execute(_ALL, (visit_id,)).fetchall()
    ]


def insert_versions(connection: Connection[Any], priced: Sequence[PricedVisit]) -> list[ChargeChange]:
    """Inserts a version for each visit whose amount, tariff or lines are not those of its newest one.

    Of several prices of one visit in a call the last counts.
    """
    wanted = {one.visit_id: one for one in priced}
    known = newest(connection, list(wanted))
    changes = []
    texts = []
    for visit, one in wanted.items():
        text = json.dumps([dict(line) for line in one.lines], ensure_ascii=False)
        before = known.get(visit)
        if before is not None and _same(before, one, text):
            continue
        version, amount = (before.version, before.amount_fen) if before else (0, 0)
        changes.append(ChargeChange(one, version + 1, one.amount_fen - amount))
        texts.append(text)
    if changes:
        columns = [
            (
                change.priced.visit_id,
                change.version,
                change.priced.tariff_id,
                change.priced.amount_fen,
                text,
                change.priced.reason,
            )
            for change, text in zip(changes, texts, strict=True)
        ]
        connection.execute(_INSERT, [list(column) for column in zip(*columns, strict=True)])
    return changes


def _same(before: Charge, now: PricedVisit, lines: str) -> bool:
    """Lines are compared as JSON, as they came back from the database."""
    return (
        before.amount_fen == now.amount_fen
        and before.tariff_id == now.tariff_id
        and list(before.lines) == json.loads(lines)
    )


def lots_of(connection: Connection[Any], visit_ids: Sequence[int]) -> dict[int, str]:
    """Code of each visit's lot."""
    return dict(connection.execute(_LOT_OF_VISIT, (list(visit_ids),)).fetchall())
