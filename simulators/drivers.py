"""Simulated drivers: each asks over HTTP where to park near a point, looks, drives on, asks again."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from parking_core.errors import InvalidInputError

if TYPE_CHECKING:
    from parking_core.districts import District

_PATIENCE_S = 10.0
_NEAR_DEGREES = 0.008  # about 800 m: a driver looks near a lot, not exactly there
_KEPT_LATENCIES = 2_000


@dataclass(slots=True)
class DriverCounts:
    """What all drivers saw so far; latencies in seconds, the newest ones."""

    answers: int = 0
    empty_answers: int = 0
    failures: int = 0
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_LATENCIES))


class HttpConnection:
    """One keep-alive HTTP/1.1 connection that can GET; small on purpose, the simulators need no more.

    Args:
        base_url: `http://host:port`.
    """

    def __init__(self, base_url: str) -> None:
        parts = urlsplit(base_url)
        if parts.scheme != "http" or not parts.hostname:
            raise InvalidInputError(f"The API address is {base_url!r}; give http://host:port.")
        self._host, self._port = parts.hostname, parts.port or 80
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body.

        Raises:
            OSError: there is no connection, or it broke (the next call opens a new one).
        """
        try:
            async with asyncio.timeout(_PATIENCE_S):
                reader, writer = self._streams = self._streams or await asyncio.open_connection(self._host, self._port)
                writer.write(f"GET {path} HTTP/1.1\r\nHost: {self._host}:{self._port}\r\n\r\n".encode())
                return await _read_answer(reader)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, ValueError) as error:
            await self.close()
            raise ConnectionError(f"GET {path} failed: {str(error) or 'no answer'}") from error

    async def close(self) -> None:
        """Closes the connection."""
        streams, self._streams = self._streams, None
        if streams is not None:
            streams[1].close()


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    if fields.get("transfer-encoding", "").lower() == "chunked":
        body = bytearray()
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readuntil(b"\r\n")
        return status, bytes(body)
    return status, await reader.readexactly(int(fields.get("content-length", "0")))


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
