"""What visits cost, as versions of their charges and as entries of the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.settlement import postings
from parking_core.store import charges, journal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from parking_core.store.charges import ChargeChange, PricedVisit


def book_charges(connection: Connection[Any], priced: Sequence[PricedVisit]) -> list[ChargeChange]:
    """Keeps each visit's charge where it changed, and books the difference to the version before.

    The caller's transaction holds both. Gives what changed; pricing the same again changes nothing.
    """
    changes = charges.insert_versions(connection, priced)
    lots = charges.lots_of(connection, [change.priced.visit_id for change in changes])
    journal.book(
        connection,
        [
            postings.charge_changed(
                visit_id=change.priced.visit_id,
                version=change.version,
                lot=lots[change.priced.visit_id],
                delta_fen=change.delta_fen,
                at=change.priced.at,
            )
            for change in changes
            if change.delta_fen
        ],
    )
    return changes
