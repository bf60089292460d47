"""The ledger of lane messages: entered once by the gateway (async), followed by the worker (sync). Nothing here commits."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from parking_core.lanes import EtcPart, LaneEvent, LaneEventKind, LaneRepeat, LaneSource, RepeatReason

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from datetime import datetime

    from psycopg import AsyncConnection, Connection

    from parking_core.lanes import LaneReport

# Columns of a report and their types, in the order of `_row`.
_ETC: Final = (
    *("obu_plate", "card_plate", "obu_id", "contract_no", "card_no", "card_network", "card_type", "terminal_no"),
    *("terminal_serial", "tac", "algorithm", "trade_type", "amount_fen", "balance_before_fen", "balance_after_fen"),
    "status_list_version",
)
_FEN: Final = frozenset({"amount_fen", "balance_before_fen", "balance_after_fen"})
_PLAIN: Final = {
    "device_id": "int",
    "lot_id": "int",
    "record_no": "bigint",
    "event": "text",
    "source": "text",
    "refers_to": "bigint",
    "plate": "text",
    "plate_color": "text",
    "vehicle_class": "smallint",
    "vehicle": "text",
    "hour_records": "int",
    "hour_amount_fen": "bigint",
    "payload": "bytea",
    "digest": "bytea",
} | {name: "bigint" if name in _FEN else "text" for name in _ETC}
_COLUMNS: Final = (
    {"position": "int"}
    | _PLAIN
    | {
        "occurred_at": "timestamptz",
        "received_at": "timestamptz",
        "hour_at": "timestamptz",
        "flags": "text",  # joined by commas: an array takes longer to write than all the rest
    }
)
_NAMES: Final = ", ".join(_COLUMNS)
_TARGET: Final = ", ".join(name for name in _COLUMNS if name != "position")
_VALUES: Final = _TARGET.replace("flags", "string_to_array(flags, ',')")

# By way of a staging table: rows of a COPY cost less to write than arrays of thirty columns.
_CREATE_STAGING: Final = f"""
CREATE TEMPORARY TABLE IF NOT EXISTS staged_lane_events (
    {", ".join(f"{name} {kind}" for name, kind in _COLUMNS.items())}
) ON COMMIT DELETE ROWS
"""
_COPY_STAGING: Final = f"COPY staged_lane_events ({_NAMES}) FROM STDIN"
_CLEAR_STAGING: Final = "DELETE FROM staged_lane_events"

# A lane's record number and a terminal's serial are taken once each; what is not inserted is looked at afterwards.
_ENTER = f"""
INSERT INTO lane_events ({_TARGET})
SELECT {_VALUES} FROM staged_lane_events ORDER BY position
ON CONFLICT DO NOTHING
RETURNING device_id, record_no, digest
"""  # noqa: S608  # constants of this module only

# Of what was not inserted: the same bytes under the same number are a redelivery and leave nothing.
_KEEP_REPEATS = """
WITH known AS (
    SELECT again.*, same_no.id AS same_no_id, same_no.digest AS same_no_digest, same_serial.id AS same_serial_id
    FROM staged_lane_events AS again
    LEFT JOIN LATERAL (  -- LIMIT: one step in the index each, whatever is thought of a staging table's size
        SELECT id, digest FROM lane_events
        WHERE device_id = again.device_id AND record_no = again.record_no LIMIT 1
    ) AS same_no ON true
    LEFT JOIN LATERAL (
        SELECT id FROM lane_events
        WHERE terminal_no = again.terminal_no AND terminal_serial = again.terminal_serial
          AND event IN ('entry', 'exit') AND again.event IN ('entry', 'exit') LIMIT 1
    ) AS same_serial ON true
    WHERE again.position = ANY(%s)
)
INSERT INTO lane_repeats (device_id, record_no, event_id, reason, occurred_at, received_at, tac, amount_fen, payload,
                          digest)
SELECT device_id, record_no, coalesce(same_no_id, same_serial_id),
       CASE WHEN same_no_id IS NULL THEN 'transaction_repeated' ELSE 'record_no_reused' END,
       occurred_at, received_at, tac, amount_fen, payload, digest
