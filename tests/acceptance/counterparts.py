"""The others of a settlement, on loopback and in a thread of the test: clearing centre, acquirer, drivers' phones."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from simulators.acquirer import SimulatedAcquirer
from simulators.acquirer_callbacks import Callbacks, Faults
from simulators.clearing_books import Habits
from simulators.clearing_centre import ClearingCentre
from tests.acceptance.month import ZONE
from tests.integration.payment_stage import Keys, served

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence
    from pathlib import Path

Result = TypeVar("Result")
_AT_ONCE = 20  # phones that pay at the same moment
_ADDRESSES = 200  # of phones: loopback has 16 million, and the platform counts each by itself

DISHONEST = Habits(
    seed=5,
    disputed=0.01,
    bad_debt=0.3,
    lost_replies=0.05,
    lost_responses=0.05,
    repeated=0.1,
    reordered=0.2,
)
FORGETFUL = Faults(lose=0.03, repeat=0.1, reorder=0.1, delay_s=0.1)


@dataclass
class Counterparts:
    """Start with `start`, end with `stop`; both sides' addresses are settings of the platform's processes."""

    folder: Path
    keys: Keys = field(init=False)
    centre: ClearingCentre = field(init=False)
    acquirer: SimulatedAcquirer = field(init=False)
    environ: dict[str, str] = field(default_factory=dict)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop)
    _held: AsyncExitStack = field(default_factory=AsyncExitStack)
    _thread: threading.Thread = field(init=False)

    def __post_init__(self) -> None:
        self._thread = threading.Thread(target=self._loop.run_forever, name="counterparts", daemon=True)

    def start(self, api_port: int) -> None:
        """Both serve; `environ` says where."""
        self._thread.start()
        self.keys = Keys.make(self.folder)
        self._do(self._start(api_port))

    def stop(self) -> None:
        """Both end, also where they never began."""
        if self._thread.is_alive():
            self._do(self._held.aclose())
            self._do(self.centre.stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    def end_days(self, days: int) -> None:
        """So many days of the clearing centre go by."""

        async def end() -> None:
            for _ in range(days):
                self.centre.end_day()

        self._do(end())

    def pay(self, api_url: str, tokens: Sequence[str]) -> int:
        """Drivers pay links with their phones; gives how many wallets were refused."""
        return self._do(self._pay(api_url, tokens), patience_s=900)

    def bill(self) -> list[Any]:
        """The acquirer's bill of today."""

        async def lines() -> list[Any]:
            return list(self.acquirer.books.bill(datetime.now(ZONE).date()))

        return self._do(lines())

    def _do(self, work: Coroutine[Any, Any, Result], patience_s: float = 60) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(patience_s)

    async def _start(self, api_port: int) -> None:
        self.centre = ClearingCentre(DISHONEST)
        port = await self.centre.start()
        callbacks = Callbacks(
            f"http://127.0.0.1:{api_port}/v1/payments/notices/acq",
            self.keys.signing("theirs"),
            faults=FORGETFUL,
            seed=7,
            clock=lambda: datetime.now(UTC),
        )
        self.acquirer = SimulatedAcquirer(
            self.keys.signing("theirs"), self.keys.verifying("ours"), callbacks, seed=7, clock=lambda: datetime.now(UTC)
        )
        url = await self._held.enter_async_context(served(self.acquirer.application()))
        self.environ = {
            "PARKING_CLEARING_URL": f"tcp://127.0.0.1:{port}",
            "PARKING_ACQUIRER_URL": url,
            "PARKING_ACQUIRER_KEY_FILE": str(self.folder / "ours.pem"),
            "PARKING_ACQUIRER_PUBLIC_KEY_FILE": str(self.folder / "theirs_public.pem"),
        }

    async def _pay(self, api_url: str, tokens: Sequence[str]) -> int:
        refused = 0
        waiting = list(enumerate(tokens))

        async def phone() -> None:
            nonlocal refused
            while waiting:
                number, token = waiting.pop()
                address = f"127.1.0.{number % _ADDRESSES + 1}"
                transport = httpx.AsyncHTTPTransport(local_address=address)
                async with httpx.AsyncClient(transport=transport, timeout=30) as client:
                    ordered = await client.post(f"{api_url}/v1/payments/{token}")
                    if ordered.status_code == 429:
                        waiting.insert(0, (number + 7, token))
                        continue
                    if ordered.status_code != 200:
                        refused += 1
                        continue
                    paid = await client.post(ordered.json()["code_url"])
                    refused += paid.status_code >= 400

        await asyncio.gather(*(phone() for _ in range(_AT_ONCE)))
        return refused
