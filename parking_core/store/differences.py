"""Differences as rows: found once, ended once."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from parking_core.reconciliation import CHANGES, DifferenceName, DifferenceState, KnownDifference

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from psycopg import Connection

    from parking_core.reconciliation import Difference

# Found again: its figures move on while it is open; one that was ended stays ended.
_OPEN = """
INSERT INTO differences (key, name, owner, state, lot_id, device_id, visit_id, event_id, day, hour_at, channel, records,
                         amount_fen, detail)
VALUES (%s, %s, %s, 'open', %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (key) DO UPDATE SET records = excluded.records, amount_fen = excluded.amount_fen, detail = excluded.detail
WHERE differences.state = 'open'
"""

_END = """
UPDATE differences SET state = %(state)s, ended_at = clock_timestamp(), explanation = %(explanation)s
WHERE key = ANY(%(keys)s) AND state = ANY(%(from)s)
"""

_END_OF_VISITS = """
UPDATE differences SET state = %(state)s, ended_at = clock_timestamp(), explanation = %(explanation)s
WHERE visit_id = ANY(%(visits)s) AND name = ANY(%(names)s) AND state = ANY(%(from)s)
"""

# A comparison that is made again and again may find a difference, agree, and find one again: each is a row of its own, under
# the key, the key and ":2", and so on. The last one of each key.
_LAST = """
WITH RECURSIVE chain (base, place, key, state) AS (
    SELECT wanted.base, 1, known.key, known.state
    FROM unnest(%s::text[]) AS wanted (base) JOIN differences known ON known.key = wanted.base
    UNION ALL
    SELECT chain.base, chain.place + 1, known.key, known.state
    FROM chain JOIN differences known ON known.key = chain.base || ':' || (chain.place + 1)::text
)
SELECT DISTINCT ON (base) base, place, key, state FROM chain ORDER BY base, place DESC
"""

_LOCK = "SELECT key, name, state, amount_fen FROM differences WHERE id = %s FOR UPDATE"

_PLACE = """
UPDATE differences d SET visit_id = p.visit_id
FROM unnest(%s::bigint[], %s::bigint[]) AS p (event_id, visit_id)
WHERE d.event_id = p.event_id AND d.channel = 'etc' AND d.visit_id IS DISTINCT FROM p.visit_id
"""


def open_all(connection: Connection[Any], differences: Iterable[Difference]) -> None:
    """Records differences; one that is known by its key is brought up to date while it is open."""
    rows = [
        (
            one.key,
            one.name.value,
            one.owner.value,
            one.lot_id,
            one.device_id,
            one.visit_id,
            one.event_id,
            one.day,
            one.hour_at,
            one.channel,
            one.records,
            one.amount_fen,
            Jsonb(dict(one.detail)),
        )
        for one in differences
    ]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_OPEN, rows)


def open_again(connection: Connection[Any], differences: Sequence[Difference]) -> None:
    """As `open_all`, for comparisons that are repeated: what was settled and differs again is a further difference.

    What a person has explained or written off stays so.
    """
    last = _last(connection, [one.key for one in differences])
    renewed = []
    for one in differences:
        place, key, state = last.get(one.key, (0, one.key, DifferenceState.OPEN))
        renewed.append(replace(one, key=f"{one.key}:{place + 1}" if state is DifferenceState.SETTLED else key))
    open_all(connection, renewed)


def settle(connection: Connection[Any], keys: Sequence[str], explanation: str) -> int:
    """Ends what `open_again` opened under these keys, because both sides agree; gives how many were ended."""
    last = _last(connection, keys)
    return end(connection, [key for _, key, _ in last.values()], DifferenceState.SETTLED, explanation)


def _last(connection: Connection[Any], keys: Sequence[str]) -> dict[str, tuple[int, str, DifferenceState]]:
    rows = connection.execute(_LAST, (list(keys),)).fetchall() if keys else []
    return {base: (place, key, DifferenceState(state)) for base, place, key, state in rows}


def lock(connection: Connection[Any], difference_id: int) -> KnownDifference | None:
    """A difference by its id, locked until the caller's transaction ends; None: there is none."""
    row = connection.execute(_LOCK, (difference_id,)).fetchone()
    if row is None:
        return None
    key, name, state, amount_fen = row
    return KnownDifference(key, DifferenceName(name), DifferenceState(state), amount_fen)


def end(connection: Connection[Any], keys: Sequence[str], state: DifferenceState, explanation: str) -> int:
    """Ends differences by their keys and says why; gives how many were ended. Unknown and ended ones stay as they are."""
    if not keys:
        return 0
    allowed = [before.value for before, after in CHANGES.items() if state in after]
    cursor = connection.execute(
        _END, {"keys": list(keys), "state": state.value, "from": allowed, "explanation": explanation}
    )
    return cursor.rowcount


def end_of_visits(
    connection: Connection[Any],
    visit_ids: Sequence[int],
    names: Sequence[DifferenceName],
    state: DifferenceState,
    explanation: str,
) -> int:
    """Ends the differences of visits that have one of these names; gives how many were ended."""
    if not visit_ids:
        return 0
    allowed = [before.value for before, after in CHANGES.items() if state in after]
    cursor = connection.execute(
        _END_OF_VISITS,
        {
            "visits": list(visit_ids),
            "names": [name.value for name in names],
            "state": state.value,
            "from": allowed,
            "explanation": explanation,
        },
    )
    return cursor.rowcount


def place_in_visits(connection: Connection[Any], pairs: Sequence[tuple[int, int]]) -> None:
    """Says of which visit the differences about ETC money are, by lane event and visit: pairing comes after them."""
    if pairs:
        connection.execute(_PLACE, [list(column) for column in zip(*pairs, strict=True)])
