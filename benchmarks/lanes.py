"""Lane messages to the committed ledger at QoS 1: ours beside a peer, on the same broker and database server.

    load (own process) ──► Mosquitto ──► gateway ──► TimescaleDB          all of them on the cores of this machine

Each message is an entry or an exit with camera and ETC, some 650 bytes; 28 lanes send in turn. The rate is
messages / (last commit - first message sent), and counts only when the ledger holds exactly as many rows as messages
were sent. Ours ends when the gateway says that all are durable, a peer at its newest `recorded_at`.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.ingest import (
    PATIENCE_S,
    WARM_UP,
    Run,
    Spent,
    go,
    load_result,
    newest_commit,
    ready,
    require_exactly,
    warm_up,
)
from benchmarks.stage import INSTANCE, end_session, lot_place, wait_until
from benchmarks.table import Row
from parking_core.districts import District, LaneRecord, LotRecord
from parking_core.flows.seed_district import seed_district

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from benchmarks.stage import Database, Stage

LOTS, LANES_A_LOT = 7, 4  # the pilot's
PEER_MESSAGES = 50_000
TABLE = "lane_events"
_OURS = "parking gateway"


def run(stage: Stage, messages: int, rounds: int) -> tuple[list[Row], dict[str, object]]:
    """The rows of the table, and the figures behind them."""
    sides: list[Callable[[], Run]] = [
        lambda: ours(stage, messages),
        lambda: aiomqtt_sqlalchemy(stage, min(messages, PEER_MESSAGES)),
    ]
    taken: dict[str, list[Run]] = {}
    for number in range(rounds):
        for side in sides if number % 2 == 0 else reversed(sides):
            result = side()
            taken.setdefault(result.name, []).append(result)
    mine = taken[_OURS]
    (theirs,) = (runs for name, runs in taken.items() if name != _OURS)
    rate, beside = (statistics.median(one.rate for one in runs) for runs in (mine, theirs))
    cpu, beside_cpu = (statistics.median(one.subscriber_us for one in runs) for runs in (mine, theirs))
    rows = [
        Row(
            f"{messages:,} lane messages of {LOTS * LANES_A_LOT} lanes to the committed ledger",
            f"{rate:,.0f}/s",
            f"{beside:,.0f}/s ({theirs[0].messages:,} messages; {theirs[0].name}, no checks)",
            f"{rate / beside:.2f} x",
            "",
        ),
        Row("CPU of the gateway a lane message", f"{cpu:.0f} µs", f"{beside_cpu:.0f} µs", "", ""),
    ]
    return rows, {name: [asdict(one) for one in runs] for name, runs in taken.items()}


def ours(stage: Stage, messages: int) -> Run:
    """The gateway: read, checked, flagged, entered once, told to the worker."""
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        loading = _loading(stage, database, Path(folder))
        processes = stage.start_system(database, "gateway")
        gateway = processes["gateway"]
        try:
            warm_up(lambda: loading(WARM_UP), database, TABLE, gateway)
            before_rows, before = database.count(TABLE), gateway.metrics()

            def done() -> float:
                return gateway.metrics().get("gateway_lane_events_total", 0.0) - before["gateway_lane_events_total"]

            load = ready(loading(messages))
            spent = Spent.now(stage, processes)
            go(load)
            wait_until(lambda: done() >= messages, gateway, PATIENCE_S)
            ended = time.time()
            sent = load_result(load)
            cpu = Spent.now(stage, processes).since(spent, sent["cpu_s"], messages)
            after = gateway.metrics()
            require_exactly(database, TABLE, before_rows + messages)
            batches = after["gateway_batch_messages_count"] - before["gateway_batch_messages_count"]
            commit_s = after["gateway_commit_seconds_sum"] - before["gateway_commit_seconds_sum"]
            return Run(
                _OURS,
                messages,
                messages / (ended - sent["started"]),
                {"subscriber": cpu.pop("gateway"), **cpu},
                messages / batches,
                commit_ms=commit_s / batches * 1e3,
            )
        finally:
            stage.stop_children()
            end_session(stage.services.mqtt_gateway_url, f"parking-gateway-{INSTANCE}")


def aiomqtt_sqlalchemy(stage: Stage, messages: int) -> Run:
    """The peer, into the same table with ON CONFLICT DO NOTHING."""
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        loading = _loading(stage, database, Path(folder))
        urls = ["--mqtt", stage.services.mqtt_gateway_url, "--database", database.owner_url]
        running = stage.start("benchmarks.peers.aiomqtt_sqlalchemy_lanes", urls, {})
        try:
            warm_up(lambda: loading(WARM_UP), database, TABLE, running)
            before_rows = database.count(TABLE)
            load = ready(loading(messages))
            spent = Spent.now(stage, {"subscriber": running})
            go(load)
            sent = load_result(load)
            wait_until(lambda: database.count(TABLE) >= before_rows + messages, running, PATIENCE_S)
            cpu = Spent.now(stage, {"subscriber": running}).since(spent, sent["cpu_s"], messages)
            require_exactly(database, TABLE, before_rows + messages)
            rate = messages / (newest_commit(database, TABLE) - sent["started"])
            return Run("aiomqtt + SQLAlchemy", messages, rate, cpu)
        finally:
            stage.stop_children()


def _loading(stage: Stage, database: Database, folder: Path) -> Callable[[int], subprocess.Popen[bytes]]:
    """Registers the lanes; gives what starts the load generator with that many messages of theirs."""
    lots: list[LotRecord] = []
    listed: list[tuple[str, str]] = []
    for lot in range(LOTS):
        code = f"BH{lot:04}"
        lanes = [LaneRecord(f"{code}-B{number}", "both") for number in range(1, LANES_A_LOT + 1)]
        lat, lon = lot_place(lot)
        lots.append(LotRecord(code=code, name=code, kind="off_street", lat=lat, lon=lon, spaces=[], lanes=lanes))
        for lane in lanes:
            listed.append((f"parking/v1/{code}/{lane.code}/lane", f"{len(listed) + 1:08}"))
    seed_district(database.owner_url, District(name="lanes", lots=lots))
    path = folder / "lanes.json"
    path.write_text(json.dumps(listed), "utf-8")
    return lambda messages: stage.load(path, messages, "--payload", "lane")
