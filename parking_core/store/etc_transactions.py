"""ETC transactions as rows: one a (terminal, serial); their states change by the declared table only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parking_core.settlement import etc
from parking_core.settlement.etc import EtcState, EtcTransaction, TacReply

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from parking_core.lanes import LaneEvent

_COLUMNS = """t.terminal_no, t.terminal_serial, t.event_id, t.device_id, t.lot_id, t.amount_fen, t.occurred_at, t.tac,
       t.state, t.reasons, t.id, l.code, t.visit_id, t.completion_event_id
"""
_FROM = """FROM etc_transactions t
LEFT JOIN visits v ON v.id = t.visit_id
JOIN lots l ON l.id = coalesce(v.lot_id, t.lot_id)
"""

# Sorted by their keys, as rows are locked by their ids everywhere: two writers wait and do not deadlock.
_INSERT = """
WITH added AS (
    INSERT INTO etc_transactions (terminal_no, terminal_serial, event_id, device_id, lot_id, amount_fen, occurred_at, tac,
                                  state, reasons)
    SELECT n.terminal_no, n.terminal_serial, n.event_id, n.device_id, n.lot_id, n.amount_fen, n.occurred_at, n.tac,
           n.state, string_to_array(n.reasons, ',')
    FROM unnest(%s::text[], %s::text[], %s::bigint[], %s::integer[], %s::integer[], %s::bigint[], %s::timestamptz[],
                %s::text[], %s::text[], %s::text[])
        AS n (terminal_no, terminal_serial, event_id, device_id, lot_id, amount_fen, occurred_at, tac, state, reasons)
    ORDER BY n.terminal_no, n.terminal_serial
    ON CONFLICT DO NOTHING
    RETURNING *
)
SELECT t.terminal_no, t.terminal_serial, t.event_id, t.device_id, t.lot_id, t.amount_fen, t.occurred_at, t.tac, t.state,
       t.reasons, t.id, l.code, t.visit_id, t.completion_event_id
FROM added t JOIN lots l ON l.id = t.lot_id
"""

_OF_EVENTS = f"SELECT {_COLUMNS} {_FROM} WHERE t.event_id = ANY(%s) ORDER BY t.id FOR UPDATE OF t"

_BY_IDS = f"SELECT {_COLUMNS} {_FROM} WHERE t.id = ANY(%s) ORDER BY t.id FOR UPDATE OF t"

_OF_VISIT = f"SELECT {_COLUMNS} {_FROM} WHERE t.visit_id = %s ORDER BY t.occurred_at, t.id"

_BY_NAME = f"SELECT {_COLUMNS} {_FROM} WHERE t.terminal_no = %s AND t.terminal_serial = %s FOR UPDATE OF t"

_AWAITING_SINCE = f"""
SELECT {_COLUMNS} {_FROM} WHERE t.state = 'awaiting_tac' AND t.occurred_at < %s ORDER BY t.id
"""

_UNATTACHED = f"SELECT {_COLUMNS} {_FROM} WHERE t.visit_id IS NULL AND t.id > %s ORDER BY t.id LIMIT %s"

# The transaction that a completion means: of the same terminal and serial, or of the record it refers to, be that one the
# first report or a later one that is kept beside the ledger.
_FOR_COMPLETIONS = """
SELECT c.event_id, t.id
FROM unnest(%s::bigint[], %s::text[], %s::text[]) AS c (event_id, terminal_no, terminal_serial)
JOIN etc_transactions t USING (terminal_no, terminal_serial)
UNION
SELECT c.event_id, t.id
FROM unnest(%s::bigint[], %s::integer[], %s::bigint[]) AS c (event_id, device_id, record_no)
JOIN LATERAL (
    SELECT e.id FROM lane_events e WHERE e.device_id = c.device_id AND e.record_no = c.record_no
    UNION ALL
    SELECT r.event_id FROM lane_repeats r
    WHERE r.device_id = c.device_id AND r.record_no = c.record_no AND r.reason = 'transaction_repeated'
) AS e ON true
JOIN etc_transactions t ON t.event_id = e.id
"""

# Replies that came before their exit was settled: completions by terminal and serial or by the exit's record number, and
# the same transaction reported again. A completion that has both ways to its exit is one reply.
_EARLY_REPLIES = """
WITH x AS (SELECT id, device_id, record_no, terminal_no, terminal_serial FROM lane_events WHERE id = ANY(%s))
SELECT x.id, 'event:' || c.id, c.id, c.occurred_at, c.received_at, c.tac, c.amount_fen, c.flags
FROM x JOIN lane_events c USING (terminal_no, terminal_serial) WHERE c.event = 'completion'
UNION
SELECT x.id, 'event:' || c.id, c.id, c.occurred_at, c.received_at, c.tac, c.amount_fen, c.flags
FROM x JOIN lane_events c ON c.device_id = x.device_id AND c.refers_to = x.record_no
WHERE c.event = 'completion' AND (c.terminal_no IS NULL OR c.terminal_serial IS NULL)
UNION
SELECT x.id, 'event:' || c.id, c.id, c.occurred_at, c.received_at, c.tac, c.amount_fen, c.flags
FROM x JOIN lane_repeats r ON r.event_id = x.id AND r.reason = 'transaction_repeated'
JOIN lane_events c ON c.device_id = r.device_id AND c.refers_to = r.record_no
WHERE c.event = 'completion' AND (c.terminal_no IS NULL OR c.terminal_serial IS NULL)
UNION ALL
SELECT x.id, 'repeat:' || r.id, NULL, r.occurred_at, r.received_at, r.tac, r.amount_fen, '{}'
FROM x JOIN lane_repeats r ON r.event_id = x.id WHERE r.reason = 'transaction_repeated' AND r.tac IS NOT NULL
"""

_UPDATE = """
UPDATE etc_transactions t SET state = u.state, tac = u.tac, reasons = string_to_array(u.reasons, ','),
       completion_event_id = u.completion_event_id, visit_id = u.visit_id, changed_at = clock_timestamp()
