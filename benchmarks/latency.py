"""Published → visible in HTTP, while 5,000 other messages a second go by.

    load (5,000 a second) ──► Mosquitto ──► gateway ──► TimescaleDB, Redis ──► api ──► GET /v1/availability
    probe ──► PUBLISH, clock starts ───────────────────────────────────────► free count differs: clock stops

A probe turns one space of a lot that the load leaves alone, so its free count must change by one. It is asked for over
one keep-alive connection with the clock running: the figure includes up to one request, and whatever the API caches.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import uvloop

from benchmarks.ingest import go, load_result, ready
from benchmarks.load import connect_packet, publish_packet
from benchmarks.stage import INSTANCE, LOTS, end_session, lot_place, seed, wait_until
from benchmarks.table import Row

if TYPE_CHECKING:
    from benchmarks.stage import Stage

RATE = 5_000
PROBES = 300
PROBES_A_SECOND = 6
BAR_P50_MS, BAR_P99_MS = 60.0, 250.0
_ASK_EVERY_S = 0.003
_PATIENCE_S = 10.0


@dataclass(frozen=True, slots=True)
class Latencies:
    """Seconds from just before a probe's PUBLISH until its effect was read, sorted."""

    seconds: list[float]
    rate: float  # messages a second that the load really sent
    requests: int

    def quantile_ms(self, part: float) -> float:
        """Milliseconds that this part of the probes stayed within."""
        return self.seconds[min(len(self.seconds) - 1, math.ceil(part * len(self.seconds)) - 1)] * 1e3


class _Http:
    """One keep-alive connection that asks for one lot's free count."""

    _LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str) -> None:
        self._reader, self._writer = reader, writer
        self._request = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode()
        self.requests = 0

    async def free(self, lot: str) -> int:
        """Free spaces of a lot, as the API says now."""
        self._writer.write(self._request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        length = self._LENGTH.search(head)
        assert head.startswith(b"HTTP/1.1 200"), head
        assert length
        body = json.loads(await self._reader.readexactly(int(length[1])))
        self.requests += 1
        return int(next(item["free"] for item in body["lots"] if item["code"] == lot))


class _Probe:
    """A device of its own connection: turns one space, again and again."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, topic: str, space: str) -> None:
        self._reader, self._writer = reader, writer
        self._topic, self._space = topic.encode(), space
        self._seq = 0

    def turn(self) -> float:
        """Publishes the space's next state; gives the moment just before."""
        self._seq += 1
        reading = {
            "space": self._space,
            "occupied": bool(self._seq & 1),
            "at": time.time_ns() // 1_000_000,
            "seq": self._seq,
            "battery_v": 3.61,
            "rssi_dbm": -88,
            "temperature_c": 21.5,
        }
        packet = publish_packet(self._topic, json.dumps(reading).encode(), self._seq % 65_535 + 1)
        now = time.perf_counter()
        self._writer.write(packet)
        return now

    async def drain(self) -> None:
        """Reads acknowledgements for ever."""
        while await self._reader.read(4096):
            pass


async def _connect_probe(url: str, topic: str, space: str) -> _Probe:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    writer.write(connect_packet("bench-probe", unquote(parts.username or ""), unquote(parts.password or "")))
    answer = await reader.readexactly(4)
    assert answer[3] == 0, "the broker refuses the probe"
    return _Probe(reader, writer, topic, space)


async def _probe_all(mqtt_url: str, http: tuple[int, str], target: tuple[str, str, str], probes: int) -> _Seen:
    port, path = http
    lot, topic, space = target
    probe = await _connect_probe(mqtt_url, topic, space)
    draining = asyncio.create_task(probe.drain())
    api = _Http(*await asyncio.open_connection("127.0.0.1", port), path)
    probe.turn()  # the space becomes known
    await asyncio.sleep(1.0)
    seconds = []
    for _ in range(probes):
        before = await api.free(lot)
        began = probe.turn()
        while await api.free(lot) == before:
            assert time.perf_counter() - began < _PATIENCE_S, "a probe was never seen"
            await asyncio.sleep(_ASK_EVERY_S)
        seconds.append(time.perf_counter() - began)
        # Not in step with the batches: the moments of publishing must be spread over all phases.
        await asyncio.sleep(max(0.0, 1 / PROBES_A_SECOND - seconds[-1]) + 0.0137 * (len(seconds) % 7))
    draining.cancel()
    return _Seen(seconds, api.requests)


@dataclass(frozen=True, slots=True)
class _Seen:
    seconds: list[float]
    requests: int


def measure(stage: Stage, probes: int = PROBES, rate: int = RATE) -> Latencies:
    """Probes one lot while the load turns all others."""
    with stage.database() as database, tempfile.TemporaryDirectory() as folder:
        devices = seed(database, Path(folder))
        listed = json.loads(devices.read_text("utf-8"))
        topic, space = listed[-1]
        lot = topic.split("/")[2]
        devices.write_text(json.dumps([one for one in listed if one[0].split("/")[2] != lot]), "utf-8")
        processes = stage.start_system(database, "gateway", "worker", "api")
        try:
            port = processes["api"].metrics_port
            wait_until(lambda: bool(processes["api"].metrics()), processes["api"])
            seconds = math.ceil(probes * (1 / PROBES_A_SECOND + 0.06)) + 15
            load = ready(stage.load(devices, rate * seconds, "--rate", str(rate), "--piece", "5"))
            go(load)
            time.sleep(3.0)
            lat, lon = lot_place(LOTS - 1)
            path = f"/v1/availability?lat={lat:.6f}&lon={lon:.6f}&radius_m=3000&limit=20"
            seen = uvloop.run(_probe_all(stage.services.mqtt_url, (port, path), (lot, topic, space), probes))
            sent = load_result(load)
            return Latencies(sorted(seen.seconds), rate * seconds / (sent["ended"] - sent["started"]), seen.requests)
        finally:
            stage.stop_children()
            end_session(stage.services.mqtt_gateway_url, f"parking-gateway-{INSTANCE}")


def run(stage: Stage, probes: int = PROBES) -> tuple[list[Row], dict[str, object]]:
    """The row of the table, and the figures behind it."""
    seen = measure(stage, probes)
    p50, p99 = seen.quantile_ms(0.5), seen.quantile_ms(0.99)
    row = Row(
        f"published → visible in /v1/availability, {seen.rate:,.0f} messages/s beside, {len(seen.seconds)} probes",
        f"p50 {p50:.0f} ms, p99 {p99:.0f} ms",
        "",
        "",
        f"p50 ≤ {BAR_P50_MS:.0f} ms, p99 ≤ {BAR_P99_MS:.0f} ms",
    )
    figures: dict[str, object] = {"p50_ms": p50, "p99_ms": p99, "worst_ms": seen.quantile_ms(1.0), "rate": seen.rate}
    return [row], {**figures, "probes": len(seen.seconds), "requests": seen.requests}
