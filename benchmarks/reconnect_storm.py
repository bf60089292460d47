"""A district comes back: 21,000 devices connect within a minute, each with its own credential, and say their state.

    devices ──► CONNECT (secret checked by dynamic security) ──► state at QoS 1 ──► gateway ──► TimescaleDB
                                                                        │
    served: the broker has acknowledged it                stored: its row is there

The peer in the same run is the same storm with one shared credential, whose client the broker checks as well, in a file of seven
users: the ratio is what a district of credentials costs.
"""

from __future__ import annotations

import math
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import psycopg
import uvloop

from benchmarks.stage import cpu_s, seed, wait_until
from benchmarks.storm_clients import Client, Served, storm
from benchmarks.table import Row
from onebox import credentials
from onebox import services as onebox_services
from onebox.home import Home
from onebox.runtime import Runtime
from onebox.services.broker import Broker
from parking_core.flows import keep_credentials
from parking_core.store import device_credentials

if TYPE_CHECKING:
    from benchmarks.stage import Stage

DEVICES, SPREAD_S = 21_000, 60.0
_STORED_PATIENCE_S = 120.0


def run(stage: Stage, devices: int = DEVICES, spread_s: float = SPREAD_S) -> tuple[list[Row], dict[str, object]]:
    """Both storms, one after the other."""
    own = _measure(stage, devices, spread_s, shared=False)
    shared = _measure(stage, devices, spread_s, shared=True)
    beside = f"{shared['connect_p99_ms']:.0f} ms, one shared credential"
    name = f"{devices:,} devices back within {spread_s:.0f} s"
    rows = [
        Row(
            f"{name}: CONNECT to CONNACK p50 / p99",
            f"{own['connect_p50_ms']:.1f} / {own['connect_p99_ms']:.0f} ms",
            beside,
            f"{own['connect_p99_ms'] / max(0.1, shared['connect_p99_ms']):.2f}",
            "",
        ),
        Row(
            f"{name}: all served",
            f"{own['all_served_s']:.1f} s",
            f"{shared['all_served_s']:.1f} s",
            f"{own['all_served_s'] / shared['all_served_s']:.2f}",
            "",
        ),
        Row(
            f"{name}: all stored; lost",
            f"{own['all_stored_s']:.1f} s; {own['lost']:.0f}",
            f"{shared['all_stored_s']:.1f} s; {shared['lost']:.0f}",
            "",
            "0 lost",
        ),
        Row(
            f"{name}: broker CPU",
            f"{own['broker_cpu_s']:.1f} s",
            f"{shared['broker_cpu_s']:.1f} s",
            f"{own['broker_cpu_s'] / max(0.01, shared['broker_cpu_s']):.1f}",
            "",
        ),
    ]
    return rows, {"own": own, "shared": shared}


def _measure(stage: Stage, devices: int, spread_s: float, *, shared: bool) -> dict[str, float]:
    port = urlsplit(stage.services.mqtt_url).port or 1883
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        seed(database, Path(folder), spaces=devices)
        with psycopg.connect(database.owner_url, autocommit=True) as connection:
            clients, restart_s = _shared(stage, connection) if shared else _own(stage, connection)
        system = stage.start_system(database, "gateway")
        broker = stage.services.children["mosquitto"].pid
        before, began = cpu_s(broker), time.perf_counter()
        served = uvloop.run(storm(port, clients, spread_s, seed=11))
        lost = devices - _await_rows(database.owner_url, devices, began)
        stored_s = time.perf_counter() - began
        spent = cpu_s(broker) - before
        for process in system.values():
            process.stop()
    return _figures(served) | {
        "all_stored_s": stored_s,
        "lost": float(lost),
        "broker_cpu_s": spent,
        "broker_restart_s": restart_s,
    }


def _own(stage: Stage, connection: psycopg.Connection[tuple[object, ...]]) -> tuple[list[Client], float]:
    """Every device gets a credential, and the broker a file with all of them."""
    now = datetime.now(UTC)
    secrets = keep_credentials.issue_many(connection, device_credentials.without(connection), by="bench", now=now)
    restart_s = admit(stage, connection)
    return [
        Client(name, secret, topic, space) for name, topic, space in _places(connection) if (secret := secrets[name])
    ], restart_s


def _shared(stage: Stage, connection: psycopg.Connection[tuple[object, ...]]) -> tuple[list[Client], float]:
    restart_s = admit(stage, connection)
    word = urlsplit(stage.services.mqtt_url).password or ""
    return [Client("devices", word, topic, space) for _, topic, space in _places(connection)], restart_s


def _places(connection: psycopg.Connection[tuple[object, ...]]) -> list[tuple[str, str, str]]:
    rows = connection.execute(
        "SELECT d.code, l.code, s.code FROM devices d JOIN lots l ON l.id = d.lot_id JOIN spaces s ON s.id = d.space_id"
        " ORDER BY d.code"
    ).fetchall()
    return [(str(device), f"parking/v1/{lot}/{device}/occupancy", str(space)) for device, lot, space in rows]


def admit(stage: Stage, connection: psycopg.Connection[tuple[object, ...]]) -> float:
    """Writes the broker's clients from the registry; gives the seconds that its restart took."""
    home = Home.from_environ({}, stage.services.home)
    runtime = Path(stage.services.specs["mosquitto"].argv[0]).parents[2]
    port = urlsplit(stage.services.mqtt_url).port or 1883
    broker = Broker(home, Runtime(runtime), port, credentials.load(home))
    devices, shut_out = keep_credentials.clients(connection, datetime.now(UTC))
    onebox_services.stop_one(stage.services, "mosquitto")
    broker.write_clients(devices, shut_out)
    began = time.perf_counter()
    onebox_services.restart(stage.services, "mosquitto")
    return time.perf_counter() - began


def _await_rows(url: str, number: int, began: float) -> int:
    """Rows of different devices; returns when all are there, or patience ends."""
    found = 0

    def are_there() -> bool:
        nonlocal found
        with psycopg.connect(url) as connection:
            row = connection.execute("SELECT count(DISTINCT device_id) FROM occupancy_events").fetchone()
        found = int(row[0]) if row is not None else 0
        return found >= number or time.perf_counter() - began > SPREAD_S + _STORED_PATIENCE_S

    wait_until(are_there, patience_s=SPREAD_S + 2 * _STORED_PATIENCE_S)
    return found


def _figures(served: list[Served]) -> dict[str, float]:
    waits = sorted((one.connected - one.due) * 1e3 for one in served)
    whole = sorted((one.acknowledged - one.due) * 1e3 for one in served)
    return {
        "connect_p50_ms": _quantile(waits, 0.5),
        "connect_p99_ms": _quantile(waits, 0.99),
        "served_p99_ms": _quantile(whole, 0.99),
        "served_max_ms": whole[-1],
        "all_served_s": max(one.acknowledged for one in served),
        "tries": float(sum(one.tries for one in served)),
    }


def _quantile(values: list[float], part: float) -> float:
    return values[min(len(values) - 1, math.ceil(part * len(values)) - 1)]
