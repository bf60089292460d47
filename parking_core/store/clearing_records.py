"""Transactions on their way through clearing, set by set. Nothing here commits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from parking_core.clearing.packages import TransactionRecord
from parking_core.clearing.status_lists import STATUS_LISTED
from parking_core.lane_checks import Check
from parking_core.settlement import EtcState, EtcTransaction
from parking_core.settlement.etc import CHANGES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import date, datetime

    from psycopg import Connection

_TRIPLE_DES: Final = 1

# What the centre reads of each transaction. Its lane's lot names it; the visit says how long it stayed.
_RECORDS = """
SELECT t.id, t.occurred_at, t.amount_fen, t.terminal_no, t.terminal_serial, coalesce(t.tac, ''),
       coalesce(e.trade_type, ''), coalesce(e.algorithm, ''), coalesce(e.card_network, ''), coalesce(e.card_no, ''),
       coalesce(e.card_type, ''), coalesce(e.card_plate, ''), coalesce(e.balance_before_fen, 0),
       coalesce(e.balance_after_fen, 0), coalesce(e.obu_id, ''), coalesce(e.obu_plate, ''),
       coalesce(e.vehicle_class, 0), l.code, l.name,
       coalesce(extract(epoch FROM v.exited_at - v.entered_at)::bigint / 60, 0)
FROM etc_transactions t
JOIN lane_events e ON e.id = t.event_id
JOIN lots l ON l.id = t.lot_id
LEFT JOIN visits v ON v.id = t.visit_id
WHERE t.id = ANY(%s) ORDER BY t.id
"""

_PACK = """
UPDATE etc_transactions t SET state = 'packed', package_id = n.package_id, changed_at = %(now)s
FROM unnest(%(ids)s::bigint[], %(packages)s::bigint[]) AS n (id, package_id)
WHERE t.id = n.id AND t.state = ANY(%(from)s)
"""

# Under which status list it was made: the lane had the card or OBU on its own list, or used an older list than the one it
# had confirmed. The centre will say so by a dispute; until then the transaction carries it.
_FLAG = """
UPDATE etc_transactions AS t SET reasons = ARRAY(SELECT DISTINCT unnest(t.reasons || flagged.flags) ORDER BY 1)
FROM (
    SELECT e.id, array_remove(ARRAY[
        CASE WHEN EXISTS (SELECT FROM status_entries AS s
                          WHERE ((s.medium = 'card' AND s.number = e.card_no) OR (s.medium = 'obu' AND s.number = e.obu_id))
                            AND s.from_version <= e.status_list_version
                            AND (s.until_version IS NULL OR s.until_version > e.status_list_version))
             THEN %(listed)s END,
        CASE WHEN told.confirmed_at <= e.occurred_at AND told.confirmed_version > e.status_list_version
             THEN %(old)s END], NULL) AS flags
    FROM etc_transactions AS packed
    JOIN lane_events AS e ON e.id = packed.event_id
    LEFT JOIN lane_status_lists AS told ON told.device_id = e.device_id
    WHERE packed.id = ANY(%(ids)s) AND e.status_list_version IS NOT NULL
) AS flagged
WHERE t.event_id = flagged.id AND cardinality(flagged.flags) > 0
RETURNING t.id, flagged.flags
"""

# A record's place in its package is its TransId. The lot is the one of its visit: there the money was booked.
_OF_PACKAGES = """
SELECT t.package_id, row_number() OVER (PARTITION BY t.package_id ORDER BY t.id), t.id, t.terminal_no,
       t.terminal_serial, t.event_id, t.device_id, t.lot_id, t.amount_fen, t.occurred_at, t.tac, t.state, l.code,
       t.visit_id
