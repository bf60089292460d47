"""How the simulated acquirer tells of payments: signed, and as unreliably as it is told to be.

payment ─► lost? ─► delay ─► overtaken by later ones? ─► POST ─► not 200: again after 1, 2, 4, ... s ─► given up
                                                          └─► sent again although it was taken (repeats)
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
import msgspec

from parking_core.acquirers import CURRENCY, AcquirerState, Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from datetime import datetime

    from parking_core.acquirers import SigningKey
    from simulators.acquirer_books import Transaction

_TIMEOUT_S = 5.0
_LONGEST_RETRY_S = 60.0
_MOST_REPEATS = 3
_NONCE_BYTES = 18


@dataclass(frozen=True, slots=True, kw_only=True)
class Faults:
    """What goes wrong, and how often; probabilities from 0 to 1, times in seconds."""

    lose: float = 0.0  # the notice is never sent
    repeat: float = 0.0  # it is sent up to three times more
    reorder: float = 0.0  # it is held back, so that later ones overtake it
    delay_s: float = 0.0  # mean, of an exponential distribution
    hold_s: float = 2.0  # how long one is held back at most
    retry_s: float = 1.0  # first pause after a notice that was not taken
    tries: int = 8


class Callbacks:
    """Sends notices to one merchant. `counts` says what was done: sent, taken, refused, lost, repeated, held, given_up."""

    def __init__(self, url: str, key: SigningKey, *, faults: Faults, seed: int, clock: Callable[[], datetime]) -> None:
        self.counts: Counter[str] = Counter()
        self.faults = faults
        self._url = url
        self._key = key
        self._clock = clock
        self._rng = random.Random(seed)
        self._http = httpx.AsyncClient(timeout=_TIMEOUT_S, trust_env=False)
        self._tasks: set[asyncio.Task[None]] = set()

    async def close(self) -> None:
        """Ends what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._http.aclose()

    def tell(self, transaction: Transaction) -> None:
        """Tells of a payment, or fails to; returns at once."""
        faults, rng = self.faults, self._rng
        body = notice_body(transaction)
        if rng.random() < faults.lose:
            self.counts["lost"] += 1
            return
        delay = rng.expovariate(1 / faults.delay_s) if faults.delay_s else 0.0
        if rng.random() < faults.reorder:
            self.counts["held"] += 1
            delay += rng.uniform(0, faults.hold_s)
        times = 1
        if rng.random() < faults.repeat:
            times += rng.randint(1, _MOST_REPEATS)
            self.counts["repeated"] += times - 1
        for number in range(times):
            self._begin(self._deliver(body, delay + number * rng.uniform(0, max(faults.hold_s, 0.1))))

    async def idle(self) -> None:
        """Waits until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, body: bytes, delay_s: float) -> None:
        await asyncio.sleep(delay_s)
        pause = self.faults.retry_s
        for _ in range(self.faults.tries):
            self.counts["sent"] += 1
            if await self.post(body) == 200:
                self.counts["taken"] += 1
                return
            self.counts["refused"] += 1
            await asyncio.sleep(pause)
            pause = min(_LONGEST_RETRY_S, pause * 2)
        self.counts["given_up"] += 1

    async def post(self, body: bytes) -> int:
        """One signed notice; gives the status, 0 without an answer."""
        stamp = self._key.stamp_answer(body, nonce=secrets.token_urlsafe(_NONCE_BYTES), now=self._clock())
        headers = {**stamp.headers(), "content-type": "application/json"}
        try:
            return (await self._http.post(self._url, content=body, headers=headers)).status_code
        except httpx.HTTPError:
            return 0


def notice_body(transaction: Transaction) -> bytes:
    """The notice of a payment; the same for every copy of it."""
    return msgspec.json.encode(
        Notice(
            notice_id=f"N{transaction.reference}",
            order_id=transaction.order_id,
            transaction_ref=transaction.reference,
            amount_fen=transaction.amount_fen,
            currency=CURRENCY,
            state=AcquirerState.PAID,
            paid_at=transaction.paid_at,
        )
    )
