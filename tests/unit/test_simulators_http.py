"""Drivers and the demo's observer against a small HTTP server."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Self

import pytest

from parking_core.errors import InvalidInputError
from simulators.district import DistrictSize, generate_district
from simulators.drivers import DriverCounts, drive
from simulators.http_client import HttpConnection
from simulators.observer import Observer, metric_sum
from simulators.sensors import Message

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass
class Site:
    """Answers GET by a function from path to raw response."""

    answer: Callable[[str], bytes]
    asked: list[str] = field(default_factory=list)
    connections: int = 0
    url: str = ""

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await asyncio.sleep(0.01)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path = head.split(b" ")[1].decode()
                self.asked.append(path)
                raw = self.answer(path)
                writer.write(raw)
                if b"content-length" not in raw and b"chunked" not in raw and b" 304 " not in raw:
                    break
        except asyncio.IncompleteReadError:
            pass
        writer.close()


def _answer(body: bytes, status: str = "200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status.encode(), len(body), body)


RAW = {
    "/length": _answer(b"hello"),
    "/chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n",
    "/nothing": b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n",
    "/bad": _answer(b"{}", "503 Service Unavailable"),
    "/old": b"HTTP/1.0 200 OK\r\nServer: old\r\n\r\nuntil the end",
    "/garbage": b"what?\r\n\r\n",
}


def test_answers_of_every_form_are_read() -> None:
    async def run() -> None:
        async with Site(RAW.__getitem__) as site:
            connection = HttpConnection(site.url)
            assert await connection.get("/length") == (200, b"hello")
            assert await connection.get("/chunks") == (200, b"hello")
            assert await connection.get("/nothing") == (304, b"")
            assert await connection.get("/bad") == (503, b"{}")
            assert site.connections == 1
            assert await connection.get("/old") == (200, b"until the end")
            with pytest.raises(OSError, match="/garbage"):
                await connection.get("/garbage")
            assert await connection.get("/length") == (200, b"hello")
            assert site.connections == 3
            await connection.close()

    asyncio.run(run())


def test_an_absent_server_is_an_os_error_and_a_wrong_address_is_said() -> None:
    with pytest.raises(OSError, match="GET /x failed"):
        asyncio.run(HttpConnection("http://127.0.0.1:9").get("/x"))
    with pytest.raises(InvalidInputError, match="http://host:port"):
        HttpConnection("ftp://x")


def test_drivers_ask_near_lots_and_count_what_they_get() -> None:
    district = generate_district(DistrictSize(lots=10))

    async def run() -> DriverCounts:
        counts, stop = DriverCounts(), asyncio.Event()
        answers = iter([_answer(b'{"lots":[]}'), _answer(b"{}", "500 Oops")])
        async with Site(lambda _path: next(answers, _answer(b'{"lots":[{}]}'))) as site:
            asyncio.get_running_loop().call_later(0.5, stop.set)
            await drive(site.url, district, stop, counts, drivers=4)
            assert all(path.startswith("/v1/availability?lat=31.") and "lon=120." in path for path in site.asked)
        return counts

    counts = asyncio.run(run())
    assert (counts.answers, counts.failures, counts.empty_answers) == (3, 1, 1)
    assert len(counts.latencies_s) == 4


METRICS = b"""# HELP gateway_messages_total Messages made durable
gateway_messages_total 120.0
gateway_dead_letters_total{reason="invalid"} 3.0
gateway_dead_letters_total{reason="unknown_space"} 4.0
gateway_dead_letters_total_created{reason="invalid"} 1.7e+09
"""


def test_metrics_are_summed_over_labels() -> None:
    assert metric_sum(METRICS, b"gateway_messages_total") == 120
    assert metric_sum(METRICS, b"gateway_dead_letters_total") == 7
    assert metric_sum(METRICS, b"absent") == 0
    assert metric_sum(METRICS, b"gateway_dead_letters_total", b'reason="invalid"') == 3


def test_the_observer_adds_up_all_pages_and_gateways() -> None:
    as_of = (datetime.now(UTC) - timedelta(seconds=5)).isoformat()
    lot = {"capacity": 10, "free": 4, "occupied": 5, "unknown": 1}
    pages = {
        "/v1/lots?limit=500": {"as_of": as_of, "lots": [lot, lot], "next": "abc"},
        "/v1/lots?limit=500&cursor=abc": {"as_of": as_of, "lots": [lot], "next": None},
    }

    async def run() -> None:
        async with Site(lambda path: _answer(json.dumps(pages[path]).encode() if path in pages else METRICS)) as site:
            observer = Observer(site.url, [f"{site.url}/metrics", f"{site.url}/metrics"])
            figures = await observer.look()
            assert figures.api_answers
            assert (figures.lots, figures.capacity, figures.free, figures.occupied, figures.unknown) == (
                3,
                30,
                12,
                15,
                3,
            )
            assert figures.age_s == pytest.approx(5, abs=2)
            assert (figures.messages, figures.dead_letters) == (240, 14)
            await observer.close()
        observer._api = HttpConnection("http://127.0.0.1:9")
        assert not (await observer.look()).api_answers
        assert figures.capacity == 30  # the last figures stay

    asyncio.run(run())


def test_the_observer_tells_what_the_worker_has_booked() -> None:
    told = b"""parking_worker_payment_notices_total{result="booked"} 3.0
parking_worker_payment_notices_total{result="repeated"} 9.0
parking_worker_clearing_messages_total{kind="Bookkeeping",result="1"} 4.0
parking_worker_clearing_messages_total{kind="Response",result="1"} 5.0
"""

    async def run() -> None:
        async with Site(lambda path: _answer(told if path == "/metrics" else b"{}")) as site:
            observer = Observer(site.url, [], f"{site.url}/metrics")
            figures = await observer.look()
            assert (figures.payments_booked, figures.packages_booked) == (3, 4)
            await observer.close()
        await observer.look()
        assert (figures.payments_booked, figures.packages_booked) == (3, 4)  # a worker that restarts: the last figures
        await observer.close()

    asyncio.run(run())


def test_a_probe_measures_until_the_change_is_visible() -> None:
    shown_from = [0.0]

    def answer(_path: str) -> bytes:
        state = "occupied" if time.perf_counter() >= shown_from[0] else "free"
        return _answer(json.dumps({"spaces": [{"code": "7", "state": state}, {"code": "8", "state": "free"}]}).encode())

    async def run() -> None:
        async with Site(answer) as site:
            observer = Observer(site.url, [])
            probing = asyncio.create_task(observer.probe())
            shown_from[0] = time.perf_counter() + 0.2
            observer.notice(Message(0, "parking/v1/L/D/heartbeat", b'{"at":1}', retain=False, device=0))
            observer.notice(Message(0, "parking/v1/L/D/occupancy", b'{"spa', retain=False, device=0))
            observer.notice(
                Message(0, "parking/v1/L/D/occupancy", b'{"space":"7","occupied":true}', retain=False, device=0)
            )
            async with asyncio.timeout(5):
                while not observer.figures.visible_s:  # noqa: ASYNC110  # filled by the probe
                    await asyncio.sleep(0.01)
            assert 0.19 < observer.figures.visible_s[0] < 1
            assert observer.figures.invisible == 0
            assert set(site.asked) == {"/v1/lots/L/spaces?limit=2000"}
            probing.cancel()
            await observer.close()

    asyncio.run(run())
