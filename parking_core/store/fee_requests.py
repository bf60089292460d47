"""What an answer to a lane's question for a fee needs to know, for many questions at once. Nothing here writes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.tariffs import Payment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from psycopg import Connection

# The newest stay of the vehicle that the lot knows and that the question falls into, by clocks that may differ.
_VISITS = """
SELECT asked.place, found.id, found.vehicle, found.plate_color, found.vehicle_class, found.entered_at,
       found.exited_at
FROM unnest(%(lots)s::integer[], %(vehicles)s::text[], %(times)s::timestamptz[])
    WITH ORDINALITY AS asked (lot_id, vehicle, at, place)
CROSS JOIN LATERAL (
    SELECT v.id, v.vehicle, v.plate_color, v.vehicle_class, v.entered_at, v.exited_at FROM visits v
    WHERE v.vehicle = asked.vehicle AND v.lot_id = asked.lot_id AND v.state IN ('open', 'closed')
      AND v.entered_at <= asked.at + %(skew)s AND (v.exited_at IS NULL OR v.exited_at >= asked.at)
    ORDER BY v.entered_at DESC, v.id DESC LIMIT 1
) AS found
"""

# What drivers paid for visits that run, otherwise than at a lane; it buys the tariff's grace.
_PAYMENTS = """
SELECT entry.visit_id, entry.occurred_at, -sum(posting.amount_fen)::bigint
FROM journal entry JOIN postings posting ON posting.journal_id = entry.id
JOIN accounts account ON account.id = posting.account_id AND account.kind = 'receivable'
WHERE entry.visit_id = ANY(%(visits)s) AND entry.kind IN ('qr_payment', 'cash_payment', 'hold_captured')
GROUP BY entry.id ORDER BY entry.occurred_at, entry.id
"""

# The last answer that a lane was given for a visit, while its link can be paid.
_ANSWERS = """
SELECT DISTINCT ON (c.device_id, c.payload ->> 'visit_id') c.device_id, (c.payload ->> 'visit_id')::bigint, c.payload
FROM commands c
WHERE c.device_id = ANY(%(devices)s) AND c.created_at > %(since)s AND c.kind = 'fee_answer'
  AND (c.payload ->> 'visit_id')::bigint = ANY(%(visits)s)
ORDER BY c.device_id, c.payload ->> 'visit_id', c.created_at DESC
"""


@dataclass(frozen=True, slots=True)
class AskedVisit:
    """The stay that a question is about."""

    id: int
    vehicle: str
    plate_color: str | None
    vehicle_class: int | None
    entered_at: datetime
    exited_at: datetime | None  # it has left: its exit was followed before its question


def visits_of(
    connection: Connection[Any], asked: Sequence[tuple[int, str, datetime]], skew: timedelta
) -> dict[int, AskedVisit]:
    """The visit of each (lot, vehicle, time of the question), by its place in `asked`; without one: no entry.

    `skew` is how far the clocks of a lot's lanes may differ.
    """
    parameters = {
        "lots": [lot_id for lot_id, _, _ in asked],
        "vehicles": [vehicle for _, vehicle, _ in asked],
        "times": [at for _, _, at in asked],
        "skew": skew,
    }
    return {place - 1: AskedVisit(*row) for place, *row in connection.execute(_VISITS, parameters).fetchall()}


def payments_of(connection: Connection[Any], visit_ids: Sequence[int]) -> dict[int, tuple[Payment, ...]]:
    """What was paid for each visit so far, oldest first; visits without a payment are left out."""
    found: dict[int, list[Payment]] = {}
    rows = connection.execute(_PAYMENTS, {"visits": list(visit_ids)}).fetchall() if visit_ids else []
    for visit_id, at, amount_fen in rows:
        found.setdefault(visit_id, []).append(Payment(at, amount_fen))
    return {visit_id: tuple(payments) for visit_id, payments in found.items()}


def earlier_answers(
    connection: Connection[Any], device_ids: Sequence[int], visit_ids: Sequence[int], since: datetime
) -> dict[tuple[int, int], Mapping[str, Any]]:
    """The newest fee answer by (lane, visit), as it was commanded after `since`."""
    parameters = {"devices": sorted(set(device_ids)), "visits": sorted(set(visit_ids)), "since": since}
    rows = connection.execute(_ANSWERS, parameters).fetchall()
    return {(device_id, visit_id): payload for device_id, visit_id, payload in rows}
