"""`python -m simulators acquirer`: a simulated acquirer of QR payments, with the wallets that pay.

    ours, signed by us      POST /v1/orders   GET /v1/orders/{id}   POST /v1/orders/{id}/close
                            POST /v1/refunds  GET /v1/bills/{day}
    a driver's wallet       POST /w/{order}   pays (what code_url names)
    simulator only          GET /_truth       totals by day and counts of notices; POST /_pay: money with a fault in it

It signs what it answers and tells, refuses what is not signed by the merchant, and keeps books of its own. Orders are
also paid by themselves after a while where that is asked for.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import secrets
import sys
from dataclasses import dataclass, fields, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import uvicorn
from msgspec import Meta
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route

from parking_core.acquirers import (
    AcquirerState,
    OrderRequest,
    RefundAnswer,
    RefundRequest,
    SignatureError,
    Stamp,
    decode,
    load_signing_key,
    load_verifying_keys,
    write_bill,
)
from parking_core.errors import InvalidInputError, ParkingError
from simulators.acquirer_books import Books, RefusedError
from simulators.acquirer_callbacks import Callbacks, Faults

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from starlette.requests import Request

    from parking_core.acquirers import SigningKey, VerifyingKeys
    from simulators.acquirer_books import SimulatedOrder, Transaction

_JSON, _CSV = "application/json", "text/csv; charset=utf-8"
_NONCE_BYTES = 18


class Oddity(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /_pay`: money that comes otherwise than it should. Without an order: for one that nobody gave."""

    order_id: UUID | None = None
    amount_fen: Annotated[int, Meta(gt=0)] | None = None
    silent: bool = False  # no notice


@dataclass(frozen=True, slots=True, kw_only=True)
class Wallets:
    """How orders are paid by themselves."""

    share: float = 0.0  # of the orders
    after_s: float = 2.0  # mean; between half and one and a half of it


class SimulatedAcquirer:
    """One acquirer with one merchant."""

    def __init__(
        self,
        own: SigningKey,
        merchant: VerifyingKeys,
        callbacks: Callbacks,
        *,
        wallets: Wallets = Wallets(),  # frozen, so that one for all is harmless
        zone: str = "Asia/Shanghai",
        seed: int = 1,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        journal: Path | None = None,
    ) -> None:
        self.books = Books(ZoneInfo(zone), journal)
        self.callbacks = callbacks
        self.wallets = wallets
        self.away = False  # answers 503 to everything of the merchant's
        self._own = own
        self._merchant = merchant
        self._clock = clock
        self._rng = random.Random(seed)
        self._paying: set[asyncio.Task[None]] = set()

    def application(self) -> Starlette:
        """The ASGI application."""

        @contextlib.asynccontextmanager
        async def lifespan(_: Starlette) -> AsyncIterator[None]:
            try:
                yield
            finally:
                for task in self._paying:
                    task.cancel()
                await self.callbacks.close()
                self.books.end()

        return Starlette(
            lifespan=lifespan,
            routes=[
                Route("/v1/orders", self._order, methods=["POST"]),
                Route("/v1/orders/{order:uuid}", self._query),
                Route("/v1/orders/{order:uuid}/close", self._close, methods=["POST"]),
                Route("/v1/refunds", self._refund, methods=["POST"]),
                Route("/v1/bills/{day}", self._bill),
                Route("/w/{order:uuid}", self._wallet, methods=["POST"]),
                Route("/_pay", self._oddity, methods=["POST"]),
                Route("/_truth", self._truth),
            ],
        )

    def pay(self, order: SimulatedOrder, amount_fen: int | None = None) -> Transaction:
        """A wallet pays, and the merchant is told, more or less."""
        taken = self.books.pay(order, self._clock(), amount_fen)
        self.callbacks.tell(taken)
        return taken

    async def _body(self, request: Request) -> bytes:
        """The body of a request that the merchant has signed."""
        body = await request.body()
        query = request.url.query
        target = request.scope["raw_path"].decode() + (f"?{query}" if query else "")
        stamp = Stamp.of_headers(request.headers)
        self._merchant.verify_request(request.method, target, body, stamp=stamp, now=self._clock())
        return body

    def _signed(self, body: bytes, status: int = 200, media_type: str = _JSON) -> Response:
        stamp = self._own.stamp_answer(body, nonce=secrets.token_urlsafe(_NONCE_BYTES), now=self._clock())
        return Response(body, status, stamp.headers(), media_type)

    async def _serve(self, request: Request, work: Callable[[bytes], Response]) -> Response:
        if self.away:
            return Response(status_code=503)
        try:
            return work(await self._body(request))
        except SignatureError as error:
            return self._refusal(401, error)
        except InvalidInputError as error:
            return self._refusal(422, error)

    def _refusal(self, status: int, error: ParkingError) -> Response:
        return self._signed(msgspec.json.encode({"error": str(error)}), status)

    def _about(self, order: SimulatedOrder) -> Response:
        return self._signed(msgspec.json.encode(self.books.answer(order, self._clock())))

    async def _order(self, request: Request) -> Response:
        def work(body: bytes) -> Response:
            wanted = decode(OrderRequest, body)
            is_new = wanted.order_id not in self.books.orders
            order = self.books.order(wanted, f"{str(request.base_url).rstrip('/')}/w/{wanted.order_id}")
            if is_new and self._rng.random() < self.wallets.share:
                task = asyncio.create_task(self._pay_later(order))
                self._paying.add(task)
                task.add_done_callback(self._paying.discard)
            return self._about(order)

        return await self._serve(request, work)

    async def _pay_later(self, order: SimulatedOrder) -> None:
        await asyncio.sleep(self.wallets.after_s * self._rng.uniform(0.5, 1.5))
        with contextlib.suppress(RefusedError):  # closed in the meantime
            if order.state is AcquirerState.OPEN:
                self.pay(order)

    async def _query(self, request: Request) -> Response:
        order = self.books.orders.get(request.path_params["order"])
        return await self._serve(request, lambda _: self._about(order) if order else self._signed(b"{}", 404))

    async def _close(self, request: Request) -> Response:
        def work(_: bytes) -> Response:
            order = self.books.orders.get(request.path_params["order"])
            if order is None:
                return self._signed(b"{}", 404)
            self.books.close(order)
            return self._about(order)

        return await self._serve(request, work)

    async def _refund(self, request: Request) -> Response:
        def work(body: bytes) -> Response:
            asked = decode(RefundRequest, body)
            given = self.books.give_back(
                asked.refund_id, asked.order_id, asked.transaction_ref, asked.amount_fen, self._clock()
            )
            answer = RefundAnswer(
                refund_id=given.refund_id,
                refund_ref=given.reference,
                amount_fen=given.amount_fen,
                refunded_at=given.at,
            )
            return self._signed(msgspec.json.encode(answer))

        return await self._serve(request, work)

    async def _bill(self, request: Request) -> Response:
        def work(_: bytes) -> Response:
            try:
                day = date.fromisoformat(request.path_params["day"])
            except ValueError as error:
                raise InvalidInputError("There is no such day.") from error
            return self._signed(write_bill(self.books.bill(day)).encode(), media_type=_CSV)

        return await self._serve(request, work)

    async def _wallet(self, request: Request) -> Response:
        order = self.books.orders.get(request.path_params["order"])
        if order is None or order.state is not AcquirerState.OPEN:
            return Response(status_code=410)
        try:
            self.pay(order)
        except RefusedError:
            return Response(status_code=410)
        return Response(status_code=204)

    async def _oddity(self, request: Request) -> Response:
        wanted = decode(Oddity, await request.body())
        order = self.books.orders.get(wanted.order_id) if wanted.order_id else None
        if order is None:
            taken = self.books.take(str(wanted.order_id or UUID(int=0)), wanted.amount_fen or 100, self._clock())
        else:
            taken = self.books.pay(order, self._clock(), wanted.amount_fen)
        if not wanted.silent:
            self.callbacks.tell(taken)
        return Response(msgspec.json.encode({"transaction_ref": taken.reference}), media_type=_JSON)

    async def _truth(self, _: Request) -> Response:
        truth = {"days": self.books.truth(), "notices": dict(self.callbacks.counts)}
        return Response(msgspec.json.encode(truth), media_type=_JSON)


