"""Names completions and corrections that are about a record which nobody has, and ends what is met after all.

A completion brings the TAC of an exit, a correction the plate of a passage; either may come first, so one is missed only
after a while.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from parking_core.reconciliation import Difference, DifferenceName, DifferenceState
from parking_core.store import differences, lane_references

if TYPE_CHECKING:
    from datetime import datetime
    from zoneinfo import ZoneInfo

    from psycopg import Connection

    from parking_core.store.lane_references import Unmet

# After receipt; looked at hourly, so a lost reference is named within two hours.
PATIENCE: Final = timedelta(minutes=30)
_LOOK_BACK: Final = timedelta(days=8)  # longer than a worker is away; what was named stays until it is met or ended


def watch_references(connection: Connection[Any], now: datetime, zone: ZoneInfo) -> int:
    """Opens and settles the differences `reference_missing`; gives how many records meet nothing now."""
    with connection.transaction():
        found = lane_references.unmet(connection, now - _LOOK_BACK, now - PATIENCE)
        differences.open_all(connection, [_difference(one, zone) for one in found])
        met = lane_references.met_after_all(connection)
        differences.end(connection, met, DifferenceState.SETTLED, "The record came that it is about.")
    return len(found)


def _difference(one: Unmet, zone: ZoneInfo) -> Difference:
    return Difference(
        key=f"{DifferenceName.REFERENCE_MISSING.value}:{one.event_id}",
        name=DifferenceName.REFERENCE_MISSING,
        day=one.occurred_at.astimezone(zone).date(),
        lot_id=one.lot_id,
        device_id=one.device_id,
        event_id=one.event_id,
        records=1,
        detail={
            "kind": one.kind,
            "record_no": one.record_no,
            "refers_to": one.refers_to,
            "terminal_no": one.terminal_no,
            "terminal_serial": one.terminal_serial,
            "amount_fen": one.amount_fen,
        },
    )
