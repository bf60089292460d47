"""A lot, visits with payment links, the application over a real database, and a simulated acquirer over loopback HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import uvicorn
from psycopg_pool import AsyncConnectionPool

from api.application import create_app
from api.payment_desk import PaymentDesk
from api.rates import Buckets
from api.state import ApiState, HttpSettings
from parking_core import acquirers
from parking_core.flows.book_charges import book_charges
from parking_core.flows.book_payments import book_payments
from parking_core.flows.charge_visits import review_visits
from parking_core.flows.offer_payment import Offer, offer_all
from parking_core.lanes import LaneEventKind
from parking_core.settings import AcquirerSettings
from parking_core.store.acquirer import AcquirerClient
from parking_core.store.charges import PricedVisit
from simulators.acquirer import SimulatedAcquirer, Wallets
from simulators.acquirer_callbacks import Callbacks, Faults
from tests.integration.money_rows import ZONE, add_event, seed
from worker.payments import Asking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from starlette.types import ASGIApp

    from parking_core.flows.book_payments import Booked
    from parking_core.payments import PaymentResult

PLATE = "苏B12345"
LINE = {
    "rule": "unit",
    "from": "2026-11-23T10:00:00+08:00",
    "until": "2026-11-23T12:00:00+08:00",
    "units": 2,
    "unit_price_fen": 500,
    "amount_fen": 1000,
    "text": {"zh": "2 小时", "en": "2 hours"},
}


@cache
def _pair(_: str) -> tuple[bytes, bytes]:
    """Made once a run: it takes a tenth of a second."""
    return acquirers.new_key_pair()


@dataclass(frozen=True)
class Keys:
    """Key files of both sides."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Keys:
        for side in ("ours", "theirs"):
            private, public = _pair(side)
            (folder / f"{side}.pem").write_bytes(private)
            (folder / f"{side}_public.pem").write_bytes(public)
        return cls(folder)

    def settings(self, url: str, **other: str) -> AcquirerSettings:
        """What our side is given."""
        return AcquirerSettings(
            url=url,
            key_file=str(self.folder / "ours.pem"),
            public_key_file=str(self.folder / "theirs_public.pem"),
            **other,
        )

    def signing(self, side: str) -> acquirers.SigningKey:
        return acquirers.load_signing_key(self.folder / f"{side}.pem", side)

    def verifying(self, side: str) -> acquirers.VerifyingKeys:
        return acquirers.load_verifying_keys(self.folder / f"{side}_public.pem", side)


class Lot:
    """Lot P01 with one lane; visits are made by hand."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self.connection = connection
        self.lane = seed(connection)["P01"]

    def enter(self, vehicle: str = PLATE) -> int:
        """A vehicle comes in; gives its visit."""
        entry = add_event(self.connection, self.lane, LaneEventKind.ENTRY, vehicle=vehicle)
        visit = self.one(
            "INSERT INTO visits (lot_id, vehicle, state, entry_event_id, entered_at, matters_until)"
            " VALUES (%s, %s, 'open', %s, %s, 'infinity') RETURNING id",
            entry.lot_id,
            vehicle,
            entry.id,
            entry.occurred_at,
        )
        return int(visit)

    def leave(self, visit: int) -> None:
        self.connection.execute(
            "UPDATE visits SET state = 'closed', exited_at = entered_at + '1 h' WHERE id = %s", (visit,)
        )

    def charge(self, visit: int, amount_fen: int) -> None:
        """What the visit costs, as the tariff says now."""
        now = datetime.now(UTC)
        tariff = self.one(
            "INSERT INTO tariffs (code, version, document)"
            " SELECT 'hourly', count(*) + 1, '{}' FROM tariffs RETURNING id"
        )
        price = PricedVisit(
            visit_id=visit, amount_fen=amount_fen, lines=[LINE], reason="exit", at=now, tariff_id=tariff
        )
        with self.connection.transaction():
            book_charges(self.connection, [price])

    def review(self, visit: int) -> None:
        """What the worker says of the visit after its records."""
        with self.connection.transaction():
            review_visits(self.connection, [visit], ZONE)

    def offer(self, visit: int, amount_fen: int = 1000, *, now: datetime | None = None, at_lane: bool = True) -> str:
        """A payment link; gives its token."""
        wanted = Offer(visit_id=visit, device_id=self.lane if at_lane else None, amount_fen=amount_fen, lines=(LINE,))
        return offer_all(self.connection, [wanted], now or datetime.now(UTC))[0]

    def book(self, now: datetime | None = None) -> Booked:
        return book_payments(self.connection, now or datetime.now(UTC), ZONE)

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        return self.connection.execute(query.encode(), values).fetchall()

    def one(self, query: str, *values: Any) -> Any:
        ((value,),) = self.rows(query, *values)
        return value

    def balances(self) -> dict[str, int]:
        """Account balances that are not zero."""
        rows = self.rows(
            "SELECT a.code, sum(p.amount_fen)::bigint FROM postings p JOIN accounts a ON a.id = p.account_id"
            " GROUP BY a.code HAVING sum(p.amount_fen) <> 0 ORDER BY a.code"
        )
        return dict(rows)

    def differences(self) -> list[tuple[str, str, int]]:
        return [
            (name, state, fen)
            for name, state, fen in self.rows("SELECT name, state, amount_fen FROM differences ORDER BY name, id")
        ]


def results(booked: Booked) -> dict[PaymentResult, int]:
    return dict(booked.results)


@contextlib.asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[str]:
    """The application on a loopback port; gives its address."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False, lifespan="on"))
    running = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started:
            assert not running.done()
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@dataclass
class Stage:
    """Everything that runs."""

    lot: Lot
    keys: Keys
    acquirer: SimulatedAcquirer
    asking: Asking
    desk: PaymentDesk
    http: httpx.AsyncClient  # to our API
    wallet: httpx.AsyncClient  # to the acquirer
    clock: Clock

    async def scan(self, token: str) -> str:
        """Orders by a link; gives the order's number."""
        answer = await self.http.post(f"/v1/payments/{token}")
        assert answer.status_code == 200, answer.text
        return str(answer.json()["order"])

    async def pay(self, token: str) -> str:
        """Scans and pays; gives the order's number."""
        order = await self.scan(token)
        paid = await self.wallet.post(f"/w/{order}")
        assert paid.status_code == 204, paid.text
        return order

    async def pay_oddly(self, **wanted: Any) -> None:
        answer = await self.wallet.post("/_pay", json=wanted)
        assert answer.status_code == 200, answer.text

    async def truth(self) -> dict[str, Any]:
        answer: dict[str, Any] = (await self.wallet.get("/_truth")).json()
        return answer


