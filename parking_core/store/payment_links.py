"""Payment links as the worker makes them; a token itself is never stored."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from psycopg import Connection

# An older link that asks for the same amount at the same lane stays good: a lane that asks again must not make the code
# useless that a driver is looking at. Orders of the others are closed at the acquirer as soon as the worker asks.
_SUPERSEDE = """
WITH newer AS (
    SELECT * FROM unnest(%(visits)s::bigint[], %(devices)s::integer[], %(amounts)s::bigint[])
        AS n (visit_id, device_id, amount_fen)
), over AS (
    UPDATE payment_links l SET superseded_at = %(now)s
    FROM newer n
    WHERE l.visit_id = n.visit_id AND l.superseded_at IS NULL
      AND (l.amount_fen, l.device_id) IS DISTINCT FROM (n.amount_fen, n.device_id)
    RETURNING l.digest
)
UPDATE payment_orders o SET next_ask_at = %(now)s
FROM over WHERE o.link_digest = over.digest AND o.state IN ('created', 'pending')
"""

# Of visits that have ended and owe nothing: paid another way, or nothing was due.
_END = """
WITH over AS (
    UPDATE payment_links SET superseded_at = clock_timestamp()
    WHERE visit_id = ANY(%s) AND superseded_at IS NULL
    RETURNING digest
)
UPDATE payment_orders o SET next_ask_at = clock_timestamp()
FROM over WHERE o.link_digest = over.digest AND o.state IN ('created', 'pending')
"""

_ADD = """
INSERT INTO payment_links (digest, visit_id, device_id, amount_fen, lines, created_at, expires_at)
SELECT n.digest, n.visit_id, n.device_id, n.amount_fen, n.lines, %(now)s, n.expires_at
FROM unnest(%(digests)s::bytea[], %(visits)s::bigint[], %(devices)s::integer[], %(amounts)s::bigint[], %(lines)s::jsonb[],
            %(expiries)s::timestamptz[]) AS n (digest, visit_id, device_id, amount_fen, lines, expires_at)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewLink:
    """A link to be made."""

    digest: bytes
    visit_id: int
    device_id: int | None
    amount_fen: int
    lines: Sequence[Mapping[str, Any]]
    expires_at: datetime


def add(connection: Connection[Any], links: Sequence[NewLink], now: datetime) -> None:
    """Makes links, one a visit at most, and supersedes those of the same visits that ask for something else."""
    columns = {
        "digests": [one.digest for one in links],
        "visits": [one.visit_id for one in links],
        "devices": [one.device_id for one in links],
        "amounts": [one.amount_fen for one in links],
        "lines": [json.dumps([dict(line) for line in one.lines], ensure_ascii=False, default=str) for one in links],
        "expiries": [one.expires_at for one in links],
        "now": now,
    }
    connection.execute(_SUPERSEDE, columns)
    connection.execute(_ADD, columns)


def end(connection: Connection[Any], visit_ids: Sequence[int]) -> None:
    """Nobody can pay by the links of these visits any more, because nothing is due; paid ones stay shown as paid."""
    if visit_ids:
        connection.execute(_END, (list(visit_ids),))
