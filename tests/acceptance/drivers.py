"""Drivers who ask for shared spaces over HTTP as phones on a bad network do: they give up, repeat, and ask elsewhere.

Each has a loopback address of its own, as phones have: what the API allows one client and one account holds for each.
Now and then one wants a space at once, in the lot with the barrier, comes there and leaves again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    import random
    import ssl
    from collections.abc import Sequence

    from simulators.lane_controller import LaneController

MOST_PROMISES: Final = 3  # AllocationPolicy.most_active
_TRY_S: Final = 5.0
_IMPATIENT_S: Final = 0.02  # the answer is on its way, or not even the question
_ANSWER_S: Final = 60.0  # until then everybody has an answer, whatever is killed
_BARRIER_S: Final = 60.0  # until then the barrier knows of a promise
_AT_ONCE: Final = timedelta(hours=1)
_HALF_HOURS: Final = range(-4, 4)  # around the moment that everybody wants
_LENGTHS_MIN: Final = (30, 60, 90, 120)


@dataclass
class Wish:
    """What was asked for under one key, and every answer that it got."""

    user: str
    key: str
    body: dict[str, Any]
    answers: list[tuple[int, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Figures:
    """What all drivers saw."""

    answers: Counter[str] = field(default_factory=Counter)  # "POST 201"
    losses: Counter[str] = field(default_factory=Counter)  # tries without an answer, by what was seen
    grant_s: list[float] = field(default_factory=list)  # of tries that were answered
    cancel_s: list[float] = field(default_factory=list)
    longest_s: float = 0.0  # from the first try to the answer
    faults: list[str] = field(default_factory=list)  # what no client may ever see
    made: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))  # released by every promise


@dataclass
class Driver:
    """One account, one address; `near` is where and when everybody wants to park."""

    code: str
    token: str
    plates: tuple[str, ...]
    address: str
    urls: Sequence[str]
    rng: random.Random
    near: tuple[float, float, datetime]
    figures: Figures
    barrier: LaneController  # of the lot where drivers come at once
    wishes: list[Wish] = field(default_factory=list)
    cancelled: set[str] = field(default_factory=set)  # codes
    promises: list[str] = field(default_factory=list)  # that may be given back
    inside: tuple[str, str] | None = None  # code, plate
    left: set[str] = field(default_factory=set)  # codes

    async def hammer(self, over: asyncio.Event, think_s: float, tls: ssl.SSLContext) -> None:
        """Asks, takes alternatives and gives back until it is over; then has all its answers."""
        transport = httpx.AsyncHTTPTransport(local_address=self.address, verify=tls)
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(transport=transport, headers=headers, trust_env=False) as self._http:
            await asyncio.sleep(self.rng.uniform(0.0, think_s))
            while not over.is_set():
                await self._step()
                await asyncio.sleep(min(self.rng.expovariate(1 / think_s), 5 * think_s))

    async def _step(self) -> None:
        active = len(self.promises) + (self.inside is not None)
        if self.promises and (active >= MOST_PROMISES or self.rng.random() < 0.3):
            await self._give_back(self.promises.pop(self.rng.randrange(len(self.promises))))
            return
        if self.rng.random() < (0.1 if self.inside else 0.2):
            await (self._leave(*self.inside) if self.inside else self._come())
            return
        answer = await self._ask(self._new_body())
        while answer["state"] == "refused" and answer["refusal"]["alternatives"] and self.rng.random() < 0.7:
            answer = await self._ask(self.rng.choice(answer["refusal"]["alternatives"])["request"])

    async def _come(self) -> None:
        """Promised a space at once, he comes, and the barrier rises as soon as it was told."""
        now = datetime.now(UTC)
        body = {
            "plate": self.rng.choice(self.plates),
            "lot": self.barrier.name.lot,
            "arrive_at": now.isoformat(),
            "depart_at": (now + _AT_ONCE).isoformat(),
        }
        answer = await self._ask(body)
        if answer["state"] != "granted":
            return
        code, begins = self.promises.pop(), time.monotonic()
        while self.barrier.raise_for(body["plate"], datetime.now(UTC)) != code:
            if time.monotonic() - begins > _BARRIER_S:
                self.figures.faults.append(f"the barrier stays down for {code}")
                self.promises.append(code)
                return
            await asyncio.sleep(0.05)
        self.inside = (code, body["plate"])
        self._pass("entry", body["plate"])

    async def _leave(self, code: str, plate: str) -> None:
        self.inside = None
        self.left.add(code)
        self._pass("exit", plate)

    def _pass(self, event: str, plate: str) -> None:
        seen = {"text": plate, "color": "blue"}
        self.barrier.report(event, datetime.now(UTC), plate=seen, vehicle_class=1, source="anpr")

    def _new_body(self) -> dict[str, Any]:
        lat, lon, moment = self.near
        arrive = moment + timedelta(minutes=30 * self.rng.choice(_HALF_HOURS))
        return {
            "plate": self.rng.choice(self.plates),
            "lat": lat + self.rng.uniform(-5e-4, 5e-4),
            "lon": lon + self.rng.uniform(-5e-4, 5e-4),
            "walk_m": self.rng.choice((150, 400, 1000)),
            "arrive_at": arrive.isoformat(),
            "depart_at": (arrive + timedelta(minutes=self.rng.choice(_LENGTHS_MIN))).isoformat(),
        }

    async def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """One wish until it is answered; now and then twice at the same moment, or once more afterwards."""
        wish = Wish(self.code, str(uuid.uuid4()), body)
        self.wishes.append(wish)
        chance = self.rng.random()
        if chance < 0.1:
            await asyncio.gather(self._send_wish(wish, self.urls[0]), self._send_wish(wish, self.urls[-1]))
        else:
            await self._send_wish(wish, self.rng.choice(self.urls))
        if chance > 0.95:
            await self._send_wish(wish, self.rng.choice(self.urls))
        status, answer = wish.answers[-1]
        if status == httpx.codes.CREATED:
            self.promises.append(answer["code"])
            self.figures.made.release()
        return answer

    async def _send_wish(self, wish: Wish, first: str) -> None:
        path, headers = "/v1/reservations", {"Idempotency-Key": wish.key}
        status, answer, took_s = await self._send(path, first, headers=headers, json=wish.body)
        wish.answers.append((status, answer))
        if status == httpx.codes.CREATED:
            self.figures.grant_s.append(took_s)

    async def _give_back(self, code: str) -> None:
        path = f"/v1/reservations/{code}/cancel"
        status, answer, took_s = await self._send(path, self.rng.choice(self.urls))
        if (status, answer.get("state")) != (200, "cancelled"):
            self.figures.faults.append(f"{code} cannot be given back: {status} {answer}")
        self.cancelled.add(code)
        self.figures.cancel_s.append(took_s)

    async def _send(self, path: str, first: str, **request: Any) -> tuple[int, dict[str, Any], float]:
        """Tries until there is an answer, each time at another process; gives also how long the answered try took."""
        begins, place = time.monotonic(), self.urls.index(first)
        while time.monotonic() - begins < _ANSWER_S:
            url = self.urls[place % len(self.urls)] + path
            place += 1
            timeout_s = _IMPATIENT_S if self.rng.random() < 0.03 else _TRY_S
            tried = time.monotonic()
            try:
                answer = await self._http.post(url, timeout=timeout_s, **request)
            except httpx.TransportError as error:
                self.figures.losses[type(error).__name__] += 1
                await asyncio.sleep(self.rng.uniform(0.0, 0.2))
                continue
            if answer.status_code in {429, 503}:
                self.figures.losses[str(answer.status_code)] += 1
                await asyncio.sleep(self.rng.uniform(0.3, 1.0) * float(answer.headers["Retry-After"]))
                continue
            now = time.monotonic()
            self.figures.longest_s = max(self.figures.longest_s, now - begins)
            self.figures.answers[f"{'cancel' if path.endswith('cancel') else 'ask'} {answer.status_code}"] += 1
            if answer.status_code not in {200, 201}:
                self.figures.faults.append(f"{path}: {answer.status_code} {answer.text}")
            return answer.status_code, answer.json(), now - tried
        raise AssertionError(f"{self.code} has no answer from {path} within {_ANSWER_S:.0f} s")
