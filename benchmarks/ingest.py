"""Device → broker → commit → PUBACK at QoS 1, ours beside peers that do less, on the same broker and database server.

    load (own process) ──► Mosquitto ──► gateway ──► TimescaleDB            all of them on the cores of this machine
                                            └──► Redis      worker ──► rollups

The rate is messages / (last commit - first message sent), and counts only when the table holds exactly as many rows as
messages were sent. Ours ends when the gateway says that all are durable (asked 20 times a second: at most 50 ms too
late); a peer ends at the newest `recorded_at` (its commit is later, so this is in the peer's favour).
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
from psycopg import sql

from benchmarks.peers import mq_bridge_route
from benchmarks.stage import INSTANCE, LOTS, SPACES, Running, cpu_s, end_session, seed, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from benchmarks.stage import Database, Stage

PEER_MESSAGES = 100_000  # a slower peer's rate needs no million to be seen
WARM_UP = 5_000
BAR_RATE, BAR_RATIO, BAR_CPU_US, BAR_RSS_MB = 30_000, 3.0, 12.0, 250.0
_SAMPLE_S = 0.1
PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Run:
    """What one run gave."""

    name: str
    messages: int
    rate: float  # messages a second
    cpu_us: dict[str, float]  # CPU a message, by process
    batch: float = 0.0  # messages a transaction; 0: not known
    rss_mb: tuple[float, ...] = ()  # at 25, 50, 75, 100 % of the messages, then the largest of all
    commit_ms: float = 0.0  # mean of a batch's transaction, retries included
    rollups: int = 0  # rows of lot_rollups_5m made during the run

    @property
    def subscriber_us(self) -> float:
        """CPU a message of what stands between broker and database."""
        return self.cpu_us["subscriber"]


class Memory:
    """Resident memory of a process against its progress, sampled in a thread."""

    def __init__(self, pid: int, done: Callable[[], float]) -> None:
        self._process = psutil.Process(pid)
        self._done = done
        self._samples: list[tuple[float, float]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(0.5):
            try:
                self._samples.append((self._done(), self._process.memory_info().rss / 1e6))
            except psutil.NoSuchProcess:
                return

    def quarters(self, messages: int) -> tuple[float, ...]:
        """MB when a quarter, half, three quarters and all were done, and the most."""
        self._stop.set()
        self._thread.join()
        if not self._samples:
            return ()
        marks = [
            next((mb for done, mb in self._samples if done >= messages * part), self._samples[-1][1])
            for part in (0.25, 0.5, 0.75, 1.0)
        ]
        return (*marks, max(mb for _, mb in self._samples))


@dataclass(frozen=True, slots=True)
class Spent:
    """CPU seconds at one moment."""

    services: dict[str, float]
    others: dict[str, float]

    @classmethod
    def now(cls, stage: Stage, processes: dict[str, Running]) -> Spent:
        """What services and processes have spent so far."""
        return cls(stage.service_cpu_s(), {name: cpu_s(one.child.pid) for name, one in processes.items()})

    def since(self, before: Spent, load_s: float, messages: int) -> dict[str, float]:
        """Microseconds a message, by process."""
        now = self.services | self.others
        then = before.services | before.others
        spent = {name: (value - then[name]) / messages * 1e6 for name, value in now.items()}
        return spent | {"load": load_s / messages * 1e6}


def ours(stage: Stage, messages: int, *, spaces: int = SPACES, lots: int = LOTS) -> Run:
    """The whole system: validation, live state, dirty buckets, and the worker that rolls them up meanwhile."""
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        devices = seed(database, Path(folder), spaces, lots)
        processes = stage.start_system(database, "gateway", "worker")
        gateway = processes["gateway"]
        try:
            warm_up(lambda: stage.load(devices, WARM_UP), database, "occupancy_events", gateway)
            before_rows, before = database.count(), gateway.metrics()
            done_before = before["gateway_messages_total"]

            def done() -> float:
                return gateway.metrics().get("gateway_messages_total", 0.0) - done_before

            load = ready(stage.load(devices, messages))
            memory = Memory(gateway.child.pid, done)
            spent = Spent.now(stage, processes)
            go(load)
            wait_until(lambda: done() >= messages, gateway, PATIENCE_S)
            ended = time.time()
            sent = load_result(load)
            cpu = Spent.now(stage, processes).since(spent, sent["cpu_s"], messages)
            after = gateway.metrics()
            batches = after["gateway_batch_messages_count"] - before["gateway_batch_messages_count"]
            commit_s = after["gateway_commit_seconds_sum"] - before["gateway_commit_seconds_sum"]
            require_exactly(database, "occupancy_events", before_rows + messages)
            return Run(
                "parking gateway",
                messages,
                messages / (ended - sent["started"]),
                {"subscriber": cpu.pop("gateway"), **cpu},
                messages / batches,
                memory.quarters(messages),
                commit_s / batches * 1e3,
                database.count("lot_rollups_5m"),
            )
        finally:
            stage.stop_children()
            end_session(stage.services.mqtt_gateway_url, f"parking-gateway-{INSTANCE}")


def aiomqtt_sqlalchemy(stage: Stage, messages: int) -> Run:
    """Peer (a), into our hypertable with ON CONFLICT DO NOTHING."""
    return _peer(
        stage, messages, ("aiomqtt + SQLAlchemy", "benchmarks.peers.aiomqtt_sqlalchemy"), [], "occupancy_events"
    )


def mq_bridge(stage: Stage, messages: int, mode: str, options: dict[str, int] | None = None) -> Run:
    """Peer (b) in one of its modes."""
    table = "occupancy_events" if mode == "on_conflict" else mq_bridge_route.PLAIN_TABLE
    arguments = ["--mode", mode, "--options", json.dumps(options or {})]
    try:
        return _peer(stage, messages, (f"mq-bridge {mode}", "benchmarks.peers.mq_bridge_route"), arguments, table)
    finally:
        end_session(stage.services.mqtt_gateway_url, mq_bridge_route.CLIENT_ID)


def _peer(stage: Stage, messages: int, peer: tuple[str, str], arguments: list[str], table: str) -> Run:
    name, module = peer
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        devices = seed(database, Path(folder))
        with database.connect() as connection:
            connection.execute(mq_bridge_route.CREATE_PLAIN)
        urls = ["--mqtt", stage.services.mqtt_gateway_url, "--database", database.owner_url]
        running = stage.start(module, [*arguments, *urls], {})
        try:
            warm_up(lambda: stage.load(devices, WARM_UP), database, table, running)
            before_rows = database.count(table)
            load = ready(stage.load(devices, messages))
            memory = Memory(running.child.pid, lambda: 0.0)
            spent = Spent.now(stage, {"subscriber": running})
            go(load)
            sent = load_result(load)
            wait_until(lambda: database.count(table) >= before_rows + messages, running, PATIENCE_S)
            cpu = Spent.now(stage, {"subscriber": running}).since(spent, sent["cpu_s"], messages)
            require_exactly(database, table, before_rows + messages)
            rate = messages / (newest_commit(database, table) - sent["started"])
            return Run(name, messages, rate, cpu, rss_mb=memory.quarters(messages))
        finally:
            stage.stop_children()


def warm_up(loading: Callable[[], subprocess.Popen[bytes]], database: Database, table: str, running: Running) -> None:
    """Sends until messages arrive: a peer does not say when it has subscribed."""
    deadline = time.monotonic() + 60
    while True:
        load = ready(loading())
        go(load)
        load_result(load)
        seen, still = -1, database.count(table)
        while seen != still:
            time.sleep(1.0)
            seen, still = still, database.count(table)
        if still:
            return
        if running.child.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{running.name} stores nothing; see its log.")


def ready(load: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Waits until the load generator has packed its messages."""
    assert load.stdout
    assert load.stdout.readline() == b"ready\n", "the load generator did not start"
    return load


def go(load: subprocess.Popen[bytes]) -> None:
    """Lets it send."""
    assert load.stdin
    load.stdin.write(b"\n")
    load.stdin.flush()


def load_result(load: subprocess.Popen[bytes]) -> dict[str, float]:
    """When it started and ended, and its CPU seconds between; waits until all is acknowledged by the broker."""
    out, _ = load.communicate(timeout=PATIENCE_S)
    result: dict[str, float] = json.loads(out.splitlines()[-1])
    return result


def newest_commit(database: Database, table: str) -> float:
    """The newest `recorded_at` of a table, seconds since the epoch."""
    with database.connect() as connection:
        query = sql.SQL("SELECT extract(epoch FROM max(recorded_at))::float8 FROM {}").format(sql.Identifier(table))
        row = connection.execute(query).fetchone()
    assert row
    return float(row[0])


def require_exactly(database: Database, table: str, rows: int) -> None:
    """A rate counts only where no message was lost and none stored twice."""
    found = database.count(table)
    assert found == rows, f"{table} holds {found} rows and should hold {rows}"
