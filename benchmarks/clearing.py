"""ETC transactions that are ready → packed, sent, answered and booked, with a clearing centre in its own process.

    etc_transactions ──► worker's clearing loop ──TCP──► simulated centre (checks and keeps books of its own)
                     ◄── response, bookkeeping, a reply each after the commit

The rate is transactions / (last one booked - first one packed), and counts only when the centre's books hold the same sum.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.request import urlopen

from benchmarks.stage import wait_until
from benchmarks.table import Row
from parking_core.districts import District, LaneRecord, LotRecord
from parking_core.flows.seed_district import seed_district
from parking_core.settings import Settings
from worker import loops
from worker.clearing import Clearing

if TYPE_CHECKING:
    import psycopg

    from benchmarks.stage import Database, Stage

TRANSACTIONS = 50_000  # a week of the seven pilot lots
_PATIENCE_S = 600.0
_LOT = "B01"

_FILL = """
WITH events AS (
    INSERT INTO lane_events (device_id, lot_id, record_no, event, source, occurred_at, received_at, plate, vehicle,
        vehicle_class, obu_id, card_no, card_network, card_type, card_plate, obu_plate, terminal_no, terminal_serial, tac,
        algorithm, trade_type, amount_fen, balance_before_fen, balance_after_fen, payload, digest)
    SELECT d.id, d.lot_id, n, 'exit', 'etc', %(at)s, %(at)s, 'bench-' || n, 'bench-' || n, 1, 'obu' || n, 'card' || n,
        '3201', '23', 'bench-' || n, 'bench-' || n, '013200000001', lpad(to_hex(n), 8, '0'), 'A1B2C3D4', '1', '09',
        100 + n %% 2000, 1999921682, 1999921582 - n %% 2000, '{}', sha256(n::text::bytea)
    FROM generate_series(1, %(count)s::int) AS n JOIN devices d ON d.code = %(lane)s RETURNING *
), stays AS (
    INSERT INTO visits (lot_id, vehicle, state, exit_event_id, entered_at, exited_at, matters_until)
    SELECT lot_id, vehicle, 'closed', id, occurred_at - interval '1 hour', occurred_at, occurred_at FROM events
    RETURNING id, exit_event_id
)
INSERT INTO etc_transactions (terminal_no, terminal_serial, event_id, device_id, lot_id, visit_id, amount_fen, occurred_at,
    tac, state, changed_at)
SELECT e.terminal_no, e.terminal_serial, e.id, e.device_id, e.lot_id, s.id, e.amount_fen, e.occurred_at, e.tac, 'ready',
    timestamptz 'epoch'
FROM events e JOIN stays s ON s.exit_event_id = e.id
"""
_LEFT = "SELECT count(*) FROM etc_transactions WHERE state <> 'booked'"
_HELD = "SELECT count(*) FROM etc_packages WHERE state = 'held'"
_SUM = "SELECT sum(amount_fen)::bigint FROM etc_transactions"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fill(database: Database, count: int) -> None:
    lot = LotRecord(
        code=_LOT,
        name=_LOT,
        kind="off_street",
        lat=31.53,
        lon=120.27,
        spaces=[],
        lanes=[LaneRecord(f"{_LOT}-exit", direction="exit")],
    )
    seed_district(database.owner_url, District(name="bench", lots=[lot]))
    with database.connect() as connection:
        connection.execute(_FILL, {"count": count, "lane": f"{_LOT}-exit", "at": datetime.now(UTC)})
        connection.execute("ANALYZE")


def measure(stage: Stage, count: int) -> float:
    """Seconds from the first package to the last transaction booked."""
    port, truth = _free_port(), _free_port()
    arguments = ["clearing-centre", "--port", str(port), "--truth-port", str(truth)]
    centre = subprocess.Popen([sys.executable, "-m", "simulators", *arguments], stdout=subprocess.PIPE)
    try:
        assert centre.stdout is not None, "it was asked for"
        centre.stdout.readline()  # it listens
        with stage.database() as database:
            _fill(database, count)
            seconds = asyncio.run(_clear(stage, database, f"tcp://127.0.0.1:{port}"))
            with database.connect() as connection, urlopen(f"http://127.0.0.1:{truth}/") as answer:  # loopback
                paid = json.load(answer)["paid"]
                ours = _one(connection, _SUM)
                assert paid == {"records": count, "amount_fen": ours}, f"the centre pays {paid}, we booked {ours}"
        return seconds
    finally:
        centre.terminate()
        centre.wait(10)


async def _clear(stage: Stage, database: Database, url: str) -> float:
    settings = Settings(
        database_url=database.process_urls["worker"],
        redis_url=stage.services.redis_url,
        mqtt_url=stage.services.mqtt_gateway_url,
        clearing_url=url,
    )
    stop = asyncio.Event()
    loop = Clearing(settings, lambda: loops.connect(settings), stop)
    began = time.perf_counter()
    task = asyncio.create_task(loops.supervise("clearing", loop.step, stop))
    with database.connect() as connection:

        def done() -> bool:
            assert _one(connection, _HELD) == 0, "the centre refuses what this benchmark made"
            return _one(connection, _LEFT) == 0

        await asyncio.to_thread(wait_until, done, None, _PATIENCE_S)
    seconds = time.perf_counter() - began
    stop.set()
    await task
    return seconds


def _one(connection: psycopg.Connection, query: str) -> int:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None, query
    return int(row[0])


def run(stage: Stage, count: int = TRANSACTIONS) -> tuple[list[Row], dict[str, object]]:
    """The rows of the table, and the figures behind them."""
    seconds = measure(stage, count)
    name = f"ETC transactions ready → booked by the centre, {count:,} in packages of 100"
    return [Row(name, f"{count / seconds:,.0f}/s", "", "", "")], {"transactions": count, "seconds": seconds}
