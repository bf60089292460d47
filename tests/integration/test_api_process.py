"""The API as a process of its own, over real TimescaleDB and Redis."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np
import psycopg
import pytest
from redis.asyncio import Redis

from parking_core.store.live_state import SPACE, SPACE_IN_LOT, UPDATE, LiveState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

pytestmark = pytest.mark.services

LOTS, SPACES = 20, 10
BASE_US = time.time_ns() // 1000


@dataclass(frozen=True)
class District:
    """A district in the database and Redis, and the process that answers for it."""

    database_url: str
    redis_url: str
    process: subprocess.Popen[bytes]
    http: httpx.Client

    def redis(self, work: Callable[[LiveState], Awaitable[object]]) -> None:
        """Does `work` with the live state."""

        async def run() -> None:
            async with Redis.from_url(self.redis_url) as redis:
                await work(LiveState(redis))

        asyncio.run(run())

    def sql(self, text: str, *values: object) -> list[tuple[Any, ...]]:
        """One statement."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            cursor = connection.execute(text.encode(), values)
            return cursor.fetchall() if cursor.description else []

    def lot(self, code: str) -> dict[str, Any]:
        """A lot as the API shows it."""
        answer = self.http.get(f"/v1/lots/{code}")
        assert answer.status_code == 200, answer.text
        shown: dict[str, Any] = answer.json()
        return shown


def eventually(holds: Callable[[], bool], seconds: float = 10) -> float:
    """Waits until `holds`; gives how long it took."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < seconds, "it did not come true in time"
        time.sleep(0.01)
    return time.monotonic() - began


def _seed(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO lots (code, name, kind, lat, lon)
            SELECT format('L%%s', lpad(n::text, 2, '0')), '滨湖', 'off_street', 31.72 + n * 0.001, 117.28
            FROM generate_series(1, %s) n
            """,
            (LOTS,),
        )
        connection.execute(
            "INSERT INTO spaces (lot_id, code) SELECT l.id, lpad(b::text, 3, '0') FROM lots l, generate_series(1, %s) b",
            (SPACES,),
        )


async def _rebuild(live: LiveState, database_url: str) -> None:
    """Every space known and free, but the last of each lot, which never spoke."""
    with psycopg.connect(database_url) as connection:
        rows = connection.execute("SELECT id, lot_id FROM spaces WHERE code <> '010' ORDER BY id").fetchall()
    spaces = np.zeros(len(rows), SPACE)
    spaces["space_id"], spaces["known"], spaces["occurred_us"] = [space for space, _ in rows], 1, BASE_US - 60_000_000
    await live.finish_rebuild(await live.begin_rebuild(), spaces, np.array([lot for _, lot in rows], np.int32))
    await live.pulse("1", time.time_ns() // 1000)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _environment(database_url: str, redis_url: str, port: int) -> dict[str, str]:
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("PARKING_")},
        "PARKING_DATABASE_URL": database_url,
        "PARKING_REDIS_URL": redis_url,
        "PARKING_MQTT_URL": "mqtt://127.0.0.1:1",
        "PARKING_HTTP_PORT": str(port),
    }


@pytest.fixture
def district(database_url: str, redis_url: str, tmp_path: Path) -> Iterator[District]:
    _seed(database_url)
    port = _free_port()
    with (tmp_path / "api.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "api"],
            env=_environment(database_url, redis_url, port),
            cwd=Path(__file__).parents[2],
            stderr=log,
        )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as http:
        made = District(database_url, redis_url, process, http)
        eventually(lambda: _status(http, "/healthz") == 200, 20)
        try:
            yield made
        finally:
            process.terminate()
            assert process.wait(15) == 0, (tmp_path / "api.log").read_text()
    assert "Traceback" not in (tmp_path / "api.log").read_text()


def _status(http: httpx.Client, path: str) -> int:
    try:
        return http.get(path).status_code
    except httpx.TransportError:
        return 0


@pytest.fixture
def ready(district: District) -> District:
    district.redis(lambda live: _rebuild(live, district.database_url))
    eventually(lambda: _status(district.http, "/readyz") == 200)
    return district