FROM unnest(%s::bigint[], %s::text[], %s::text[], %s::text[], %s::bigint[], %s::bigint[])
    AS u (id, state, tac, reasons, completion_event_id, visit_id)
WHERE t.id = u.id
"""

_MOVES = "SELECT key FROM journal WHERE visit_id = ANY(%s) AND kind = 'moved_out'"


def _transaction(row: Sequence[Any]) -> EtcTransaction:
    return EtcTransaction(
        terminal_no=row[0],
        terminal_serial=row[1],
        event_id=row[2],
        device_id=row[3],
        lot_id=row[4],
        amount_fen=row[5],
        occurred_at=row[6],
        tac=row[7],
        state=EtcState(row[8]),
        reasons=tuple(row[9]),
        id=row[10],
        lot=row[11],
        visit_id=row[12],
        completion_event_id=row[13],
    )


def insert_new(connection: Connection[Any], transactions: Sequence[EtcTransaction]) -> list[EtcTransaction]:
    """Stores transactions and gives those that are new; one whose (terminal, serial) is known is passed over."""
    if not transactions:
        return []
    columns = zip(
        *(
            (
                one.terminal_no,
                one.terminal_serial,
                one.event_id,
                one.device_id,
                one.lot_id,
                one.amount_fen,
                one.occurred_at,
                one.tac,
                one.state.value,
                ",".join(one.reasons),
            )
            for one in transactions
        ),
        strict=True,
    )
    return [_transaction(row) for row in connection.execute(_INSERT, [list(column) for column in columns]).fetchall()]


def of_events(connection: Connection[Any], event_ids: Sequence[int]) -> dict[int, EtcTransaction]:
    """Transactions by the id of their exit event, locked until the caller's transaction ends."""
    rows = connection.execute(_OF_EVENTS, (list(event_ids),)).fetchall() if event_ids else []
    return {one.event_id: one for one in map(_transaction, rows)}