FROM etc_transactions t
LEFT JOIN visits v ON v.id = t.visit_id
JOIN lots l ON l.id = coalesce(v.lot_id, t.lot_id)
WHERE t.package_id = ANY(%s)
"""

_BOOK = """
UPDATE etc_transactions SET state = 'booked', clearing_day = %(day)s, changed_at = %(now)s
WHERE package_id = %(package)s AND state = 'packed'
"""

_MOVE = """
UPDATE etc_transactions SET state = %(state)s, clearing_day = coalesce(%(day)s, clearing_day), changed_at = %(now)s
WHERE id = ANY(%(ids)s) AND state = ANY(%(from)s)
"""


@dataclass(frozen=True, slots=True)
class PackedTransaction:
    """A transaction at its place in a package."""

    package: int
    trans_id: int
    transaction: EtcTransaction


def records_of(connection: Connection[Any], ids: Sequence[int]) -> dict[int, TransactionRecord]:
    """The transactions as the centre reads them, by id, in the order of ids."""
    return {row[0]: _record(row) for row in connection.execute(_RECORDS, (list(ids),)).fetchall()}


def _record(row: tuple[Any, ...]) -> TransactionRecord:
    at, amount, terminal, serial, tac, trade_type, algorithm, network, card, card_type, plate = row[1:12]
    before, after, obu, obu_plate, vehicle_class, lot, lot_name, minutes = row[12:]
    return TransactionRecord(
        occurred_at=at,
        amount_fen=amount,
        terminal_no=terminal,
        terminal_serial=serial,
        tac=tac,
        trade_type=trade_type,
        # A lane that does not say: 3DES, the older of the two. If it was SM4, the TAC does not verify and the centre disputes.
        algorithm=int(algorithm) if algorithm.isdecimal() else _TRIPLE_DES,
        card_network=network,
        card_no=card,
        card_type=card_type,
        card_plate=plate,
        balance_before_fen=before,
        balance_after_fen=after,
        obu_id=obu,
        obu_plate=obu_plate,
        vehicle_class=vehicle_class,
        reference=f"{lot}-{terminal}-{serial}",
        lot_name=lot_name[:150],
        park_minutes=max(0, minutes),
    )


def pack(connection: Connection[Any], packages: dict[int, Sequence[int]], now: datetime, *, again: bool = False) -> int:
    """Puts transactions into packages, `{number: ids}`; `again`: they were in a refused one. Gives how many were put."""
    pairs = [(transaction_id, number) for number, ids in packages.items() for transaction_id in ids]
    parameters = {
        "ids": [transaction_id for transaction_id, _ in pairs],
        "packages": [number for _, number in pairs],
        "now": now,
        "from": [EtcState.PACKED.value] if again else _before(EtcState.PACKED),
    }
    return connection.execute(_PACK, parameters).rowcount


def flag(connection: Connection[Any], ids: Sequence[int]) -> dict[int, list[str]]:
    """Notes on transactions what their lane's status list says of them; gives the flags of those that got any, by id."""
    parameters = {"ids": list(ids), "listed": STATUS_LISTED, "old": Check.LIST_VERSION_OLD.value}
    return dict(connection.execute(_FLAG, parameters).fetchall())


def of_packages(connection: Connection[Any], numbers: Sequence[int]) -> list[PackedTransaction]:
    """All transactions of these packages, with their places."""
    rows = connection.execute(_OF_PACKAGES, (list(numbers),)).fetchall()
    return [
        PackedTransaction(
            row[0],
            row[1],
            EtcTransaction(
                id=row[2],
                terminal_no=row[3],
                terminal_serial=row[4],
                event_id=row[5],
                device_id=row[6],
                lot_id=row[7],
                amount_fen=row[8],
                occurred_at=row[9],
                tac=row[10],
                state=EtcState(row[11]),
                lot=row[12],
                visit_id=row[13],
            ),
        )
        for row in rows
    ]


def book_package(connection: Connection[Any], package: int, day: date, now: datetime) -> int:
    """Books a package's transactions to a clearing day; disputed ones have moved on already. Gives how many."""
    return connection.execute(_BOOK, {"package": package, "day": day, "now": now}).rowcount


def move(
    connection: Connection[Any], ids: Sequence[int], state: EtcState, now: datetime, day: date | None = None
) -> int:
    """Moves transactions on as their life cycle allows; gives how many."""
    if not ids:
        return 0
    parameters = {"ids": list(ids), "state": state.value, "day": day, "now": now, "from": _before(state)}
    return connection.execute(_MOVE, parameters).rowcount


def _before(state: EtcState) -> list[str]:
    return [one.value for one, after in CHANGES.items() if state in after]
