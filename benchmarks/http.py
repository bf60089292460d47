"""`/v1/availability` near a point beside a bare FastAPI route: same server process, same run, alternating rounds.

The application is the real one over a synthetic district whose figures move 20 times a second, as they do under
5,000 readings a second; only the source of the changes is not Redis. The bare route is an application of its own,
without our edge: `async def` that returns a constant body of the same size.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import socket
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.request import urlopen

import numpy as np
import uvicorn
import uvloop
from fastapi import FastAPI, Response

from api.__main__ import BoundedProtocol
from api.application import create_app
from api.availability import AvailabilityQuery, lot_pieces, lot_tail, page_head, select
from api.snapshot import set_aside_from_collection
from api.state import ApiState, HttpSettings
from benchmarks.table import Row, show
from parking_core.places import Lot, LotId, Registry, Space, SpaceId
from parking_core.store.live_state import LOT, SPACE, SPACE_CHANGE, LiveChange, LiveImage

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from api.live import LiveHub

CONNECTIONS = 50
SPACES = 21_000
ROUNDS = 20  # pairs; short, so that both sides of a pair see the same machine
ROUND_S = 0.5
BAR = 0.60
_SOUTH, _WEST, _SIDE = (
    31.70,
    117.25,
    0.055,
)  # degrees: about 6 x 5 km, so that a kilometre holds more than 20 of 500 lots
_MIDDLE = (_SOUTH + _SIDE / 2, _WEST + _SIDE / 2)
_POINTS = 1000
_CHANGES_A_SECOND = 20
_LOTS_A_CHANGE = 40


def synthetic_registry(lots: int) -> Registry:
    """`lots` lots, evenly scattered, that share SPACES spaces."""
    rng = random.Random(20)
    return Registry(
        1,
        tuple(
            Lot(
                id=LotId(number + 1),
                code=f"BH-{number:05}",
                name=f"滨湖停车场 {number}",
                kind="off_street",
                lat=_SOUTH + rng.random() * _SIDE,
                lon=_WEST + rng.random() * _SIDE,
            )
            for number in range(lots)
        ),
        tuple(
            Space(SpaceId(number + 1), LotId(number * lots // SPACES + 1), f"{number:05}") for number in range(SPACES)
        ),
    )


def _image(registry: Registry, now_us: int) -> LiveImage:
    spaces = np.zeros(len(registry.spaces), SPACE)
    spaces["space_id"] = [space.id for space in registry.spaces]
    spaces["occurred_us"], spaces["known"] = now_us, 1
    lots = np.zeros(len(registry.lots), LOT)
    lots["lot_id"] = [lot.id for lot in registry.lots]
    lots["known"] = SPACES // len(registry.lots)
    return LiveImage("benchmark", b"%d-0" % (now_us // 1000), 0, spaces, lots, now_us)


async def _move_figures(api: ApiState, registry: Registry) -> None:
    rng = np.random.default_rng(3)
    capacity = SPACES // len(registry.lots)
    while True:
        await asyncio.sleep(1 / _CHANGES_A_SECOND)
        now_us = api.clock()
        lots = np.zeros(_LOTS_A_CHANGE, LOT)
        lots["lot_id"] = rng.integers(1, len(registry.lots) + 1, _LOTS_A_CHANGE)
        lots["known"], lots["occupied"] = capacity, rng.integers(0, capacity + 1, _LOTS_A_CHANGE)
        spaces = np.zeros(250, SPACE_CHANGE)
        spaces["space_id"], spaces["known"] = rng.integers(1, SPACES + 1, 250), 1
        api.snapshot.apply(LiveChange(b"%d-0" % (now_us // 1000), spaces, lots, now_us, reset=False))


def _bare_app(size: int) -> FastAPI:
    app = FastAPI(openapi_url=None)
    body = b"x" * size

    @app.get("/bare")
    async def bare() -> Response:
        return Response(body, media_type="application/json")

    return app


def _both(ours: ASGIApp, bare: ASGIApp) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await (bare if scope.get("path") == "/bare" else ours)(scope, receive, send)

    return app


def serve(lots: int, port: int) -> None:
    """The server process of one measurement."""
    api = ApiState.build(HttpSettings(port=port), clock=lambda: time.time_ns() // 1000)
    registry = synthetic_registry(lots)
    api.snapshot.install(registry, _image(registry, api.clock()))
    set_aside_from_collection()

    async def background(_: LiveHub) -> None:
        await _move_figures(api, registry)

    board = api.board()
    query = AvailabilityQuery(lat=_MIDDLE[0], lon=_MIDDLE[1], radius_m=1000)
    pieces = lot_pieces(board, *select(board, query), "wgs84")
    size = len(page_head(api.snapshot)) + len(b",".join(pieces)) + len(pieces) * len(lot_tail(api.snapshot)) + 2
    config = uvicorn.Config(
        _both(create_app(api, background), _bare_app(size)),
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        access_log=False,
        server_header=False,
        log_level="warning",
    )
    uvicorn.Server(config).run()


class _Client(asyncio.Protocol):
    """One keep-alive connection: a request, its answer, the next request."""

    _LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)

    def __init__(self, requests: list[bytes], latencies: list[float]) -> None:
        self._requests = requests
        self._latencies = latencies
        self._rng = random.Random(id(self))
        self._buffer = b""
        self._missing = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def _ask(self) -> None:
        self._began = time.perf_counter()
        self._transport.write(self._rng.choice(self._requests))

    def data_received(self, data: bytes) -> None:
        if not self._missing:
            self._buffer += data
            head, end, body = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            length = self._LENGTH.search(head)
            assert head.startswith(b"HTTP/1.1 200"), head
            assert length
            self._buffer = b""
            self._missing = int(length[1]) - len(body)
        else:
            self._missing -= len(data)
        if self._missing == 0:
            self._latencies.append(time.perf_counter() - self._began)
            self._ask()


async def _drive(port: int, paths: list[str], seconds: float) -> list[float]:
    requests = [
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: application/json\r\n\r\n".encode() for path in paths
    ]
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    clients = [
        (await loop.create_connection(lambda: _Client(requests, latencies), "127.0.0.1", port))[0]
        for _ in range(CONNECTIONS)
    ]
    latencies.clear()
    await asyncio.sleep(seconds)
    taken = list(latencies)
    for transport in clients:
        transport.abort()
    return taken


def generate_load(port: int, paths: list[str]) -> None:
    """The client process: one round a line of input (`ours` or `bare`), one line of JSON back."""
    for line in sys.stdin:
        taken = sorted(uvloop.run(_drive(port, ["/bare"] if line.strip() == "bare" else paths, ROUND_S)))
        round_ = {"rate": len(taken) / ROUND_S, "p50": taken[len(taken) // 2], "p99": taken[len(taken) * 99 // 100]}
        print(json.dumps(round_), flush=True)


@dataclass(frozen=True, slots=True)
class Round:
    """What one round of one side gave."""

    rate: float
    p50: float
    p99: float


def _paths() -> list[str]:
    rng = random.Random(5)
    margin = 0.011  # a kilometre and more from the border, so that every circle is full
    places = [
        (
            _SOUTH + margin + rng.random() * (_SIDE - 2 * margin),
            _WEST + margin + rng.random() * (_SIDE - 2 * margin),
        )
        for _ in range(_POINTS)
    ]
    return [f"/v1/availability?lat={lat:.6f}&lon={lon:.6f}&radius_m=1000&limit=20" for lat, lon in places]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _wait_for(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("The server of the benchmark did not begin to listen within 10 s.")


def measure(lots: int, rounds: int = ROUNDS) -> tuple[list[Round], list[Round]]:
    """Rounds of ours and of the bare route, alternating; the first pair only warms up."""
    port = _free_port()
    module = [sys.executable, "-m", "benchmarks.http"]
    server = subprocess.Popen([*module, "--serve", str(lots), "--port", str(port)])
    try:
        _wait_for(port)
        for path in _paths()[:20]:
            with urlopen(f"http://127.0.0.1:{port}{path}") as answer:  # our own server
                assert len(json.load(answer)["lots"]) == 20
        load = subprocess.Popen(
            [*module, "--load", "--port", str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert load.stdin
        assert load.stdout
        taken: dict[str, list[Round]] = {"ours": [], "bare": []}
        for number in range(rounds + 1):
            for side in ("ours", "bare") if number % 2 else ("bare", "ours"):
                load.stdin.write(f"{side}\n")
                load.stdin.flush()
                taken[side].append(Round(**json.loads(load.stdout.readline())))
        load.stdin.close()
        load.wait(10)
    finally:
        server.terminate()
        server.wait(10)
    return taken["ours"][1:], taken["bare"][1:]


def run() -> list[Row]:
    """Both districts: 500 and 5,000 lots."""
    rows = []
    for lots in (500, 5000):
        ours, bare = measure(lots)
        ratio = statistics.median(mine.rate / its.rate for mine, its in zip(ours, bare, strict=True))
        rows.append(
            Row(
                f"/v1/availability, 1 km, 20 of {lots} lots, {CONNECTIONS} connections",
                _figure(ours),
                f"bare route: {_figure(bare)}",
                f"{ratio:.0%}",
                f"{BAR:.0%}",
            )
        )
    return rows


def _figure(rounds: list[Round]) -> str:
    rate, p50, p99 = (statistics.median(getattr(one, name) for one in rounds) for name in ("rate", "p50", "p99"))
    return f"{rate:,.0f} requests/s, p50 {p50 * 1e3:.1f} ms, p99 {p99 * 1e3:.1f} ms"


def main() -> None:
    """Prints the table, or plays one of its processes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", type=int, metavar="LOTS")
    parser.add_argument("--load", action="store_true")
    parser.add_argument("--port", type=int, default=0)
    asked = parser.parse_args()
    if asked.serve:
        serve(asked.serve, asked.port)
    elif asked.load:
        generate_load(asked.port, _paths())
    else:
        print(show(run()))


if __name__ == "__main__":
    main()