def by_ids(connection: Connection[Any], ids: Sequence[int]) -> list[EtcTransaction]:
    """Transactions by id, locked until the caller's transaction ends; unknown ids are left out."""
    rows = connection.execute(_BY_IDS, (list(ids),)).fetchall() if ids else []
    return [_transaction(row) for row in rows]


def by_name(connection: Connection[Any], terminal_no: str, terminal_serial: str) -> EtcTransaction | None:
    """The transaction of a terminal and serial, locked until the caller's transaction ends."""
    row = connection.execute(_BY_NAME, (terminal_no, terminal_serial)).fetchone()
    return _transaction(row) if row else None


def of_visit(connection: Connection[Any], visit_id: int) -> list[EtcTransaction]:
    """Transactions of a visit, the oldest first."""
    return [_transaction(row) for row in connection.execute(_OF_VISIT, (visit_id,)).fetchall()]


def awaiting_since(connection: Connection[Any], before: datetime) -> list[EtcTransaction]:
    """Transactions charged before a time whose TAC has not come."""
    return [_transaction(row) for row in connection.execute(_AWAITING_SINCE, (before,)).fetchall()]


def unattached(connection: Connection[Any], after_id: int = 0, limit: int = 1000) -> list[EtcTransaction]:
    """Transactions without a visit, and so not booked: none, once every exit has been paired."""
    return [_transaction(row) for row in connection.execute(_UNATTACHED, (after_id, limit)).fetchall()]


def meant_by(connection: Connection[Any], completions: Sequence[LaneEvent]) -> dict[int, int]:
    """Id of the transaction that each completion means, by the completion's event id; without one it is left out.

    Terminal and serial decide; the record that it refers to counts where it names no terminal.
    """
    named = [
        (event.id, event.etc.terminal_no, event.etc.terminal_serial)
        for event in completions
        if event.etc is not None and event.etc.terminal_no and event.etc.terminal_serial
    ]
    known = {event_id for event_id, _, _ in named}
    referring = [
        (event.id, event.device_id, event.refers_to)
        for event in completions
        if event.id not in known and event.refers_to is not None
    ]
    if not named and not referring:
        return {}
    by_terminal = [list(column) for column in zip(*named, strict=True)] or [[], [], []]
    by_record = [list(column) for column in zip(*referring, strict=True)] or [[], [], []]
    return dict(connection.execute(_FOR_COMPLETIONS, (*by_terminal, *by_record)).fetchall())


def early_replies(connection: Connection[Any], exit_event_ids: Sequence[int]) -> list[tuple[int, TacReply]]:
    """Replies that the ledger holds for these exits already, each with the id of its exit event."""
    rows = connection.execute(_EARLY_REPLIES, (list(exit_event_ids),)).fetchall() if exit_event_ids else []
    return [
        (
            row[0],
            TacReply(
                name=row[1],
                event_id=row[2],
                occurred_at=row[3],
                received_at=row[4],
                tac=row[5],
                amount_fen=row[6],
                flags=tuple(row[7]),
            ),
        )
        for row in rows
    ]


def update(connection: Connection[Any], before: Sequence[EtcTransaction], after: Sequence[EtcTransaction]) -> None:
    """Stores what became of transactions; each pair is the same transaction, locked by the caller.

    Raises:
        ValueError: a change of state that the life cycle does not allow.
    """
    for one, other in zip(before, after, strict=True):
        if one.state is not other.state and not etc.may_become(one.state, other.state):
            raise ValueError(f"Transaction {one.name} is {one.state.value}; it cannot become {other.state.value}.")
    if after:
        columns = zip(
            *(
                (one.id, one.state.value, one.tac, ",".join(one.reasons), one.completion_event_id, one.visit_id)
                for one in after
            ),
            strict=True,
        )
        connection.execute(_UPDATE, [list(column) for column in columns])


def moves_from(connection: Connection[Any], visit_ids: Sequence[int]) -> list[str]:
    """Keys of the entries by which payments have left these visits."""
    return [key for (key,) in connection.execute(_MOVES, (list(visit_ids),)).fetchall()] if visit_ids else []