def _occupy(district: District, code: str, bays: int, *, at_us: int) -> None:
    rows = district.sql(
        "SELECT s.id, s.lot_id FROM spaces s JOIN lots l ON l.id = s.lot_id WHERE l.code = %s ORDER BY s.code LIMIT %s",
        code,
        bays,
    )
    updates = np.zeros(len(rows), UPDATE)
    updates["space_id"], updates["lot_id"] = [space for space, _ in rows], [lot for _, lot in rows]
    updates["occurred_us"], updates["occupied"] = at_us, 1
    district.redis(lambda live: live.apply(updates))


def test_not_ready_before_a_complete_live_state(district: District) -> None:
    missing = district.http.get("/readyz")
    assert missing.status_code == 503
    assert district.http.get("/v1/availability").json()["code"] == "not_loaded"
    district.redis(lambda live: _rebuild(live, district.database_url))
    assert eventually(lambda: _status(district.http, "/readyz") == 200) < 3


def test_a_reading_is_visible_at_once_and_unknown_is_never_free(ready: District) -> None:
    before = ready.lot("L03")
    assert (before["capacity"], before["free"], before["unknown"]) == (10, 9, 1)
    _occupy(ready, "L03", 4, at_us=BASE_US)
    eventually(lambda: ready.lot("L03")["occupied"] == 4, 2)
    after = ready.lot("L03")
    assert (after["free"], after["unknown"], after["status"]) == (5, 1, "open")
    states = [space["state"] for space in ready.http.get("/v1/lots/L03/spaces").json()["spaces"]]
    assert states == ["occupied"] * 4 + ["free"] * 5 + ["unknown"]
    near = ready.http.get("/v1/availability", params={"lat": 31.723, "lon": 117.28, "limit": 1}).json()["lots"][0]
    assert (near["code"], near["distance_m"], near["occupied"]) == ("L03", 0, 4)


def test_a_silent_space_becomes_unknown(ready: District) -> None:
    (row,) = ready.sql(
        "SELECT s.id, s.lot_id FROM spaces s JOIN lots l ON l.id = s.lot_id WHERE l.code = 'L05' AND s.code = '001'"
    )
    silent = np.array([row], SPACE_IN_LOT)
    ready.redis(lambda live: live.silence(silent))
    eventually(lambda: ready.lot("L05")["unknown"] == 2, 2)
    assert ready.lot("L05")["free"] == 8


def test_figures_equal_the_hashes_after_many_changes(ready: District) -> None:
    for number in range(1, LOTS + 1):
        _occupy(ready, f"L{number:02}", number % 10, at_us=BASE_US + number)
    eventually(lambda: ready.lot("L19")["occupied"] == 9, 2)
    lots = ready.http.get("/v1/lots?limit=500").json()["lots"]
    assert [lot["occupied"] for lot in lots] == [number % 10 for number in range(1, LOTS + 1)]
    assert [lot["status"] for lot in lots if lot["occupied"] == 9] == ["full", "full"]


def test_a_flushed_redis_keeps_the_last_figures_until_the_rebuild(ready: District) -> None:
    _occupy(ready, "L01", 3, at_us=BASE_US)
    eventually(lambda: ready.lot("L01")["occupied"] == 3, 2)
    ready.redis(lambda live: live._redis.flushall())
    eventually(lambda: _status(ready.http, "/readyz") == 503)
    assert "rebuild" in ready.http.get("/readyz").json()["missing"][0]
    assert ready.lot("L01")["occupied"] == 3
    ready.redis(lambda live: _rebuild(live, ready.database_url))
    eventually(lambda: ready.lot("L01")["occupied"] == 0)
    assert ready.http.get("/readyz").status_code == 200


