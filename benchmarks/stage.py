"""What every benchmark stands on: private services of their own, a fresh database a measurement, processes and their CPU."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import urlopen

import mqtt5
import psutil
import psycopg
from psycopg import sql
from redis.asyncio import Redis

from onebox import services as onebox_services
from parking_core.districts import DeviceRecord, District, LotRecord, SpaceRecord
from parking_core.flows.rebuild_live_state import rebuild_live_state
from parking_core.flows.seed_district import seed_district
from parking_core.store.live_state import LiveState
from parking_core.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from onebox.services import RunningServices

LOTS = 500
SPACES = 21_000
INSTANCE = "bench"
_START_PATIENCE_S = 60.0
_STOP_PATIENCE_S = 30.0


@dataclass(frozen=True, slots=True)
class Database:
    """A migrated database that lives for one measurement."""

    owner_url: str
    process_urls: Mapping[str, str]  # by process: gateway, api, worker

    def connect(self) -> psycopg.Connection:
        """A connection of the owner."""
        return psycopg.connect(self.owner_url, autocommit=True)

    def count(self, table: str = "occupancy_events") -> int:
        """Rows of a table."""
        with self.connect() as connection:
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier(table))).fetchone()
        assert row
        return int(row[0])


@dataclass(slots=True)
class Running:
    """One process of the system or of a peer."""

    name: str
    child: subprocess.Popen[bytes]
    metrics_port: int = 0

    def metrics(self) -> dict[str, float]:
        """Its Prometheus samples without labels; empty while it does not answer."""
        try:
            with urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:  # loopback
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        pairs = (line.rsplit(" ", 1) for line in lines if line and not line.startswith("#") and "{" not in line)
        return {name: float(value) for name, value in pairs}

    def stop(self) -> None:
        """SIGTERM, and SIGKILL for one that does not listen."""
        if self.child.poll() is None:
            self.child.terminate()
            try:
                self.child.wait(_STOP_PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.child.kill()
                self.child.wait()


@dataclass(slots=True)
class Stage:
    """Private services, used by one measurement at a time."""

    services: RunningServices
    _databases: int = 0
    _children: list[Running] = field(default_factory=list)

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A fresh, migrated database; Redis and the gateway's broker session are emptied too."""
        self._databases += 1
        name = f"bench_{self._databases}"
        assert self.services.admin_url, "benchmarks run against private services"
        with psycopg.connect(self.services.admin_url, autocommit=True) as admin:
            admin.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
            admin.execute(sql.SQL("CREATE DATABASE {} OWNER parking").format(sql.Identifier(name)))
        with psycopg.connect(_renamed(self.services.admin_url, name), autocommit=True) as admin:
            admin.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        urls = {process: _renamed(url, name) for process, url in self.services.database_urls.items()}
        made = Database(_renamed(self.services.database_url, name), urls)
        migrate(made.owner_url)
        end_session(self.services.mqtt_gateway_url, f"parking-gateway-{INSTANCE}")
        try:
            yield made
        finally:
            with psycopg.connect(self.services.admin_url, autocommit=True) as admin:
                admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            self.checkpoint()

    def checkpoint(self) -> None:
        """Writes out what earlier work left in memory, so that what is measured next does not pay for it."""
        assert self.services.admin_url, "benchmarks run against private services"
        with psycopg.connect(self.services.admin_url, autocommit=True) as admin:
            admin.execute("CHECKPOINT")

    def start(self, module: str, arguments: list[str], environ: Mapping[str, str], *, metrics: bool = False) -> Running:
        """Starts `python -m module`; with `metrics` returns when its metrics answer."""
        port = free_port() if metrics else 0
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
        full = {**inherited, **environ, **({"PARKING_METRICS_PORT": str(port)} if metrics else {})}
        with (self.services.home / "logs" / f"{module.replace('.', '-')}.log").open("ab") as log:
            child = subprocess.Popen([sys.executable, "-m", module, *arguments], env=full, stdout=log, stderr=log)
        running = Running(module, child, port)
        self._children.append(running)
        if metrics:
            wait_until(lambda: bool(running.metrics()), running)
        return running

    def start_system(self, database: Database, *modules: str) -> dict[str, Running]:
        """Starts gateway, worker or api with their own database logins, after a rebuild of the empty live state."""
        asyncio.run(self.rebuild(database, flush=True))
        processes = {}
        for module in modules:
            environ = {
                "PARKING_DATABASE_URL": database.process_urls[module],
                "PARKING_REDIS_URL": self.services.redis_url,
                "PARKING_MQTT_URL": self.services.mqtt_gateway_url,
                "PARKING_INSTANCE": INSTANCE,
            }
            if module == "api":
                environ["PARKING_HTTP_PORT"] = str(free_port())
            processes[module] = self.start(module, [], environ, metrics=module != "api")
            if module == "api":
                processes[module].metrics_port = int(environ["PARKING_HTTP_PORT"])
        return processes

    async def rebuild(self, database: Database, *, flush: bool) -> int:
        """Live state from history; gives the number of spaces with a state."""
        async with Redis.from_url(self.services.redis_url) as redis:
            if flush:
                await redis.flushall()
            return await rebuild_live_state(database.owner_url, LiveState(redis))

    def load(self, devices: Path, messages: int, *options: str) -> subprocess.Popen[bytes]:
        """The load generator, as a process of its own; its last line of output is JSON."""
        command = [sys.executable, "-m", "benchmarks.load", "--url", self.services.mqtt_url, "--devices", str(devices)]
        child = subprocess.Popen(
            [*command, "--messages", str(messages), *options, "--wait"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._children.append(Running("benchmarks.load", child))
        return child

    def service_cpu_s(self) -> dict[str, float]:
        """CPU seconds of each service so far, children included."""
        return {name: cpu_s(child.pid, tree=True) for name, child in self.services.children.items()}

    def versions(self) -> dict[str, str]:
        """Versions of the services, as they say themselves."""
        with psycopg.connect(self.services.database_url) as connection:
            postgres = connection.execute("SELECT current_setting('server_version')").fetchone()
            timescale = connection.execute(
                "SELECT extversion FROM pg_extension WHERE extname = 'timescaledb'"
            ).fetchone()
        redis = asyncio.run(self._redis_version())
        broker = subprocess.run(
            [self.services.specs["mosquitto"].argv[0], "-h"], check=False, capture_output=True, text=True
        )
        return {
            "postgresql": str(postgres[0]) if postgres else "",
            "timescaledb": str(timescale[0]) if timescale else "",
            "redis-server": redis,
            "mosquitto": broker.stdout.splitlines()[0].rpartition(" ")[2] if broker.stdout else "",
        }

    async def _redis_version(self) -> str:
        async with Redis.from_url(self.services.redis_url) as redis:
            return str((await redis.info("server"))["redis_version"])

    def stop_children(self) -> None:
        """Ends what `start` started."""
        while self._children:
            self._children.pop().stop()


@contextmanager
def stage(home: Path | None = None) -> Iterator[Stage]:
    """Starts private services in a folder of the benchmarks' own, never in the user's PARKING_HOME."""
    place = home or default_home()
    place.mkdir(parents=True, exist_ok=True)
    runtime = os.environ.get("PARKING_RUNTIME")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
    if runtime:
        environ["PARKING_RUNTIME"] = runtime
    running = onebox_services.start(place, environ=environ, say=lambda line: print(line, file=sys.stderr))
    made = Stage(running)
    try:
        yield made
    finally:
        made.stop_children()
        onebox_services.stop(running)


def default_home() -> Path:
    """The user's cache folder; for root one that the service user can enter."""
    if os.geteuid() == 0:
        return Path("/var/cache/parking-benchmarks")
    return Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "parking-benchmarks"


def seed(database: Database, folder: Path, spaces: int = SPACES, lots: int = LOTS) -> Path:
    """A registry of `spaces` one-space devices; gives the file that names them to the load generator.

    Space codes are digits, so that a peer without a registry can store them as the numbers our table wants.
    """
    listed, records = [], []
    for lot in range(lots):
        numbers = range(lot * spaces // lots + 1, (lot + 1) * spaces // lots + 1)
        code = f"BH{lot:04}"
        records.append(
            LotRecord(
                code=code,
                name=f"滨湖停车场 {lot}",
                kind="off_street",
                lat=lot_place(lot)[0],
                lon=lot_place(lot)[1],
                spaces=[SpaceRecord(code=f"{number:07}") for number in numbers],
                devices=[DeviceRecord(code=f"d{number:07}", space=f"{number:07}") for number in numbers],
            )
        )
        listed += [(f"parking/v1/{code}/d{number:07}/occupancy", f"{number:07}") for number in numbers]
    seed_district(database.owner_url, District(name="滨湖区", lots=records))
    path = folder / "bench-devices.json"
    path.write_text(json.dumps(listed), "utf-8")
    return path


def lot_place(lot: int) -> tuple[float, float]:
    """Latitude and longitude of a lot: a grid of half a kilometre."""
    return 31.48 + 0.004 * (lot % 25), 120.20 + 0.007 * (lot // 25)


def end_session(url: str, client_id: str) -> None:
    """Makes the broker forget a client's session, so that nothing queues for it."""
    parts = urlsplit(url)
    hello = mqtt5.ConnectPacket(
        client_id=client_id,
        clean_start=True,
        keep_alive=10,
        session_expiry_interval=0,
        username=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password).encode() if parts.password else None,
    )
    with socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 1883), timeout=5) as connection:
        connection.sendall(hello.write())
        assert connection.recv(4)[:1] == b"\x20", "the broker refuses to end a session"
        connection.sendall(mqtt5.DisconnectPacket().write())


def cpu_s(pid: int, *, tree: bool = False) -> float:
    """CPU seconds of a process; with `tree` those of its children too, ended ones included."""
    process = psutil.Process(pid)
    times = process.cpu_times()
    spent = times.user + times.system
    if tree:
        spent += times.children_user + times.children_system
        for child in process.children(recursive=True):
            try:
                own = child.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += own.user + own.system
    return float(spent)


def wait_until(reached: object, running: Running | None = None, patience_s: float = _START_PATIENCE_S) -> None:
    """Returns when `reached()` is true.

    Raises:
        RuntimeError: it did not become true in time, or the process that should make it so has ended.
    """
    assert callable(reached)
    deadline = time.monotonic() + patience_s
    while not reached():
        if running is not None and running.child.poll() is not None:
            raise RuntimeError(f"{running.name} ended with code {running.child.returncode}; see its log.")
        if time.monotonic() > deadline:
            raise RuntimeError(f"Nothing after {patience_s:.0f} s{f' from {running.name}' if running else ''}.")
        time.sleep(0.05)


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _renamed(url: str, database: str) -> str:
    return urlunsplit(urlsplit(url)._replace(path=f"/{database}"))