FROM known WHERE same_no_digest IS DISTINCT FROM digest ORDER BY position
ON CONFLICT (device_id, record_no, digest) DO NOTHING
RETURNING reason
"""

_NOTIFY = "SELECT pg_notify('lane_events', '')"

_EVENT: Final = (
    "id, device_id, lot_id, record_no, event, source, occurred_at, received_at, vehicle, refers_to, plate, plate_color,"
    f" vehicle_class, hour_at, hour_records, hour_amount_fen, flags, {', '.join(_ETC)}"
)

_MOST_OF_ASKING = 2000  # records followed ahead of the others in one transaction

_TAKE_WAITING = f"SELECT {_EVENT} FROM lane_events WHERE processed_at IS NULL ORDER BY id LIMIT %s FOR UPDATE"  # noqa: S608  # constants of this module only

# A question is answered after everything else that is known of its vehicle: its entry may wait in the same backlog.
_TAKE_ASKING = f"""
SELECT {_EVENT} FROM lane_events
WHERE processed_at IS NULL AND vehicle IN (
    SELECT vehicle FROM lane_events
    WHERE processed_at IS NULL AND event = 'fee_request' AND received_at > %s ORDER BY id LIMIT %s)
ORDER BY id LIMIT {_MOST_OF_ASKING} FOR UPDATE
"""  # noqa: S608  # constants of this module only

_MARK_PROCESSED = "UPDATE lane_events SET processed_at = clock_timestamp() WHERE id = ANY(%s)"

_TAKE_WAITING_REPEATS = """
SELECT again.id, again.device_id, device.lot_id, again.record_no, again.event_id, again.reason, again.occurred_at,
       again.received_at, again.tac, again.amount_fen
