"""Lane records that are about another record: completions and corrections. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datetime import datetime

    from psycopg import Connection

# A completion meets a transaction as `etc_transactions.meant_by` finds it: by its terminal and serial, and only where it
# names none by its record. A correction meets the record that it names in the ledger itself, and only one that says whom
# it is about.
_MET = """
CASE about.event
WHEN 'completion' THEN EXISTS (
        SELECT FROM etc_transactions t
        WHERE t.terminal_no = about.terminal_no AND t.terminal_serial = about.terminal_serial)
    OR (about.terminal_no IS NULL OR about.terminal_serial IS NULL) AND (EXISTS (
        SELECT FROM lane_events named JOIN etc_transactions t ON t.event_id = named.id
        WHERE named.device_id = about.device_id AND named.record_no = about.refers_to)
    OR EXISTS (
        SELECT FROM lane_repeats again JOIN etc_transactions t ON t.event_id = again.event_id
        WHERE again.device_id = about.device_id AND again.record_no = about.refers_to
          AND again.reason = 'transaction_repeated'))
ELSE EXISTS (
        SELECT FROM lane_events named
        WHERE named.device_id = about.device_id AND named.record_no = about.refers_to
          AND named.event IN ('entry', 'exit', 'fee_request', 'manual_open'))
END
"""

_UNMET = f"""
SELECT about.id, about.device_id, about.lot_id, about.event, about.record_no, about.refers_to, about.terminal_no,
       about.terminal_serial, about.occurred_at, about.amount_fen
FROM lane_events about
WHERE about.event IN ('completion', 'correction') AND about.processed_at IS NOT NULL
  AND about.received_at > %(since)s AND about.received_at <= %(until)s AND NOT ({_MET})
ORDER BY about.id
"""  # noqa: S608  # constants of this module only

_MET_AFTER_ALL = f"""
SELECT difference.key FROM differences difference JOIN lane_events about ON about.id = difference.event_id
WHERE difference.name = 'reference_missing' AND difference.state = 'open' AND ({_MET})
"""  # noqa: S608  # constants of this module only


@dataclass(frozen=True, slots=True)
class Unmet:
    """A record that is about another one which the ledger does not have."""

    event_id: int
    device_id: int
    lot_id: int
    kind: str  # "completion" or "correction"
    record_no: int
    refers_to: int | None
    terminal_no: str | None
    terminal_serial: str | None
    occurred_at: datetime
    amount_fen: int | None


def unmet(connection: Connection[Any], since: datetime, until: datetime) -> list[Unmet]:
    """Completions and corrections received in (since, until] that meet nothing yet."""
    return [Unmet(*row) for row in connection.execute(_UNMET, {"since": since, "until": until}).fetchall()]


def met_after_all(connection: Connection[Any]) -> list[str]:
    """Keys of open differences whose record has come."""
    return [key for (key,) in connection.execute(_MET_AFTER_ALL).fetchall()]
