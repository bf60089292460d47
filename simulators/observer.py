"""What an outsider sees of a running platform: figures from the public API and the gateways' metrics, HTTP only."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from simulators.http_client import HttpConnection

if TYPE_CHECKING:
    from collections.abc import Iterable

    from simulators.sensors import Message

_LOOK_EVERY_S = 0.01  # resolution of the latency that a probe measures
_PROBE_PATIENCE_S = 3.0
_PROBE_PAUSE_S = 0.3
_KEPT_PROBES = 300
_PAGE = 500


class _LotFigures(msgspec.Struct):
    capacity: int
    free: int
    occupied: int
    unknown: int


class _LotPage(msgspec.Struct):
    as_of: str | None
    lots: list[_LotFigures]
    next: str | None = None


class _SpaceState(msgspec.Struct):
    code: str
    state: str


class _SpacePage(msgspec.Struct):
    spaces: list[_SpaceState]


class _Change(msgspec.Struct):
    space: str
    occupied: bool


@dataclass(slots=True)
class Figures:
    """The newest look. Times in seconds; None: not known yet."""

    lots: int = 0
    capacity: int = 0
    free: int = 0
    occupied: int = 0
    unknown: int = 0
    age_s: float | None = None
    messages: float = 0.0
    messages_a_second: float = 0.0
    dead_letters: int = 0
    payments_booked: int = 0  # by phone, since the worker began
    packages_booked: int = 0  # by the clearing centre, since the worker began
    api_answers: bool = False
    visible_s: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT_PROBES))
    invisible: int = 0  # probes whose change did not show in time

    def visible_percentiles(self) -> tuple[float, float] | None:
        """Median and 99th percentile of published → visible."""
        if len(self.visible_s) < 2:
            return None
        cuts = statistics.quantiles(self.visible_s, n=100, method="inclusive")
        return cuts[49], cuts[98]


class Observer:
    """Looks at one API and its gateways.

    Args:
        api_url: `http://host:port`.
        metrics_urls: `/metrics` of each gateway.
        worker_url: `/metrics` of the worker; None: nobody looks at its figures.
    """

    def __init__(self, api_url: str, metrics_urls: Iterable[str], worker_url: str | None = None) -> None:
        self.figures = Figures()
        self._api = HttpConnection(api_url)
        self._probe = HttpConnection(api_url)
        self._gateways = [HttpConnection(url.removesuffix("/metrics")) for url in metrics_urls]
        self._worker = None if worker_url is None else HttpConnection(worker_url.removesuffix("/metrics"))
        self._measured_at: float | None = None
        self._candidate: asyncio.Queue[tuple[str, _Change, float]] = asyncio.Queue(maxsize=1)
        self._probing = False

    async def look(self) -> Figures:
        """Asks for everything once; what does not answer keeps its last figures, and `api_answers` tells."""
        try:
            await self._look_at_lots()
            self.figures.api_answers = True
        except (OSError, msgspec.DecodeError):
            self.figures.api_answers = False
        await self._look_at_gateways()
        await self._look_at_worker()
        return self.figures

    def notice(self, message: Message) -> None:
        """Offers a message that was just published as a probe; taken when none is under way."""
        if self._probing or not self._candidate.empty() or not message.topic.endswith("/occupancy"):
            return
        try:
            change = msgspec.json.decode(message.payload, type=_Change)
        except msgspec.DecodeError:
            return  # a simulated fault
        self._candidate.put_nowait((message.topic.split("/")[2], change, time.perf_counter()))

    async def probe(self) -> None:
        """Measures published → visible for ever: looks at the bay that changed until the API shows it."""
        while True:
            lot, change, published = await self._candidate.get()
            self._probing = True
            try:
                await self._until_visible(lot, change, published)
            except (OSError, msgspec.DecodeError):
                self.figures.invisible += 1
            await asyncio.sleep(_PROBE_PAUSE_S)
            self._probing = False

    async def close(self) -> None:
        """Closes the connections."""
        for connection in (self._api, self._probe, *self._gateways):
            await connection.close()
        if self._worker is not None:
            await self._worker.close()

    async def _until_visible(self, lot: str, change: _Change, published: float) -> None:
        wanted = "occupied" if change.occupied else "free"
        while time.perf_counter() - published < _PROBE_PATIENCE_S:
            status, body = await self._probe.get(f"/v1/lots/{lot}/spaces?limit=2000")
            seen = time.perf_counter()
            if status == 200:
                spaces = msgspec.json.decode(body, type=_SpacePage).spaces
                if any(space.code == change.space and space.state == wanted for space in spaces):
                    self.figures.visible_s.append(seen - published)
                    return
            await asyncio.sleep(_LOOK_EVERY_S)
        self.figures.invisible += 1

    async def _look_at_lots(self) -> None:
        totals, cursor, as_of = _LotFigures(0, 0, 0, 0), "", None
        lots = 0
        while True:
            status, body = await self._api.get(f"/v1/lots?limit={_PAGE}{cursor}")
            if status != 200:
                raise ConnectionError(f"/v1/lots answers {status}")
            page = msgspec.json.decode(body, type=_LotPage)
            as_of, lots = page.as_of, lots + len(page.lots)
            for lot in page.lots:
                totals.capacity += lot.capacity
                totals.free += lot.free
                totals.occupied += lot.occupied
                totals.unknown += lot.unknown
            if page.next is None:
                break
            cursor = f"&cursor={page.next}"
        figures = self.figures
        figures.lots, figures.capacity = lots, totals.capacity
        figures.free, figures.occupied, figures.unknown = totals.free, totals.occupied, totals.unknown
        if as_of is not None:
            figures.age_s = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(as_of)).total_seconds())

    async def _look_at_gateways(self) -> None:
        messages, dead_letters = 0.0, 0.0
        for gateway in self._gateways:
            try:
                _, body = await gateway.get("/metrics")
            except OSError:
                return  # it is being restarted: no figure is better than one of half the gateways
            messages += metric_sum(body, b"gateway_messages_total")
            dead_letters += metric_sum(body, b"gateway_dead_letters_total")
        figures, now = self.figures, time.perf_counter()
        if self._measured_at is not None and messages >= figures.messages:
            figures.messages_a_second = (messages - figures.messages) / (now - self._measured_at)
        self._measured_at = now
        figures.messages, figures.dead_letters = messages, int(dead_letters)

    async def _look_at_worker(self) -> None:
        if self._worker is None:
            return
        try:
            _, body = await self._worker.get("/metrics")
        except OSError:
            return  # it is being restarted
        notices, messages = b"parking_worker_payment_notices_total", b"parking_worker_clearing_messages_total"
        self.figures.payments_booked = int(metric_sum(body, notices, b'result="booked"'))
        self.figures.packages_booked = int(metric_sum(body, messages, b'kind="Bookkeeping",result="1"'))


def metric_sum(exposition: bytes, name: bytes, labels: bytes = b"") -> float:
    """Sum over one metric in Prometheus text: of all labels, or of those that hold `labels`."""
    lines = (line for line in exposition.splitlines() if line.startswith((name + b" ", name + b"{")))
    found = (line for line in lines if labels in line)
    return sum(float(line.rsplit(b" ", 1)[1]) for line in found)
