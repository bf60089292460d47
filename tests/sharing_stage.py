"""The application over a real database with shared lots, on a clock that tests move."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import httpx
from psycopg_pool import AsyncConnectionPool

from api.application import create_app
from api.sharing_desk import SharingDesk
from api.state import ApiState, HttpSettings
from parking_core.flows.offers_in_force import OffersInForce
from tests.shared_town import EVENING, HOSPITAL, HOUR, ZONE, SharedTown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from psycopg import Connection


@dataclass
class SharingStage:
    """A town, and a client of the API over it."""

    town: SharedTown
    api: ApiState
    http: httpx.AsyncClient
    clock: Clock

    def as_person(self, code: str = "u1") -> dict[str, str]:
        """Headers of somebody that the town knows."""
        return {"Authorization": f"Bearer {self.town.tokens[code]}"}

    async def ask(
        self, body: Mapping[str, Any] | None = None, *, by: str = "u1", key: str = "k1", **changes: Any
    ) -> httpx.Response:
        """A request for a space near the hospital, two hours long, an hour from now."""
        headers = self.as_person(by) | {"Idempotency-Key": key}
        return await self.http.post("/v1/reservations", json=dict(body or request()) | changes, headers=headers)


class Clock:
    """Microseconds since the epoch, from EVENING on."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> int:
        return round((EVENING + self.ahead).timestamp() * 1e6)


def at(hours: float) -> str:
    """A moment so many hours after the evening began, as clients write it."""
    moment: datetime = EVENING + hours * HOUR
    return moment.astimezone(ZONE).isoformat()


def request(**changes: Any) -> dict[str, Any]:
    """A request that can be granted."""
    body = {"lat": HOSPITAL[0], "lon": HOSPITAL[1], "arrive_at": at(1), "depart_at": at(3), "plate": "苏B12345"}
    return body | changes


@contextlib.asynccontextmanager
async def sharing_stage(db: Connection[Any], database_url: str, **http: Any) -> AsyncIterator[SharingStage]:
    """Everything that runs."""
    clock = Clock()
    pool = AsyncConnectionPool(database_url, min_size=1, max_size=2, open=False, kwargs={"autocommit": True})
    desk = SharingDesk(OffersInForce(ZONE, "hold:acq"), database_url)
    api = ApiState.build(HttpSettings(**http), clock=clock, database=pool, sharing=desk)
    transport = httpx.ASGITransport(create_app(api))
    async with pool, desk, httpx.AsyncClient(transport=transport, base_url="http://api") as client:
        yield SharingStage(SharedTown(db), api, client, clock)
