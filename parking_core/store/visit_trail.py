"""All that is known of one visit, for its explanation: messages, transactions with their packages, differences."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parking_core.errors import NotFoundError

if TYPE_CHECKING:
    from datetime import date, datetime

    from psycopg import Connection

_VISIT = """
SELECT v.id, l.code, o.code, v.vehicle, v.state, v.reasons, v.channel, v.entered_at, v.exited_at
FROM visits v JOIN lots l ON l.id = v.lot_id LEFT JOIN operators o ON o.id = l.operator_id WHERE v.id = %s
"""

# The visit's own readings, what its vehicle sent in between, what its money came from, and whatever refers to these.
_MESSAGES = """
WITH own AS (
    SELECT e.id, e.device_id, e.record_no FROM visits v
    JOIN lane_events e ON e.id IN (v.entry_event_id, v.exit_event_id)
        OR (e.vehicle = v.vehicle AND e.occurred_at >= v.entered_at AND e.occurred_at <= v.exited_at)
    WHERE v.id = %(visit)s
    UNION
    SELECT e.id, e.device_id, e.record_no FROM etc_transactions t
    JOIN lane_events e ON e.id IN (t.event_id, t.completion_event_id) WHERE t.visit_id = %(visit)s
), all_of_it AS (
    SELECT id FROM own
    UNION
    SELECT e.id FROM own JOIN lane_events e ON e.device_id = own.device_id AND e.refers_to = own.record_no
)
SELECT e.id, d.code, e.record_no, e.event, e.source, e.occurred_at, e.received_at, e.vehicle, e.amount_fen, e.terminal_no,
       e.terminal_serial, e.tac, e.flags, e.refers_to
FROM all_of_it JOIN lane_events e USING (id) JOIN devices d ON d.id = e.device_id ORDER BY e.occurred_at, e.id
"""

_TRANSACTIONS = """
SELECT t.terminal_no, t.terminal_serial, t.amount_fen, t.tac, t.state, t.reasons, t.package_id, p.state, t.clearing_day
FROM etc_transactions t LEFT JOIN etc_packages p ON p.id = t.package_id WHERE t.visit_id = %s ORDER BY t.occurred_at, t.id
"""

_DIFFERENCES = """
SELECT name, owner, state, amount_fen, explanation FROM differences WHERE visit_id = %s ORDER BY id
"""


@dataclass(frozen=True, slots=True)
class TrailHead:
    """The visit itself."""

    id: int
    lot: str
    operator: str | None
    vehicle: str
    state: str
    reasons: list[str]
    channel: str | None
    entered_at: datetime | None
    exited_at: datetime | None


@dataclass(frozen=True, slots=True)
class TrailMessage:
    """A lane message that the visit, or its money, came from."""

    id: int
    device: str
    record_no: int
    event: str
    source: str
    occurred_at: datetime
    received_at: datetime
    vehicle: str
    amount_fen: int | None
    terminal_no: str | None
    terminal_serial: str | None
    tac: str | None
    flags: list[str]
    refers_to: int | None


@dataclass(frozen=True, slots=True)
class TrailTransaction:
    """A card's transaction and how far the clearing centre is with it."""

    terminal_no: str
    terminal_serial: str
    amount_fen: int
    tac: str | None
    state: str
    reasons: list[str]
    package: int | None
    package_state: str | None
    clearing_day: date | None


@dataclass(frozen=True, slots=True)
class TrailDifference:
    """A difference about the visit."""

    name: str
    owner: str
    state: str
    amount_fen: int
    explanation: str | None


@dataclass(frozen=True, slots=True)
class Trail:
    """A visit from its messages to its differences; its charges and entries are read from their own stores."""

    head: TrailHead
    messages: list[TrailMessage]
    transactions: list[TrailTransaction]
    differences: list[TrailDifference]


def trail(connection: Connection[Any], visit_id: int) -> Trail:
    """What is known of a visit.

    Raises:
        NotFoundError: there is no such visit.
    """
    head = connection.execute(_VISIT, (visit_id,)).fetchone()
    if head is None:
        raise NotFoundError(f"There is no visit {visit_id}.")
    return Trail(
        TrailHead(*head),
        [TrailMessage(*row) for row in connection.execute(_MESSAGES, {"visit": visit_id}).fetchall()],
        [TrailTransaction(*row) for row in connection.execute(_TRANSACTIONS, (visit_id,)).fetchall()],
        [TrailDifference(*row) for row in connection.execute(_DIFFERENCES, (visit_id,)).fetchall()],
    )
