"""Redis flushed → the same live state again from history, and how its cost grows with the number of events."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from redis.asyncio import Redis

from benchmarks.stage import SPACES, seed
from benchmarks.table import Row
from parking_core.store.live_state import LiveState

if TYPE_CHECKING:
    from typing import Any

    from benchmarks.stage import Database, Stage

    Columns = np.ndarray[Any, np.dtype[np.void]]

EVENTS = 10_000_000
FEWER_EVENTS = 1_000_000
WEEKS = 8
ROUNDS = 3
BAR_S = 5.0

# Every space reports at even steps over the weeks, ending now; a space's phase differs from its neighbours', so that
# the newest events lie as scattered as sensors leave them. Written in order of time, as they would have come.
_FILL = """
INSERT INTO occupancy_events
    (space_id, device_id, occurred_at, received_at, seq, occupied, clock_suspect, battery_v, rssi_dbm, temperature_c)
SELECT d.space_id, d.id, t.at, t.at + interval '80 milliseconds', n, (n + d.id) %% 2 = 0, false, 3.61, -88, 21.5
FROM generate_series(1, %(each)s) AS n
CROSS JOIN devices d
CROSS JOIN LATERAL (
    SELECT date_trunc('second', now()) - make_interval(
        secs => %(seconds)s::float8 * (%(each)s - n) / %(each)s + hashint4(d.id) %% 1800 + 1801) AS at
) t
WHERE n >= %(from)s AND n < %(to)s
"""
_STEPS = 20


@dataclass(frozen=True, slots=True)
class Rebuild:
    """What rebuilding from so many events took."""

    events: int
    spaces: int
    seconds: list[float]  # the flow, a round each
    command_s: float  # `parking rebuild`, its start included; 0: there is no such command yet

    @property
    def median_s(self) -> float:
        """The middle round."""
        return float(np.median(self.seconds))


def fill(database: Database, events: int) -> int:
    """Events of WEEKS weeks for every space; gives their number."""
    each = -(-events // SPACES)
    with database.connect() as connection:
        for step in range(_STEPS):
            bounds = {"from": step * each // _STEPS + 1, "to": (step + 1) * each // _STEPS + 1}
            connection.execute(_FILL, {"each": each, "seconds": WEEKS * 604_800, **bounds})
        connection.execute("ANALYZE")
    return each * SPACES


def measure(stage: Stage, events: int, rounds: int = ROUNDS) -> Rebuild:
    """Rebuilds after a flush, several times, and compares every space and lot with what was before."""
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        seed(database, Path(folder))
        written = fill(database, events)
        stage.checkpoint()
        asyncio.run(stage.rebuild(database, flush=True))
        before = asyncio.run(_image(stage))
        seconds = []
        for _ in range(rounds):
            asyncio.run(_flush(stage))
            began = time.perf_counter()
            spaces = asyncio.run(stage.rebuild(database, flush=False))
            seconds.append(time.perf_counter() - began)
            assert spaces == SPACES, f"{spaces} spaces have a state, {SPACES} should"
            _require_same(before, asyncio.run(_image(stage)))
        command_s = _command(stage, database)
        if command_s:
            _require_same(before, asyncio.run(_image(stage)))
        return Rebuild(written, SPACES, seconds, command_s)


def _command(stage: Stage, database: Database) -> float:
    """Seconds of `parking rebuild` after a flush, from its start to its end."""
    program = Path(sys.executable).with_name("parking")
    listed = subprocess.run([str(program), "--help"], check=False, capture_output=True, text=True)
    if "rebuild" not in listed.stdout:
        return 0.0
    asyncio.run(_flush(stage))
    urls = {
        "PARKING_DATABASE_URL": database.owner_url,
        "PARKING_REDIS_URL": stage.services.redis_url,
        "PARKING_MQTT_URL": stage.services.mqtt_gateway_url,
    }
    began = time.perf_counter()
    subprocess.run([str(program), "rebuild"], check=True, capture_output=True, env={**os.environ, **urls})
    return time.perf_counter() - began


async def _flush(stage: Stage) -> None:
    async with Redis.from_url(stage.services.redis_url) as redis:
        await redis.flushall()


async def _image(stage: Stage) -> tuple[Columns, Columns]:
    async with Redis.from_url(stage.services.redis_url) as redis:
        image = await LiveState(redis).load()
    return np.sort(image.spaces, order="space_id"), np.sort(image.lots, order="lot_id")


def _require_same(before: tuple[Columns, Columns], after: tuple[Columns, Columns]) -> None:
    for name, old, new in zip(("spaces", "lots"), before, after, strict=True):
        assert np.array_equal(old, new), f"the rebuilt {name} differ from those before the flush"


def run(stage: Stage, events: int = EVENTS) -> tuple[list[Row], dict[str, object]]:
    """The rows of the table, and the figures behind them."""
    rows: list[Row] = []
    figures: dict[str, object] = {}
    for size in sorted({min(FEWER_EVENTS, events), events}):
        taken = measure(stage, size)
        command = f", `parking rebuild` {taken.command_s:.1f} s" if taken.command_s else ""
        rows.append(
            Row(
                f"Redis flushed → live state of {taken.spaces:,} spaces, {taken.events:,} events",
                f"{taken.median_s:.2f} s{command}",
                "",
                "",
                f"≤ {BAR_S:.0f} s" if size == events else "",
            )
        )
        figures[str(taken.events)] = {"seconds": taken.seconds, "command_s": taken.command_s}
    return rows, figures
