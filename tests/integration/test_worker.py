"""The process: one leads, another stands by and takes over; SIGTERM drains; a database away is waited for."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import psycopg
import pytest

from tests.integration.test_rollups import make_lot, record
from worker import loops, pauses

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.services


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def worker(database_url: str, redis_url: str, **more: str) -> Iterator[subprocess.Popen[str]]:
    environ = os.environ | {
        "PARKING_DATABASE_URL": database_url,
        "PARKING_REDIS_URL": redis_url,
        "PARKING_MQTT_URL": "mqtt://127.0.0.1:1",
        **more,
    }
    process = subprocess.Popen([sys.executable, "-m", "worker"], env=environ, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def eventually(condition: Callable[[], Any], within_s: float = 20.0) -> None:
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def leaders(store: psycopg.Connection) -> list[int]:
    rows = store.execute(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND objid = 7201003 AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return [pid for (pid,) in rows.fetchall()]


def test_a_second_worker_takes_over_from_a_killed_one(database_url: str, redis_url: str, free_port: int) -> None:
    with psycopg.connect(database_url, autocommit=True) as store:
        lot, spaces = make_lot(store, 1)
        with worker(database_url, redis_url) as first:
            eventually(lambda: leaders(store))
            with worker(database_url, redis_url, PARKING_METRICS_PORT=str(free_port)) as second:
                time.sleep(2)
                assert len(leaders(store)) == 1
                first.send_signal(signal.SIGKILL)
                record(store, lot, spaces, [(0, time.time_ns() // 1000 - 900_000_000, 0, True)])
                eventually(lambda: store.execute("SELECT FROM lot_rollups_5m LIMIT 1").fetchone() is not None)
                with urlopen(f"http://127.0.0.1:{free_port}/metrics") as answer:
                    text = answer.read().decode()
                assert "parking_worker_leading 1.0" in text
                assert 'parking_worker_last_success_timestamp_seconds{loop="rollups"}' in text
                second.send_signal(signal.SIGTERM)
                assert second.wait(20) == 0
                assert leaders(store) == []


def test_a_broken_session_ends_the_term_and_begins_another(database_url: str, redis_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as store, worker(database_url, redis_url) as process:
        eventually(lambda: leaders(store))
        before = leaders(store)
        store.execute("SELECT pg_terminate_backend(%s)", (before[0],))
        eventually(lambda: leaders(store) not in ([], before))
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_pauses_grow_to_half_a_minute_and_never_spin() -> None:
    growing = pauses.Pauses()
    waits = [growing.following() for _ in range(40)]
    assert min(waits) >= 0.25
    assert 15 <= min(waits[10:]) <= max(waits) <= 30
    growing.reset()
    assert growing.following() <= 0.5


def test_a_failing_pass_is_repeated_and_a_database_away_ends_the_term(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlock = psycopg.errors.DeadlockDetected("with another writer")  # an OperationalError, and the database is there
    failures: list[Exception] = [ValueError("a bug"), deadlock, psycopg.OperationalError("away")]

    async def step() -> float:
        raise failures.pop(0)

    monkeypatch.setattr(pauses, "_FIRST_S", 0.01)
    with pytest.raises(psycopg.OperationalError):
        asyncio.run(loops.supervise("rollups", step, asyncio.Event()))
    assert failures == []


def test_an_unset_url_is_one_sentence() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
    answer = subprocess.run([sys.executable, "-m", "worker"], env=environ, capture_output=True, text=True, check=False)
    assert answer.returncode == 1
    assert "PARKING_DATABASE_URL is not set" in answer.stderr
    assert "Traceback" not in answer.stderr