FROM lane_repeats AS again JOIN devices AS device ON device.id = again.device_id
WHERE again.processed_at IS NULL ORDER BY again.id LIMIT %s FOR UPDATE OF again
"""

_MARK_REPEATS_PROCESSED = "UPDATE lane_repeats SET processed_at = clock_timestamp() WHERE id = ANY(%s)"

_OF_VEHICLES = f"""
SELECT {_EVENT} FROM lane_events WHERE vehicle = ANY(%s) AND occurred_at >= %s ORDER BY vehicle, occurred_at, id
"""  # noqa: S608  # constants of this module only

_BY_RECORD = f"""
SELECT {_EVENT} FROM lane_events WHERE (device_id, record_no) IN (SELECT * FROM unnest(%s::int[], %s::bigint[]))
"""  # noqa: S608  # constants of this module only

_REFERRING_TO = f"""
SELECT {_EVENT} FROM lane_events
WHERE (device_id, refers_to) IN (SELECT * FROM unnest(%s::int[], %s::bigint[])) AND refers_to IS NOT NULL ORDER BY id
"""  # noqa: S608  # constants of this module only

_BY_TRANSACTION = f"""
SELECT {_EVENT} FROM lane_events
WHERE (terminal_no, terminal_serial) IN (SELECT * FROM unnest(%s::text[], %s::text[])) AND event IN ('entry', 'exit')
"""  # noqa: S608  # constants of this module only


@dataclass(frozen=True, slots=True)
class Entered:
    """What became of a batch of reports."""

    new: int = 0
    redelivered: int = 0  # known, bytes and all: dropped
    repeats: Mapping[str, int] = field(default_factory=dict)  # RepeatReason -> rows kept beside the ledger

    def __add__(self, other: Entered) -> Entered:
        repeats = Counter(self.repeats) + Counter(other.repeats)
        return Entered(self.new + other.new, self.redelivered + other.redelivered, repeats)


async def enter(connection: AsyncConnection[Any], reports: Sequence[LaneReport]) -> Entered:
    """Enters reports into the ledger, in their order; what it has already is told apart and never entered twice.

    Raises:
        psycopg.Error: nothing was entered.
    """
    if not reports:
        return Entered()
    await connection.execute(_CREATE_STAGING)
    async with connection.cursor() as cursor, cursor.copy(_COPY_STAGING) as copy:
        for position, report in enumerate(reports):
            await copy.write_row(_row(position, report))
    inserted = set(await (await connection.execute(_ENTER)).fetchall())
    # Of two equal messages in a batch one is inserted; which does not matter. Their names here are the same.
    again = []
    for position, report in enumerate(reports):
        name = report.event.device_id, report.event.record_no, report.digest
        if name in inserted:
            inserted.discard(name)
        else:
            again.append(position)
    repeats: Counter[str] = Counter()
    if again:
        kept = await connection.execute(_KEEP_REPEATS, (again,))
        repeats.update(reason for (reason,) in await kept.fetchall())
    await connection.execute(_CLEAR_STAGING)
    if len(again) < len(reports) or repeats:
        await connection.execute(_NOTIFY)
    return Entered(len(reports) - len(again), len(again) - repeats.total(), repeats)


def take_waiting(connection: Connection[Any], limit: int) -> list[LaneEvent]:
    """Events that nobody has followed yet, oldest first, locked until the transaction ends."""
    return [_event(row) for row in connection.execute(_TAKE_WAITING, (limit,)).fetchall()]


def take_asking(connection: Connection[Any], since: datetime, limit: int) -> list[LaneEvent]:
    """What nobody has followed yet of vehicles that lanes have asked about since then, oldest first, locked likewise."""
    return [_event(row) for row in connection.execute(_TAKE_ASKING, (since, limit)).fetchall()]


def mark_processed(connection: Connection[Any], event_ids: Iterable[int]) -> None:
    """Notes that these events were followed."""
    connection.execute(_MARK_PROCESSED, (list(event_ids),))


def take_waiting_repeats(connection: Connection[Any], limit: int) -> list[LaneRepeat]:
    """Repeats that nobody has looked at yet, oldest first, locked until the transaction ends."""
    rows = connection.execute(_TAKE_WAITING_REPEATS, (limit,)).fetchall()
    return [_repeat(row) for row in rows]


def mark_repeats_processed(connection: Connection[Any], repeat_ids: Iterable[int]) -> None:
    """Notes that these repeats were looked at."""
    connection.execute(_MARK_REPEATS_PROCESSED, (list(repeat_ids),))


def events_of(connection: Connection[Any], vehicles: Iterable[str], since: datetime) -> list[LaneEvent]:
    """All events since then that are about these vehicles, by vehicle and time."""
    return [_event(row) for row in connection.execute(_OF_VEHICLES, (list(vehicles), since)).fetchall()]


def events_by_record(
    connection: Connection[Any], records: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], LaneEvent]:
    """Events by (device id, record_no); those that the ledger does not hold are left out."""
    events = (_event(row) for row in connection.execute(_BY_RECORD, _pairs(records)).fetchall())
    return {(event.device_id, event.record_no): event for event in events}


def events_referring_to(connection: Connection[Any], records: Iterable[tuple[int, int]]) -> list[LaneEvent]:
    """Corrections and completions that name one of these (device id, record_no), oldest first."""
    return [_event(row) for row in connection.execute(_REFERRING_TO, _pairs(records)).fetchall()]


def events_by_transaction(
    connection: Connection[Any], transactions: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], LaneEvent]:
    """Entries and exits by (terminal_no, terminal_serial)."""
    found = {}
    for row in connection.execute(_BY_TRANSACTION, _pairs(transactions)).fetchall():
        event = _event(row)
        assert event.etc is not None  # noqa: S101  # it was found by its terminal
        found[event.etc.terminal_no or "", event.etc.terminal_serial or ""] = event
    return found


def _pairs(pairs: Iterable[tuple[Any, Any]]) -> tuple[list[Any], list[Any]]:
    known = list(pairs)
    return [first for first, _ in known], [second for _, second in known]


def _row(position: int, report: LaneReport) -> tuple[Any, ...]:
    event = report.event
    etc = event.etc or _NO_ETC
    return (
        *(position, event.device_id, event.lot_id, event.record_no, event.kind.value, event.source.value),
        *(event.refers_to, event.plate, event.plate_color, event.vehicle_class, event.vehicle),
        *(event.hour_records, event.hour_amount_fen, report.source.payload, report.digest),
        *(etc.obu_plate, etc.card_plate, etc.obu_id, etc.contract_no, etc.card_no, etc.card_network, etc.card_type),
        *(etc.terminal_no, etc.terminal_serial, etc.tac, etc.algorithm, etc.trade_type, etc.amount_fen),
        *(etc.balance_before_fen, etc.balance_after_fen, etc.status_list_version),
        *(event.occurred_at, event.received_at, event.hour_at, ",".join(report.flags)),
    )


_NO_ETC: Final = EtcPart()


def _event(row: tuple[Any, ...]) -> LaneEvent:
    etc = EtcPart(**dict(zip(_ETC, row[17:], strict=True)))
    return LaneEvent(
        id=row[0],
        device_id=row[1],
        lot_id=row[2],
        record_no=row[3],
        kind=LaneEventKind(row[4]),
        source=LaneSource(row[5]),
        occurred_at=row[6],
        received_at=row[7],
        vehicle=row[8],
        refers_to=row[9],
        plate=row[10],
        plate_color=row[11],
        vehicle_class=row[12],
        etc=None if etc == _NO_ETC else etc,
        hour_at=row[13],
        hour_records=row[14],
        hour_amount_fen=row[15],
        flags=tuple(row[16]),
    )


def _repeat(row: tuple[Any, ...]) -> LaneRepeat:
    repeat_id, device_id, lot_id, record_no, event_id, reason, occurred_at, received_at, tac, amount_fen = row
    return LaneRepeat(
        id=repeat_id,
        device_id=device_id,
        lot_id=lot_id,
        record_no=record_no,
        event_id=event_id,
        reason=RepeatReason(reason),
        occurred_at=occurred_at,
        received_at=received_at,
        tac=tac,
        amount_fen=amount_fen,
    )
