"""Gives every lot that has none a tariff: those that come with the platform, by what the lot is.

On the street the published prices of Wuxi hold: branch roads, and trunk roads where bays are legal only at certain
hours, both of the outer area. Hospitals get the city's hospital pilot. Off the street the operator sets the price: such
a lot gets the general form with its example prices, to be replaced by `parking tariff publish`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from parking_core.flows.publish_tariff import announce, valid_tariff, version_for
from parking_core.store import tariffs
from parking_core.tariffs import documents

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.districts import District
    from parking_core.store.tariffs import LotFacts

OFF_STREET: Final = "wuxi-off-street"
HOSPITAL: Final = "wuxi-hospital-2023"
BRANCH_ROAD: Final = "wuxi-street-branch-outer-2023"
TRUNK_ROAD: Final = "wuxi-street-trunk-outer-2023"

SINCE: Final = datetime(1999, 12, 31, 16, tzinfo=UTC)  # 2000 in China: before any entry that can be recorded


def seed_tariffs(connection: Connection[Any], district: District, now: datetime) -> int:
    """Binds a shipped tariff to every lot that never had one; gives how many lots that were.

    What is bound already stays. Lanes of the district that nobody told their tariff are told. One transaction.
    """
    uses = {lot.code: lot.use for lot in district.lots}
    with connection.transaction():
        by_tariff: dict[str, list[int]] = {}
        for lot in tariffs.lots_without(connection):
            by_tariff.setdefault(_default(lot, uses.get(lot.code)), []).append(lot.id)
        for name, lots in sorted(by_tariff.items()):
            document = valid_tariff(documents.read(name)).document
            tariff_id, _, _ = version_for(connection, document)
            tariffs.bind(connection, lots, tariff_id, SINCE)
        known = tariffs.lots_by_code(connection, uses)
        announce(connection, list(known.values()), now)  # lanes that were told already are not told again
        return sum(map(len, by_tariff.values()))


def _default(lot: LotFacts, use: str | None) -> str:
    if lot.kind == "on_street":
        return TRUNK_ROAD if lot.time_limited else BRANCH_ROAD
    return HOSPITAL if use == "hospital" else OFF_STREET