class Clock:
    """Real time, moved ahead."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + self.ahead


@contextlib.asynccontextmanager
async def _api(pool: AsyncConnectionPool[Any], desk: PaymentDesk) -> AsyncIterator[str]:
    api = ApiState.build(
        HttpSettings(), clock=lambda: int(datetime.now(UTC).timestamp() * 1e6), database=pool, payments=desk
    )

    async def nothing(_: object) -> None:
        await asyncio.Event().wait()

    async with pool, served(create_app(api, nothing)) as url:
        yield url


@contextlib.asynccontextmanager
async def stage(
    database_url: str, folder: Path, *, faults: Faults | None = None, wallets: Wallets | None = None
) -> AsyncIterator[Stage]:
    """The acquirer, our API and our asking, connected with each other."""
    keys, clock = Keys.make(folder), Clock()
    callbacks = Callbacks(
        "http://127.0.0.1:1", keys.signing("theirs"), faults=faults or Faults(), seed=7, clock=clock.now
    )
    acquirer = SimulatedAcquirer(
        keys.signing("theirs"),
        keys.verifying("ours"),
        callbacks,
        wallets=wallets or Wallets(),
        seed=7,
        clock=lambda: datetime.now(UTC),
    )
    async with contextlib.AsyncExitStack() as held:
        store = held.enter_context(psycopg.connect(database_url, autocommit=True))
        asking_store = held.enter_context(psycopg.connect(database_url, autocommit=True))
        acquirer_url = await held.enter_async_context(served(acquirer.application()))
        client = AcquirerClient.of_settings(keys.settings(acquirer_url))
        assert client is not None
        await held.enter_async_context(client)
        pool = AsyncConnectionPool(database_url, min_size=1, max_size=4, open=False, kwargs={"autocommit": True})
        desk = PaymentDesk(client, links=Buckets(rate=1000, burst=1000), clients=Buckets(rate=10_000, burst=10_000))
        api_url = await held.enter_async_context(_api(pool, desk))
        callbacks._url = f"{api_url}/v1/payments/notices/acq"
        http = await held.enter_async_context(httpx.AsyncClient(base_url=api_url, timeout=20))
        wallet = await held.enter_async_context(httpx.AsyncClient(base_url=acquirer_url, timeout=20))
        asking = Asking(asking_store, client, "Asia/Shanghai", clock=clock.now)
        yield Stage(Lot(store), keys, acquirer, asking, desk, http, wallet, clock)


def play(work: Callable[[], Any]) -> None:
    """Runs an asynchronous test."""
    asyncio.run(work())