def main(arguments: list[str]) -> None:
    """Serves on loopback until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m simulators acquirer", description="A simulated acquirer.")
    parser.add_argument("--port", type=int, default=8090)
    parser.add_argument("--notify", required=True, metavar="URL", help="http://.../v1/payments/notices/acq")
    parser.add_argument("--key", type=Path, required=True, metavar="FILE", help="the acquirer's private key, PEM")
    parser.add_argument("--merchant-key", type=Path, required=True, metavar="FILE", help="the merchant's public key")
    parser.add_argument("--pay", type=float, default=0.0, metavar="SHARE", help="of the orders are paid by themselves")
    parser.add_argument("--pay-after", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--seed", type=int, default=1)
    for one in fields(Faults):
        kind = int if one.name == "tries" else float
        parser.add_argument(f"--{one.name.replace('_', '-')}", type=kind, default=one.default)
    options = parser.parse_args(arguments)
    faults = replace(Faults(), **{one.name: getattr(options, one.name) for one in fields(Faults)})
    wallets = Wallets(share=options.pay, after_s=options.pay_after)
    try:
        acquirer = build(
            options.notify, options.key, options.merchant_key, faults=faults, wallets=wallets, seed=options.seed
        )
    except ParkingError as error:
        sys.exit(str(error))
    uvicorn.run(acquirer.application(), host="127.0.0.1", port=options.port, access_log=False, log_level="warning")


def build(
    notify_url: str,
    key: Path,
    merchant_key: Path,
    *,
    faults: Faults,
    wallets: Wallets = Wallets(),  # frozen, so that one for all is harmless
    seed: int = 1,
    journal: Path | None = None,
) -> SimulatedAcquirer:
    """An acquirer that tells the merchant at `notify_url`; keys are PEM files, books outlast it in `journal`.

    Raises:
        SettingsError: a key file cannot be used.
    """
    own = load_signing_key(key, "--key")
    callbacks = Callbacks(notify_url, own, faults=faults, seed=seed, clock=lambda: datetime.now(UTC))
    return SimulatedAcquirer(
        own, load_verifying_keys(merchant_key, "--merchant-key"), callbacks, wallets=wallets, seed=seed, journal=journal
    )


class _Server(uvicorn.Server):
    """Leaves the signals to the program it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(acquirer: SimulatedAcquirer, url: str) -> None:
    """Serves on the loopback port of `url` inside another program, until it is cancelled."""
    port = urlsplit(url).port or 0
    config = uvicorn.Config(
        acquirer.application(), host="127.0.0.1", port=port, access_log=False, log_level="warning", log_config=None
    )
    server = _Server(config)
    serving = asyncio.create_task(server.serve())
    try:
        await asyncio.shield(serving)
    finally:
        server.should_exit = True
        await serving