def test_broken_connections_heal(ready: District) -> None:
    ready.redis(lambda live: live._redis.client_kill_filter(_type="normal", skipme=True))
    ready.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'api'")
    assert ready.lot("L01")["free"] == 9
    _occupy(ready, "L01", 5, at_us=BASE_US)
    eventually(lambda: ready.lot("L01")["occupied"] == 5)
    eventually(lambda: _status(ready.http, "/readyz") == 200)
    ready.sql("INSERT INTO lots (code, name, kind, lat, lon) VALUES ('NEW', '新', 'on_street', 31.7, 117.2)")
    eventually(lambda: _status(ready.http, "/v1/lots/NEW") == 200)


def test_a_new_lot_appears_by_itself(ready: District) -> None:
    ready.sql("INSERT INTO lots (code, name, kind, lat, lon) VALUES ('NEW', '新', 'on_street', 31.7, 117.2)")
    eventually(lambda: _status(ready.http, "/v1/lots/NEW") == 200, 6)
    assert ready.lot("NEW")["status"] == "unknown"
    assert ready.lot("L01")["free"] == 9


def test_changed_opening_hours_are_followed(ready: District) -> None:
    assert ready.lot("L01")["status"] == "open"
    ready.sql("UPDATE lots SET opening = '[]' WHERE code = 'L01'")
    eventually(lambda: ready.lot("L01")["status"] == "closed", 12)


def test_history_gives_the_rollups(ready: District) -> None:
    ready.sql(
        """
        INSERT INTO lot_rollups_1h SELECT id, bucket, 10, 90, 60, 0, 0, 4, 3, 3, 5400, ARRAY[1, 2]
        FROM lots, unnest(ARRAY['2026-11-01T00:00Z', '2026-11-01T01:00Z', '2026-11-01T02:00Z']::timestamptz[]) bucket
        WHERE code = 'L02'
        """
    )
    stretch = {"from": "2026-11-01T00:00:00Z", "until": "2026-11-01T02:00:00Z"}
    body = ready.http.get("/v1/lots/L02/history", params=stretch).json()
    assert [bucket["from"] for bucket in body["buckets"]] == ["2026-11-01T08:00:00+08:00", "2026-11-01T09:00:00+08:00"]
    assert (body["buckets"][0]["arrivals"], body["buckets"][0]["dwell_sum_s"]) == (4, 5400.0)
    assert ready.http.get("/v1/lots/L02/history", params={**stretch, "step": "5m"}).json()["buckets"] == []
    assert ready.http.get("/v1/lots/L03/history", params=stretch).json()["buckets"] == []


def test_the_live_stream_follows_and_catches_up(ready: District) -> None:
    with ready.http.stream("GET", "/v1/live", params={"lots": "L07,L08"}) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        lines = stream.iter_lines()
        first, codes = _next_event(lines)
        assert codes == ["L07", "L08"]
        _occupy(ready, "L07", 2, at_us=BASE_US)
        second, codes = _next_event(lines)
        assert codes == ["L07"]
        assert second > first
    _occupy(ready, "L08", 2, at_us=BASE_US)
    eventually(lambda: ready.lot("L08")["occupied"] == 2, 2)
    with ready.http.stream("GET", "/v1/live", headers={"Last-Event-ID": second}) as stream:
        assert _next_event(stream.iter_lines())[1] == ["L08"]


def _next_event(lines: Iterator[str]) -> tuple[str, list[str]]:
    fields: dict[str, str] = {}
    for line in lines:
        if not line and "data" in fields:
            return fields["id"], [lot["code"] for lot in json.loads(fields["data"])["lots"]]
        name, _, value = line.partition(": ")
        fields[name] = value
    raise AssertionError("the stream ended")


def test_sigterm_ends_open_streams_and_the_process(ready: District) -> None:
    with ready.http.stream("GET", "/v1/live") as stream:
        lines = stream.iter_lines()
        _next_event(lines)
        began = time.monotonic()
        ready.process.send_signal(signal.SIGTERM)
        for _ in lines:
            pass
        assert ready.process.wait(10) == 0
        assert time.monotonic() - began < 3


def test_a_setting_that_is_missing_is_one_sentence() -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PARKING_")}
    done = subprocess.run(
        [sys.executable, "-m", "api"],
        env=environ,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "PARKING_DATABASE_URL is not set" in done.stderr
    assert "Traceback" not in done.stderr
