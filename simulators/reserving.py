"""Simulated drivers who ask for shared spaces over HTTP: soon or tonight, near the hospital or elsewhere.

asks ─► granted ─► comes to the barrier by himself (simulators.lane_guests), or cancels
     └► refused ─► often takes an alternative
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import uuid
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from zoneinfo import ZoneInfo

import httpx

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parking_core.districts import District

_ZONE: Final = ZoneInfo("Asia/Shanghai")
_PATIENCE_S: Final = 10.0
_ASKS_EVERY_S: Final = (20.0, 60.0)
_AT_HOSPITAL: Final = 0.5
_NEAR_DEGREES: Final = 0.004  # some 400 m around where he wants to go
_TAKES_ALTERNATIVE: Final = 0.7
_CANCELS: Final = 0.1


@dataclass(frozen=True, slots=True)
class ReservingDriver:
    """An account of the platform: its token, its car and the groups it may ask as."""

    token: str
    plate: str
    groups: tuple[str, ...] = ()


@dataclass(slots=True)
class ReservationCounts:
    """What all of them were answered."""

    granted: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by reason
    alternatives: int = 0  # taken
    cancelled: int = 0
    failures: int = 0


async def reserve_spaces(
    api_url: str, district: District, drivers: Sequence[ReservingDriver], stop: asyncio.Event, counts: ReservationCounts
) -> None:
    """Lets them ask, each every half a minute or so, until `stop` is set."""
    async with httpx.AsyncClient(base_url=api_url, timeout=_PATIENCE_S) as client, asyncio.TaskGroup() as group:
        for number, driver in enumerate(drivers):
            one = _Person(client, district, driver, counts, random.Random(number))
            group.create_task(one.live(stop))


@dataclass(slots=True)
class _Person:
    client: httpx.AsyncClient
    district: District
    driver: ReservingDriver
    counts: ReservationCounts
    rng: random.Random

    async def live(self, stop: asyncio.Event) -> None:
        """Asks now and then until `stop` is set."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.rng.uniform(*_ASKS_EVERY_S)):
                    await stop.wait()
                    return
            try:
                await self._ask(self.wish(datetime.now(UTC)))
            except (httpx.HTTPError, KeyError, ValueError):
                self.counts.failures += 1

    def wish(self, now: datetime) -> dict[str, Any]:
        """Where and when he would like to stand."""
        where: Any = self.rng.choice(self.district.lots)
        if self.district.places and self.rng.random() < _AT_HOSPITAL:
            where = self.rng.choice(self.district.places)
        arrive = now + timedelta(minutes=self.rng.uniform(1, 20))
        if self.rng.random() < 0.5:
            evening = now.astimezone(_ZONE).replace(hour=19, minute=0, second=0, microsecond=0)
            arrive = max(evening, now) + timedelta(minutes=self.rng.uniform(10, 180))
        stay = timedelta(minutes=self.rng.choice((30, 60, 90, 120, 180, 480)))
        return {
            "lat": round(where.lat + self.rng.uniform(-_NEAR_DEGREES, _NEAR_DEGREES), 6),
            "lon": round(where.lon + self.rng.uniform(-_NEAR_DEGREES, _NEAR_DEGREES), 6),
            "walk_m": self.rng.choice((300, 500, 800)),
            "arrive_at": arrive.isoformat(timespec="seconds"),
            "depart_at": (arrive + stay).isoformat(timespec="seconds"),
            "plate": self.driver.plate,
            "group": self.rng.choice(("any", *self.driver.groups)),
        }

    async def _ask(self, wish: dict[str, Any]) -> None:
        answer = await self._post("/v1/reservations", wish)
        if answer["state"] == "refused":
            refusal = answer["refusal"]
            self.counts.refused[refusal["reason"]] += 1
            instead = refusal["alternatives"]
            if not instead or self.rng.random() > _TAKES_ALTERNATIVE:
                return
            answer = await self._post("/v1/reservations", instead[0]["request"])
            if answer["state"] == "refused":
                self.counts.refused[answer["refusal"]["reason"]] += 1
                return
            self.counts.alternatives += 1
        self.counts.granted += 1
        if self.rng.random() < _CANCELS:
            await self._post(f"/v1/reservations/{answer['code']}/cancel", None)
            self.counts.cancelled += 1

    async def _post(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self.driver.token}", "Idempotency-Key": str(uuid.uuid4())}
        answered = await self.client.post(path, json=body, headers=headers)
        answered.raise_for_status()
        found: dict[str, Any] = answered.json()
        return found
