"""What a vehicle stayed and was charged before: for free periods and caps that look back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.tariffs import EarlierStay

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

# Closed stays in the same lot that ended within reach before an entry, with the newest version of their charge and the
# tariff that made it. A stay that was not charged yet, or that no tariff charged, counts as one that paid nothing.
_EARLIER = """
SELECT w.n, v.id, t.code, v.entered_at, v.exited_at, coalesce(c.amount_fen, 0)
FROM unnest(%(lots)s::integer[], %(vehicles)s::text[], %(entered)s::timestamptz[], %(since)s::timestamptz[],
            %(visits)s::bigint[]) WITH ORDINALITY AS w (lot_id, vehicle, entered_at, since, visit_id, n)
JOIN visits v ON v.vehicle = w.vehicle AND v.lot_id = w.lot_id AND v.entered_at < w.entered_at
    AND v.state = 'closed' AND v.matters_until > w.since AND v.exited_at > w.since AND v.exited_at <= w.entered_at
    AND v.id IS DISTINCT FROM w.visit_id
LEFT JOIN LATERAL (
    SELECT amount_fen, tariff_id FROM charges WHERE visit_id = v.id ORDER BY version DESC LIMIT 1
) c ON true
LEFT JOIN tariffs t ON t.id = c.tariff_id
ORDER BY w.n, v.exited_at, v.id
"""


@dataclass(frozen=True, slots=True)
class LookBack:
    """Whose earlier stays are wanted: those that ended after `since` and by the entry, not the visit itself."""

    lot_id: int
    vehicle: str
    entered_at: datetime
    since: datetime
    visit_id: int | None


@dataclass(frozen=True, slots=True)
class ChargedStay:
    """An earlier stay, and the code of the tariff that charged it; None: none did so far."""

    visit_id: int
    tariff: str | None
    stay: EarlierStay


def earlier_stays(connection: Connection[Any], wanted: list[LookBack]) -> dict[int, list[ChargedStay]]:
    """By position in `wanted`: the stays, in the order in which they ended. Positions without any are left out."""
    values = {
        "lots": [one.lot_id for one in wanted],
        "vehicles": [one.vehicle for one in wanted],
        "entered": [one.entered_at for one in wanted],
        "since": [one.since for one in wanted],
        "visits": [one.visit_id for one in wanted],
    }
    found: dict[int, list[ChargedStay]] = {}
    for number, visit, tariff, *stay in connection.execute(_EARLIER, values):
        found.setdefault(number - 1, []).append(ChargedStay(visit, tariff, EarlierStay(*stay)))
    return found
