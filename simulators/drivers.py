"""Simulated drivers: each asks over HTTP where to park near a point, looks, drives on, asks again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulators.http_client import HttpConnection

if TYPE_CHECKING:
    from parking_core.districts import District

_NEAR_DEGREES = 0.008  # about 800 m: a driver looks near a lot, not exactly there
_KEPT_LATENCIES = 2_000


@dataclass(slots=True)
class DriverCounts:
    """What all drivers saw so far; latencies in seconds, the newest ones."""

    answers: int = 0
    empty_answers: int = 0
    failures: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))


async def drive(
    base_url: str, district: District, stop: asyncio.Event, counts: DriverCounts, *, drivers: int = 5
) -> None:
    """`drivers` people who ask near random lots about once in two seconds each, until `stop` is set."""
    async with asyncio.TaskGroup() as group:
        for number in range(drivers):
            group.create_task(_one_driver(HttpConnection(base_url), district, stop, counts, random.Random(number)))


async def _one_driver(
    connection: HttpConnection, district: District, stop: asyncio.Event, counts: DriverCounts, rng: random.Random
) -> None:
    while not stop.is_set():
        lot = rng.choice(district.lots)
        lat = lot.lat + rng.uniform(-_NEAR_DEGREES, _NEAR_DEGREES)
        lon = lot.lon + rng.uniform(-_NEAR_DEGREES, _NEAR_DEGREES)
        asked = time.perf_counter()
        try:
            status, body = await connection.get(f"/v1/availability?lat={lat:.5f}&lon={lon:.5f}&radius_m=1000&limit=20")
        except OSError:
            counts.failures += 1
        else:
            counts.latencies_s.append(time.perf_counter() - asked)
            counts.answers += status == 200
            counts.failures += status != 200
            counts.empty_answers += b'"lots":[]' in body
        try:
            async with asyncio.timeout(rng.uniform(1.0, 3.0)):
                await stop.wait()
        except TimeoutError:
            continue
    await connection.close()
