"""Transactions on their way to the centre, in bulk: ledger, visits and journal as lanes and pairing leave them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from parking_core.clearing.envelope import Parties
from parking_core.settlement.postings import etc_paid
from parking_core.store import etc_transactions, journal
from tests.integration.money_rows import ZONE, seed

if TYPE_CHECKING:
    from psycopg import Connection

    from parking_core.settlement import EtcTransaction

PARTIES = Parties()
TERMINAL = "013200001234"
NOW = datetime(2026, 5, 4, 10, 0, tzinfo=UTC)
DAY = NOW.astimezone(ZONE).date()


def a_lane(connection: Connection[Any]) -> int:
    """Lot P01 with its lane; gives the lane's device id."""
    return seed(connection, ("P01",))["P01"]


def add_ready(
    connection: Connection[Any], device: int, count: int, *, since: datetime = NOW, first: int = 1
) -> list[EtcTransaction]:
    """Transactions that are ready since then, 100, 101, ... fen, each exit with its visit and journal entry."""
    connection.execute(
        "WITH numbers AS (SELECT n FROM generate_series(%(first)s::int, %(last)s::int) AS n), events AS ("
        " INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, plate, vehicle,"
        "  vehicle_class, obu_id, card_no, card_network, card_type, card_plate, obu_plate, terminal_no, terminal_serial,"
        "  tac, algorithm, trade_type, amount_fen, balance_before_fen, balance_after_fen, status_list_version, payload,"
        "  digest)"
        " SELECT d.id, d.lot_id, n, 'exit', 'etc', %(at)s, %(at)s, '苏BT' || n, '苏BT' || n, 1, 'obu' || n, 'card' || n,"
        "  '3201', '23', '苏BT' || n, '苏BT' || n, %(terminal)s, lpad(to_hex(n), 8, '0'), 'A1B2C3D4', '1', '09', 100 + n,"
        "  1999921682, 1999921682 - 100 - n, '20260504', '{}', sha256(n::text::bytea)"
        " FROM numbers JOIN devices d ON d.id = %(device)s RETURNING *), stays AS ("
        " INSERT INTO visits (lot_id, vehicle, state, exit_event_id, entered_at, exited_at, matters_until)"
        " SELECT lot_id, vehicle, 'closed', id, occurred_at - interval '1 hour', occurred_at, occurred_at FROM events"
        " RETURNING id, exit_event_id)"
        " INSERT INTO etc_transactions (terminal_no, terminal_serial, event_id, device_id, lot_id, visit_id, amount_fen,"
        "  occurred_at, tac, state, changed_at)"
        " SELECT e.terminal_no, e.terminal_serial, e.id, e.device_id, e.lot_id, s.id, e.amount_fen, e.occurred_at, e.tac,"
        "  'ready', %(since)s FROM events e JOIN stays s ON s.exit_event_id = e.id ORDER BY e.record_no",
        {
            "first": first,
            "last": first + count - 1,
            "at": since - timedelta(minutes=1),
            "terminal": TERMINAL,
            "device": device,
            "since": since,
        },
    )
    ids = [row[0] for row in connection.execute("SELECT id FROM etc_transactions ORDER BY id").fetchall()]
    added = etc_transactions.by_ids(connection, ids)[-count:]
    journal.book(connection, [etc_paid(transaction) for transaction in added])
    return added


def states(connection: Connection[Any]) -> dict[str, int]:
    """How many transactions are in each state."""
    return dict(connection.execute("SELECT state, count(*) FROM etc_transactions GROUP BY state").fetchall())


def balances(connection: Connection[Any]) -> dict[str, int]:
    """Accounts that are not zero, in fen."""
    found = {one.code: one.balance_fen for one in journal.trial_balance(connection)}
    return {code: fen for code, fen in found.items() if fen}


def open_differences(connection: Connection[Any]) -> dict[str, tuple[str, int]]:
    """Key → (state, fen) of every difference."""
    rows = connection.execute("SELECT key, state, amount_fen FROM differences ORDER BY key").fetchall()
    return {key: (state, fen) for key, state, fen in rows}
